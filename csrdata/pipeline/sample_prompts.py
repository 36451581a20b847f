"""Wiring of `sample_prompts`: a source in; prompts, their wordings, evaluation questions, truth and lists of images out."""

from collections import Counter

from csrdata import paths
from csrdata.entry import say
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.evaluation_sets import add_evaluation_sets
from csrdata.pipeline.inputs import images_folder, need_exclusion
from csrdata.pipeline.source import open_source, source_files
from csrdata.pipeline.wordings import write_wordings
from csrdata.records import ImageFile, LeftOut, Prompt, Question, Truth
from csrdata.sources.sampled import Sampled, describe_images, keep_usable
from csrdata.storage.tables import hash_path, write_json, write_rows


def run(params: Params) -> None:
    """Sample the training prompts of all iterations, and the evaluation questions of all policies."""
    settings, root = params.sample_prompts, images_folder(params)
    source, exclusion = open_source(params.source, images=root), need_exclusion(params)
    prompts = source.prompts(count=settings.prompts, seed=settings.seed)
    asked = Asked(source.questions(), source.truths())
    asked = add_evaluation_sets(params.evaluation_sets, source, asked, training=prompts, images=root)
    sampled = keep_usable(prompts, root=root, exclusion=exclusion)
    shown = describe_images(asked.questions, root=root)
    files = {path.as_posix(): hash_path(path) for path in source_files(params.source, images=root)}
    write_wordings(sampled.prompts, asked.questions)
    write_rows(paths.PROMPTS, sampled.prompts, Prompt)
    write_rows(paths.QUESTIONS, asked.questions, Question)
    write_rows(paths.TRUTH, asked.truths, Truth)
    write_rows(paths.IMAGES, sampled.images, ImageFile)
    write_rows(paths.QUESTION_IMAGES, shown, ImageFile)
    write_rows(paths.LEFT_OUT, sampled.left_out, LeftOut)
    record = {"kind": params.source.kind, "revision": source.revision(), "files": files}
    write_json(paths.SOURCE_RECORD, record)
    write_json(paths.SAMPLING_METRICS, sampled.counts())
    _tell(sampled)


def _tell(sampled: Sampled) -> None:
    """Say how many prompts were left out, and where the list is; a complete sample is no news."""
    if sampled.left_out:
        total = len(sampled.prompts) + len(sampled.left_out)
        reasons = Counter(row.reason for row in sampled.left_out)
        counted = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        say(f"{len(sampled.prompts)} of {total} prompts; left out: {counted} (listed in {paths.LEFT_OUT})")
