"""CHAIR on COCO-shaped files: what is asked, what is known, and the figures against a slow reading of the definition."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.mentions import absent_mentions
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.evaluation_sets.synonyms import COCO
from csrdata.records import Answer, Kind, Truth
from tests.evaluation_sets.coco_files import OBJECTS, chair_set, file_name, write_coco

ANSWERS = {
    9: "A man walks a dog and a puppy. A cat watches. There is a bench.",
    25: "Two kittens on a couch. A remote lies by the kittens, and a dog",
    30: "A person throws a frisbee.",
    34: "",
    36: "Buses and cars. A traffic light. A traffic light!",
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path)


def test_the_truth_is_the_union_of_segmentation_and_captions(coco: Path) -> None:
    """An object is present if it is annotated or a caption names it; the two are told apart in the detail."""
    truths = {truth.image: truth for truth in chair_set(coco).ask([]).truths}
    expected = {
        9: ["bench", "dog", "person"],
        25: ["cat", "couch"],
        30: ["dog", "frisbee", "person"],
        34: ["dining table", "hot dog"],
        36: ["bus", "car", "person"],
    }
    assert {image: truths[f"val2014/{file_name(image)}"].objects for image in OBJECTS} == expected
    assert json.loads(truths[f"val2014/{file_name(9)}"].detail) == {
        "segmented": ["dog", "person"],
        "captioned": ["bench", "dog", "person"],
    }
    assert {truth.split for truth in truths.values()} == {"chair"}


def test_one_description_is_asked_of_each_sampled_image(coco: Path) -> None:
    """Equal seeds give equal images, a larger number keeps those of a smaller one, another seed gives others."""
    rows = chair_set(coco, images=3).ask([]).questions
    assert [question.question_id for question in rows] == sorted(question.question_id for question in rows)
    assert {question.kind for question in rows} == {Kind.DESCRIBE}
    assert {question.text for question in rows} == {"Describe this image in detail."}
    assert rows == chair_set(coco, images=3).ask([]).questions
    assert set(rows) < set(chair_set(coco, images=4).ask([]).questions)
    others = [
        {row.image for row in chair_set(coco, images=2, seed=seed).ask([]).questions} for seed in range(9)
    ]
    assert any(other != others[0] for other in others)


def slow_chair(found: dict[int, list[str]], present: dict[int, set[str]]) -> dict[str, float]:
    """Compute CHAIR as its definition reads: one mention after the other, one answer after the other."""
    mentions = absent = bad_answers = recalled = there = 0
    for image, named in found.items():
        bad = False
        for name in named:
            mentions += 1
            if name not in present[image]:
                absent += 1
                bad = True
        bad_answers += bad
        for name in present[image]:
            there += 1
            recalled += name in named
    return {
        "chair_s": 100 * bad_answers / len(found),
        "chair_i": 100 * absent / mentions,
        "recall": 100 * recalled / there,
    }


def test_chair_is_its_definition(coco: Path) -> None:
    """CHAIR_S, CHAIR_I and recall equal a slow computation from what a reader finds in answers and captions by hand."""
    asked, parser = chair_set(coco).ask([]), chair_set(coco).claim_parser()
    by_image = {f"val2014/{file_name(image)}": image for image in OBJECTS}
    answers = [
        Answer(row.question_id, ANSWERS[by_image[row.image]], 9, image_finished(row.image), -1.0, 30.0, None)
        for row in asked.questions
    ]
    known = {"chair": Known({truth.image: truth for truth in asked.truths}, parser)}
    card = scorecards(asked.questions, answers, known, made_by="")["chair"]
    by_hand = {
        9: ["person", "dog", "dog", "cat", "bench"],
        25: ["cat", "couch", "remote", "cat", "dog"],
        30: ["person", "frisbee"],
        34: [],
        36: ["bus", "car", "traffic light", "traffic light"],
    }
    captioned = {9: ["bench"], 25: [], 30: [], 34: ["hot dog", "dining table"], 36: []}
    present = {image: {*OBJECTS[image], *captioned[image]} for image in OBJECTS}
    expected = slow_chair(by_hand, present)
    assert {name: card.ratios[name].value for name in expected} == pytest.approx(expected)
    listed = absent_mentions(asked.questions, answers, known)
    assert [(row.object, row.word, row.sentence) for row in listed] == [
        ("cat", "cat", 2),
        ("remote", "remote", 2),
        ("dog", "dog", 2),
        ("traffic light", "traffic light", 2),
        ("traffic light", "traffic light", 3),
    ]
    assert listed[0].text == "A cat watches."
    said = {answer.question_id: answer.text for answer in answers}
    assert [said[row.question_id][row.start : row.end] for row in listed] == [row.word for row in listed]


def image_finished(image: str) -> bool:
    """The answer to image 25 was cut at the token limit: its last sentence counts all the same."""
    return image != f"val2014/{file_name(25)}"


def test_what_coco_cannot_tell_is_absent(coco: Path) -> None:
    """COCO has no attributes, no grammar and no kinds of mistakes, and nobody asked yes or no: no figure is about them."""
    asked, parser = chair_set(coco).ask([]), chair_set(coco).claim_parser()
    answers = [Answer(row.question_id, "A dog.", 3, True, -1.0, 30.0, None) for row in asked.questions]
    known = {"chair": Known({truth.image: truth for truth in asked.truths}, parser)}
    card = scorecards(asked.questions, answers, known, made_by="")["chair"]
    assert set(card.ratios) == {
        *("chair_s", "chair_i", "recall", "present_per_answer"),
        *("length", "repetition", "finished", "loglik_base", "relevance"),
    }
    assert card.false_by_kind is None


def _edit(coco: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = coco / file
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")


INSTANCES, CAPTIONED = "instances.json", "captions.json"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (
            INSTANCES,
            lambda raw: raw["annotations"][1].update(image_id=77),
            "instances.json: annotations[1].image_id: got 77, expected the id of an image of these files",
        ),
        (
            CAPTIONED,
            lambda raw: raw["annotations"][2].update(image_id=77),
            "captions.json: annotations[2].image_id: got 77, expected the id of an image of the instances files",
        ),
        (
            CAPTIONED,
            lambda raw: raw["annotations"].pop(2),
            "captions.json: got no caption of image 25, expected captions of every image",
        ),
        (
            INSTANCES,
            lambda raw: raw["annotations"][0].update(category_id="dog"),
            "annotations[0].category_id: got dog, expected a whole number",
        ),
        (
            INSTANCES,
            lambda raw: raw["annotations"][0].update(category_id=1000),
            "annotations[0].category_id: got 1000, expected the id of a category of these files",
        ),
        (INSTANCES, lambda raw: raw["annotations"][0].update(image_id=True), "got True, expected a whole"),
        (INSTANCES, lambda raw: raw.pop("images"), "images: got no such key, expected a list of objects"),
        (INSTANCES, lambda raw: raw.update(annotations={}), "annotations: got a dict, expected a list"),
        (INSTANCES, lambda raw: raw["annotations"].insert(0, 3), "annotations[0]: got 3, expected an object"),
        (
            INSTANCES,
            lambda raw: raw["images"][0].update(file_name="../../etc/passwd"),
            "expected a file name inside val2014",
        ),
        (
            INSTANCES,
            lambda raw: raw["images"][0].update(file_name=raw["images"][1]["file_name"]),
            "got two images with one file_name",
        ),
        (INSTANCES, lambda raw: raw["images"].append({"id": 9, "file_name": "b.jpg"}), "images[5].file_name: got b.jpg"),
        (
            INSTANCES,
            lambda raw: raw["categories"].append({"id": 99, "name": "unicorn"}),
            "csrdata's table of synonyms: got no category unicorn, expected all categories of",
        ),
        (CAPTIONED, lambda raw: raw["annotations"][0].update(caption=None), "caption: got None, expected a text"),
        (CAPTIONED, lambda raw: raw["annotations"][0].update(caption="a" * 200_000), "got 200,000 characters"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_line(
    coco: Path, file: str, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """A value that does not fit is named by file and row."""
    _edit(coco, file, change)
    with pytest.raises(UserError) as caught:
        chair_set(coco).ask([])
    assert words in str(caught.value)
    assert "then: dvc repro" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON of COCO's instances"),
        (b"[1]", "got a list, expected a JSON object"),
        (b"\xff{}", "JSON of COCO's instances"),
        (b"[" * 100_000, "expected COCO's instances"),
    ],
)
def test_a_file_of_another_form_is_one_line(coco: Path, content: bytes, words: str) -> None:
    """What is not JSON, or not an object, is refused; so is a file that is missing."""
    (coco / INSTANCES).write_bytes(content)
    with pytest.raises(UserError) as caught:
        chair_set(coco).ask([])
    assert words in str(caught.value)
    (coco / INSTANCES).unlink()
    with pytest.raises(
        UserError, match=r"instances.json: got no such file, expected COCO's instances_\*.json"
    ):
        chair_set(coco).ask([])


def test_too_few_images_are_one_line(coco: Path) -> None:
    """More images than the files have are refused with their number."""
    with pytest.raises(
        UserError, match=r"evaluation_sets.chair: got 6 images, expected at most the 5 images"
    ):
        chair_set(coco, images=6).ask([])


def test_a_published_table_reads_captions_and_answers(coco: Path) -> None:
    """With `synonyms`, its words count: here "lunch" is a pizza, and a kitten is nothing."""
    table = coco / "synonyms.txt"
    lines = [f"{name}, lunch" if name == "pizza" else name for name in COCO]
    table.write_text("\n".join(lines), encoding="utf-8")
    one = chair_set(coco, synonyms=table)
    truths: dict[str, Truth] = {truth.image: truth for truth in one.ask([]).truths}
    assert truths[f"val2014/{file_name(34)}"].objects == ["hot dog", "pizza"]
    assert [name for name, _ in one.claim_parser().names("A kitten at lunch")] == ["pizza"]
    assert one.files()[-1] == one.parser_files()[0] == table
