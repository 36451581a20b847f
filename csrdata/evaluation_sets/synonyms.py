"""Names of the objects that COCO annotates: our table for its 80 categories, and a reader of tables in the published form.

A name is one word or several. Both numbers count: `plural` gives the form that English makes. `NOT_OBJECTS` are phrases in
which a name means another thing, or nothing that COCO annotates ("train station"); `SPECIAL` are phrases that mean
another category than their words ("toilet seat" is no chair). The table is for descriptions of photographs: it has names
that COCO's annotators would accept, and leaves out words that mean something else more often ("seat", "glass", "bat").

A published table has one line per category: its name, then the synonyms, separated by commas.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import malformed
from csrdata.storage.lines import read_lines

COCO: Mapping[str, str] = {
    "person": "people, man, woman, child, kid, boy, girl, baby, toddler, infant, adult, lady, gentleman, guy, teenager, "
    "human, pedestrian, passenger, player, batter, catcher, umpire, skier, snowboarder, surfer, skateboarder, rider, "
    "cyclist, bicyclist, biker, motorcyclist, driver, worker, chef, waiter, waitress, officer, policeman, policewoman, "
    "cop, fireman, firefighter, soldier, cowboy, bride, groom, student, teacher, doctor, nurse, spectator, bystander, "
    "customer, vendor, farmer, friend, mother, father, mom, dad, son, daughter, brother, sister, husband, wife, "
    "individual, athlete, tourist, businessman, businesswoman, swimmer, fisherman",
    "bicycle": "bike, cycle, tricycle, mountain bike, road bike",
    "car": "automobile, sedan, van, minivan, suv, jeep, taxi, taxicab, cab, limousine, limo, hatchback, station wagon",
    "motorcycle": "motorbike, motor bike, motor cycle, moped, scooter, dirt bike",
    "airplane": "aeroplane, plane, air plane, jet, airliner, jetliner, aircraft, biplane, seaplane",
    "bus": "minibus, school bus, double decker, trolleybus",
    "train": "locomotive, tram, streetcar, subway train, railcar",
    "truck": "lorry, pickup, pick up truck, semi truck, firetruck, fire engine",
    "boat": "ship, sailboat, motorboat, speedboat, rowboat, canoe, kayak, yacht, ferry, dinghy, barge, tugboat, gondola",
    "traffic light": "traffic signal, stop light, stoplight",
    "fire hydrant": "hydrant, fireplug",
    "stop sign": "stopsign",
    "parking meter": "",
    "bench": "park bench, pew",
    "bird": "seagull, gull, pigeon, duck, duckling, goose, swan, owl, eagle, hawk, parrot, crow, sparrow, pelican, chicken, "
    "rooster, hen, flamingo, heron, ostrich, peacock, robin, penguin",
    "cat": "kitten, kitty, feline, tabby",
    "dog": "puppy, pup, canine, hound, terrier, poodle, bulldog, retriever, labrador, dachshund, corgi, pug, collie, beagle",
    "horse": "pony, foal, mare, stallion, colt",
    "sheep": "lamb, ewe, ram",
    "cow": "cattle, bull, calf, ox, heifer",
    "elephant": "",
    "bear": "polar bear, grizzly, panda, bear cub",
    "zebra": "",
    "giraffe": "",
    "backpack": "rucksack, knapsack, back pack",
    "umbrella": "parasol",
    "handbag": "purse, hand bag",
    "tie": "necktie, bow tie, bowtie",
    "suitcase": "luggage, suit case, baggage",
    "frisbee": "flying disc, flying disk",
    "skis": "ski",
    "snowboard": "snow board",
    "sports ball": "ball, football, basketball, volleyball",
    "kite": "",
    "baseball bat": "",
    "baseball glove": "baseball mitt, catcher's mitt",
    "skateboard": "skate board, longboard",
    "surfboard": "surf board, body board, bodyboard",
    "tennis racket": "tennis racquet, racket, racquet",
    "bottle": "",
    "wine glass": "wineglass, wine goblet",
    "cup": "mug, teacup, tea cup",
    "fork": "",
    "knife": "",
    "spoon": "teaspoon, tablespoon",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger, hamburger, cheeseburger, panini",
    "orange": "tangerine, mandarin, clementine",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog, hot dog bun, corn dog",
    "pizza": "",
    "donut": "doughnut",
    "cake": "cupcake, cheesecake, cup cake, carrot cake, birthday cake, wedding cake",
    "chair": "armchair, stool, arm chair, high chair, rocking chair, wheelchair",
    "couch": "sofa, loveseat, love seat, settee, futon",
    "potted plant": "houseplant, house plant, pot plant, plant pot, flower pot, flowerpot",
    "bed": "bunk bed",
    "dining table": "table, desk, dinner table, kitchen table, coffee table, picnic table",
    "toilet": "urinal, commode",
    "tv": "television, tv set, television set, television screen, tv screen, tv monitor, monitor, computer monitor",
    "laptop": "laptop computer, notebook computer, netbook, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, wii remote",
    "keyboard": "computer keyboard",
    "cell phone": "cellphone, mobile phone, smartphone, smart phone, phone, telephone, iphone",
    "microwave": "microwave oven",
    "oven": "stove, stovetop, stove top, stove top oven",
    "toaster": "",
    "sink": "washbasin, wash basin",
    "refrigerator": "fridge, freezer",
    "book": "textbook, notebook",
    "clock": "alarm clock, wall clock",
    "vase": "",
    "scissors": "",
    "teddy bear": "teddy, teddybear, stuffed bear, stuffed animal",
    "hair drier": "hair dryer, hairdryer, hairdrier, blow dryer, blow drier",
    "toothbrush": "tooth brush",
}
"""Synonyms by category, separated by commas; plurals are made from them."""

NOT_OBJECTS = (
    "home plate, train track, train station, train platform, railroad track, bus stop, bus station, bus shelter, car "
    "park, car seat, truck stop, boat house, dog house, bird house, bird bath, bird cage, cat litter, horse race, "
    "horse trailer, table cloth, table tennis, table top, chair lift, ski lift, ski slope, ski resort, ski pole, ski "
    "mask, ski boot, bike rack, bike lane, bike path, bicycle rack, street light, street lamp, orange juice, apple "
    "juice, apple pie, apple cider, banana bread, banana peel, mouse pad, mouse trap, book shelf, book case, book "
    "store, bed room, bed sheet, bed frame, computer mouse pad, bottle cap, bottle opener, cup holder, phone booth, "
    "telephone pole, telephone booth, cow bell, bull dog, sink hole, knife block, toilet paper, toilet brush, toilet "
    "roll, ball park, ball game, football field, football game, football stadium, basketball court, basketball hoop, "
    "basketball game, volleyball court, volleyball net, orange cone, plane ticket, pizza box, pizza cutter, cake "
    "stand, player piano, kite string, boat dock, boat ramp"
)
"""Phrases that name no object of the 80 categories, although a word of theirs does elsewhere."""

SPECIAL: Mapping[str, str] = {
    "toilet seat": "toilet",
    "toilet bowl": "toilet",
    "seat of the toilet": "toilet",
    "fire truck": "truck",
    "wine bottle": "bottle",
    "desk chair": "chair",
    "table lamp": "",
    "desk lamp": "",
    "dining chair": "chair",
    "dining room": "",
    "dining room table": "dining table",
}
"""Phrases that mean another category than their words; an empty text means no category."""

_YOUNG = ("baby", "adult", "young", "mother", "father", "male", "female")
_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_VEHICLES = ("bus", "train", "car", "boat", "airplane")
"""Before the names of these categories, a word for a person does not name one: "baby elephant", "passenger jet"."""

_IRREGULAR = {
    "person": "persons",
    "child": "children",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "calf": "calves",
    "knife": "knives",
    "wife": "wives",
    "couch": "couches",
    "sheep": "sheep",
    "people": "people",
    "cattle": "cattle",
    "aircraft": "aircraft",
    "skis": "skis",
    "scissors": "scissors",
    "luggage": "luggage",
    "baggage": "baggage",
    "broccoli": "broccoli",
}
MAX_TABLE = 1_000_000
"""Bytes of a table of synonyms; the published one has 4,000."""


@dataclass(frozen=True)
class Synonyms:
    """What each phrase names."""

    categories: tuple[str, ...]
    phrases: Mapping[tuple[str, ...], str | None]
    """Category by phrase, lower case, one text per word; None for a phrase that names no object."""

    @cached_property
    def longest(self) -> int:
        """Words of the longest phrase."""
        return max(map(len, self.phrases))

    @property
    def sha256(self) -> str:
        """Of all phrases with their categories: two tables with the same hash read every text in the same way."""
        lines = sorted(f"{' '.join(phrase)}\t{name or ''}" for phrase, name in self.phrases.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def coco_synonyms() -> Synonyms:
    """Return our own table of COCO's 80 categories."""
    return _synonyms({name: _listed(words) for name, words in COCO.items()})


def read_synonyms(path: Path) -> Synonyms:
    """Read a table in the published form; `NOT_OBJECTS` and `SPECIAL` hold for it too, unless it has the phrase itself.

    Raises:
        UserError: the file is missing, too large, empty or not UTF-8, a line begins with a comma or has a name without
            letters, a category comes twice, or a name belongs to two categories.
    """
    if not path.is_file():
        do = "put it there or set synonyms to null in params.yaml, then: dvc repro"
        raise UserError(str(path), got="no such file", expected="one line per category", do=do)
    if (size := path.stat().st_size) > MAX_TABLE:
        raise malformed(str(path), f"{size:,} bytes", f"at most {MAX_TABLE:,} bytes")
    table: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for place, line in read_lines(path):
        names = _names(line, place)
        if not names:
            continue
        if names[0] in table:
            raise malformed(place, names[0], "each category once")
        for name in names:
            if owners.setdefault(name, names[0]) != names[0]:
                raise malformed(place, f"{name}, a name of {owners[name]} too", "names of one category each")
        table[names[0]] = names[1:]
    if not table:
        raise malformed(str(path), "an empty file", "one line per category")
    return _synonyms(table)


def _names(line: str, place: str) -> list[str]:
    """Return the category and the synonyms of a line, each once; none for a blank line."""
    text = line.casefold()
    names = _listed(text)
    if text.strip() and (not text.split(",")[0].strip() or not all(words(name) for name in names)):
        raise malformed(place, text, "a category, then its synonyms, separated by commas")
    return names


def words(phrase: str) -> tuple[str, ...]:
    """Return a phrase's words, lower case.

    Example: "Stove-top oven" -> ("stove", "top", "oven")
    """
    return tuple("".join(char if char.isalnum() else " " for char in phrase.casefold()).split())


def plural(word: str) -> str:
    """Return the plural of an English noun. Examples: bus -> buses, puppy -> puppies, fireman -> firemen, mouse -> mice."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("man") and word != "human":
        return f"{word[:-2]}en"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return f"{word[:-1]}ies"
    return f"{word}s"


def _synonyms(table: Mapping[str, Sequence[str]]) -> Synonyms:
    phrases: dict[tuple[str, ...], str | None] = {}
    for name, others in table.items():
        for phrase in _both_numbers([name, *others]):
            phrases.setdefault(phrase, name)
    special: dict[str, str | None] = dict.fromkeys(_listed(NOT_OBJECTS))
    special |= {phrase: name or None for phrase, name in SPECIAL.items()}
    for before, categories in ((_YOUNG, _ANIMALS), (("passenger",), _VEHICLES)):
        for name in categories:
            special |= {
                f"{word} {other}": name for word, other in product(before, (name, *table.get(name, ())))
            }
    for text, target in special.items():
        if target is None or target in table:
            for phrase in _both_numbers([text]):
                phrases.setdefault(phrase, target)
    return Synonyms(tuple(table), phrases)


def _both_numbers(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return each name's words, and those of its plural."""
    singular = [words(name) for name in names]
    return [form for name in singular for form in (name, (*name[:-1], plural(name[-1])))]


def _listed(text: str) -> list[str]:
    """Return a list's names, separated by commas, each once."""
    return list(dict.fromkeys(" ".join(name.split()) for name in text.split(",") if name.strip()))
