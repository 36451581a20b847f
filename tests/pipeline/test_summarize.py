"""`summarize`: the stable form of summary.json, its figures, its plots and its table."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.summary import PairSummary, Summary, read_summary
from csrdata.evaluation.truth_preference import TruthPreference
from csrdata.evaluation_sets.base import Asked
from csrdata.pipeline import sample_prompts, summarize
from csrdata.pipeline.references import write_references
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth
from csrdata.policy.sides import Reference
from csrdata.records import (
    NO_PARENT,
    Answer,
    BiasedAnswer,
    Dropped,
    DropReason,
    Kind,
    Pair,
    PairScores,
    Prompt,
    Question,
    Response,
    Sentence,
    Side,
    Truth,
    Verdict,
)
from csrdata.sections.method import JudgedPairs
from csrdata.sources.microworld.claim_parser import to_scene
from csrdata.sources.microworld.language import sentence
from csrdata.sources.microworld.world import SHAPES, SceneObject
from csrdata.storage.tables import read_json, read_rows, seal, write_json, write_rows
from tests.pipeline.world import PLAIN_FIGURES, draw_world, small_params
from tests.search.trees import node

PARAMS = small_params()
ITERATIONS = ("1", "2", "3")

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
    asked = Asked(read_rows(paths.QUESTIONS, Question, made_by=""), list(truths.values()))
    known = known_truth({}, open_source(PARAMS.source), asked)
    record = describe_evaluation(asked.questions, known, left_out=[], max_new_tokens=10)
    write_json(paths.evaluation_record(name), record.as_json())


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
    tree = [
        node(0, NO_PARENT, right, 30.0, prompt_id=first.prompt_id),
        node(1, NO_PARENT, wrong, 20.0, logprob=-2.0, prompt_id=first.prompt_id),
        node(2, NO_PARENT, " A fog.", 10.0, prompt_id=first.prompt_id),
        node(3, 0, "", prompt_id=first.prompt_id),
        node(4, 2, "", prompt_id=first.prompt_id),
        node(5, 1, "", prompt_id=first.prompt_id),
    ]
    write_rows(paths.candidates(name) / "00000.parquet", tree, Sentence)
    seal(paths.candidates(name), Sentence, fingerprint={})
    write_references(paths.references(name), [Reference(first.prompt_id, 0, -4.0, -9.0, 8, 9)])
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
    dropped = [
        Dropped(pair.prompt_id, DropReason.LABEL, "pair 1 is labelled bad"),  # it keeps pair 0
        *(Dropped(prompt.prompt_id, DropReason.UNDER_MARGIN, "") for prompt in others),
    ]
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


MATCHING = small_params(match_recall={"split": "validation", "low": -1.0, "high": 1.0, "step": 1.0})


def _write_curve(name: str, *said: Callable[[Truth], str]) -> None:
    """Write a policy's answers at the biases -1, 0 and 1."""
    truths = {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by="")}
    asked = [
        question
        for question in read_rows(paths.QUESTIONS, Question, made_by="")
        if question.kind == Kind.DESCRIBE
    ]
    rows = [
        BiasedAnswer(question.question_id, bias, describe(truths[question.image]), 10, True)
        for question in asked
        for bias, describe in zip((-1.0, 0.0, 1.0), said, strict=True)
    ]
    write_rows(paths.biased_answers(name), rows, BiasedAnswer)
    known = known_truth({}, open_source(PARAMS.source), Asked(asked, list(truths.values())))
    record = describe_evaluation(asked, known, left_out=[], max_new_tokens=10)
    write_json(paths.biased_record(name), record.as_json())


def _write_curves() -> None:
    """Iteration 1 is half-way from all that is there, and more, to nothing; 2 never names anything; 3 always does."""
    _write_curve("base", _false, _false, lambda _: "")
    _write_curve("1", _false, lambda _: "", lambda _: "")
    _write_curve("2", *[lambda _: ""] * 3)
    _write_curve("3", _true, _true, lambda _: "")


def test_figures_at_the_bases_recall_are_summarised() -> None:
    """The base names all and invents in every answer; at its recall of 100 iteration 1 does so too, iteration 3 does not."""
    _write_curves()
    summarize.run(MATCHING)
    summary = read_summary(paths.SUMMARY)
    assert summary.equal_recall is not None
    assert summary.equal_recall.split == "validation"
    biases = {name: one.bias for name, one in summary.equal_recall.policies.items()}
    assert biases == {"base": 0, "1": -1, "2": None, "3": 0}
    for split in summary.splits.values():
        assert [split[name].value("chair_s_at_recall") for name in summary.iterations] == [100, 100, None, 0]
        assert [split[name].value("recall_at_recall") for name in summary.iterations] == [100, 100, None, 100]
        assert split["base"].figures["chair_s_at_recall"] == split["base"].figures["chair_s"]
        # Without a bias iteration 1's answers are those that the other tests know: they stay in the table.
        assert split["1"].value("chair_s") == 0
    chance = summary.splits["held_out"]["3"].figures["chair_s_at_recall"].p_vs_base
    assert chance == pytest.approx(2 / 16, abs=0.01)
    points = summary.equal_recall.policies["1"].curve["held_out"]
    assert [(point.bias, point.recall, point.chair_s) for point in points] == [
        (-1, 100, 100), (0, 0, 0), (1, 0, 0),
    ]  # fmt: skip
    assert "iteration 2 at the base's recall: the base's recall of 100.0% is outside the curve" in (
        summarize.MARKDOWN.read_text(encoding="utf-8")
    )
    table = pl.read_csv(paths.PLOTS / "recall_curve.csv", schema_overrides={"iteration": pl.String})
    assert table.columns == ["iteration", "split", "bias", "recall", "chair_s"]
    assert len(table) == 4 * 3 * 3
    assert table.filter(iteration="1", split="held_out")["recall"].to_list() == [100, 0, 0]


def test_answers_of_another_token_limit_are_refused() -> None:
    """A curve that was decoded with other limits, or about other questions, is no curve of these answers."""
    _write_curves()
    record = read_json(paths.biased_record("3"), made_by="")
    write_json(paths.biased_record("3"), record | {"description_tokens": 11})
    with pytest.raises(UserError) as caught:
        summarize.run(MATCHING)
    assert str(caught.value) == (
        "data/match_recall/3/record.json: got other questions, truth, rules or token limits, expected those of "
        "data/evaluate_policy/3/record.json. Next: dvc repro match_recall@3"
    )
    paths.biased_record("base").unlink()
    with pytest.raises(UserError, match="Next: dvc repro match_base"):
        summarize.run(MATCHING)


@pytest.fixture
def summary(capsys: pytest.CaptureFixture[str]) -> Summary:
    """What `summarize` writes."""
    summarize.run(PARAMS)
    capsys.readouterr()
    return read_summary(paths.SUMMARY)


@pytest.mark.usefixtures("summary")
def test_the_form_is_the_stable_one() -> None:
    """The file has splits, iterations ("base" is the base policy), figures with value, low, high and p; pairs; models."""
    raw: dict[str, Any] = read_json(paths.SUMMARY, made_by="")
    assert set(raw) == {"iterations", "splits", "pairs", "training", "prepared", "evaluation"}
    assert raw["iterations"] == ["base", *ITERATIONS]
    assert set(raw["splits"]) == {"validation", "held_out", "out_of_distribution"}
    for split in raw["splits"].values():
        assert set(split) == {"base", *ITERATIONS}
        for entry in split.values():
            assert set(entry) >= PLAIN_FIGURES
            for name in set(entry) - {"false_by_kind"}:
                assert set(entry[name]) == {"value", "low", "high", "p_vs_base"}
    assert raw["pairs"]["1"] == {
        "kept": 1,
        "dropped": {"under_margin": 3},
        "chosen_reward": 0.75,
        "rejected_reward": 0.25,
        "chosen_reward_held_out": 0.5,
        "rejected_reward_held_out": 0.125,
        "truth_preference": {"comparisons": 1, "reward": 100.0, "likelihood": 0.0, "relevance": 50.0},
    }
    assert set(raw["pairs"]) == set(raw["training"]) == set(ITERATIONS)
    assert raw["prepared"] == {"policy": {"chair_s": 50.0}, "machine": MACHINE}


def test_the_figures_are_those_of_the_answers(summary: Summary) -> None:
    """The base names one absent object an answer and says yes to all; iteration 1 names none and is always right."""
    base, first = (summary.splits["held_out"][name] for name in ("base", "1"))
    assert base.figures["chair_s"] == Figure(value=100.0, low=100.0, high=100.0, p_vs_base=None)
    assert first.value("chair_s") == 0
    assert base.value("pope_accuracy") == 50
    assert base.value("pope_yes_rate") == 100
    assert first.value("pope_f1") == 100
    assert base.value("recall") == first.value("recall") == 100
    assert first.figures["recall"].p_vs_base == 1
    assert base.value("loglik_base") == -2
    assert base.false_by_kind is not None
    assert sum(base.false_by_kind.values()) == 100
    assert first.false_by_kind == {}


def test_p_is_for_the_same_images(summary: Summary) -> None:
    """Four images that all improve: only none or all of four swaps reach that, 2 of 16, whatever the resamples."""
    chance = summary.splits["held_out"]["1"].figures["chair_s"].p_vs_base
    assert chance == pytest.approx(2 / 16, abs=0.08)


def test_pairs_are_counted_and_their_rewards_averaged(summary: Summary) -> None:
    """Kept + dropped = prompts, also where curation took a pair out of a prompt that keeps another; the truer answer has the higher reward, the lower likelihood, the same relevance."""
    assert summary.pairs["1"] == PairSummary(
        kept=1,
        with_pairs=1,
        dropped={"under_margin": 3},
        chosen_reward=0.75,
        rejected_reward=0.25,
        chosen_reward_held_out=0.5,
        rejected_reward_held_out=0.125,
        truth_preference=TruthPreference(comparisons=1, reward=100.0, likelihood=0.0, relevance=50.0),
    )


def test_plots_hold_what_the_summary_holds(summary: Summary) -> None:
    """One file per figure, with a row per policy and split, one of the pairs' rewards, the analyses; no other file."""
    figures = summary.splits["held_out"]["base"].figures
    analyses = {"pair_relevance", "pair_rewards_released", "pair_likelihood", "cases"}
    names = {*figures, "pair_rewards", *analyses}
    assert {path.name for path in paths.PLOTS.iterdir()} == {f"{name}.csv" for name in names}
    for name in figures:
        table = pl.read_csv(paths.PLOTS / f"{name}.csv", schema_overrides={"iteration": pl.String})
        assert len(table) == len(summary.splits) * len(summary.iterations)
        for row in table.iter_rows(named=True):
            figure = summary.splits[row["split"]][row["iteration"]].figures[name]
            assert (row["value"], row["low"], row["high"]) == (figure.value, figure.low, figure.high)
    rewards = pl.read_csv(paths.PLOTS / "pair_rewards.csv")
    rejected = rewards.filter(iteration=2, answer="rejected", scorer="held_out")
    assert rejected["reward"].to_list() == [0.125]


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


def test_equal_inputs_give_equal_bytes(summary: Summary) -> None:
    """A second run writes the same summary; there is no clock in it."""
    before = paths.SUMMARY.read_bytes()
    summarize.run(PARAMS)
    assert paths.SUMMARY.read_bytes() == before
    assert read_summary(paths.SUMMARY) == summary


def test_an_iteration_without_pairs_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was kept there are no means, and the table still prints."""
    write_rows(paths.pairs("2"), [], Pair)
    write_references(paths.references("2"), [])
    write_rows(paths.responses("2") / "00000.parquet", [], Response)
    seal(paths.responses("2"), Response, fingerprint={})
    summarize.run(PARAMS)
    entry = read_summary(paths.SUMMARY).pairs["2"]
    assert entry.kept == 0
    assert entry.chosen_reward is None
    assert entry.truth_preference == TruthPreference(
        comparisons=0, reward=None, likelihood=None, relevance=None
    )
    assert "iteration 2" in capsys.readouterr().out


def test_verdicts_are_compared_with_the_truth() -> None:
    """Where the policy judged, its verdicts on the truer and the other answer are counted; without the table, one line."""
    params = PARAMS.model_copy(update={"select_pairs": JudgedPairs(kind="judged")})
    with pytest.raises(UserError, match=r"dvc repro judge_answers@1"):
        summarize.run(params)
    prompt = read_rows(paths.PROMPTS, Prompt, made_by="")[0].prompt_id
    for name, winner in zip(ITERATIONS, ("first", "second", None), strict=True):
        write_rows(paths.verdicts(name), [Verdict(prompt, 3, 5, winner, winner, None, None)], Verdict)
    summarize.run(params)
    pairs = read_summary(paths.SUMMARY).pairs
    assert [pairs[name].judging for name in ITERATIONS] == [
        JudgingFigures(judged=1, agreed=100.0, compared=1, accuracy=100.0),
        JudgingFigures(judged=1, agreed=100.0, compared=1, accuracy=0.0),
        JudgingFigures(judged=1, agreed=0.0, compared=0, accuracy=None),
    ]


def test_the_analyses_are_tables_for_plots() -> None:
    """Each analysis is a CSV with its columns; the base's made-up words are marked where they are in the text."""
    summarize.run(PARAMS)
    tables = {
        name: pl.read_csv(paths.PLOTS / f"{name}.csv", schema_overrides={"iteration": pl.String})
        for name in ("pair_relevance", "pair_rewards_released", "pair_likelihood", "cases")
    }
    own = tables["pair_relevance"].filter(iteration="2", scorer="held_out")
    assert own["mean"].to_list() == [30, 30]
    # Siblings: the ranks of R_I are 1, 2, 3 and those of R_T 1, 3, 2, of 3; the answer has one sentence.
    weight = PARAMS.score_beams.image_weight
    costs = [1 / 3, weight * 2 / 3 + (1 - weight)]
    released = tables["pair_rewards_released"].filter(iteration="1")["reward"].to_list()
    assert released == pytest.approx([1 - cost / 2 for cost in costs])
    likely = tables["pair_likelihood"].filter(iteration="3")
    assert likely.select("origin", "measure", "answer", "mean").rows() == [
        ("csr_search", "token", "chosen", -0.5),
        ("csr_search", "token", "rejected", -1.0),
        ("csr_search", "answer", "chosen", -4.0),
        ("csr_search", "answer", "rejected", -9.0),
    ]
    cases = tables["cases"]
    assert set(cases["iteration"]) == {"base", *ITERATIONS}
    for row in cases.iter_rows(named=True):
        marked = [row["text"][mark["start"] : mark["end"]] for mark in json.loads(row["absent"])]
        assert len(marked) == (row["iteration"] == "base" or row["side"] == "rejected")
        assert set(marked) <= set(SHAPES)


def test_without_a_reference_the_stored_likelihoods_count() -> None:
    """Fine-tuning computes no reference; a table of other pairs is refused."""
    write_references(paths.references("1"), [])
    summarize.run(PARAMS)
    found = pl.read_csv(paths.PLOTS / "pair_likelihood.csv", schema_overrides={"iteration": pl.String})
    assert set(found.filter(iteration="1", measure="answer")["mean"]) == {-1.0}
    write_references(paths.references("1"), [Reference("train-00099", 0, -4.0, -9.0, 8, 9)])
    with pytest.raises(UserError) as caught:
        summarize.run(PARAMS)
    assert str(caught.value) == (
        "data/train_dpo/1/references.parquet: got other pairs, expected those of "
        "data/select_pairs/1/pairs.parquet. Next: dvc repro train_dpo@1"
    )
    write_references(paths.references("1"), [Reference("train-00099", 0, math.nan, -9.0, 8, 9)])
    with pytest.raises(UserError, match="got 1 rows without finite log-probabilities and tokens"):
        summarize.run(PARAMS)


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


def test_the_headline_is_ten_figures_of_the_last_iteration(summary: Summary) -> None:
    """What DVC lists is flat, short, and taken from the summary."""
    shown = json.loads(paths.HEADLINE.read_text(encoding="utf-8"))
    held_out, last = summary.splits["held_out"], summary.iterations[-1]
    assert len(shown) == 10
    assert shown["chair_s"] == held_out[last].value("chair_s")
    assert shown["chair_s_base"] == held_out["base"].value("chair_s")
    assert shown["pairs"] == summary.pairs[last].kept


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            {},
            "metrics/train_dpo/2.json: pairs: got no such key, expected a value. Next: dvc repro train_dpo@2",
        ),
        ({"pairs": "1"}, "metrics/train_dpo/2.json: pairs: got 1, expected a number"),
    ],
)
def test_metrics_of_another_form_are_one_line(metrics: dict[str, object], message: str) -> None:
    """A stage's metrics are numbers by name, the stage's own among them; the file and the key are named."""
    write_json(paths.stage_metrics("train_dpo", "2"), metrics)
    with pytest.raises(UserError, match=re.escape(message)):
        summarize.run(PARAMS)
    assert not paths.SUMMARY.exists()


def test_a_training_that_diverged_is_summarised() -> None:
    """A loss that is not finite is shown as it is; the other iterations' results are not held back."""
    metrics = {"pairs": 1, "loss_last_tenth": float("nan"), "reference_gap": None}
    write_json(paths.stage_metrics("train_dpo", "2"), metrics)
    summarize.run(PARAMS)
    loss = read_summary(paths.SUMMARY).training["2"]["loss_last_tenth"]
    assert loss is not None
    assert math.isnan(loss)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            r'{"machine": {"processor": "a\ud800b"}}',
            "metrics/prepare.json: got a lone surrogate, expected Unicode text",
        ),
        (
            '{"policy": {}, "machine": {"threads": 1}}',
            "machine.processor: got no such key, expected a value",
        ),
        ('{"policy": {}, "machine": 4}', "machine: got 4, expected an object"),
        (
            json.dumps({"policy": {"recall": "x"}, "machine": MACHINE}),
            "policy.recall: got x, expected a number",
        ),
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
