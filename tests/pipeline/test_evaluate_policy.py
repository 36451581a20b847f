"""`evaluate_policy`: a tiny policy answers the questions about drawn scenes."""

from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.scorecard import AT_RECALL, FIGURES
from csrdata.pipeline import evaluate_policy, sample_prompts
from csrdata.records import Answer, Kind, Question
from csrdata.storage.tables import read_json, read_rows
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.tiny import tiny_llava

PARAMS = small_params(
    evaluate_policy={"max_new_tokens": 6, "batch_size": 8}, source={"questions_per_image": 6}
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, questions and an untrained base policy."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(PARAMS)
    tiny_llava(paths.policy("base"))
    tiny_llava(paths.policy("1"), seed=1)
    save_tiny_scorers()


def test_every_question_is_answered_and_measured() -> None:
    """One answer a question in the questions' order, log-probabilities of descriptions, every figure for every split."""
    evaluate_policy.run(PARAMS, "base")
    questions = read_rows(paths.QUESTIONS, Question, made_by="")
    answers = read_rows(paths.answers("base"), Answer, made_by="")
    assert [answer.question_id for answer in answers] == [question.question_id for question in questions]
    for question, answer in zip(questions, answers, strict=True):
        assert (answer.logprob_base is None) == (question.kind == Kind.YES_NO)
        assert answer.logprob_base is None or answer.logprob_base < 0
        for relevance in (answer.relevance, answer.relevance_held_out):
            assert (relevance is None) == (question.kind == Kind.YES_NO or not answer.text.strip())
            assert relevance is None or 0 <= relevance <= 100
        assert 1 <= answer.tokens <= 6
    metrics = read_json(paths.stage_metrics("evaluate_policy", "base"), made_by="")
    assert metrics.pop("max_new_tokens") == 6
    assert metrics.pop("record") == read_json(paths.evaluation_record("base"), made_by="")
    assert set(metrics) == {"validation", "held_out", "out_of_distribution"}
    assert all(set(values) == set(FIGURES) - set(AT_RECALL.values()) for values in metrics.values())


def test_the_likelihood_is_the_bases() -> None:
    """Another policy's answers are less likely under the base than the base's own greedy ones."""
    evaluate_policy.run(PARAMS, "base")
    evaluate_policy.run(PARAMS, "1")
    own, other = (
        read_json(paths.stage_metrics("evaluate_policy", name), made_by="")["held_out"]["loglik_base"]
        for name in ("base", "1")
    )
    assert other < own


def test_a_missing_policy_is_named() -> None:
    """The error names the folder, and nothing is written."""
    with pytest.raises(UserError, match="policies/2"):
        evaluate_policy.run(PARAMS, "2")
    assert not paths.answers("2").exists()
