"""How well a policy judges its own answers: does it agree with itself, and with the truth where that is known?

The truer of two answers has the smaller false share (`csrdata.evaluation.truth_preference`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.errors import UserError
from csrdata.evaluation.truth_preference import false_share
from csrdata.records import Response, Truth, Verdict, Winner
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class JudgingFigures:
    """Figures of one iteration's verdicts."""

    judged: int
    """Prompts whose two answers the policy judged."""
    agreed: float | None
    """Percent of the judged prompts in which it named the same answer in both orders; None if none was judged."""
    compared: int
    """Prompts of these whose two answers differ in truth."""
    accuracy: float | None
    """Percent of the compared prompts in which the named answer is the truer one; None without such prompts."""


def judging_figures(
    verdicts: Sequence[Verdict],
    responses: Iterable[Response],
    truths: Mapping[str, Truth],
    parser: ClaimParser | None,
) -> JudgingFigures:
    """Compare the verdicts with each other and with the truth.

    Args:
        verdicts: one for each judged prompt.
        responses: the answers that were judged, and any others.
        truths: the truth about each prompt's image, by `prompt_id`.
        parser: the parser of the images' source; None where the truth is unknown: nothing is compared.

    Raises:
        UserError: a verdict is about an answer that is not there.
    """
    agreed = [one for one in verdicts if one.forward is not None and one.forward == one.backward]
    texts = {(one.prompt_id, one.leaf_id): one.text for one in responses}
    right = [
        result
        for one in agreed
        if parser is not None and (result := _is_right(one, texts, truths[one.prompt_id], parser)) is not None
    ]
    return JudgingFigures(
        judged=len(verdicts),
        agreed=100 * len(agreed) / len(verdicts) if verdicts else None,
        compared=len(right),
        accuracy=100 * sum(right) / len(right) if right else None,
    )


def _is_right(
    verdict: Verdict, texts: Mapping[tuple[str, int], str], truth: Truth, parser: ClaimParser
) -> bool | None:
    """Return whether the named answer is the truer one; None if the two are equally true or one says nothing."""
    shares = []
    for leaf in (verdict.first_leaf, verdict.second_leaf):
        if (verdict.prompt_id, leaf) not in texts:
            place, expected = f"verdict of prompt {verdict.prompt_id}", "an answer of the same search"
            raise UserError(place, got=f"leaf {leaf}", expected=expected, do="dvc repro judge_answers")
        shares.append(false_share(texts[verdict.prompt_id, leaf], truth, parser))
    first, second = shares
    if first is None or second is None or first == second:
        return None
    return (first < second) == (verdict.forward == Winner.FIRST.value)
