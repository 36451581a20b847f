"""POPE from its published file, and built from objects."""

import json
from collections import Counter
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation_sets.pope_built import PopeBuilt, question_text
from csrdata.evaluation_sets.pope_file import PopeFile
from csrdata.records import Kind, Question, Side
from tests.evaluation_sets.coco_files import CATEGORIES, OBJECTS, file_name, instances, write_coco

ROWS = [
    {"question_id": 1, "image": file_name(9), "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": file_name(9), "text": "Is there a cat in the image?", "label": "no"},
]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path)


def _file(coco: Path, *lines: str) -> PopeFile:
    (coco / "pope.json").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return PopeFile("pope", "val2014", coco / "pope.json", "popular")


def test_the_published_form_is_read(coco: Path) -> None:
    """One question per line in the file's order; the strategy is that of the absent objects; blank lines are ignored."""
    asked = _file(coco, json.dumps(ROWS[0]), "", json.dumps(ROWS[1])).ask([])
    image = f"val2014/{file_name(9)}"
    assert asked.questions == [
        Question("pope-000001", "pope", Kind.YES_NO, image, ROWS[0]["text"], Side.YES, None),
        Question("pope-000002", "pope", Kind.YES_NO, image, ROWS[1]["text"], Side.NO, "popular"),
    ]
    assert asked.truths == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "maybe"}, "line 2: label: got maybe, expected yes or no"),
        ({"label": ["yes"]}, "line 2: label: got ['yes'], expected yes or no"),
        ({"question_id": 1}, "line 2: question_id: got 1, expected each id once"),
        ({"question_id": -1}, "line 2: question_id: got -1, expected a whole number"),
        (
            {"image": "../secret.jpg"},
            "line 2: image: got '../secret.jpg', expected a file name inside val2014",
        ),
        ({"image": 9}, "line 2: image: got 9, expected a file name"),
        ({"text": " "}, "line 2: text: got ' ', expected a text of 1 to"),
        ({"text": "a\0"}, "line 2: text: got"),
        ({"text": "a\ud800"}, r"line 2: text: got 'a\ud800', expected a text"),
    ],
)
def test_a_bad_row_is_one_line(coco: Path, change: dict[str, object], words: str) -> None:
    """A value that no question may have is named by file, line and key."""
    with pytest.raises(UserError) as caught:
        _file(coco, json.dumps(ROWS[0]), json.dumps(ROWS[1] | change)).ask([])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1: got {, expected a JSON object"),
        ("[1]", "line 1: got [1], expected a JSON object"),
        ("[" * 100_000, "line 1: got JSON that is nested too deeply"),
        ("a" * 1_000_001, "line 1: got a longer line, expected at most 1,000,000 bytes"),
        ('{"question_id": 1}', "line 1: image: got no such key, expected an object with question_id, image"),
        ("", "pope.json: got no questions, expected one JSON object per line"),
    ],
)
def test_a_file_of_another_form_is_one_line(coco: Path, line: str, words: str) -> None:
    """A line that is no such object is refused, as is a file without questions, and one that is missing."""
    one = _file(coco, line)
    with pytest.raises(UserError) as caught:
        one.ask([])
    assert words in str(caught.value)
    one.file.unlink()
    with pytest.raises(UserError, match=r"pope.json: got no such file, expected POPE's questions"):
        one.ask([])


def _built(coco: Path, strategy: str, *, images: int = 4, per_image: int = 4, seed: int = 0) -> PopeBuilt:
    files = (coco / "instances.json",)
    return PopeBuilt("built", "val2014", files, strategy, images, per_image, seed)


def _named(question: Question) -> str:
    (found,) = [name for name in CATEGORIES if question_text(name) == question.text]
    return found


@pytest.mark.parametrize("strategy", ["random", "popular", "adversarial"])
def test_questions_are_balanced_and_right(coco: Path, strategy: str) -> None:
    """As many yes as no questions per image; present objects are present, absent ones absent, none twice."""
    questions = _built(coco, strategy).ask([]).questions
    assert Counter(question.image for question in questions) == {
        f"val2014/{file_name(image)}": 4 for image in OBJECTS if len(OBJECTS[image]) >= 2
    }
    present = {f"val2014/{file_name(image)}": names for image, names in OBJECTS.items()}
    for question in questions:
        assert (_named(question) in present[question.image]) == (question.answer == Side.YES)
        assert question.negative == (strategy if question.answer == Side.NO else None)
    assert len({(question.image, question.text) for question in questions}) == len(questions)
    assert questions == _built(coco, strategy).ask([]).questions


def _absent(coco: Path, strategy: str, image: int) -> list[str]:
    return [
        _named(question)
        for question in _built(coco, strategy).ask([]).questions
        if question.answer == Side.NO and question.image.endswith(file_name(image))
    ]


def test_popular_and_adversarial_objects_are_those_of_the_definition(coco: Path) -> None:
    """Counted by hand: person 3, dog 2, all others 1; with a bus and a car only a person is ever seen."""
    assert _absent(coco, "popular", 25) == ["person", "dog"]
    assert _absent(coco, "popular", 36) == ["dog", "cat"]
    # Image 36 has a person, and persons are with dogs twice and with a frisbee once.
    assert _absent(coco, "adversarial", 36) == ["dog", "frisbee"]
    assert _absent(coco, "adversarial", 9) == ["frisbee", "bus"]
    objects = dict(OBJECTS) | {40: ("cat", "zebra"), 41: ("cat", "zebra")}
    (coco / "instances.json").write_text(json.dumps(instances(objects)), encoding="utf-8")
    (coco / "val2014" / file_name(40)).write_bytes((coco / "val2014" / file_name(9)).read_bytes())
    (coco / "val2014" / file_name(41)).write_bytes((coco / "val2014" / file_name(9)).read_bytes())
    questions = _built(coco, "adversarial", images=6).ask([]).questions
    asked = [_named(one) for one in questions if one.image.endswith(file_name(25)) and one.answer == Side.NO]
    assert asked[0] == "zebra"


def test_random_objects_follow_from_seed_and_image(coco: Path) -> None:
    """Another seed asks about other objects; other images in the sample change nothing."""
    few = _built(coco, "random", images=2).ask([]).questions
    assert set(few) < set(_built(coco, "random", images=4).ask([]).questions)
    assert set(few) != set(_built(coco, "random", images=2, seed=1).ask([]).questions)


def test_images_with_too_few_objects_are_not_asked_about(coco: Path) -> None:
    """Half of the questions need a present object each: with 6 per image two images qualify."""
    assert len(_built(coco, "random", images=2, per_image=6).ask([]).questions) == 12
    with pytest.raises(
        UserError, match=r"evaluation_sets.built: got 3 images, expected at most the 2 images that"
    ):
        _built(coco, "random", images=3, per_image=6).ask([])


@pytest.mark.parametrize(
    ("name", "text"), [("apple", "Is there an apple in the image?"), ("dog", "Is there a dog in the image?")]
)
def test_the_question_is_popes(name: str, text: str) -> None:
    """A or an, as the published questions have it."""
    assert question_text(name) == text
