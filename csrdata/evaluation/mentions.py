"""Every hallucinated word of a policy's descriptions, as rows of a table: what CHAIR counts, for a reader to check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.evaluation.scorecard import Known
from csrdata.records import Answer, Kind, Question


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
            number,
            mention.word,
            mention.name,
            mention.mistake,
            sentence,
        )
        for question in questions
        if question.kind == Kind.DESCRIBE and question.split in known
        for number, sentence in enumerate(
            known[question.split].parser.sentences(given[question.question_id]), start=1
        )
        for mention in known[question.split].parser.mentions(
            sentence, known[question.split].truths[question.image]
        )
        if not mention.present
    ]
