"""How often the sides of pairs are false, by origin."""

from csrdata.evaluation.false_sides import FalseSides, false_sides
from csrdata.records import Pair, PairScores
from tests.evaluation.scenes import CIRCLE, HEART, READER, STAR, TRUTH, WRONG_COLOUR, text


def _pair(chosen: str, rejected: str, *, origin: str = "csr_sentences", prompt_id: str = "a") -> Pair:
    return Pair(
        prompt_id=prompt_id,
        image="i.png",
        prompt="Describe.",
        chosen=chosen,
        rejected=rejected,
        origin=origin,
        scores=PairScores(),
    )


def test_a_side_is_false_if_one_of_its_claims_is() -> None:
    """An absent object and a wrong colour count alike; each side by itself; origins apart, by name."""
    pairs = [
        _pair(text(CIRCLE), text(HEART)),
        _pair(text(STAR), text(CIRCLE)),
        _pair(text(WRONG_COLOUR), text(HEART)),
        _pair(text(STAR), text(WRONG_COLOUR)),
        _pair(text(CIRCLE, STAR), text(CIRCLE, HEART), origin="an_other"),
    ]
    assert list(false_sides(pairs, {"a": TRUTH}, READER).items()) == [
        ("an_other", FalseSides(0.0, 100.0)),
        ("csr_sentences", FalseSides(25.0, 75.0)),
    ]


def test_a_side_without_a_claim_is_not_counted() -> None:
    """The end of an answer claims nothing; pairs of a prompt without known truth are left out."""
    pairs = [_pair("", text(HEART), origin="csr_ends"), _pair("", text(CIRCLE), origin="csr_ends")]
    assert false_sides(pairs, {"a": TRUTH}, READER) == {"csr_ends": FalseSides(None, 50.0)}
    assert false_sides(pairs, {"b": TRUTH}, READER) == {}
