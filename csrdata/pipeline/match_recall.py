"""Wiring of `match_recall`: a policy and the base's answers in; its answers at every end-of-sequence bias out.

The metrics say at which bias the policy has the base's recall, and its figures there. Intervals and tests are `summarize`'s.
"""

from collections.abc import Mapping, Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.equal_recall import (
    Curve,
    at_match,
    bias_grid,
    biased_curves,
    check_setting,
    describing,
    match,
    plain_curves,
    why_outside,
)
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.scorecard import CURVE_FIGURES, check_questions
from csrdata.evaluation_sets.base import Asked
from csrdata.images import ImageRoot
from csrdata.params import FILE, Params
from csrdata.pipeline.inputs import need_images, need_policy, read_left_out
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Answer, BiasedAnswer, Question, Truth
from csrdata.sections.evaluation import MatchRecall
from csrdata.storage.tables import read_rows, write_json, write_rows

FIX = f"fix {FILE}, then: dvc repro"


def run(params: Params, name: str) -> None:
    """Answer the descriptions at every bias, and find the bias at which the policy has the base's recall.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration.

    Raises:
        UserError: an input is missing or damaged, or nothing is known about the images of the setting split.
    """
    settings = params.match_recall
    if settings is None:
        raise UserError(f"{FILE}: match_recall", got="null", expected="split, low, high and step", do=FIX)
    set_up_process(params.compute)
    questions = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    truths = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    known = known_truth(params.evaluation_sets, open_source(params.source), Asked(questions, truths))
    check_questions(questions, known)
    asked = describing(questions, known)
    check_setting(settings.split, asked, place=f"{FILE}: match_recall.split", do=FIX)
    made_by = "dvc repro evaluate_base"
    base = read_rows(paths.answers(paths.BASE), Answer, made_by=made_by)
    plain = plain_curves(asked, base, known, made_by=made_by)
    images = need_images(params, (question.image for question in asked), listed=paths.QUESTION_IMAGES)
    wordings = read_wordings(paths.QUESTION_WORDINGS)
    answers = answer_at_biases(params, settings, name, asked, images=images, wordings=wordings)
    curves = biased_curves(asked, answers, known, made_by=made_by)
    write_rows(paths.biased_answers(name), answers, BiasedAnswer)
    tokens = params.evaluate_policy.max_new_tokens
    left_out = read_left_out()
    record = describe_evaluation(asked, known, left_out=left_out, max_new_tokens=tokens).as_json()
    write_json(paths.biased_record(name), record)
    own = plain if name == paths.BASE else curves
    write_json(paths.stage_metrics("match_recall", name), _metrics(own, plain, curves, split=settings.split))


def answer_at_biases(
    params: Params,
    settings: MatchRecall,
    name: str,
    questions: Sequence[Question],
    *,
    images: ImageRoot,
    wordings: Mapping[str, str],
) -> list[BiasedAnswer]:
    """Load a policy, and return its answer to each question at each bias.

    Args:
        params: all parameters.
        settings: the biases.
        name: "base" or the name of an iteration.
        questions: descriptions.
        images: those of the questions.
        wordings: the rendered prompts of the questions, by their instruction.

    Raises:
        UserError: the model or an image is missing or damaged.
    """
    from csrdata.policy.end_bias import answer_paths, replies_at
    from csrdata.policy.loading import load_policy

    asking, compute = params.evaluate_policy, params.compute
    biases = bias_grid(low=settings.low, high=settings.high, step=settings.step)
    policy = load_policy(need_policy(name), device=compute.device, dtype=compute.dtype, wordings=wordings)
    found = answer_paths(
        policy,
        questions,
        root=images,
        lowest=min(biases),
        max_new_tokens=asking.max_new_tokens,
        batch_size=asking.batch_size,
        title="descriptions at every bias",
    )
    return [
        BiasedAnswer(question.question_id, bias, reply.text, len(reply.token_ids), reply.finished)
        for question, path in zip(questions, found, strict=True)
        for bias, reply in zip(biases, replies_at(policy, path, biases), strict=True)
    ]


def _metrics(
    own: Mapping[str, Curve], base: Mapping[str, Curve], curves: Mapping[str, Curve], *, split: str
) -> dict[str, object]:
    """Return the bias, the figures at it, and the figures at every bias.

    Args:
        own: the curves on which the bias is found; the base's have one point, 0.
        base: the base's.
        curves: those that are shown.
        split: the setting split.
    """
    target = base[split].values("recall")[0]
    place = match(own[split], target)
    return {
        "split": split,
        "base_recall": target,
        "bias": None if place is None else place.bias,
        "reason": why_outside(own[split], target) if place is None else None,
        "at_recall": {
            name: None if place is None else {key: one.value for key, one in at_match(curve, place).items()}
            for name, curve in own.items()
        },
        "curves": {
            name: [
                {"bias": bias, **{key: curve.ratios[key][point].value for key in CURVE_FIGURES}}
                for point, bias in enumerate(curve.biases)
            ]
            for name, curve in curves.items()
        },
    }
