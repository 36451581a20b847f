"""Conditions over pairs are parsed into checked trees, and every pair that is taken out has its reason."""

import pytest

from csrdata.errors import UserError
from csrdata.records import Dropped, DropReason, Pair
from csrdata.search.curation import Label, curate, parse_condition
from tests.inspection.made import DROPPED, PAIR
from tests.scores import without_scores


def _of(text: str, pair: Pair = PAIR) -> object:
    return parse_condition(text, place="--where", do="again").of(pair)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("margin > 0.5", True),
        ("margin * 2 - 1 < 0.5 / 1", False),
        ("not margin <= 0.5 and chosen_words < rejected_words", True),
        ("'[blue]' in rejected and 'fog' not in chosen", True),
        ('origin == "csr_search" or margin > 100', True),
        ("-chosen_words == -3", True),
        ("chosen_complete", True),
        ("margin / 0 > 1", None),
        ("margin / 0 > 1 or chosen_complete", True),
        ("margin / 0 > 1 and margin > 100", False),
    ],
)
def test_a_condition_means_what_it_says(text: str, value: object) -> None:
    """Comparisons, arithmetic, texts and logic; what cannot be computed is unknown unless another part decides."""
    assert _of(text) is value


def test_a_missing_score_is_unknown() -> None:
    """A pair without scores has no margin: the condition is unknown, and so is its negation."""
    bare = without_scores(PAIR)
    assert _of("margin > 0", bare) is None
    assert _of("not margin > 0", bare) is None


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "chosen.__class__ == 'x'",
        "(lambda: 1)() == 1",
        "[1 for _ in chosen] == 1",
        "9 ** 9 ** 9 > 1",
        "'a' * 10 == 'b'",
        "chosen[0] == 'A'",
        "f'{chosen}' == 'A'",
        "margin",
        "margin > 'a'",
        "maring > 1",
        "1 < margin < 2",
        "True",
        "chosen in ('a', 'b')",
        "margin > 1" + "0" * 400,
        "not " * 200 + "chosen_complete",
        "(" * 400 + "1" + ")" * 400,
        "margin > ",
        "\x00",
        "",
        "a" * 2000,
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    """No call, attribute, index, power, unknown name or mixed comparison is taken; nothing of it runs."""
    with pytest.raises(UserError) as error:
        _of(text)
    assert "\n" not in str(error.value)


def test_removed_pairs_have_their_reason() -> None:
    """A labelled pair and one that fails the condition become a `Dropped` row each, also where their prompt keeps others."""
    other = Pair("train-00002", "i", "p", "a", "b", "mine", number=0)
    second = Pair("train-00002", "i", "p", "c", "d", "mine", number=1)
    where = parse_condition("chosen != 'c'", place="", do="")
    found, counts = curate(
        [PAIR, DROPPED, other, second],
        labels={("train-00000", 0): Label.BAD, ("train-00002", 0): Label.GOOD},
        drop_labels=[Label.BAD],
        where=where,
    )
    assert found == [
        Dropped("train-00000", DropReason.LABEL.value, "pair 0 is labelled bad"),
        DROPPED,
        other,
        Dropped("train-00002", DropReason.WHERE.value, "pair 1: not true: chosen != 'c'"),
    ]
    assert counts == {"label": 1, "where": 1}


def test_every_pair_that_goes_has_a_row() -> None:
    """Pairs that stay + rows of curation = pairs, also for a prompt that loses all."""
    pairs = [
        Pair(prompt, "i", "q", text, "z", "mine", number=number)
        for prompt in ("p", "q")
        for number, text in enumerate("abc")
    ]
    where = parse_condition("prompt_id == 'p' and number > 1", place="", do="")
    found, counts = curate(pairs, labels={("q", 1): Label.BAD}, drop_labels=[Label.BAD], where=where)
    rows = [(one.prompt_id, one.reason, one.detail[:6]) for one in found if isinstance(one, Dropped)]
    assert rows == [
        ("p", "where", "pair 0"),
        ("p", "where", "pair 1"),
        ("q", "where", "pair 0"),
        ("q", "label", "pair 1"),
        ("q", "where", "pair 2"),
    ]
    assert counts == {"where": 4, "label": 1}
    assert len(found) == len(pairs)


def test_pairs_are_numbered_anew() -> None:
    """If the first pair of a prompt goes, the second one becomes number 0; the row names the pair by its old number."""
    first, second = (
        Pair("p", "i", "q", text, "z", "mine", number=number) for number, text in enumerate("ab")
    )
    found, _ = curate([first, second], labels={("p", 0): Label.BAD}, drop_labels=[Label.BAD], where=None)
    assert [(one.number, one.chosen) for one in found if isinstance(one, Pair)] == [(0, "b")]
    assert [one.detail for one in found if isinstance(one, Dropped)] == ["pair 0 is labelled bad"]
