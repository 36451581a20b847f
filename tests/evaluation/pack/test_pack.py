"""Each benchmark against its own slow implementation, on small files in its public form."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.answers_file import read_answers_file
from csrdata.evaluation.contrast import Measured, entries
from csrdata.evaluation.pack.amber import amber
from csrdata.evaluation.pack.dash_b import dash_b
from csrdata.evaluation.pack.hallusion import hallusion_bench
from csrdata.evaluation.pack.object_hal import object_halbench
from csrdata.evaluation.pack.repope import repope
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import coco_synonyms
from csrdata.pipeline.benches import open_bench
from tests.evaluation.pack.files import (
    AMBER_SAYS,
    POPE,
    POPE_SAYS,
    amber_files,
    array,
    hallusion_rows,
    lines,
    options_of,
)
from tests.evaluation_sets.coco_files import write_coco

TALK = ("yes", "No", "Yes", "No.", "Yes, there is.", "not at all", "Nothing.", "yesterday", "a dog", "")


def _values(measured: Measured) -> dict[str, float | None]:
    return {name: figure.value for name, figure in measured.items()}


def _percent(hits: list[bool]) -> float:
    return 100 * sum(hits) / len(hits)


def _slow_repope(labels: list[str], said: list[str]) -> dict[str, float]:
    """Count as RePOPE's script does: one by one, an unread answer in no cell."""
    cells: dict[tuple[str, str], int] = defaultdict(int)
    for label, text in zip(labels, said, strict=True):
        lower = text.lower()
        if "yes" in lower:
            cells["yes", label] += 1
        elif "no" in lower or "not" in lower:
            cells["no", label] += 1
    tp, fp, fn, tn = (cells[key] for key in (("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")))
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    total = tp + fp + fn + tn
    return {
        "accuracy": 100 * (tp + tn) / total,
        "f1": 100 * 2 * precision * recall / (precision + recall),
        "yes_rate": 100 * (tp + fp) / total,
    }


@pytest.mark.parametrize("seed", range(3))
def test_repope_is_its_script(tmp_path: Path, seed: int) -> None:
    """Accuracy, F1 and yes-rate by RePOPE's rule equal those of a loop over the answers; unread answers are counted apart."""
    chance = random.Random(seed)
    rows = [
        {
            **POPE[0],
            "question_id": number,
            "image": f"{number % 7}.jpg",
            "label": chance.choice(["yes", "no"]),
        }
        for number in range(60)
    ]
    said = [chance.choice(TALK) for _ in rows]
    bench = repope(lines(tmp_path / "q.json", rows), strategy="random", pope=None)
    found = _values(bench.measure({item.key: text for item, text in zip(bench.items, said, strict=True)}))
    slow = _slow_repope([row["label"] for row in rows], said)
    assert {name: found[name] for name in slow} == pytest.approx(slow)
    unread = [not any(word in text.lower() for word in ("yes", "no")) for text in said]
    assert found["unread"] == pytest.approx(_percent(unread))


def test_repope_takes_answers_to_all_of_pope(tmp_path: Path) -> None:
    """The ids that RePOPE left out are spare: POPE's answers file may have them; rules stand side by side."""
    pope = lines(tmp_path / "pope.json", POPE)
    kept = lines(tmp_path / "repope.json", [POPE[0], {**POPE[1], "label": "yes"}, *POPE[2:4]])
    bench = repope(kept, strategy="random", pope=pope)
    assert bench.spare == {"5"}
    found = _values(bench.measure(dict(zip("1234", POPE_SAYS, strict=False))))
    # RePOPE: yes/yes, yes/yes, unread, "nothing" is no. POPE's keywords: no "no" in all four. Strict: only the first.
    assert (found["accuracy"], found["unread"]) == (100.0, 25.0)
    assert (found["keyword_accuracy"], found["strict_accuracy"], found["word_accuracy"]) == (75.0, 25.0, 50.0)


def test_dash_b_is_its_script(tmp_path: Path) -> None:
    """ACC, TNR, TPR and their harmonic mean equal those of a loop; an unread answer is wrong."""
    chance = random.Random(1)
    neg = {"coco": {"dog": ["1.png", "2.png"], "cat": ["1.png"]}, "imagenet": {"baboon": ["9.png"]}}
    pos = {"coco": {"dog": ["1.png", "3.png"], "cat": ["4.png"]}}
    bench = dash_b(array(tmp_path / "neg.json", neg), array(tmp_path / "pos.json", pos))
    assert bench.items[0].prompt == "Can you see a dog in this image? Please answer only with yes or no."
    assert (
        bench.keys_of({"img_id": "1.png", "object_name": "cat", "gt": "no", "response": ""}) == "no/cat/1.png"
    )
    said = {item.key: chance.choice(TALK[:-2]) for item in bench.items} | {
        "no/dog/2.png": "dog",
        "yes/dog/1.png": "yes",
    }
    right: dict[str, list[bool]] = {"no": [], "yes": []}
    for key, text in said.items():
        truth, lower = key.partition("/")[0], text.lower()
        right[truth].append(truth == ("yes" if "yes" in lower else "no" if "no" in lower else None))
    tnr, tpr = _percent(right["no"]), _percent(right["yes"])
    found = _values(bench.measure(said))
    expected = {
        "accuracy": _percent(right["no"] + right["yes"]),
        "tnr": tnr,
        "tpr": tpr,
        "harmonic_mean": 2 * tnr * tpr / (tnr + tpr),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def _slow_amber(says: dict[str, str]) -> dict[str, float]:
    """Count by hand: words of the list, each against truth, inventions and safe words; yes/no by equality, no is positive."""
    # 1: man (person), dogs, bushes (tree: flagged, invented), light (safe), sky, kitten (flagged). 2: desks, 2 x puppy (dog: invented).
    generative = {"chair": 100 * 4 / 9, "cover": 100 * 4 / 4, "hal": 100.0, "cog": 100 * 2 / 4}
    truth = {"3": "Yes", "4": "No", "5": "No", "6": "No", "7": "Yes", "8": "No"}
    denied = [key for key in truth if says[key] == "No"]
    hits = [key for key in denied if truth[key] == "No"]
    precision, recall = len(hits) / len(denied), len(hits) / sum(one == "No" for one in truth.values())
    f1 = 100 * 2 * precision * recall / (precision + recall)
    return {
        **generative,
        "accuracy": _percent([says[key] == one for key, one in truth.items()]),
        "precision": 100 * precision,
        "recall": 100 * recall,
        "f1": f1,
        "existence_accuracy": 50.0,
        "attribute_accuracy": 50.0,
        "relation_accuracy": 50.0,
        "score": (100 - generative["chair"] + f1) / 2,
        "word_attribute_accuracy": 100.0,
    }


def test_amber_counts_as_by_hand(tmp_path: Path) -> None:
    """CHAIR, Cover, Hal, Cog, the three dimensions and the score equal a count by hand; descriptions are a named variant."""
    bench = amber(*amber_files(tmp_path), part="all")
    found = _values(bench.measure(AMBER_SAYS))
    slow = _slow_amber(AMBER_SAYS)
    assert {name: found[name] for name in slow} == pytest.approx(slow)
    assert bench.variant is not None
    rows = {len(part.numerators) for figure in bench.measure(AMBER_SAYS).values() for part in entries(figure)}
    assert rows == {2}  # one entry per image, whatever is asked about it


def test_a_part_of_amber_has_its_figures_alone(tmp_path: Path) -> None:
    """One dimension asks its questions alone, by the original rule, and has no CHAIR and no score.

    A file with answers to all of AMBER is measured as well.
    """
    bench = amber(*amber_files(tmp_path), part="existence")
    whole = [{"id": int(key), "response": text} for key, text in AMBER_SAYS.items()]
    assert set(read_answers_file(array(tmp_path / "all.json", whole), bench).texts) == {"4", "5"}
    assert [item.key for item in bench.items] == ["4", "5"]
    found = _values(bench.measure({"4": "No", "5": "Yes"}))
    assert bench.variant is None
    assert (found["existence_accuracy"], found["existence_f1"]) == (50.0, pytest.approx(100 * 2 / 3))
    assert not {"chair", "score", "relation_f1"} & set(found)


def _slow_hallusion(rows: list[dict[str, Any]]) -> dict[str, float]:
    right, pairs, figures, easy, hard = (
        [],
        defaultdict(list),
        defaultdict(list),
        defaultdict(list),
        defaultdict(list),
    )
    for row in rows:
        words = row["model_prediction"].lower().split(".")[0].replace(",", " ").split()
        said = "0" if {"no", "not"} & set(words) else "1" if "yes" in words else "2"
        bare = row["category"] == "VS" and row["figure_id"] == "0"
        good = said == row["gt_answer"] or (bare and said == "2")
        own = (row["category"], row["subcategory"], row["set_id"])
        right.append(good)
        pairs[*own, row["question_id"]].append(good)
        (hard if row["visual_input"] == "2" else easy)[*own, row["question_id"]].append(good)
        if not bare:
            figures[*own, row["figure_id"]].append(good)
    return {
        "question_accuracy": _percent(right),
        "pair_accuracy": _percent([all(one) for one in pairs.values()]),
        "figure_accuracy": _percent([all(one) for one in figures.values()]),
        "easy_accuracy": _percent([all(one) for one in easy.values()]),
        "hard_accuracy": _percent([all(one) for one in hard.values()]),
    }


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_hallusion_bench_groups_as_its_script(tmp_path: Path, seed: int | None) -> None:
    """Per question, pair, figure, easy and hard, with silence right where no picture is shown, as a slow count."""
    rows = hallusion_rows()
    if seed is not None:
        chance = random.Random(seed)
        rows = [{**row, "model_prediction": chance.choice(TALK)} for row in rows]
    bench = hallusion_bench(array(tmp_path / "hb.json", rows))
    said = {str(bench.keys_of(row)): row["model_prediction"] for row in rows}
    found = _values(bench.measure(said))
    slow = _slow_hallusion(rows)
    assert {name: found[name] for name in slow} == pytest.approx(slow)
    assert bench.variant is not None


def test_object_halbench_counts_as_by_hand(tmp_path: Path) -> None:
    """Responses are of those that name an object, objects of mentions, recall of what is present; the variant is named."""
    write_coco(tmp_path)
    asked = [
        {"image_id": 9, "question": "Describe it."},
        {"image_id": 9, "question": "What is there?"},
        {"image_id": "25", "question": "Describe it."},
    ]
    bench = object_halbench(
        lines(tmp_path / "q.jsonl", asked),
        instances=[tmp_path / "instances.json"],
        captions=[tmp_path / "captions.json"],
        parser=CocoClaimParser(coco_synonyms()),
    )
    # Image 9: person, dog, bench. Image 25: cat, couch.
    found = _values(
        bench.measure(
            {"0": "A man, a dog and a cat. A cat.", "1": "Nothing much.", "2": "A kitten on a sofa."}
        )
    )
    assert found["response_hal"] == pytest.approx(100 * 1 / 2)
    assert found["response_hal_of_all"] == pytest.approx(100 * 1 / 3)
    assert found["object_hal"] == pytest.approx(100 * 2 / 6)
    assert found["recall"] == pytest.approx(100 * (2 + 0 + 2) / (3 + 3 + 2))
    assert bench.variant is not None


def _edited(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("annotations.json", lambda rows: rows[:-1], "id: got 8, which"),
        (
            "annotations.json",
            lambda rows: [{**rows[0], "truth": "sky"}, *rows[1:]],
            "truth: got sky, expected a list",
        ),
        (
            "annotations.json",
            lambda rows: [{**rows[0], "truth": ["moon"]}, *rows[1:]],
            "moon, which the word list lacks",
        ),
        ("annotations.json", lambda rows: [{**rows[0], "type": "new"}, *rows[1:]], "type: got new"),
        ("query_all.json", lambda rows: [*rows, rows[0]], "1 twice"),
        ("query_all.json", lambda _: {}, "line 1: id: got no such key"),
        ("relation.json", lambda words: {**words, "sky": "blue"}, "sky: got blue, expected a list of texts"),
    ],
)
def test_a_malformed_annotation_is_one_line(
    tmp_path: Path, name: str, change: Callable[[Any], Any], words: str
) -> None:
    """A wrong value, a question without annotation or asked twice: one line that names file and place."""
    files = amber_files(tmp_path)
    _edited(tmp_path / name, change)
    with pytest.raises(UserError, match=words) as caught:
        amber(*files, part="all")
    assert "\n" not in str(caught.value)


def test_an_image_without_annotation_is_refused(tmp_path: Path) -> None:
    """Object HalBench refuses a question about an image that COCO's files do not list."""
    write_coco(tmp_path)
    file = lines(tmp_path / "q.jsonl", [{"image_id": 77, "question": "Describe it."}])
    with pytest.raises(UserError, match="no annotation of image 77"):
        object_halbench(
            file,
            instances=[tmp_path / "instances.json"],
            captions=[tmp_path / "captions.json"],
            parser=CocoClaimParser(coco_synonyms()),
        )


def test_a_doubled_annotation_is_refused(tmp_path: Path) -> None:
    """Two annotations of one id, or one question asked twice: which of them counts is not for csrdata to choose."""
    files = amber_files(tmp_path)
    _edited(tmp_path / "annotations.json", lambda rows: [*rows, {**rows[0], "truth": ["table"]}])
    with pytest.raises(UserError, match=r"annotations.json: row 8: id: got 1 twice"):
        amber(*files, part="all")
    write_coco(tmp_path)
    row = {"image_id": 9, "question": "Describe it."}
    with pytest.raises(UserError, match=r"line 2: got a question about image 9 twice"):
        object_halbench(
            lines(tmp_path / "q.jsonl", [row, row]),
            instances=[tmp_path / "instances.json"],
            captions=[tmp_path / "captions.json"],
            parser=CocoClaimParser(coco_synonyms()),
        )


@pytest.mark.parametrize(
    ("positives", "words"),
    [
        ({}, "pos.json: got no questions"),
        ({"coco": {"dog": []}}, "pos.json: got no questions"),
        ({"coco": {" ": ["1.png"]}}, "pos.json: coco: got ' ', expected an object's name"),
        ({"coco": {"dog": ["1.png", "1.png"]}}, "pos.json: got dog/1.png twice"),
        ({"coco": ["dog"]}, "pos.json: coco: got"),
    ],
)
def test_dash_b_refuses_half_a_benchmark(tmp_path: Path, positives: object, words: str) -> None:
    """A file without images, an object without a name and an image twice are one line each, which names the file."""
    negatives = array(tmp_path / "neg.json", {"coco": {"dog": ["1.png"]}})
    with pytest.raises(UserError, match=words):
        dash_b(negatives, array(tmp_path / "pos.json", positives))


@pytest.mark.parametrize("content", [b"{nonsense", b"\xff\xfe", None])
@pytest.mark.parametrize("kind", ["pope", "pope_splits", "repope"])
def test_a_bad_file_of_the_command_line_asks_for_the_same_command(
    tmp_path: Path, kind: str, content: bytes | None
) -> None:
    """The next step is the same command again, not a stage of a project."""
    options = options_of(kind, tmp_path)
    (tmp_path / "pope.json").unlink()
    if content is not None:
        (tmp_path / "pope.json").write_bytes(content)
    with pytest.raises(UserError, match="then the same command again"):
        open_bench(kind, options)


@pytest.mark.parametrize("value", ["[" * 3000, "&a [*a]", "!!python/object:os.system x", "9" * 5000, ".nan"])
def test_an_option_that_is_not_a_path_is_one_line(value: str) -> None:
    """Deep nesting, an alias of itself, a tag, too many digits and a number are refused before a file is read."""
    with pytest.raises(UserError, match=r"^--with") as caught:
        open_bench("repope", [f"file={value}", "strategy=random"])
    assert "\n" not in str(caught.value)
