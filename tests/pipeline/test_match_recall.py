"""`match_recall`: a tiny policy's answers at every bias, and what the metrics say of them."""

from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.scorecard import CURVE_FIGURES
from csrdata.params import Params
from csrdata.pipeline import evaluate_policy, match_recall, sample_prompts
from csrdata.records import Answer, BiasedAnswer, Kind, Question, Truth
from csrdata.storage.tables import read_json, read_rows, write_rows
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.tiny import tiny_llava

SPLITS = {"validation", "held_out", "out_of_distribution"}
GRID = {"split": "validation", "low": -2.0, "high": 3.0, "step": 1.0}
BIASES = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


def _params(**matching: object) -> Params:
    return small_params(
        evaluate_policy={"max_new_tokens": 6, "batch_size": 8},
        source={"questions_per_image": 2},
        match_recall=GRID | matching,
    )


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, questions, two untrained policies and the base's answers."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(_params())
    tiny_llava(paths.policy("base"))
    tiny_llava(paths.policy("1"), seed=1)
    save_tiny_scorers()
    evaluate_policy.run(_params(), "base")


def _answers(name: str) -> list[BiasedAnswer]:
    return read_rows(paths.biased_answers(name), BiasedAnswer, made_by="")


def test_every_description_is_answered_at_every_bias() -> None:
    """One row for each description and bias, no yes/no question; those at 0 are the policy's answers without a bias."""
    match_recall.run(_params(), "1")
    asked = [
        question.question_id
        for question in read_rows(paths.QUESTIONS, Question, made_by="")
        if question.kind == Kind.DESCRIBE
    ]
    rows = _answers("1")
    assert [(row.question_id, row.bias) for row in rows] == [
        (name, bias) for name in asked for bias in BIASES
    ]
    evaluate_policy.run(_params(), "1")
    plain = {row.question_id: row for row in read_rows(paths.answers("1"), Answer, made_by="")}
    for row in rows:
        if row.bias == 0:
            own = plain[row.question_id]
            assert (row.text, row.tokens, row.finished) == (own.text, own.tokens, own.finished)


def test_the_metrics_have_bias_figures_and_curves() -> None:
    """Untrained policies name nothing: every recall is 0, so that the nearest bias is 0, and the figures are those there."""
    match_recall.run(_params(), "1")
    metrics = read_json(paths.stage_metrics("match_recall", "1"), made_by="")
    assert set(metrics) == {"split", "base_recall", "bias", "reason", "at_recall", "curves"}
    assert (metrics["split"], metrics["base_recall"], metrics["bias"]) == ("validation", 0, 0)
    assert metrics["reason"] is None
    assert set(metrics["at_recall"]) == set(metrics["curves"]) == SPLITS
    for split, points in metrics["curves"].items():
        assert [point.pop("bias") for point in points] == BIASES
        assert all(set(point) == set(CURVE_FIGURES) for point in points)
        assert metrics["at_recall"][split] == points[BIASES.index(0)]
        lengths = [point["length"] for point in points]
        assert lengths == sorted(lengths, reverse=True)


def test_a_recall_outside_the_curve_has_no_bias() -> None:
    """A base that names what is there, and a policy that never does: null, with both recalls in the reason."""
    truths = {row.image: row for row in read_rows(paths.TRUTH, Truth, made_by="")}
    images = {row.question_id: row.image for row in read_rows(paths.QUESTIONS, Question, made_by="")}
    said = [
        Answer(row.question_id, " ".join(truths[images[row.question_id]].objects), 1, True, None, None, None)
        for row in read_rows(paths.answers("base"), Answer, made_by="")
    ]
    write_rows(paths.answers("base"), said, Answer)
    match_recall.run(_params(), "1")
    metrics = read_json(paths.stage_metrics("match_recall", "1"), made_by="")
    assert metrics["base_recall"] == 100
    assert metrics["bias"] is None
    assert metrics["reason"] == (
        "the base's recall of 100.0% is outside the curve: 0.0% to 0.0% at biases of -2 to 3 nats"
    )
    assert metrics["at_recall"] == dict.fromkeys(SPLITS)


def test_the_base_is_at_0() -> None:
    """Its curve is measured like any other, and its bias is 0, whatever its curve is."""
    match_recall.run(_params(), "base")
    metrics = read_json(paths.stage_metrics("match_recall", "base"), made_by="")
    plain = read_json(paths.stage_metrics("evaluate_policy", "base"), made_by="")
    assert metrics["bias"] == 0
    assert len(metrics["curves"]["held_out"]) == len(BIASES)
    for split in SPLITS:
        assert metrics["at_recall"][split] == {name: plain[split][name] for name in CURVE_FIGURES}


def test_equal_inputs_give_equal_bytes() -> None:
    """A second run writes the same tables and metrics."""
    files = (
        paths.biased_answers("1"),
        paths.biased_record("1"),
        paths.stage_metrics("match_recall", "1"),
    )
    match_recall.run(_params(), "1")
    before = [path.read_bytes() for path in files]
    match_recall.run(_params(), "1")
    assert [path.read_bytes() for path in files] == before


def test_a_split_of_which_nothing_is_known_is_refused() -> None:
    """The line names the splits that would do; nothing is written."""
    with pytest.raises(UserError) as caught:
        match_recall.run(_params(split="test"), "1")
    assert str(caught.value) == (
        "params.yaml: match_recall.split: got test, expected one of validation, held_out, out_of_distribution: "
        "descriptions of images whose objects are known. Next: fix params.yaml, then: dvc repro"
    )
    assert not paths.recall_curve("1").exists()


def test_without_answers_of_the_base_there_is_nothing_to_match() -> None:
    """The missing table is named with its stage, before a model is loaded."""
    paths.answers("base").unlink()
    with pytest.raises(UserError, match="Next: dvc repro evaluate_base"):
        match_recall.run(_params(), "1")


def test_a_stage_that_is_off_says_so() -> None:
    """`csrdata run match_recall` with a null section is one line."""
    with pytest.raises(
        UserError, match=r"params.yaml: match_recall: got null, expected split, low, high and step"
    ):
        match_recall.run(small_params(), "1")
