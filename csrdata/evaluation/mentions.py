"""Every hallucinated word of a policy's descriptions, as rows of a table: what CHAIR counts, for a reader to check.

`marks` finds the words in any text about an image whose truth is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.evaluation.scorecard import Known
from csrdata.records import Answer, Kind, Question, Truth
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class Mark:
    """One mention of an object that is not in the image, by its place in the text."""

    start: int
    """Characters of the text before the word."""
    end: int
    """The character behind the word: the word is `text[start:end]`."""
    object: str
    """What it names, as `Truth.objects` would."""
    mistake: str | None
    """The kind of mistake, where the parser tells it."""
    word: str
    """As the text has it, letter case aside."""
    sentence: int
    """1 for the first sentence of the text."""


def marks(text: str, truth: Truth, parser: ClaimParser) -> list[Mark]:
    """Return every mention of an absent object in a text, in the order of the words.

    Raises:
        ValueError: the parser returns a sentence that is not in the text.

    Example: "A star. A red ring." without a ring -> one mark, 14 to 18, in sentence 2
    """
    found, begin = [], 0
    for number, sentence in enumerate(parser.sentences(text), start=1):
        begin = text.index(sentence, begin)
        found += [
            Mark(
                start=begin + mention.start,
                end=begin + mention.end,
                object=mention.name,
                mistake=mention.mistake,
                word=mention.word,
                sentence=number,
            )
            for mention in parser.mentions(sentence, truth)
            if not mention.present
        ]
        begin += len(sentence)
    return found


@dataclass(frozen=True, slots=True)
class AbsentMention:
    """One mention of an object that is not in the image."""

    split: str
    question_id: str
    image: str
    sentence: int
    """1 for the first sentence of the answer."""
    word: str
    """As the sentence has it, letter case aside."""
    object: str
    """What it names, as `Truth.objects` would."""
    mistake: str | None
    """The kind of mistake, where the parser tells it."""
    start: int
    """Characters of the answer before the word."""
    end: int
    """The character of the answer behind the word."""
    text: str
    """The sentence."""


def absent_mentions(
    questions: Sequence[Question], answers: Sequence[Answer], known: Mapping[str, Known]
) -> list[AbsentMention]:
    """Return every mention of an absent object, in the order of the questions and of the words.

    Args:
        questions: of all splits.
        answers: one for each question.
        known: by split; descriptions of other splits are left out.
    """
    given = {answer.question_id: answer.text for answer in answers}
    return [
        AbsentMention(
            question.split,
            question.question_id,
            question.image,
            mark.sentence,
            mark.word,
            mark.object,
            mark.mistake,
            mark.start,
            mark.end,
            known[question.split].parser.sentences(given[question.question_id])[mark.sentence - 1],
        )
        for question in questions
        if question.kind == Kind.DESCRIBE and question.split in known
        for mark in marks(
            given[question.question_id],
            known[question.split].truths[question.image],
            known[question.split].parser,
        )
    ]
