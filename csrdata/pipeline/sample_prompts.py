"""Wiring of `sample_prompts`: a source in; prompts, their wordings, evaluation questions, truth and lists of images out."""

from collections import Counter
from collections.abc import Collection, Sequence

from csrdata import paths
from csrdata.entry import say
from csrdata.evaluation_sets.answerable import Answerable, keep_answerable
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.evaluation_sets import add_evaluation_sets, shrinking_splits
from csrdata.pipeline.inputs import images_folder, need_exclusion
from csrdata.pipeline.source import exclude_file, open_source, source_files
from csrdata.pipeline.wordings import write_wordings
from csrdata.records import ImageFile, LeftOut, Prompt, Question, Truth
from csrdata.sources.exclusion import Exclusion
from csrdata.sources.sampled import ImageReader, Sampled, keep_usable
from csrdata.storage.tables import hash_path, write_json, write_rows

NAMED = 3
"""Excluded names without a match that the message lists."""


def run(params: Params) -> None:
    """Sample the training prompts of all iterations, and the evaluation questions of all policies."""
    settings, root = params.sample_prompts, images_folder(params)
    source, exclusion = open_source(params.source, images=root), need_exclusion(params)
    images = ImageReader(root)
    prompts = source.prompts(count=settings.prompts, seed=settings.seed)
    asked = Asked(source.questions(), source.truths())
    asked = add_evaluation_sets(params.evaluation_sets, source, asked, training=prompts)
    sampled = keep_usable(prompts, images=images, exclusion=exclusion)
    shrinking = shrinking_splits(params.evaluation_sets, source)
    answerable = keep_answerable(asked, images=images, exclusion=exclusion, shrinking=shrinking)
    files = {path.as_posix(): hash_path(path) for path in source_files(params.source, images=root)}
    write_wordings(sampled.prompts, answerable.asked.questions)
    write_rows(paths.PROMPTS, sampled.prompts, Prompt)
    write_rows(paths.QUESTIONS, answerable.asked.questions, Question)
    write_rows(paths.TRUTH, answerable.asked.truths, Truth)
    write_rows(paths.IMAGES, sampled.images, ImageFile)
    write_rows(paths.QUESTION_IMAGES, answerable.images, ImageFile)
    write_rows(paths.LEFT_OUT, [*sampled.left_out, *answerable.left_out], LeftOut)
    record = {"kind": params.source.kind, "revision": source.revision(), "files": files}
    write_json(paths.SOURCE_RECORD, record)
    write_json(paths.SAMPLING_METRICS, {**sampled.counts(), "questions": answerable.counts()})
    _tell(sampled, answerable)
    _tell_unmatched(params, exclusion, sampled.excluded | answerable.excluded)


def _tell(sampled: Sampled, answerable: Answerable) -> None:
    """Say how many prompts and questions were left out, and where the list is; nothing is said of a complete sample."""
    for kept, left_out, what in (
        (len(sampled.prompts), sampled.left_out, "prompts"),
        (len(answerable.asked.questions), answerable.left_out, "evaluation questions"),
    ):
        if left_out:
            counted = _counted(left_out)
            total = kept + len(left_out)
            say(f"{kept} of {total} {what}; left out: {counted} (listed in {paths.LEFT_OUT})")


def _counted(left_out: Sequence[LeftOut]) -> str:
    """Return how many rows have each reason. Example: `2 excluded` of prompts, `2 excluded of unseen` of questions."""
    reasons = Counter((row.split, row.reason) for row in left_out)
    return ", ".join(
        f"{count} {reason}" + ("" if split is None else f" of {split}")
        for (split, reason), count in reasons.items()
    )


def _tell_unmatched(params: Params, exclusion: Exclusion, matched: Collection[str]) -> None:
    """Say which excluded names are not in the sample: a misspelt one would exclude nothing."""
    unmatched = exclusion.unmatched(matched)
    if unmatched:
        first = ", ".join(f"{name} (line {exclusion.names[name]})" for name in unmatched[:NAMED])
        more = ", ..." if len(unmatched) > NAMED else ""
        say(
            f"{exclude_file(params.source)}: {len(unmatched)} of {len(exclusion.names)} names match no prompt, question "
            f"or image of the sample: {first}{more}"
        )
