"""Pairs of several kinds: all of them, with numbers of their own."""

from csrdata.records import Dropped, Pair, Prompt
from csrdata.search.mixed_pairs import make

PROMPTS = [Prompt("a", "a.png", "?"), Prompt("b", "b.png", "?"), Prompt("c", "c.png", "?")]


def pair(
    prompt_id: str, chosen: str, *, number: int = 0, context: str = "", origin: str = "csr_search"
) -> Pair:
    return Pair(prompt_id, f"{prompt_id}.png", "?", chosen, "x", origin, number=number, context=context)


def test_the_pairs_of_all_parts_are_numbered_anew() -> None:
    """The first part's come first; a prompt with a pair in one part is not dropped; one in none has all details."""
    parts = [
        (
            "answers",
            [
                pair("a", "1"),
                pair("a", "2", number=1),
                Dropped("b", "no_response", "1 answer"),
                Dropped("c", "no_response", "0 answers"),
            ],
        ),
        (
            "sentences",
            [pair("a", "3", context="y"), pair("b", "4"), Dropped("c", "no_siblings", "2 candidates")],
        ),
    ]
    assert make(PROMPTS, parts) == [
        pair("a", "1"),
        pair("a", "2", number=1),
        pair("a", "3", number=2, context="y"),
        pair("b", "4"),
        Dropped("c", "no_response", "answers: no_response, 0 answers; sentences: no_siblings, 2 candidates"),
    ]


def test_a_pair_is_made_once() -> None:
    """The same two sides after the same context are one pair, of the part that made it first."""
    parts = [
        ("answers", [pair("a", "1")]),
        (
            "answers",
            [pair("a", "1", origin="random"), pair("a", "1", number=1, context="y", origin="random")],
        ),
    ]
    assert make(PROMPTS[:1], parts) == [
        pair("a", "1"),
        pair("a", "1", number=1, context="y", origin="random"),
    ]
