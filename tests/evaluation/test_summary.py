"""The summary's file: written and read again without a change, or refused in one line."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.summarizing import summarize_pairs
from csrdata.evaluation.summary import (
    BASE,
    BiasSummary,
    CurvePoint,
    EqualRecall,
    Headline,
    PairSummary,
    PolicySummary,
    Summary,
    headline,
    read_summary,
)
from csrdata.evaluation.table import markdown
from csrdata.storage.tables import read_json, write_json
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR
from tests.scores import pair_with

RECORD = ROOT / "metrics/summary.json"

NO_TRUTH = Summary(
    iterations=(BASE, "1"),
    splits={
        "own": {
            name: PolicySummary({"length": Figure(28.0, 27.5, 28.5, None)}, false_by_kind=None)
            for name in (BASE, "1")
        }
    },
    pairs={
        "1": PairSummary(
            kept=3,
            with_pairs=3,
            dropped={},
            chosen_reward=1.0,
            rejected_reward=-1.0,
            chosen_reward_held_out=None,
            rejected_reward_held_out=None,
            truth_preference=None,
        )
    },
    training={"1": {"pairs": 3, "reference_gap": None}},
    prepared=None,
)


def test_the_record_is_read_and_written_without_a_change(tmp_path: Path) -> None:
    """The committed summary and headline have the bytes that their typed forms write."""
    summary = read_summary(RECORD)
    write_json(tmp_path / "summary.json", summary.as_json())
    write_json(tmp_path / "headline.json", headline(summary).as_json())
    for name in ("summary.json", "headline.json"):
        assert (tmp_path / name).read_bytes() == (RECORD.parent / name).read_bytes()


def test_the_world_is_stated_where_there_is_one(tmp_path: Path) -> None:
    """Summary, headline and table state the microworld's version; for other images no file has the key."""
    drawn = replace(NO_TRUTH, world=3)
    write_json(tmp_path / "summary.json", drawn.as_json())
    assert read_summary(tmp_path / "summary.json") == drawn
    assert headline(drawn).as_json()["world"] == 3
    assert "microworld version 3; figures of another version" in markdown(drawn, confidence=95)
    assert "world" not in {**NO_TRUTH.as_json(), **headline(NO_TRUTH).as_json()}
    assert "microworld version" not in markdown(NO_TRUTH, confidence=95)


def test_figures_of_judging_are_there_if_the_policy_judged(tmp_path: Path) -> None:
    """They are written and read without a change; a summary without them has no such key."""
    path = tmp_path / "summary.json"
    figures = JudgingFigures(judged=3, agreed=100 / 3, compared=0, accuracy=None)
    judged = replace(NO_TRUTH, pairs={"1": replace(NO_TRUTH.pairs["1"], judging=figures)})
    write_json(path, judged.as_json())
    assert read_summary(path) == judged
    assert "judging" not in NO_TRUTH.pairs["1"].as_json()


def test_without_truth_a_summary_has_what_was_measured(tmp_path: Path) -> None:
    """No CHAIR, no POPE, no models of ours: the file is read again, and the headline has null for what is unknown."""
    write_json(tmp_path / "summary.json", NO_TRUTH.as_json())
    assert read_summary(tmp_path / "summary.json") == NO_TRUTH
    unknown = dict.fromkeys(field.name for field in fields(Headline))
    assert asdict(headline(NO_TRUTH)) == unknown | {"pairs": 3, "words": 28.0}


MATCHED = EqualRecall(
    split="validation",
    policies={
        BASE: BiasSummary(0.0, 0.0, 0.0, 0, None, {"validation": (CurvePoint(0.0, 90.0, 45.0),)}),
        "1": BiasSummary(
            None,
            None,
            None,
            7,
            "outside",
            {"validation": (CurvePoint(-0.5, 88.0, 20.5), CurvePoint(0.0, None, None)), "held_out": ()},
        ),
    },
)


def test_curves_and_biases_are_read_and_written_without_a_change(tmp_path: Path) -> None:
    """Figures at equal recall are a part of the file where they were measured, and absent elsewhere."""
    matched = replace(NO_TRUTH, equal_recall=MATCHED)
    write_json(tmp_path / "summary.json", matched.as_json())
    assert read_summary(tmp_path / "summary.json") == matched
    assert "equal_recall" not in NO_TRUTH.as_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("split",), "equal_recall.split: got 3, expected a text"),
        (("policies", "9"), "equal_recall.policies.9: got an unknown iteration, expected one of base, 1"),
        (("policies", "1", "outside"), None),
        (("policies", "1", "bias"), None),
        (("policies", "1", "curve"), "policies.1.curve: got 3, expected an object"),
        (("policies", "1", "curve", "validation"), "curve.validation: got 3, expected an array of values"),
        (("policies", "1", "mean"), "policies.1.mean: got an unknown key, expected one of bias, low, high"),
    ],
)
def test_curves_of_another_form_are_refused(
    tmp_path: Path, change: tuple[str, ...], message: str | None
) -> None:
    """Each part is checked by name and type; a number is fine where a number belongs."""
    raw = json.loads(json.dumps(replace(NO_TRUTH, equal_recall=MATCHED).as_json()))
    _put("equal_recall", *change, value=3)(raw)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    if message is None:
        assert read_summary(path)
        return
    with pytest.raises(UserError) as caught:
        read_summary(path)
    assert message in str(caught.value)


def test_a_prompt_counts_once_however_many_pairs_it_has() -> None:
    """Three pairs of two prompts: kept 3, with a pair 2; a score that one of them lacks is averaged over the others."""
    pairs = [
        pair_with(PAIR, chosen_reward=1.0),
        pair_with(PAIR, number=1, chosen_reward=None),
        pair_with(PAIR, prompt_id="train-00002", chosen_reward=2.0),
    ]
    found = summarize_pairs(pairs, [DROPPED], None)
    assert (found.kept, found.with_pairs, found.dropped) == (3, 2, {"no_response": 1})
    assert found.chosen_reward == 1.5


def test_several_pairs_of_a_prompt_are_in_the_file(tmp_path: Path) -> None:
    """The number of prompts with a pair is written where it is not that of the pairs, and read again either way."""
    several = replace(NO_TRUTH, pairs={"1": replace(NO_TRUTH.pairs["1"], kept=9)})
    for summary, written in ((NO_TRUTH, False), (several, True)):
        write_json(tmp_path / "summary.json", summary.as_json())
        assert read_summary(tmp_path / "summary.json") == summary
        assert ("with_pairs" in read_json(tmp_path / "summary.json", made_by="")["pairs"]["1"]) is written


def _put(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return a change of a JSON object: a value under keys."""

    def change(summary: dict[str, Any]) -> None:
        for key in keys[:-1]:
            summary = summary[key]
        summary[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda summary: summary.pop("training"), "training: got no such key, expected a value"),
        (_put("seed", value=1), "seed: got an unknown key, expected one of iterations, splits,"),
        (_put("iterations", value=["1", "2", "3"]), "iterations: got ['1', '2', '3'], expected base, then"),
        (
            _put("iterations", value=["base", "1", "1"]),
            "iterations: got ['base', '1', '1'], expected base, then",
        ),
        (_put("iterations", value=["base", 1]), "iterations.1: got 1, expected a text"),
        (_put("iterations", value="base"), "iterations: got base, expected an array of texts"),
        (_put("splits", value=[]), "splits: got [], expected an object"),
        (_put("splits", "held_out", "9", value={}), "splits.held_out.9: got an unknown iteration"),
        (_put("splits", "held_out", "1", value={}), "splits.held_out.1.false_by_kind: got no such key"),
        (_put("splits", "held_out", "1", "chairs", value={}), "held_out.1.chairs: got an unknown figure"),
        (_put("splits", "held_out", "1", "recall", value=3), "held_out.1.recall: got 3, expected an object"),
        (_put("splits", "held_out", "1", "recall", "low", value="3"), "recall.low: got 3, expected a number"),
        (_put("splits", "held_out", "1", "recall", "low", value=True), "low: got True, expected a number"),
        (_put("splits", "held_out", "1", "recall", "low", value=float("nan")), "expected a finite number"),
        (
            _put("splits", "held_out", "1", "false_by_kind", "other", value=None),
            "other: got None, expected a number",
        ),
        (_put("pairs", "base", value={}), "pairs.base: got an unknown iteration, expected one of 1, 2, 3"),
        (_put("pairs", "1", "kept", value=-1), "pairs.1.kept: got -1, expected a whole number, 0 or more"),
        (
            _put("pairs", "1", "dropped", "no_response", value=1.5),
            "no_response: got 1.5, expected a whole number",
        ),
        (_put("pairs", "1", "truth_preference", value={}), "truth_preference.comparisons: got no such key"),
        (_put("training", "1", "steps", value={}), "training.1.steps: got {}, expected a number"),
        (_put("prepared", value={}), "prepared.machine: got no such key"),
        (
            _put("prepared", "machine", "threads", value="2"),
            "machine.threads: got 2, expected a whole number",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """An older, edited or foreign summary is one line: the key, the value, what was expected, the next command."""
    summary = read_json(RECORD, made_by="")
    change(summary)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_summary(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("Next: dvc repro summarize")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", RECORD.read_bytes()[:-40]])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is cut off, or is no JSON object, is one line, as is a missing one."""
    path = tmp_path / "summary.json"
    with pytest.raises(UserError, match=r"got no such file.*Next: dvc repro summarize$"):
        read_summary(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"Next: dvc repro summarize$"):
        read_summary(path)
