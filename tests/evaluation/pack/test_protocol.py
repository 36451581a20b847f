"""Every benchmark states how its figures were made, and how each was compared with the original."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from rich.console import Console

from csrdata.errors import UserError
from csrdata.evaluation.comparison import Side, compare_sides
from csrdata.evaluation.measured import Evaluation
from csrdata.evaluation.pack.base import Bench, Check
from csrdata.pipeline.benches import open_bench
from csrdata.pipeline.comparing import side_of_file
from csrdata.pipeline.comparison_page import comparison_page
from csrdata.pipeline.evaluating import answers_of_file, evaluate
from csrdata.pipeline.evaluation_page import evaluation_page
from csrdata.publishing.model_index import write_card
from csrdata.sections.pack import KINDS
from tests.evaluation.pack.files import lines, options_of

STATED = {
    "prompt": "as the set asks",
    "max_new_tokens": "64",
    "decoding": "greedy",
    "last_sentence": "counted",
    "versions": {"transformers": "5.23.0"},
}
UNCHECKED = {
    "amber": {"chair", "cover", "hal", "cog", "score"},
    "coco_chair": {"chair_s", "chair_i"},
    "hallusion_bench": {f"{one}_accuracy" for one in ("question", "pair", "figure", "easy", "hard")},
    "object_halbench": {"response_hal", "object_hal"},
}
"""The figures that could not be held against the original."""
SAYS = ("A man and a dog.", "No.", "Yes, a cat.", "No", "Yes", "It is a kitten on a couch.")


def _answers(path: Path, bench: Bench, *, shift: int = 0, stated: dict[str, Any] = STATED) -> Path:
    rows: list[dict[str, Any]] = [
        {"question_id": item.key, "response": SAYS[(place + shift) % len(SAYS)]}
        for place, item in enumerate(bench.items)
    ]
    return lines(path, [{"protocol": stated}, *rows])


def _bench(kind: str, folder: Path) -> Bench:
    return open_bench(kind, options_of(kind, folder))


def _evaluated(bench: Bench, folder: Path) -> Evaluation:
    return evaluate(answers_of_file(_answers(folder / "says.jsonl", bench), bench, stated=None), bench)


def _side(kind: str, bench: Bench, path: Path) -> Side:
    return side_of_file(path, kind, bench, stated=None)


def _compared(sides: Sequence[Side]) -> object:
    return compare_sides(
        *sides, resamples=20, confidence=95.0, seed=0, points=None, accept_unknown=False, flips=20
    )


def _printed(page: object) -> str:
    screen = Console(file=io.StringIO(), width=300)
    screen.print(page)
    return screen.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_figures_carry_their_protocol(kind: str, tmp_path: Path) -> None:
    """Hash of the image list, prompt, token limit, decoding, rule for the last sentence and versions are in JSON and card."""
    found = _evaluated(_bench(kind, tmp_path), tmp_path)
    protocol = json.loads(json.dumps(found.as_json()))["protocol"]
    for key in ("prompt", "max_new_tokens", "decoding", "last_sentence"):
        assert protocol[key] == STATED[key]
    assert len(protocol["images_sha256"]) == len(protocol["questions_sha256"]) == 64
    assert protocol["versions"]["transformers"] == "5.23.0"
    assert "csrdata" in protocol["versions"]
    write_card(tmp_path / "README.md", found, split=kind)
    for result in ModelCard.load(tmp_path / "README.md").data.eval_results:
        stored = result.dataset_args
        assert {key: stored[key] for key in STATED if key != "versions"} == {
            key: value for key, value in STATED.items() if key != "versions"
        }
        assert stored["images_sha256"] == protocol["images_sha256"]
        assert stored["versions"] == protocol["versions"]


@pytest.mark.parametrize("kind", KINDS)
def test_figures_say_how_they_were_checked(kind: str, tmp_path: Path) -> None:
    """Each figure has a mark in JSON, table and card; what could not be checked says so; marks name figures that exist."""
    bench = _bench(kind, tmp_path)
    found = _evaluated(bench, tmp_path)
    assert set(bench.checks) <= set(bench.labels)
    marks = {name: one["check"] for name, one in json.loads(json.dumps(found.as_json()))["figures"].items()}
    assert set(marks.values()) <= set(Check)
    assert {name for name, mark in marks.items() if mark == "unchecked"} == UNCHECKED.get(kind, set())
    rows = _printed(evaluation_page(found)).splitlines()
    for name, one in found.figures.items():
        assert any(one.title in row and row.rstrip().endswith(marks[name]) for row in rows), name
    write_card(tmp_path / "README.md", found, split=kind)
    results = {one.metric_type: one for one in ModelCard.load(tmp_path / "README.md").data.eval_results}
    for name, result in results.items():
        assert result.metric_args["check"] == marks[name]
        assert ("unchecked" in result.metric_name) == (marks[name] == "unchecked")


@pytest.mark.parametrize("kind", KINDS)
def test_sides_made_in_one_way_compare_and_others_do_not(kind: str, tmp_path: Path) -> None:
    """Other answers compare, with the marks; another prompt, limit, decoding or last sentence does not, nor an unknown one."""
    bench = _bench(kind, tmp_path)
    a = _side(kind, bench, _answers(tmp_path / "a.jsonl", bench))
    b = _side(kind, bench, _answers(tmp_path / "b.jsonl", bench, shift=1))
    found: Any = _compared([a, b])
    unchecked = {row.figure for row in found.rows if row.check == "unchecked"}
    assert unchecked == UNCHECKED.get(kind, set())
    assert found.measures == {kind: bench.measure_name}
    printed = _printed(comparison_page(found))
    assert ("(unchecked)" in printed) == bool(unchecked)
    if bench.variant:
        assert "rule-based variant" in printed
    for key in ("prompt", "max_new_tokens", "decoding", "last_sentence"):
        other = _answers(tmp_path / f"{key}.jsonl", bench, stated={**STATED, key: "7"})
        with pytest.raises(UserError, match=f"{key}: got 7, expected {STATED[key]}"):
            _compared([a, _side(kind, bench, other)])
        left_out = {name: value for name, value in STATED.items() if name != key}
        unknown = _answers(tmp_path / "unknown.jsonl", bench, stated=left_out)
        with pytest.raises(UserError, match=f"{key}: got unknown"):
            _compared([a, _side(kind, bench, unknown)])


@pytest.mark.parametrize("kind", KINDS)
def test_another_image_list_or_rule_is_refused(kind: str, tmp_path: Path) -> None:
    """Figures on other images, or by another version of the rules, are not set next to these."""
    bench = _bench(kind, tmp_path)
    a = _side(kind, bench, _answers(tmp_path / "a.jsonl", bench))
    for key in ("images_sha256", "questions_sha256", "truth_sha256", "rules", "measure"):
        protocol = a.protocols[kind]
        changed = type(protocol)(**{**protocol.as_json(), key: "other"})  # type: ignore[arg-type]
        with pytest.raises(UserError, match=f"{key}: got other"):
            _compared([a, Side(a.name, a.figures, {kind: changed}, a.labels)])


@pytest.mark.parametrize("kind", KINDS)
def test_answers_fit_their_questions(kind: str, tmp_path: Path) -> None:
    """A doubled answer, a missing one, one of another list and one without a text are one line each."""
    bench = _bench(kind, tmp_path)
    rows = [{"question_id": item.key, "response": "No"} for item in bench.items]
    for said, words in (
        ([*rows, rows[0]], "a second answer"),
        (rows[1:], "no answer to 1 of"),
        ([*rows, {"question_id": "999999/none", "response": "No"}], "these answers are of another list"),
        ([*rows[1:], {"question_id": rows[0]["question_id"], "response": 7}], "response: got 7"),
        ([*rows[1:], {"question_id": rows[0]["question_id"]}], "expected an answer under one of"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            answers_of_file(lines(tmp_path / "said.jsonl", said), bench, stated=None)
        assert "\n" not in str(caught.value)
