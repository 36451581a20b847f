"""Open the sets that `evaluation_sets` of params.yaml lists; no other module depends on their kinds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import Asked, EvaluationSet
from csrdata.records import Prompt
from csrdata.sections.evaluation import AnySet
from csrdata.sources.base import Source

Sets = Mapping[str, AnySet]
"""The section `evaluation_sets`: settings by name."""


def open_set(name: str, settings: AnySet, *, source: Source) -> EvaluationSet:
    """Return an evaluation set. A new kind needs a case here and a section in `csrdata.sections`.

    Args:
        name: its key in `evaluation_sets`, the name of its split.
        settings: its section.
        source: the project's source.
    """
    match settings.kind:
        case "coco_chair":
            from csrdata.evaluation_sets.coco_chair import CocoChair

            return CocoChair(
                name,
                settings.folder,
                tuple(map(Path, settings.instances)),
                tuple(map(Path, settings.captions)),
                None if settings.synonyms is None else Path(settings.synonyms),
                settings.images,
                settings.seed,
                settings.prompt,
            )
        case "pope":
            from csrdata.evaluation_sets.pope_file import PopeFile

            return PopeFile(name, settings.folder, Path(settings.file), settings.strategy)
        case "pope_built":
            from csrdata.evaluation_sets.pope_built import PopeBuilt

            return PopeBuilt(
                name,
                settings.folder,
                tuple(map(Path, settings.instances)),
                settings.strategy,
                settings.images,
                settings.per_image,
                settings.seed,
            )
        case "prompts":
            from csrdata.evaluation_sets.held_out_prompts import HeldOutPrompts

            return HeldOutPrompts(name, source, settings.count, settings.seed)


def open_sets(sets: Sets, source: Source) -> dict[str, EvaluationSet]:
    """Return all evaluation sets by name, in the order of params.yaml."""
    return {name: open_set(name, settings, source=source) for name, settings in sets.items()}


def add_evaluation_sets(sets: Sets, source: Source, asked: Asked, *, training: Sequence[Prompt]) -> Asked:
    """Return the source's questions and truth, followed by those of each evaluation set, in the order of params.yaml.

    Args:
        sets: the section `evaluation_sets`.
        source: the project's source.
        asked: the rows of the source.
        training: the training prompts, those that are left out later included.

    Raises:
        UserError: a set has the name of a split of the source, or its files are missing or malformed.
    """
    splits = {question.split for question in asked.questions} | {truth.split for truth in asked.truths}
    questions, truths, prompt_ids = list(asked.questions), list(asked.truths), dict(asked.prompt_ids)
    for name, one in open_sets(sets, source).items():
        if name in splits:
            raise UserError(
                f"params.yaml: evaluation_sets.{name}",
                got="a split of the source",
                expected="another name",
                do="rename it in params.yaml, then: dvc repro",
            )
        found = one.ask(training)
        questions += found.questions
        truths += found.truths
        prompt_ids |= found.prompt_ids
    return Asked(questions, truths, prompt_ids)


def shrinking_splits(sets: Sets, source: Source) -> frozenset[str]:
    """Return the splits in which an image that cannot be read costs its questions; elsewhere it is an error."""
    return frozenset(name for name, one in open_sets(sets, source).items() if not one.needs_every_image)


def set_files(sets: Sets, source: Source) -> list[Path]:
    """Return the files that the sets' rows come from, images excepted: `sample_prompts` depends on them."""
    return _distinct(path for one in open_sets(sets, source).values() for path in one.files())


def parser_files(sets: Sets, source: Source) -> list[Path]:
    """Return the files that the claim parsers come from: `evaluate_policy` and `summarize` depend on them too."""
    return _distinct(path for one in open_sets(sets, source).values() for path in one.parser_files())


def _distinct(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(paths))
