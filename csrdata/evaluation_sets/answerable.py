"""From the sampled questions to those that every policy answers.

Excluded questions leave. An image that cannot be read costs its questions in a set of prompts; in a fixed list it is an
error, because the figures would be those of another list.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import Asked
from csrdata.progress import progress
from csrdata.records import ImageFile, LeaveReason, LeftOut, Question
from csrdata.sources.exclusion import Exclusion
from csrdata.sources.sampled import ImageReader, Unusable, count_reasons, in_words, why_left_out


@dataclass(frozen=True, slots=True)
class Answerable:
    """What became of the sampled questions: asked + left out = sampled."""

    asked: Asked
    """Without the truth about images that nobody asks about any more."""
    left_out: list[LeftOut]
    images: list[ImageFile]
    """Those of the questions, in the order of their paths."""
    excluded: frozenset[str] = frozenset()
    """The excluded ids and hashes that named one of the questions or images."""

    def counts(self) -> dict[str, object]:
        """Return the figures of each split, by name."""
        asked = Counter(question.split for question in self.asked.questions)
        return {
            split: {
                "sampled": count + sum(row.split == split for row in self.left_out),
                "questions": count,
                "left_out": count_reasons(row for row in self.left_out if row.split == split),
            }
            for split, count in asked.items()
        }


def keep_answerable(
    sampled: Asked, *, images: ImageReader, exclusion: Exclusion, shrinking: Collection[str]
) -> Answerable:
    """Leave out questions that are excluded or, in some splits, whose images cannot be read.

    Args:
        sampled: the questions and what is known about their images.
        images: reads the images.
        exclusion: ids of questions, ids of their prompts, and image hashes that leave.
        shrinking: the splits in which an unreadable image costs its questions. In any other split it is an error.

    Raises:
        UserError: an image of another split cannot be read, or no question of a split is left.
    """
    kept: list[Question] = []
    left_out: list[LeftOut] = []
    excluded: set[str] = set()
    for question in progress(sampled.questions, title="read images of questions", unit="question"):
        image = images.read(question.image)
        ids = {question.question_id, sampled.prompt_ids.get(question.question_id, question.question_id)}
        why = why_left_out(image, *ids, exclusion=exclusion)
        excluded |= exclusion.matching(*ids, image.sha256)
        if why is None:
            kept.append(question)
            continue
        reason, detail = why
        needed = reason == LeaveReason.UNREADABLE_IMAGE and question.split not in shrinking
        if needed and isinstance(image, Unusable):
            raise _needed(question, image.problem)
        left_out.append(LeftOut(question.question_id, question.split, question.image, reason, detail))
    _check_splits(kept, left_out)
    gone = {(row.image, row.split) for row in left_out} - {(one.image, one.split) for one in kept}
    truths = [truth for truth in sampled.truths if (truth.image, truth.split) not in gone]
    return Answerable(
        Asked(kept, truths, sampled.prompt_ids),
        left_out,
        images.files(question.image for question in kept),
        frozenset(excluded),
    )


def _needed(question: Question, problem: UserError) -> UserError:
    return UserError(
        f"question {question.question_id}: image {question.image}",
        got=problem.got,
        expected=f"{problem.expected}: {question.split} is measured on every image of its list",
        do="put the image there or exclude the question (source.exclude), then: dvc repro",
    )


def _check_splits(kept: list[Question], left_out: list[LeftOut]) -> None:
    """Refuse a split without questions: its figures would be missing without a word."""
    splits = {question.split for question in kept}
    for row in left_out:
        if row.split not in splits:
            raise UserError(
                f"questions of {row.split}",
                got=f"none that can be asked; {in_words(row)}",
                expected="1 or more with a readable image under images.root",
                do="check images.root, source and source.exclude in params.yaml, then: dvc repro",
            )
