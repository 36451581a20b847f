"""Which benchmark `--set` names: a split of this project, or a kind whose files `--with` gives."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.pack.base import Bench, same_command
from csrdata.evaluation.pack.questions import questions_bench
from csrdata.evaluation.scorecard import Known
from csrdata.evaluation_sets.base import Asked
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import coco_synonyms, read_synonyms
from csrdata.params import FILE, load_params
from csrdata.pipeline.evaluation_sets import open_set
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth
from csrdata.records import Question, Truth
from csrdata.sections.evaluation import CocoChairSet, PopeBuiltSet, PopeSet
from csrdata.sections.pack import KINDS, GivenSet, PackSet, PopeSplitsSet, RepopeSet, RepopeSplitsSet
from csrdata.storage.tables import read_rows
from csrdata.validation import explain

SAMPLED = "dvc repro sample_prompts"


def open_bench(word: str, options: Sequence[str]) -> Bench:
    """Return the benchmark that a word names.

    Args:
        word: a split of this project (one of its source, or an entry of `evaluation_sets`), or one of `KINDS`.
        options: `KEY=VALUE` for a kind, one each; a value is YAML.

    Raises:
        UserError: the word names nothing, a key is unknown, missing or malformed, or a file is.
    """
    if word in KINDS:
        given = _given(word, options)
        with same_command():
            return _open(given)
    if options:
        raise UserError(
            "--with",
            got=options[0],
            expected=f"no option: {word} is not a kind",
            do="csrdata evaluate --help",
        )
    return project_bench(word)


def project_bench(split: str) -> Bench:
    """Return the benchmark of a split of this project: the questions that its policies answered.

    Raises:
        UserError: this is not a project, or it has no such split.
    """
    place = "--set"
    if not FILE.is_file():
        expected = f"one of {', '.join(KINDS)}, or a name of a project's params.yaml"
        raise UserError(place, got=split, expected=expected, do="csrdata evaluate --help")
    params = load_params()
    source = open_source(params.source)
    if not paths.QUESTIONS.is_file():
        raise UserError(
            str(paths.QUESTIONS), got="no such file", expected="the project's questions", do=SAMPLED
        )
    questions = read_rows(paths.QUESTIONS, Question, made_by=SAMPLED)
    truths = read_rows(paths.TRUTH, Truth, made_by=SAMPLED)
    names = list(dict.fromkeys(question.split for question in questions))
    if split not in names:
        expected = f"one of {', '.join([*names, *KINDS])}"
        raise UserError(place, got=split, expected=expected, do="csrdata evaluate --help")
    known = known_truth(params.evaluation_sets, source, Asked(questions, truths)).get(split)
    settings = params.evaluation_sets.get(split)
    kind = params.source.kind if settings is None else settings.kind
    return questions_bench(split, [one for one in questions if one.split == split], known, kind=kind)


def project_splits() -> list[str]:
    """Return the splits of this project that have questions, in the order of their table."""
    return list(dict.fromkeys(one.split for one in read_rows(paths.QUESTIONS, Question, made_by=SAMPLED)))


def _given(kind: str, options: Sequence[str]) -> PackSet:
    """Return the section that options of the command line make.

    Raises:
        UserError: one is malformed, or pydantic refuses it.
    """
    raw: dict[str, Any] = {"kind": kind}
    for option in options:
        key, found, text = option.partition("=")
        if not found or not key or key in raw:
            got = option if not found or not key else f"{key} twice"
            raise UserError(
                "--with", got=got, expected="KEY=VALUE, each key once", do="csrdata evaluate --help"
            )
        try:
            raw[key] = YAML(typ="safe", pure=True).load(io.StringIO(text))
        except (YAMLError, ValueError, RecursionError) as error:
            first = (str(error) or "no YAML").splitlines()[0]
            raise UserError(
                f"--with {key}", got=first, expected="a value in YAML", do="csrdata evaluate --help"
            ) from None
    whole = {"set": _with_defaults(raw)}
    try:
        return GivenSet.model_validate(whole).set
    except ValidationError as error:
        raise explain(
            error, GivenSet, whole, place="--with", do="docs/evaluation.md lists the keys"
        ) from None


def _with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill in what only a run of a model needs, such as the folder of images."""
    if raw["kind"] in {"pope", "pope_built", "coco_chair"}:
        raw = {"folder": ".", **raw}
    if raw["kind"] == "coco_chair":
        raw = {"synonyms": None, "prompt": "Please describe this image in detail.", **raw}
    return raw


def _open(settings: PackSet) -> Bench:
    """Return the benchmark of a section. A new kind needs a case here and a section in `csrdata.sections.pack`."""
    match settings.kind:
        case "amber":
            from csrdata.evaluation.pack.amber import amber

            files = (settings.annotations, settings.queries, settings.relation, settings.safe_words)
            return amber(*map(Path, files), part=settings.part)
        case "dash_b":
            from csrdata.evaluation.pack.dash_b import dash_b

            return dash_b(Path(settings.negatives), Path(settings.positives))
        case "hallusion_bench":
            from csrdata.evaluation.pack.hallusion import hallusion_bench

            return hallusion_bench(Path(settings.file))
        case "object_halbench":
            from csrdata.evaluation.pack.object_hal import object_halbench

            table = coco_synonyms() if settings.synonyms is None else read_synonyms(Path(settings.synonyms))
            return object_halbench(
                Path(settings.file),
                instances=[Path(one) for one in settings.instances],
                captions=[Path(one) for one in settings.captions],
                parser=CocoClaimParser(table),
            )
        case "pope_splits" | "repope" | "repope_splits":
            return _of_pope(settings)
        case "coco_chair" | "pope" | "pope_built":
            return _of_evaluation_set(settings)


def _of_pope(settings: PopeSplitsSet | RepopeSet | RepopeSplitsSet) -> Bench:
    """Return a benchmark of POPE's questions that params.yaml does not know."""
    from csrdata.evaluation.pack.repope import repope, repope_splits

    if settings.kind == "repope":
        pope = None if settings.pope is None else Path(settings.pope)
        return repope(Path(settings.file), strategy=settings.strategy, pope=pope)
    files = {
        "random": Path(settings.random),
        "popular": Path(settings.popular),
        "adversarial": Path(settings.adversarial),
    }
    if settings.kind == "repope_splits":
        if settings.pope is not None and len(settings.pope) != len(files):
            expected = f"{len(files)} files: {', '.join(files)}"
            raise UserError(
                "--with pope", got=len(settings.pope), expected=expected, do="csrdata evaluate --help"
            )
        given = zip(files, settings.pope or [], strict=False)
        return repope_splits(files, pope={name: Path(file) for name, file in given})
    from csrdata.evaluation.pack.pope_splits import pope_splits

    return pope_splits(files)


def _of_evaluation_set(settings: CocoChairSet | PopeSet | PopeBuiltSet) -> Bench:
    """Return the benchmark of a kind that params.yaml knows too; no project is needed."""
    name = settings.kind
    opened = open_set(name, settings, source=_NO_SOURCE)
    asked, parser = opened.ask([]), opened.claim_parser()
    known = None if parser is None else Known({truth.image: truth for truth in asked.truths}, parser)
    return questions_bench(name, asked.questions, known, kind=name)


_NO_SOURCE: Any = None
"""These kinds ask nothing of a source."""
