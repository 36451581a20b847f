"""How often a score prefers the truer of two answers."""

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.truth_preference import TruthPreference, false_share, truth_preference
from csrdata.records import Response
from tests.evaluation.scenes import CIRCLE, HEART, READER, STAR, TRUTH, WRONG_COLOUR, text


def _response(
    answer: str, *, reward: float = 0.0, likelihood: float = 0.0, relevance: float = 0.0, **more: object
) -> Response:
    values: dict[str, object] = {
        "prompt_id": "a",
        "leaf_id": 0,
        "text": answer,
        "words": len(answer.split()),
        "sentences": 1,
        "tokens": 5,
        "logprob": -1.0,
        "reward": reward,
        "likelihood": likelihood,
        "relevance": relevance,
        "relevance_held_out": 0.0,
        "reward_held_out": 0.0,
        "finished": True,
        "canonical": True,
        **more,
    }
    return Response(**values)  # type: ignore[arg-type]


def _prefer(*responses: Response) -> TruthPreference:
    return truth_preference(responses, {"a": TRUTH, "b": TRUTH}, READER)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (text(CIRCLE, STAR), 0),
        (text(CIRCLE, HEART), 0.5),
        (text(CIRCLE, WRONG_COLOUR), 0.5),
        (text(HEART, WRONG_COLOUR), 1),
        ("Hello.", None),
    ],
)
def test_false_share_counts_absent_objects_and_wrong_attributes(answer: str, share: float | None) -> None:
    """The share is false statements divided by statements; an answer that states nothing has none."""
    assert false_share(answer, TRUTH, READER) == share


def test_each_score_is_judged_by_itself() -> None:
    """One comparison: the reward is right, the likelihood wrong, the relevance ties and is half right."""
    found = _prefer(
        _response(text(CIRCLE, STAR), reward=2, likelihood=-1, relevance=30),
        _response(text(CIRCLE, HEART), reward=1, likelihood=1, relevance=30),
    )
    assert found == TruthPreference(comparisons=1, reward=100, likelihood=0, relevance=50)


def test_only_answers_of_one_prompt_that_differ_in_truth_are_compared() -> None:
    """Three true answers and a false one give three comparisons; answers to different prompts are not compared."""
    found = _prefer(
        _response(CIRCLE, reward=3),
        _response(STAR, reward=2),
        _response(text(STAR, CIRCLE), reward=0),
        _response(HEART, reward=1),
        _response(HEART, reward=9, prompt_id="b"),
    )
    assert found.comparisons == 3
    assert found.reward == pytest.approx(200 / 3)


def test_cut_and_empty_answers_are_left_out() -> None:
    """An answer that was cut by a limit is left out; with nothing to compare there is no percentage."""
    found = _prefer(_response(CIRCLE, finished=False), _response("Hello."), _response(HEART))
    assert found == TruthPreference(comparisons=0, reward=None, likelihood=None, relevance=None)


def test_an_answer_without_truth_is_one_line() -> None:
    """An answer to a prompt without known truth is an error that names the prompt."""
    with pytest.raises(
        UserError, match=r"answers of prompt c: got an image without known truth, expected a prompt"
    ):
        _prefer(_response(text(CIRCLE), prompt_id="c"))
