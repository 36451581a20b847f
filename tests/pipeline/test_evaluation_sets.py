"""Evaluation sets in a project: sampled, answered, measured and summarised next to the source's own splits."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params, load_params
from csrdata.pipeline import evaluate_policy, sample_prompts, summarize
from csrdata.pipeline.evaluation_sets import parser_files, set_files
from csrdata.pipeline.source import open_source
from csrdata.records import Answer, Kind, Prompt, Question, Truth
from csrdata.storage.tables import read_json, read_rows, write_json
from tests.evaluation_sets.coco_files import file_name, write_coco
from tests.pipeline.world import PARAMS as SHIPPED
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.tiny import tiny_llava

CHAIR: dict[str, Any] = {
    "kind": "coco_chair",
    "folder": "coco/val2014",
    "instances": ["coco/instances.json"],
    "captions": ["coco/captions.json"],
    "synonyms": None,
    "images": 3,
    "seed": 0,
    "prompt": "Describe this image in detail.",
}
POPE: dict[str, Any] = {
    "kind": "pope_built",
    "folder": "coco/val2014",
    "instances": ["coco/instances.json"],
    "strategy": "popular",
    "images": 2,
    "per_image": 2,
    "seed": 0,
}
SETS = {
    "coco": CHAIR,
    "again": {**CHAIR, "seed": 5},
    "pope": POPE,
    "unseen": {"kind": "prompts", "count": 2, "seed": 0},
}


def _params(sets: dict[str, dict[str, Any]]) -> Params:
    return small_params(
        evaluation_sets=sets,
        evaluate_policy={"max_new_tokens": 6, "batch_size": 8},
        source={"questions_per_image": 2},
    ).model_copy(update={"iterations": {}})


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes and COCO-shaped files."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    write_coco(tmp_path / "coco")


def _questions() -> list[Question]:
    return read_rows(paths.QUESTIONS, Question, made_by="")


def test_a_set_is_a_split_next_to_the_sources() -> None:
    """The source's rows come first and do not change; two sets may know one image; held-out prompts are not trained on."""
    sample_prompts.run(_params({}))
    before, truths = _questions(), read_rows(paths.TRUTH, Truth, made_by="")
    sample_prompts.run(_params(SETS))
    assert _questions()[: len(before)] == before
    after = read_rows(paths.TRUTH, Truth, made_by="")
    assert after[: len(truths)] == truths
    assert {truth.split for truth in after[len(truths) :]} == {"coco", "again"}
    counts = {name: sum(row.split == name for row in _questions()) for name in SETS}
    assert counts == {"coco": 3, "again": 3, "pope": 4, "unseen": 2}
    trained = {prompt.image for prompt in read_rows(paths.PROMPTS, Prompt, made_by="")}
    assert trained.isdisjoint(row.image for row in _questions() if row.split == "unseen")


def test_the_dag_can_ask_for_the_files() -> None:
    """The files behind the rows and those behind the parsers, each once; images are not among them."""
    sets = _params({**SETS, "own": {**CHAIR, "synonyms": "words.txt"}}).evaluation_sets
    source = open_source(_params({}).source)
    files = [Path("coco/instances.json"), Path("coco/captions.json"), Path("words.txt")]
    assert set_files(sets, source) == files
    assert parser_files(sets, source) == files[2:]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("held_out", CHAIR, "evaluation_sets.held_out: got a split of the source, expected another name"),
        ("train", CHAIR, "evaluation_sets.train: got a split of the source"),
        ("coco", {**CHAIR, "images": 9}, "evaluation_sets.coco: got 9 images, expected at most the 5 images"),
    ],
)
def test_a_set_that_cannot_be_asked_writes_nothing(name: str, settings: dict[str, Any], words: str) -> None:
    """The error names the set, and no table is half new."""
    with pytest.raises(UserError) as caught:
        sample_prompts.run(_params({name: settings}))
    assert words in str(caught.value)
    assert not paths.PROMPTS.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{a b: {kind: prompts, count: 1, seed: 0}}",
            "evaluation_sets.a b: got a b, expected 1 to 32 characters",
        ),
        (
            "{record: {kind: prompts, count: 1, seed: 0}}",
            "and not record or max_new_tokens or stopped. Next: fix",
        ),
        ("{a: {kind: coco}}", "evaluation_sets.a.kind: got coco, expected one of 'coco_chair', 'pope',"),
        ("{a: {kind: prompts, count: 1}}", "evaluation_sets.a.seed: got no such key"),
        (
            "{a: {kind: prompts, count: 1, seed: 0, images: 3}}",
            "evaluation_sets.a.images: got an unknown key",
        ),
        ("{a: {kind: pope, folder: f, file: g, strategy: rare}}", "evaluation_sets.a.strategy: got rare"),
    ],
)
def test_a_wrong_section_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    """A set's name, kind and keys are checked when params.yaml is read."""
    shipped = SHIPPED.read_text(encoding="utf-8")
    assert "evaluation_sets: {} " in shipped
    path = tmp_path / "params.yaml"
    path.write_text(shipped.replace("evaluation_sets: {} ", f"evaluation_sets: {text} ", 1), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert words in str(caught.value)


def test_the_examples_of_the_page_are_sections() -> None:
    """Every kind has an example in docs/evaluation.md, and each example is a valid section."""
    page = (SHIPPED.parent / "docs/evaluation.md").read_text(encoding="utf-8")
    kinds = []
    for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL):
        sections = yaml.safe_load(block)
        if "evaluation_sets" in sections:
            sets = _params(sections["evaluation_sets"]).evaluation_sets
            kinds += [one.kind for one in sets.values()]
    assert kinds == ["coco_chair", "pope", "pope_built", "prompts"]


def _models() -> None:
    tiny_llava(paths.policy("base"))
    save_tiny_scorers()


def test_every_set_is_answered_measured_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """Each split has the figures that it can have; what it was measured on travels into metrics and summary."""
    params = _params(SETS)
    sample_prompts.run(params)
    _models()
    evaluate_policy.run(params, "base")
    metrics = read_json(paths.stage_metrics("evaluate_policy", "base"), made_by="")
    assert {"chair_s", "length"} <= set(metrics["coco"])
    assert {"attribute_errors", "pope_f1"}.isdisjoint(metrics["coco"])
    assert {name.split("_")[0] for name in metrics["pope"]} == {"pope"}
    assert {"length", "relevance_held_out"} <= set(metrics["unseen"])
    assert "chair_s" not in metrics["unseen"]
    assert {"chair_s", "attribute_errors", "pope_f1"} <= set(metrics["held_out"])
    record = metrics["record"]
    assert (record["description_tokens"], record["yes_no_tokens"]) == (6, 6)
    assert record["unfinished_sentence"] == "counted"
    assert {"csrdata", "torch", "transformers"} <= set(record["versions"])
    coco, pope = record["sets"]["coco"], record["sets"]["pope"]
    assert (coco["images"], coco["descriptions"], coco["yes_no_questions"]) == (3, 3, 0)
    assert coco["prompt"] == "Describe this image in detail."
    assert coco["rules"].startswith("coco synonyms ")
    assert (pope["yes_no_questions"], pope["prompt"], pope["truth_sha256"]) == (4, None, None)
    assert coco["images_sha256"] != record["sets"]["again"]["images_sha256"]
    assert (coco["left_out"], coco["left_out_sha256"]) == ({}, None)
    write_json(paths.PREPARE_METRICS, {"resolved": {}})
    summarize.run(params)
    assert read_json(paths.SUMMARY, made_by="")["evaluation"] == record
    assert "not measured: CHAIR of unseen (the objects in the images are unknown)" in capsys.readouterr().out


def test_every_hallucinated_word_is_listed() -> None:
    """One row per mention of an absent object, with its sentence; a comma or a quote in it stays inside its cell."""
    params = _params({"coco": {**CHAIR, "images": 5}})
    sample_prompts.run(params)
    _models()
    evaluate_policy.run(params, "base")
    listed = list(csv.DictReader(paths.absent_mentions("base").open(encoding="utf-8", newline="")))
    columns = [
        "split",
        "question_id",
        "image",
        "sentence",
        "word",
        "object",
        "mistake",
        "start",
        "end",
        "text",
    ]
    assert paths.absent_mentions("base").read_text(encoding="utf-8").splitlines()[0] == ",".join(columns)
    answers = {row.question_id: row.text for row in read_rows(paths.answers("base"), Answer, made_by="")}
    for row in listed:
        assert answers[row["question_id"]][int(row["start"]) : int(row["end"])].casefold() == row["word"]
    counted = read_json(paths.stage_metrics("evaluate_policy", "base"), made_by="")
    for split, values in counted.items():
        if isinstance(values, dict) and "chair_s" in values:
            bad = {row["question_id"] for row in listed if row["split"] == split}
            asked = sum(row.split == split and row.kind == Kind.DESCRIBE for row in _questions())
            assert values["chair_s"] == pytest.approx(100 * len(bad) / asked)


def test_a_policy_that_was_asked_otherwise_is_not_compared() -> None:
    """Answers from before a change of a set's truth are refused by `summarize`: the record names what differs."""
    params = _params({"coco": CHAIR})
    sample_prompts.run(params)
    _models()
    evaluate_policy.run(params, "base")
    write_json(paths.PREPARE_METRICS, {"resolved": {}})
    raw = json.loads(Path("coco/captions.json").read_text(encoding="utf-8"))
    for row in raw["annotations"]:
        row["caption"] += " A giraffe."
    Path("coco/captions.json").write_text(json.dumps(raw), encoding="utf-8")
    sample_prompts.run(params)
    with pytest.raises(
        UserError,
        match=r"base/record.json: got other questions, questions left out, truth, rules, decoding or token limits",
    ):
        summarize.run(params)
    assert not paths.SUMMARY.exists()


def test_a_damaged_image_stops_no_evaluation_of_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    """Its question is left out, which is said and recorded; with the image back, that evaluation is not compared."""
    params = _params({"unseen": SETS["unseen"]})
    sample_prompts.run(params)
    _models()
    questions = [row for row in _questions() if row.split == "unseen"]
    image = Path(questions[0].image)
    content = image.read_bytes()
    image.write_bytes(content[:60])
    sample_prompts.run(params)
    assert "evaluation questions; left out: 1 unreadable_image of unseen" in capsys.readouterr().err
    assert [row for row in _questions() if row.split == "unseen"] == questions[1:]
    evaluate_policy.run(params, "base")
    record = read_json(paths.evaluation_record("base"), made_by="")["sets"]["unseen"]
    assert (record["descriptions"], record["left_out"]) == (1, {"unreadable_image": 1})
    write_json(paths.PREPARE_METRICS, {"resolved": {}})
    image.write_bytes(content)
    sample_prompts.run(params)
    with pytest.raises(
        UserError, match=r"unseen-.*: got no answer, expected .* Next: dvc repro evaluate_base"
    ):
        summarize.run(params)


def test_a_damaged_image_of_a_fixed_list_stops_the_sampling() -> None:
    """The image is named before any model runs, and no table is written: the others' figures are of another list."""
    (Path(CHAIR["folder"]) / file_name(36)).write_bytes(b"no image")
    with pytest.raises(
        UserError,
        match=r"question coco-000000000036: image coco/val2014/COCO_val2014_000000000036.jpg: got another",
    ):
        sample_prompts.run(_params({"coco": {**CHAIR, "images": 5}}))
    assert not paths.PROMPTS.exists()
