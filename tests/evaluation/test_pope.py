"""POPE: how an answer is parsed, and the figures of a split."""

import pytest

from csrdata.evaluation import pope
from csrdata.records import Side

YES, NO = Side.YES, Side.NO


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Yes.", YES),
        ("yes", YES),
        ("Yes, there is a circle. No square.", YES),
        ("No", NO),
        ("No, there is not.", NO),
        ("There is not a circle in the image.", NO),
        ("It is a circle.", None),
        ("Nothing. Yes.", None),
        ("", None),
    ],
)
def test_words_decide_not_strings(text: str, side: Side | None) -> None:
    """The words yes, no and not in the first sentence decide, with any other words; without them it is unparsed."""
    assert pope.parse_yes_no(text) is side


@pytest.mark.parametrize(
    ("text", "keyword", "strict"),
    [
        ("Yes.", YES, YES),
        (" no ", NO, NO),
        ("**Yes**", YES, YES),
        ("Yes, there is.", YES, None),
        ("No, there is not.", NO, None),
        ("NO", YES, NO),
        ("No!", YES, NO),
        ("It is not, no.", NO, None),
        ("A circle.", YES, None),
        ("There is none. No.", YES, None),
        ("", YES, None),
    ],
)
def test_the_originals_rule_and_strict_match(text: str, keyword: Side, strict: Side | None) -> None:
    """The original takes all but three words for a yes; a strict answer is one word and nothing else."""
    assert pope.parse_keyword(text) is keyword
    assert pope.parse_strict(text) is strict


def test_figures_of_a_split() -> None:
    """TP 2, FP 1, TN 1, FN 1 and one unparsed "yes" question: accuracy 3/6, F1 4/(4+1+2), yes-rate 3/6."""
    said = [(YES, YES), (YES, YES), (NO, YES), (NO, NO), (YES, NO), (YES, None)]
    answers = [
        pope.YesNoAnswer(f"{index % 2}.png", right, answer) for index, (right, answer) in enumerate(said)
    ]
    found = {name: ratio.value for name, ratio in pope.figures_of(answers, ["0.png", "1.png"]).items()}
    assert found["accuracy"] == 50
    assert found["f1"] == pytest.approx(400 / 7)
    assert found["yes_rate"] == 50
    assert found["unparsed"] == pytest.approx(100 / 6)


def _reply(right: Side, text: str, negative: str | None = None, image: str = "a") -> pope.YesNoReply:
    return pope.YesNoReply(image, right, negative, text)


def test_a_kind_has_as_many_yes_as_no_questions() -> None:
    """The k-th yes question of an image belongs to the kind of its k-th no question; an image's entry is its own."""
    replies = [
        _reply(YES, "Yes."),
        _reply(YES, "No."),
        _reply(NO, "No.", "popular"),
        _reply(NO, "Yes.", "random"),
        _reply(YES, "Yes.", image="b"),
        _reply(NO, "Well.", "random", image="b"),
    ]
    found = pope.accuracy_by_kind(replies, ["b", "a", "c"])
    assert list(found) == ["random", "popular"]
    assert found["popular"].numerators.tolist() == [0, 2, 0]
    assert found["popular"].denominators.tolist() == [0, 2, 0]
    assert found["random"].numerators.tolist() == [1, 0, 0]
    assert found["random"].denominators.tolist() == [2, 2, 0]


def test_questions_of_one_kind_are_all_questions() -> None:
    """The accuracy of the only kind is the accuracy, also where an image has more yes than no questions."""
    replies = [_reply(YES, "Yes."), _reply(YES, "No."), _reply(YES, "Yes."), _reply(NO, "No.", "popular")]
    found = pope.ratios(replies, ["a"])
    assert found["pope_accuracy_popular"].value == found["pope_accuracy"].value == 75
    assert "pope_accuracy_random" not in found


def test_yes_questions_alone_have_no_kind() -> None:
    """Without a no question there is no kind, and no figure of one."""
    assert pope.accuracy_by_kind([_reply(YES, "Yes.")], ["a"]) == {}


def test_an_unparsed_no_question_is_wrong_but_no_yes() -> None:
    """An unparsed answer to a "no" question is neither right nor a false yes."""
    answers = [pope.YesNoAnswer("0.png", NO, None), pope.YesNoAnswer("0.png", YES, YES)]
    found = {name: ratio.value for name, ratio in pope.figures_of(answers, ["0.png"]).items()}
    assert (found["accuracy"], found["f1"], found["yes_rate"]) == (50, 100, 50)


def test_rows_follow_the_images() -> None:
    """Each image is one entry, in the order of the argument; an image without questions has no weight."""
    found = pope.figures_of([pope.YesNoAnswer("b", YES, YES)], ["a", "b"])["accuracy"]
    assert found.numerators.tolist() == [0, 1]
    assert found.denominators.tolist() == [0, 1]
