"""Which answers are judged, how the policy is asked, and how its words are read."""

import pytest

from csrdata.records import NO_PARENT, Fate, Sentence, Stop
from csrdata.search.contests import Contest, contest
from csrdata.search.judging import Judging

LETTERS = Judging("A: {first} B: {second}", ("A.", "B."))


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("response 1", 0),
        (" Response 2.", 1),
        ("**RESPONSE  1**", 0),
        ("I choose response 2, which is closer.", 1),
        ("response 1 or response 2.", None),
        ("response 12", None),
        ("Both are fine.", None),
        ("", None),
    ],
)
def test_a_verdict_names_one_answer(said: str, place: int | None) -> None:
    """One of the two verdicts, in any case, as words of its own; both or none cannot be read."""
    assert Judging().read(said) == place


@pytest.mark.parametrize(("said", "place"), [(" A.", 0), ("b.", 1), ("A red circle.", None), ("A. B.", None)])
def test_a_verdict_may_be_a_letter(said: str, place: int | None) -> None:
    """The full stop is part of the verdict: an article is none."""
    assert LETTERS.read(said) == place


@pytest.mark.parametrize(
    ("judging", "said", "other"),
    [
        (Judging(), "Response 1 fits.", "Response 2 fits."),
        (Judging(), "response  2", "response 1"),
        (Judging(), "neither", None),
        (LETTERS, " A.", " B."),
    ],
)
def test_the_other_verdict_differs_in_one_word(judging: Judging, said: str, other: str | None) -> None:
    """The rest of what was said, its capitals too, stays as it is."""
    assert judging.swapped(said) == other


def test_the_papers_prompt_holds_both_answers() -> None:
    """Table 3: answer 1 stands before answer 2, both without the white space around them; braces in them are text."""
    asked = Judging().ask(" A {second} cat.\n", " A dog.")
    assert asked.startswith("Now you act as a judge, helping me determine which of the two texts I provide")
    assert "\nResponse 1:\nA {second} cat.\nResponse 2:\nA dog.\n" in asked
    assert asked.endswith("Output Format:\nresponse 1 or response 2.")


def node(node_id: int, parent: int, group: int, text: str, *, fate: Fate, canonical: bool = True) -> Sentence:
    is_leaf = fate in (Fate.FINISHED, Fate.CUT)
    return Sentence(
        prompt_id="p",
        node_id=node_id,
        parent_id=parent,
        depth=1,
        group=group,
        text=text,
        token_ids=[1],
        logprob=-1.0,
        relevance=1.0 if text else None,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=0.0,
        stop=Stop.END if fate is Fate.FINISHED else Stop.SENTENCE_END,
        fate=fate,
        canonical=canonical if is_leaf else None,
    )


def test_the_first_two_drawn_are_judged_not_the_shortest() -> None:
    """Answer 0 takes three sentences and ends last; answer 2 has answer 0's text; answer 4 ended first but was drawn last."""
    tree = [
        node(0, NO_PARENT, 0, " A.", fate=Fate.KEPT_BEST),
        node(1, NO_PARENT, 1, " B.", fate=Fate.CUT),
        node(2, NO_PARENT, 2, " A. B.", fate=Fate.FINISHED),
        node(3, NO_PARENT, 3, " C.", fate=Fate.KEPT_BEST),
        node(4, NO_PARENT, 4, " D.", fate=Fate.FINISHED),
        node(5, 0, 0, " B.", fate=Fate.KEPT_BEST),
        node(6, 3, 3, "", fate=Fate.FINISHED),
        node(7, 5, 0, "", fate=Fate.FINISHED),
    ]
    assert contest(tree) == Contest("p", (7, 6), (" A. B.", " C."))


def test_without_two_answers_there_is_no_contest() -> None:
    """Cut answers, answers that are not canonical, empty ones and equal ones do not count."""
    tree = [
        node(0, NO_PARENT, 0, " A.", fate=Fate.FINISHED),
        node(1, NO_PARENT, 1, "A. ", fate=Fate.FINISHED),
        node(2, NO_PARENT, 2, "", fate=Fate.FINISHED),
        node(3, NO_PARENT, 3, " B.", fate=Fate.CUT),
        node(4, NO_PARENT, 4, " C.", fate=Fate.FINISHED, canonical=False),
    ]
    assert contest(tree) is None
