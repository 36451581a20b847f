"""`summarize`: the stable form of summary.json, its figures, its plots and its table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline import sample_prompts, summarize
from csrdata.records import (
    Answer,
    Dropped,
    DropReason,
    Kind,
    Pair,
    PairScores,
    Prompt,
    Question,
    Response,
    Side,
    Truth,
)
from csrdata.sources.microworld.claim_parser import to_scene
from csrdata.sources.microworld.language import sentence
from csrdata.sources.microworld.world import SHAPES, SceneObject
from csrdata.storage.tables import read_json, read_rows, seal, write_json, write_rows
from tests.pipeline.world import draw_world, small_params

PARAMS = small_params()
ITERATIONS = ("1", "2", "3")
FIGURES = {
    "chair_s",
    "chair_i",
    "recall",
    "length",
    "present_per_answer",
    "attribute_errors",
    "repetition",
    "well_formed",
    "loglik_base",
    "relevance",
    "relevance_held_out",
    "pope_accuracy",
    "pope_f1",
    "pope_yes_rate",
}

MACHINE = {"processor": "a CPU", "instructions": "AVX2", "threads": 1, "torch": "2", "python": "3"}


def _true(truth: Truth) -> str:
    return " ".join(sentence(thing, pattern=0, phrase=0) for thing in to_scene(truth).objects)


def _false(truth: Truth) -> str:
    """Say all that is there, and one shape that is not."""
    absent = next(shape for shape in SHAPES if shape not in truth.objects)
    return f"{_true(truth)} {sentence(SceneObject(absent, 'red', 'centre'), pattern=0, phrase=0)}"


def _write_answers(name: str, describe: Callable[[Truth], str], *, yes: bool) -> None:
    truths = {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by="")}
    rows = []
    for question in read_rows(paths.QUESTIONS, Question, made_by=""):
        if question.kind == Kind.DESCRIBE:
            rows.append(
                Answer(question.question_id, describe(truths[question.image]), 10, True, -20.0, 30.0, 25.0)
            )
        else:
            said = "Yes." if yes or question.answer == Side.YES else "No."
            rows.append(Answer(question.question_id, said, 2, True, None, None, None))
    write_rows(paths.answers(name), rows, Answer)


def _response(prompt: Prompt, leaf: int, text: str, reward: float) -> Response:
    return Response(
        prompt.prompt_id, leaf, text, 1, 1, 1, -1.0, reward, -reward, 30.0, 30.0, reward, True, True
    )


def _write_pairs(name: str) -> None:
    truths = {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by="")}
    first, *others = read_rows(paths.PROMPTS, Prompt, made_by="")
    right, wrong = _true(truths[first.image]), _false(truths[first.image])
    write_rows(
        paths.responses(name) / "00000.parquet",
        [_response(first, 3, right, 0.75), _response(first, 5, wrong, 0.25)],
        Response,
    )
    seal(paths.responses(name), Response, fingerprint={})
    pair = Pair(
        prompt_id=first.prompt_id,
        image=first.image,
        prompt=first.text,
        chosen=right,
        rejected=wrong,
        origin="csr_search",
        scores=PairScores(
            chosen_leaf=3,
            rejected_leaf=5,
            chosen_reward=0.75,
            rejected_reward=0.25,
            margin=0.5,
            chosen_reward_held_out=0.5,
            rejected_reward_held_out=0.125,
            chosen_relevance=30.0,
            rejected_relevance=30.0,
            chosen_logprob=-1.0,
            rejected_logprob=-1.0,
            chosen_tokens=1,
            rejected_tokens=1,
            chosen_words=1,
            rejected_words=1,
        ),
    )
    write_rows(paths.pairs(name), [pair], Pair)
    dropped = [Dropped(prompt.prompt_id, DropReason.UNDER_MARGIN, "") for prompt in others]
    write_rows(paths.dropped(name), dropped, Dropped)
    write_json(paths.stage_metrics("train_dpo", name), {"pairs": 1})


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose base always makes something up and says yes, and whose iterations do neither."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(PARAMS)
    write_json(paths.PREPARE_METRICS, {"policy": {"chair_s": 50.0}, "machine": MACHINE})
    _write_answers("base", _false, yes=True)
    for name in ITERATIONS:
        _write_answers(name, _true, yes=False)
        _write_pairs(name)


@pytest.fixture
def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `summarize` writes."""
    summarize.run(PARAMS)
    capsys.readouterr()
    found: dict[str, Any] = read_json(paths.SUMMARY, made_by="")
    return found


def test_the_form_is_the_stable_one(summary: dict[str, Any]) -> None:
    """Splits, iterations ("base" is the base policy), figures with value, low, high and p; pairs; seed."""
    assert set(summary) >= {"splits", "pairs", "prepared"}
    assert summary["iterations"] == ["base", *ITERATIONS]
    assert set(summary["splits"]) == {"validation", "held_out", "out_of_distribution"}
    for split in summary["splits"].values():
        assert set(split) == {"base", *ITERATIONS}
        for entry in split.values():
            assert set(entry) >= FIGURES
            for name in set(entry) - {"false_by_kind"}:
                assert set(entry[name]) == {"value", "low", "high", "p_vs_base"}
    assert set(summary["pairs"]) == set(ITERATIONS)
    assert summary["prepared"] == {"policy": {"chair_s": 50.0}, "machine": MACHINE}


def test_the_figures_are_those_of_the_answers(summary: dict[str, Any]) -> None:
    """The base names one absent object an answer and says yes to all; iteration 1 names none and is always right."""
    base, first = (summary["splits"]["held_out"][name] for name in ("base", "1"))
    assert base["chair_s"] == {"value": 100.0, "low": 100.0, "high": 100.0, "p_vs_base": None}
    assert first["chair_s"]["value"] == 0
    assert base["pope_accuracy"]["value"] == 50
    assert base["pope_yes_rate"]["value"] == 100
    assert first["pope_f1"]["value"] == 100
    assert base["recall"]["value"] == first["recall"]["value"] == 100
    assert first["recall"]["p_vs_base"] == 1
    assert base["loglik_base"]["value"] == -2
    assert sum(base["false_by_kind"].values()) == 100
    assert first["false_by_kind"] == {}


def test_p_is_for_the_same_images(summary: dict[str, Any]) -> None:
    """Four images that all improve: only none or all of four swaps reach that, 2 of 16, whatever the resamples."""
    chance = summary["splits"]["held_out"]["1"]["chair_s"]["p_vs_base"]
    assert chance == pytest.approx(2 / 16, abs=0.08)


def test_pairs_are_counted_and_their_rewards_averaged(summary: dict[str, Any]) -> None:
    """Kept + dropped = prompts; the truer answer has the higher reward, the lower likelihood, the same relevance."""
    assert summary["pairs"]["1"] == {
        "kept": 1,
        "dropped": {"under_margin": 3},
        "chosen_reward": 0.75,
        "rejected_reward": 0.25,
        "chosen_reward_held_out": 0.5,
        "rejected_reward_held_out": 0.125,
        "truth_preference": {"comparisons": 1, "reward": 100.0, "likelihood": 0.0, "relevance": 50.0},
    }


def test_plots_hold_what_the_summary_holds(summary: dict[str, Any]) -> None:
    """A file a split: a row an iteration, a column a figure and its interval; and one of the pairs' rewards."""
    figures = set(summary["splits"]["held_out"]["base"]) - {"false_by_kind"}
    for split in summary["splits"]:
        table = pl.read_csv(paths.PLOTS / f"{split}.csv")
        assert table["iteration"].to_list() == [0, 1, 2, 3]
        assert len(table.columns) == 1 + 3 * len(figures)
    base = pl.read_csv(paths.PLOTS / "held_out.csv").row(0, named=True)
    assert (base["chair_s"], base["chair_s_low"], base["chair_s_high"]) == (100, 100, 100)
    rewards = pl.read_csv(paths.PLOTS / "pair_rewards.csv")
    assert rewards.filter(iteration=2)["rejected_reward_held_out"].to_list() == [0.125]


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed whole, no cell cut, the same cells as in the Markdown file."""
    summarize.run(PARAMS)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "iteration 3" in printed
    markdown = summarize.MARKDOWN.read_text(encoding="utf-8")
    cells = [
        cell.strip() for line in markdown.splitlines() if line.startswith("|") for cell in line.split("|")
    ]
    assert "100.0 [100.0, 100.0]" in cells
    for cell in cells:
        assert set(cell) <= {"-"} or cell in printed


def test_equal_inputs_give_equal_bytes(summary: dict[str, Any]) -> None:
    """A second run writes the same summary; there is no clock in it."""
    before = paths.SUMMARY.read_bytes()
    summarize.run(PARAMS)
    assert paths.SUMMARY.read_bytes() == before
    assert json.loads(before) == summary


def test_an_iteration_without_pairs_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was kept there are no means, and the table still prints."""
    write_rows(paths.pairs("2"), [], Pair)
    write_rows(paths.responses("2") / "00000.parquet", [], Response)
    seal(paths.responses("2"), Response, fingerprint={})
    summarize.run(PARAMS)
    entry = read_json(paths.SUMMARY, made_by="")["pairs"]["2"]
    assert entry["kept"] == 0
    assert entry["chosen_reward"] is None
    assert entry["truth_preference"] == {
        "comparisons": 0,
        "reward": None,
        "likelihood": None,
        "relevance": None,
    }
    assert "iteration 2" in capsys.readouterr().out


def test_missing_answers_are_named() -> None:
    """A table that is missing names its stage; a question without an answer is refused; no summary is written."""
    paths.answers("2").unlink()
    with pytest.raises(UserError, match=r"dvc repro evaluate_policy@2"):
        summarize.run(PARAMS)
    rows = read_rows(paths.answers("1"), Answer, made_by="")
    write_rows(paths.answers("1"), rows[1:], Answer)
    with pytest.raises(UserError, match=rf"question {rows[0].question_id}: got no answer"):
        summarize.run(PARAMS)
    assert not paths.SUMMARY.exists()


def test_a_prompt_without_truth_is_one_line() -> None:
    """A prompt whose image the truth table lacks is named, not a KeyError."""
    image = read_rows(paths.PROMPTS, Prompt, made_by="x")[0].image
    known = [truth for truth in read_rows(paths.TRUTH, Truth, made_by="x") if truth.image != image]
    write_rows(paths.TRUTH, known, Truth)
    with pytest.raises(
        UserError, match=f"truth.parquet: got no row for {image}, expected one for each image"
    ):
        summarize.run(PARAMS)


def test_the_headline_is_ten_figures_of_the_last_iteration(summary: dict[str, Any]) -> None:
    """What DVC lists is flat, short, and taken from the summary."""
    shown = json.loads(paths.HEADLINE.read_text(encoding="utf-8"))
    held_out, last = summary["splits"]["held_out"], summary["iterations"][-1]
    assert len(shown) == 10
    assert shown["chair_s"] == held_out[last]["chair_s"]["value"]
    assert shown["chair_s_base"] == held_out["base"]["chair_s"]["value"]
    assert shown["pairs"] == summary["pairs"][last]["kept"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            r'{"machine": {"processor": "a\ud800b"}}',
            "metrics/prepare.json: got a lone surrogate, expected Unicode text",
        ),
        (
            '{"policy": {}, "machine": {"threads": 1}}',
            "machine.processor: got no such figure, expected a value",
        ),
        ('{"policy": {}, "machine": 4}', "machine.processor: got no such figure, expected a value"),
        (json.dumps({"policy": {"recall": "x"}, "machine": MACHINE}), "policy: got x, expected a number"),
    ],
)
def test_figures_that_cannot_be_shown_are_one_line(content: str, words: str) -> None:
    """They are refused before anything is written: an older summary and its table still agree."""
    paths.PREPARE_METRICS.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        summarize.run(PARAMS)
    assert words in str(caught.value)
    assert str(caught.value).endswith("Next: dvc repro prepare")
    assert not paths.SUMMARY.exists()
