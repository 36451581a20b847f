"""Which of COCO's objects a text names, by our table and by one in the published form."""

import re
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import COCO, coco_synonyms, plural, read_synonyms
from csrdata.records import Truth

PARSER = CocoClaimParser(coco_synonyms())


def names(text: str, parser: CocoClaimParser = PARSER) -> list[str]:
    return [name for name, _ in parser.names(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two hot dogs near a dog.", ["hot dog", "dog"]),
        ("A Hot-Dog.", ["hot dog"]),
        ("It is hot. Dogs bark.", ["dog"]),
        ("It is hot, dogs bark.", ["dog"]),
        ("hot\ndogs", ["dog"]),
        ("The dining table and a table.", ["dining table", "dining table"]),
        ("a dining room table in the dining room", ["dining table"]),
        ("The toilet seat is up; the seat of the toilet is white.", ["toilet", "toilet"]),
        ("teddy bears and a polar bear", ["teddy bear", "bear"]),
        ("a man in a bow tie", ["person", "tie"]),
        ("a baby elephant and a baby", ["elephant", "person"]),
        ("a mother duck, a passenger jet and a passenger", ["bird", "airplane", "person"]),
        ("the train station has no train tracks", []),
        ("knives, scissors, sheep, geese, mice, people, children", ["knife", "scissors", "sheep", "bird", "mouse", "person", "person"]),
        ("women, firemen, buses, puppies, couches, wine glasses, skis", ["person", "person", "bus", "dog", "couch", "wine glass", "skis"]),
        ("the dog's bowl", ["dog", "bowl"]),
        ("a computer mouse pad, a computer keyboard", ["keyboard"]),
        ("a laptop computer monitor", ["laptop", "tv"]),
        ("orange juice and an orange", ["orange"]),
        ("a street light, a traffic light, a stop light", ["traffic light", "traffic light"]),
        ("TVs, cell-phones, hair dryers", ["tv", "cell phone", "hair drier"]),
        ("a human skiing, category, carpet", ["person"]),
        ("", []),
        ("这是狗", []),
    ],
)  # fmt: skip
def test_phrases_name_objects(text: str, expected: list[str]) -> None:
    """The longest phrase counts, in both numbers; words that mean something else there do not."""
    assert names(text) == expected


@pytest.mark.parametrize("name", COCO)
def test_each_category_is_named_by_itself_and_its_plural(name: str) -> None:
    """A category's own name and its plural name that category once, and no other."""
    assert names(f"There is a {name}.") == [name]
    *before, last = name.split()
    assert names(f"Many {' '.join([*before, plural(last)])} here") == [name]


def test_the_table_has_80_categories_and_no_name_twice() -> None:
    """COCO has 80 categories; a synonym of two of them would depend on the order of the table."""
    assert len(COCO) == 80
    listed = [name for own, others in COCO.items() for name in (own, *filter(None, others.split(", ")))]
    assert len(set(listed)) == len(listed)


def test_a_mention_has_the_words_of_the_text() -> None:
    """What is listed for a reader is what the sentence says, with the category and whether it is there."""
    truth = Truth("a.jpg", "chair", ["dog"], "{}")
    (dog, bun) = PARSER.mentions("Puppies eat hot-dog buns.", truth)
    assert (dog.word, dog.name, dog.present) == ("puppies", "dog", True)
    assert (bun.word, bun.name, bun.present) == ("hot-dog buns", "hot dog", False)


def slow_names(text: str) -> list[str]:
    """Find the phrases one by one, longest first, each as a regular expression, and blank out what was used."""
    rest, found = text.casefold(), []
    for phrase in sorted(PARSER.synonyms.phrases, key=lambda words: -len(words)):
        pattern = re.compile(r"(?<![^\W_])" + r"(?:[^\S\r\n]+|[-'’])".join(phrase) + r"(?![^\W_])")
        for match in list(pattern.finditer(rest)):
            found.append((match.start(), PARSER.synonyms.phrases[phrase]))
            rest = rest[: match.start()] + "#" * len(match[0]) + rest[match.end() :]
    return [name for _, name in sorted(found, key=lambda one: one[0]) if name is not None]


@pytest.mark.parametrize(
    "text",
    [
        "A man and two women sit on a park bench beside a dog, a hot dog stand and a fire truck.",
        "Three teddy bears, a baby bear, wine glasses, a wine bottle; the dining room table has knives and forks.",
        "The cat's bed lies under the desk lamp. A toilet seat, a car seat, a passenger train and a train station.",
    ],
)
def test_reading_from_the_left_equals_a_slow_search(text: str) -> None:
    """Where no two phrases overlap, the parser finds what a search for each phrase of the table finds."""
    assert names(text) == slow_names(text)


PUBLISHED = "person, girl, people,  person\ncat, kitten \n\nchair, seat, stool\ntoilet, Commode\nhot dog\ndog, doggie\n"


def test_a_published_table_is_read(tmp_path: Path) -> None:
    """One line per category, commas with any white space, names that come twice; phrases such as "toilet seat" still hold."""
    path = tmp_path / "synonyms.txt"
    path.write_text(PUBLISHED, encoding="utf-8")
    parser = CocoClaimParser(read_synonyms(path))
    assert parser.synonyms.categories == ("person", "cat", "chair", "toilet", "hot dog", "dog")
    text = "Girls on a seat; a commode with a toilet seat; hot dogs, doggies, a man."
    assert names(text, parser) == ["person", "chair", "toilet", "toilet", "hot dog", "dog"]
    assert parser.version != PARSER.version


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "synonyms.txt: got an empty file, expected one line per category"),
        (b"cat, kitten\n, dog\n", "line 2: got , dog, expected a category, then its synonyms"),
        (b"cat\ndog, ...\n", "line 2: got dog, ..., expected a category, then its synonyms"),
        (b"cat\ncat, kitten\n", "line 2: got cat, expected each category once"),
        (b"cat, pet\ndog, pet\n", "line 2: got pet, a name of cat too, expected names of one category each"),
        (b"cat\n\xff\n", "line 2: got byte 0 is not UTF-8, expected UTF-8"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    """A table that would be read wrongly is refused with its line."""
    path = tmp_path / "synonyms.txt"
    with pytest.raises(
        UserError, match=r"got no such file, expected one line per category. Next: put it there"
    ):
        read_synonyms(path)
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_synonyms(path)
    assert words in str(caught.value)
    assert str(caught.value).endswith("Next: correct the file, then: dvc repro")
