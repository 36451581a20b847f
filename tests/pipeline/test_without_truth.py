"""The stages that measure, where little is known: no truth, no questions, an image without its truth."""

from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.summary import Headline, headline, read_summary
from csrdata.params import Params
from csrdata.pipeline import evaluate_policy, sample_prompts, summarize
from csrdata.pipeline.references import write_references
from csrdata.pipeline.results import find_results
from csrdata.records import (
    Answer,
    Dropped,
    DropReason,
    Pair,
    PairScores,
    Prompt,
    Question,
    Response,
    Sentence,
    Truth,
)
from csrdata.storage.tables import read_json, read_rows, seal, write_json, write_rows
from tests.pipeline.world import draw_world, real_params, small_params
from tests.relevance.test_open_clip import save_tiny_clip
from tests.tiny import pictures, tiny_llava

PARAMS = small_params(source={"questions_per_image": 2})


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, prompts and questions."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(PARAMS)


def _refusal() -> str:
    """Return what evaluation says; there is no scorer here: it is said before a model is looked for."""
    with pytest.raises(UserError) as caught:
        evaluate_policy.run(PARAMS, paths.BASE)
    assert not paths.answers(paths.BASE).exists()
    return str(caught.value)


def test_an_image_without_truth_is_one_line_before_anything_is_answered() -> None:
    """It took the answers to all questions to see it."""
    truths = read_rows(paths.TRUTH, Truth, made_by="")
    asked = read_rows(paths.QUESTIONS, Question, made_by="")[0]
    write_rows(paths.TRUTH, [truth for truth in truths if truth.image != asked.image], Truth)
    assert _refusal() == (
        f"question {asked.question_id}: got nothing known about {asked.image}, expected the truth about its image. "
        "Next: dvc repro sample_prompts"
    )


def test_a_source_that_knows_the_truth_must_have_it() -> None:
    """An empty table of truth is no truth that is unknown: the microworld knows every image."""
    write_rows(paths.TRUTH, [], Truth)
    assert "got nothing known about" in _refusal()


def _pairs(name: str) -> None:
    first, *others = read_rows(paths.PROMPTS, Prompt, made_by="")
    pair = Pair(
        first.prompt_id,
        first.image,
        first.text,
        "A dog.",
        "A cat.",
        "csr_search",
        scores=PairScores(chosen_reward=0.5),
    )
    write_rows(paths.pairs(name), [pair], Pair)
    write_rows(
        paths.dropped(name), [Dropped(one.prompt_id, DropReason.NO_RESPONSE, "") for one in others], Dropped
    )
    for folder, record in ((paths.candidates(name), Sentence), (paths.responses(name), Response)):
        write_rows(folder / "00000.parquet", [], record)
        seal(folder, record, fingerprint={})
    write_references(paths.references(name), [])
    write_json(paths.stage_metrics("train_dpo", name), {"pairs": 1})


def _measure(params: Params) -> None:
    """Run the stages that measure on photographs, for the base and one iteration."""
    pictures(Path("photographs"), 6)
    sample_prompts.run(params)
    tiny_llava(paths.policy("1"), seed=1)
    for folder in (Path("scorers/search"), Path("scorers/held_out")):
        folder.mkdir(parents=True)
        save_tiny_clip(folder)
    write_json(paths.PREPARE_METRICS, {"resolved": {}})
    _pairs("1")
    for name in ("base", "1"):
        evaluate_policy.run(params, name)
    summarize.run(params)


def _params(sets: dict[str, dict[str, object]]) -> Params:
    """Return parameters of a project on a folder of photographs, about which nothing is known."""
    raw = real_params(Path("photographs"), count=3).model_dump()
    raw |= {"iterations": {"1": {"previous": "base"}}, "evaluation_sets": sets}
    raw["evaluate_policy"] = {"decoding": "greedy", "max_new_tokens": 6, "batch_size": 8}
    return Params.model_validate(raw)


UNKNOWN = dict.fromkeys(Headline.__dataclass_fields__)


def test_a_run_without_truth_has_all_that_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    """From prompts to summary: text, relevance and likelihood are measured; CHAIR, POPE and the truer are absent, said once."""
    params = _params({"unseen": {"kind": "prompts", "count": 3, "seed": 0}})
    _measure(params)
    summary = read_summary(paths.SUMMARY)
    figures = {"length", "repetition", "finished", "loglik_base", "relevance", "relevance_held_out"}
    for policy in summary.splits["unseen"].values():
        assert set(policy.figures) == figures
        assert policy.false_by_kind is None
    assert summary.splits["unseen"]["1"].figures["length"].p_vs_base is not None
    assert summary.pairs["1"].truth_preference is None
    assert summary.prepared is None
    shown = read_json(paths.HEADLINE, made_by="")
    assert shown == headline(summary).as_json()
    assert {name for name, value in shown.items() if value is None} == {
        *("chair_s", "chair_s_base", "pope_accuracy", "prefers_truer", "recall", "recall_base")
    }
    said = capsys.readouterr().out
    assert said.count("not measured: ") == 1
    missing = said.partition("not measured: ")[2]
    assert missing.startswith(
        "CHAIR of unseen (the objects in the images are unknown); POPE (there are no yes/no"
    )
    assert "CHAIR_S" not in said
    assert {path.stem for path in paths.PLOTS.iterdir()} == figures | {
        *("chair_s", "recall", "pope_accuracy", "pair_rewards"),
        *("pair_rewards_released", "pair_relevance", "pair_likelihood", "cases"),
    }
    empty = pl.read_csv(paths.PLOTS / "chair_s.csv")
    assert empty["value"].to_list() == [None, None]
    found = find_results(params, ["1"])
    assert found is not None
    assert found.truth == {}
    assert set(found.splits["unseen"]["1"]) <= figures
    assert paths.absent_mentions("1").read_text(encoding="utf-8").count("\n") == 1


def test_a_run_without_questions_has_its_pairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked: no model is loaded, every table is there, the summary is about pairs and training."""
    monkeypatch.setattr("csrdata.policy.loading.load_policy", None)
    _measure(_params({}))
    summary = read_summary(paths.SUMMARY)
    assert summary.splits == {}
    assert asdict(headline(summary)) == UNKNOWN | {"pairs": 1}
    assert read_rows(paths.answers("1"), Answer, made_by="") == []
    captured = capsys.readouterr()
    assert captured.err.count("there are no evaluation questions: no policy answers any") == 2
    assert "not measured: policies (there are no evaluation questions); " in captured.out
    assert (paths.PLOTS / "chair_s.csv").read_text(encoding="utf-8") == "iteration,split,value,low,high\n"


def test_plots_of_an_earlier_summary_go() -> None:
    """A figure that is no longer measured leaves no table of old values."""
    paths.PLOTS.mkdir()
    (paths.PLOTS / "chair_i.csv").write_text(
        "iteration,split,value,low,high\nbase,held_out,1,1,1\n", encoding="utf-8"
    )
    _measure(_params({}))
    assert not (paths.PLOTS / "chair_i.csv").exists()
