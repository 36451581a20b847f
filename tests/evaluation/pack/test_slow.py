"""Each measure against a slow count from its definition, on random small cases: sets and loops, no arrays, no parser.

What a text says is known by how it is built: a description is a list of phrases whose objects are written beside them.
"""

import itertools
import random
from fractions import Fraction
from pathlib import Path

import pytest

from csrdata.evaluation.pack.amber import amber
from csrdata.evaluation.pack.dash_b import dash_b
from csrdata.evaluation.pack.object_hal import object_halbench
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import coco_synonyms
from csrdata.pipeline.benches import open_bench
from tests.evaluation.pack.files import array, lines
from tests.evaluation_sets.coco_files import captions, file_name, instances

SEEDS = range(6)
Share = tuple[int, int]

PHRASES: tuple[tuple[str, str | None], ...] = (
    *(
        ("a man", "person"),
        ("two dogs", "dog"),
        ("the hot-dog", "hot dog"),
        ("a kitten", "cat"),
        ("A SOFA", "couch"),
    ),
    *(
        ("one bus", "bus"),
        ("a train station", None),
        ("toilet seats", "toilet"),
        ("nothing", None),
        ("a Frisbee", "frisbee"),
    ),
)
"""A phrase, and the object of COCO that it names."""
OBJECTS = sorted({name for _, name in PHRASES if name})
ANSWERS = (
    "yes",
    "No",
    "Yes.",
    "no.",
    "Yes, a dog.",
    "No, there is not.",
    "not at all",
    "A cat.",
    "NO",
    " yes ",
    "",
)
ANSWERED = {
    "keyword": dict(zip(ANSWERS, "yes no yes no yes no no yes yes yes yes".split(), strict=True)),
    "strict": dict(zip(ANSWERS, "yes no yes no ? ? ? ? no yes ?".split(), strict=True)),
    "word": dict(zip(ANSWERS, "yes no yes no yes no no ? no yes ?".split(), strict=True)),
    "substring": dict(zip(ANSWERS, "yes no yes no yes no no ? no yes ?".split(), strict=True)),
}
"""By rule, what each answer says, written by hand from the rules' words; "?" is unreadable."""


def _percent(share: Share) -> float | None:
    return None if share[1] == 0 else float(100 * Fraction(*share))


def _described(chance: random.Random) -> tuple[str, list[str]]:
    """Return a text and the objects that it names, in order."""
    parts = [chance.choice(PHRASES) for _ in range(chance.randrange(6))]
    text = chance.choice([" and ", ", ", ". ", "; "]).join(phrase for phrase, _ in parts)
    return text, [name for _, name in parts if name is not None]


def _coco(folder: Path, chance: random.Random) -> dict[int, set[str]]:
    """Write COCO's files of five random images, and return what is in each: its objects and those that a caption names."""
    objects = {image: tuple(chance.sample(OBJECTS, chance.randrange(4))) for image in range(11, 16)}
    said = {image: [_described(chance) for _ in range(2)] for image in objects}
    texts = {image: tuple(text or "Here." for text, _ in two) for image, two in said.items()}
    array(folder / "instances.json", instances(objects))
    array(folder / "captions.json", captions(texts))
    return {image: {*objects[image], *said[image][0][1], *said[image][1][1]} for image in objects}


@pytest.mark.parametrize("seed", SEEDS)
def test_chair_is_its_definition(tmp_path: Path, seed: int) -> None:
    """CHAIR_S: answers with a mention that is not in the image; CHAIR_I: such mentions of all; recall: distinct objects named."""
    chance = random.Random(seed)
    present = _coco(tmp_path, chance)
    files = [f"{name}=[{tmp_path / name}.json]" for name in ("instances", "captions")]
    bench = open_bench("coco_chair", [*files, "images=5", "seed=0"])
    by_image = {Path(item.image).name: item.key for item in bench.items}
    said = {image: _described(chance) for image in present}
    measured = bench.measure({by_image[file_name(image)]: text for image, (text, _) in said.items()})
    false = {
        image: [name for name in names if name not in present[image]] for image, (_, names) in said.items()
    }
    mentions = sum(len(names) for _, names in said.values())
    named = sum(len(present[image].intersection(names)) for image, (_, names) in said.items())
    assert measured["chair_s"].value == _percent((sum(map(bool, false.values())), len(said)))
    assert measured["chair_i"].value == pytest.approx(_percent((sum(map(len, false.values())), mentions)))
    assert measured["recall"].value == pytest.approx(_percent((named, sum(map(len, present.values())))))


@pytest.mark.parametrize("seed", SEEDS)
def test_object_halbench_is_its_definition(tmp_path: Path, seed: int) -> None:
    """Several questions about an image: responses of those that name an object and of all, objects of mentions, recall."""
    chance = random.Random(seed)
    present = _coco(tmp_path, chance)
    asked = [chance.choice(sorted(present)) for _ in range(8)]
    bench = object_halbench(
        lines(
            tmp_path / "q.jsonl",
            [{"image_id": image, "question": f"Describe it, {n}."} for n, image in enumerate(asked)],
        ),
        instances=[tmp_path / "instances.json"],
        captions=[tmp_path / "captions.json"],
        parser=CocoClaimParser(coco_synonyms()),
    )
    said = [_described(chance) for _ in asked]
    measured = bench.measure({str(number): text for number, (text, _) in enumerate(said)})
    naming = [(image, names) for image, (_, names) in zip(asked, said, strict=True) if names]
    wrong = sum(any(name not in present[image] for name in names) for image, names in naming)
    pairs = [(image, name) for image, names in naming for name in names]
    hits = [len(set(names) & present[image]) for image, names in naming]
    expected = {
        "response_hal": _percent((wrong, len(naming))),
        "response_hal_of_all": _percent((wrong, len(asked))),
        "object_hal": _percent((sum(name not in present[image] for image, name in pairs), len(pairs))),
        "recall": _percent((sum(hits), sum(len(present[image]) for image in asked))),
        "length": float(Fraction(sum(len(text.split()) for text, _ in said), len(said))),
    }
    found = {name: measured[name].value for name in expected}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_pope_is_its_definition_by_three_rules(tmp_path: Path, seed: int) -> None:
    """Accuracy, F1 as the harmonic mean of precision and recall, and yes-rate, from the four cells, by each rule."""
    chance = random.Random(seed)
    rows = [
        {
            "question_id": n,
            "image": f"{n % 4}.jpg",
            "text": "Is there a dog?",
            "label": chance.choice(["yes", "no"]),
        }
        for n in range(24)
    ]
    file = lines(tmp_path / "q.json", rows)
    bench = open_bench("pope", [f"file={file}", "strategy=random"])
    said = {item.key: chance.choice(ANSWERS) for item in bench.items}
    measured = bench.measure(said)
    for rule, prefix in (("keyword", "pope_keyword_"), ("strict", "pope_strict_"), ("word", "pope_")):
        read = [ANSWERED[rule][text] for text in said.values()]
        cells = [(row["label"], one) for row, one in zip(rows, read, strict=True)]
        hits, yes = cells.count(("yes", "yes")), read.count("yes")
        precision, recall = Fraction(hits, yes), Fraction(hits, sum(row["label"] == "yes" for row in rows))
        f1 = 2 * precision * recall / (precision + recall) if hits else Fraction(0)
        assert measured[f"{prefix}accuracy"].value == _percent((hits + cells.count(("no", "no")), len(rows)))
        assert measured[f"{prefix}f1"].value == pytest.approx(float(100 * f1))
        if f"{prefix}yes_rate" in measured:
            assert measured[f"{prefix}yes_rate"].value == _percent((yes, len(rows)))


@pytest.mark.parametrize("seed", SEEDS)
def test_dash_b_is_its_definition(tmp_path: Path, seed: int) -> None:
    """TNR and TPR are shares of right answers where the object is absent and present; an unreadable one is wrong."""
    chance = random.Random(seed)
    names = [f"{number}.png" for number in range(6)]
    sides = {
        side: {"coco": {name: chance.sample(names, 3) for name in ("dog", "cat")}} for side in ("neg", "pos")
    }
    bench = dash_b(*(array(tmp_path / f"{side}.json", sides[side]) for side in ("neg", "pos")))
    said = {item.key: chance.choice(ANSWERS) for item in bench.items}
    right = {
        side: sum(ANSWERED["substring"][text] == side for key, text in said.items() if key.startswith(side))
        for side in ("no", "yes")
    }
    measured = bench.measure(said)
    assert (measured["tnr"].value, measured["tpr"].value) == pytest.approx(
        (right["no"] / 0.06, right["yes"] / 0.06)
    )
    assert measured["accuracy"].value == pytest.approx(sum(right.values()) / 0.12)
    both = [Fraction(one, 6) for one in right.values()]
    mean = 0 if 0 in both else 2 / sum(1 / one for one in both)
    assert measured["harmonic_mean"].value == pytest.approx(float(100 * mean))


WORDS = {
    "sky": ["cloud"],
    "person": ["man"],
    "dog": ["puppy"],
    "tree": ["bush"],
    "desk": [],
    "light": [],
}
"""AMBER's list: a word and what is associated with it. All plurals end in s or es."""
SAFE = {"light"}
DIMENSIONS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "attribute",
    "discriminative-attribute-number": "attribute",
    "discriminative-attribute-action": "attribute",
    "relation": "relation",
}


def _is(word: str, entry: str) -> bool:
    """Return whether a word names an entry of the annotation: itself, or what is associated with it."""
    return word == entry or word in WORDS[entry]


def _amber_files(folder: Path, chance: random.Random) -> tuple[list[dict[str, object]], list[Path]]:
    """Write four random descriptions and ten random questions; return the annotations and the files."""
    facts: list[dict[str, object]] = []
    entries = ["sky", "person", "dog", "tree", "desk"]
    for number in range(1, 5):
        drawn = chance.sample(entries, 4)
        cut = chance.randrange(1, 4)
        facts.append({"id": number, "type": "generative", "truth": drawn[:cut], "hallu": drawn[cut:]})
    kinds = [*DIMENSIONS, *DIMENSIONS]
    facts += [
        {"id": 5 + n, "type": kind, "truth": chance.choice(["yes", "no"])} for n, kind in enumerate(kinds)
    ]
    queries = [{"id": one["id"], "image": f"AMBER_{chance.randrange(3)}.jpg", "query": "?"} for one in facts]
    safe = folder / "safe_words.txt"
    safe.write_text("".join(f"{word}\n" for word in SAFE), encoding="utf-8")
    named = (("annotations", facts), ("query_all", queries), ("relation", WORDS))
    return facts, [*(array(folder / f"{name}.json", value) for name, value in named), safe]


@pytest.mark.parametrize("seed", SEEDS)
def test_amber_is_its_definition(tmp_path: Path, seed: int) -> None:
    """CHAIR, Cover, Hal and Cog from the words of each text; accuracy and F1 of "no" in all and by dimension; the score."""
    chance = random.Random(seed)
    facts, files = _amber_files(tmp_path, chance)
    bench = amber(*files, part="all")
    listed = [*WORDS, *itertools.chain(*WORDS.values())]
    said: dict[str, str] = {}
    chair = cover = cog = (0, 0)
    flawed = 0
    for fact in facts[:4]:
        words = [chance.choice([*listed, "stone"]) for _ in range(chance.randrange(1, 7))]
        many = {
            word: word if chance.random() < 0.5 else f"{word}{'es' if word == 'bush' else 's'}"
            for word in words
        }
        many |= {word: word for word in words if word in ("man", "sky", "puppy")}
        said[str(fact["id"])] = "A " + " and a ".join(many[word] for word in words) + "."
        truth, hallu = list(fact["truth"]), list(fact["hallu"])  # type: ignore[call-overload]
        named = [word for word in words if word in listed]
        false = [word for word in named if word not in SAFE and not any(_is(word, one) for one in truth)]
        chair = (chair[0] + len(false), chair[1] + len(named))
        cover = (
            cover[0] + sum(any(_is(word, one) for word in named) for one in truth),
            cover[1] + len(truth),
        )
        cog = (cog[0] + sum(any(_is(word, one) for word in false) for one in hallu), cog[1] + len(hallu))
        flawed += bool(false)
    claims = facts[4:]
    for fact in claims:
        said[str(fact["id"])] = chance.choice(["Yes", "No", "No", "Yes.", "no"])
    measured = bench.measure(said)
    expected = {
        "chair": _percent(chair),
        "cover": _percent(cover),
        "hal": 25.0 * flawed,
        "cog": _percent(cog),
    }
    for dimension in ("", "existence", "attribute", "relation"):
        own = [fact for fact in claims if dimension in ("", DIMENSIONS[str(fact["type"])])]
        pairs = [(str(fact["truth"]).capitalize(), said[str(fact["id"])]) for fact in own]
        hits = pairs.count(("No", "No"))
        denied, no = sum(b == "No" for _, b in pairs), sum(a == "No" for a, _ in pairs)
        name = f"{dimension}_" if dimension else ""
        expected[f"{name}accuracy"] = _percent((sum(a == b for a, b in pairs), len(pairs)))
        expected[f"{name}precision"], expected[f"{name}recall"] = (
            _percent((hits, denied)),
            _percent((hits, no)),
        )
        expected[f"{name}f1"] = _percent((2 * hits, denied + no))
    if expected["chair"] is not None and expected["f1"] is not None:
        expected["score"] = (100 - expected["chair"] + expected["f1"]) / 2
    found = {name: measured[name].value for name in expected}
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value)), name
