"""Wiring of `measure_attention`: a policy and descriptions in; the share of attention on the image at each token out.

A policy is measured on its own descriptions, and on the base's: on equal texts, two policies differ in their weights alone.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.analyses.attention import OF_BASE, OWN
from csrdata.images import ImageRoot
from csrdata.params import FILE, Params
from csrdata.pipeline.answers import read_answers
from csrdata.pipeline.inputs import need_images, need_policy
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Answer, ImageAttention, Kind, Question
from csrdata.storage.tables import read_rows, write_json, write_rows

if TYPE_CHECKING:
    from csrdata.policy.loading import Policy

FIX = f"fix {FILE}, then: dvc repro"


def run(params: Params, name: str) -> None:
    """Measure a policy's attention on the images of its first descriptions of one split.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration.

    Raises:
        UserError: an input is missing or damaged, the split has no descriptions, or the model gives no attention weights.
    """
    settings = params.measure_attention
    if settings is None:
        place = f"{FILE}: measure_attention"
        raise UserError(place, got="null", expected="split and images", do=FIX)
    set_up_process(params.compute)
    questions = described(settings.split)[: settings.images]
    texts = {OWN: read_answers(name)} | ({} if name == paths.BASE else {OF_BASE: read_answers(paths.BASE)})
    images = need_images(params, (question.image for question in questions), listed=paths.QUESTION_IMAGES)
    policy = _load(params, name)
    rows = [
        row
        for of, answers in texts.items()
        for row in _rows(policy, questions, answers, of=of, images=images)
    ]
    write_rows(paths.image_attention(name), rows, ImageAttention)
    write_json(paths.stage_metrics("measure_attention", name), _metrics(rows, len(questions)))


def described(split: str) -> list[Question]:
    """Return the descriptions of a split, in the order of the evaluation questions.

    Raises:
        UserError: there is none.
    """
    asked = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    described = [question for question in asked if question.kind == Kind.DESCRIBE]
    found = [question for question in described if question.split == split]
    if not found:
        splits = dict.fromkeys(question.split for question in described)
        expected = (
            f"one of {', '.join(splits)}" if splits else "measure_attention: null, as nothing is described"
        )
        raise UserError(f"{FILE}: measure_attention.split", got=split, expected=expected, do=FIX)
    return found


def _load(params: Params, name: str) -> "Policy":
    from csrdata.policy.loading import load_policy

    compute, wordings = params.compute, read_wordings(paths.QUESTION_WORDINGS)
    return load_policy(need_policy(name), device=compute.device, dtype=compute.dtype, wordings=wordings)


def _rows(
    policy: "Policy", questions: Sequence[Question], answers: Sequence[Answer], *, of: str, images: ImageRoot
) -> list[ImageAttention]:
    """Return a row for each token of the answers."""
    from csrdata.policy.image_attention import image_attention

    by_id = {answer.question_id: answer for answer in answers}
    asked = [by_id[question.question_id] for question in questions]
    shares = image_attention(policy, questions, asked, root=images)
    return [
        ImageAttention(question.question_id, of, position, share)
        for question, own in zip(questions, shares, strict=True)
        for position, share in enumerate(own)
    ]


def _metrics(rows: Sequence[ImageAttention], answers: int) -> dict[str, object]:
    """Return the mean share over all tokens, 0..1, of own answers and of the base's."""
    shares = {of: [row.share for row in rows if row.of == of] for of in (OWN, OF_BASE)}
    return {"answers": answers, **{of: fmean(own) for of, own in shares.items() if own}}
