"""Marks: every mention of an absent object, by its place in the text."""

import pytest

from csrdata.evaluation.mentions import marks
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import coco_synonyms
from csrdata.records import Truth
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser
from tests.evaluation.scenes import BROKEN, CIRCLE, HEART, READER, RING, STAR, TRUTH, text

COCO = Truth("a/1.jpg", "chair", ["dog"], "{}")


def test_a_mark_is_the_word_in_the_answer() -> None:
    """Present shapes have no mark; an absent one is marked where it is named, also in a broken sentence."""
    answer = f"\n {text(CIRCLE, HEART, STAR, BROKEN)}  {RING} Two Rings"
    found = marks(answer, TRUTH, READER)
    assert [answer[mark.start : mark.end] for mark in found] == ["heart", "heart", "ring", "Ring"]
    assert [(mark.word, mark.object, mark.sentence) for mark in found] == [
        ("heart", "heart", 2),
        ("heart", "heart", 4),
        ("ring", "ring", 5),
        ("ring", "ring", 6),
    ]
    assert found[0].mistake is not None


def test_a_phrase_that_names_no_object_is_not_marked() -> None:
    """A mark is the word that counted: not the same letters in a phrase that names no object."""
    answer = "A train station. A dog waits for the TRAIN at a train station."
    (mark,) = marks(answer, COCO, CocoClaimParser(coco_synonyms()))
    assert (mark.start, answer[mark.start : mark.end], mark.word) == (37, "TRAIN", "train")


def test_a_mark_counts_characters_of_the_text() -> None:
    """A letter that becomes two without capitals (ß, ss) moves no mark."""
    answer = "Straße ẞ: two Hot-Dogs. Fußball, a bus"
    found = marks(answer, COCO, CocoClaimParser(coco_synonyms()))
    assert [answer[mark.start : mark.end] for mark in found] == ["Hot-Dogs", "bus"]


def test_the_same_sentence_twice_has_two_marks() -> None:
    """The second mark is in the second sentence."""
    answer = text(HEART, HEART)
    first, second = marks(answer, TRUTH, READER)
    assert second.start == first.start + len(HEART) + 1


def test_a_parser_that_rewrites_sentences_is_refused() -> None:
    """A sentence that is no part of the text has no place."""

    class Rewriting(MicroworldClaimParser):
        def sentences(self, text: str) -> list[str]:
            return [text.upper()]

    with pytest.raises(ValueError, match="substring not found"):
        marks(HEART, TRUTH, Rewriting())


def test_an_answer_without_absent_objects_has_no_mark() -> None:
    """Neither has an empty one."""
    assert marks(text(CIRCLE, STAR), TRUTH, READER) == marks("", TRUTH, READER) == []
