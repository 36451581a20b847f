"""The DAG as data: what each stage reads, which parameters it depends on, and what it writes.

dvc.yaml (the repository's and that of a user's project) and `csrdata run --all` both come from this table, so that they
cannot disagree. Nothing is read or run here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.evaluation_sets import parser_files, set_files
from csrdata.pipeline.source import open_source, source_files

KEY, PREVIOUS = "${key}", "${item.previous}"
"""DVC's names for an iteration and for the policy before it, in a stage that runs once per iteration."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that a stage writes."""

    path: str
    persist: bool = False
    """DVC keeps it before the stage runs again: its writer knows what in it is still good."""
    cached: bool = True
    """It goes into DVC's cache; otherwise git tracks it."""
    metric: bool = False
    """`dvc metrics show` lists it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A stage of dvc.yaml. Paths of a stage that runs once per iteration hold `KEY` and `PREVIOUS`."""

    name: str
    """In dvc.yaml: the stage's own, or `evaluate_base`."""
    stage: str
    """A key of `csrdata.pipeline.STAGES`."""
    inputs: tuple[str, ...]
    """Files and folders with data; code is no part of it."""
    params: tuple[str, ...]
    """Sections of params.yaml, or dotted keys."""
    outputs: tuple[Output, ...]
    argument: str | None = None
    """What the stage is told: an iteration, `base` or nothing."""
    comment: str | None = None

    @property
    def each(self) -> bool:
        """Whether the stage runs once per iteration."""
        return self.argument == KEY


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a stage: a node with its iteration filled in."""

    node: Node
    """Without placeholders."""
    name: str
    """As DVC names it: `generate_beams@1`."""


def nodes(params: Params) -> tuple[Node, ...]:
    """Return the stages in the order of the DAG; the kinds of source, models and scorers decide some inputs."""
    scenes = str(paths.SCENES)
    prompts, questions = str(paths.PROMPTS), str(paths.PROMPTS.parent)
    images, wordings = str(paths.IMAGES), str(paths.WORDINGS)
    root = Path(params.images.root)
    sets, source = params.evaluation_sets, open_source(params.source, images=root)
    files = [*source_files(params.source, images=root), *set_files(sets, source)]
    parsers = tuple(path.as_posix() for path in parser_files(sets, source))
    search, held_out = _scorer("search"), _scorer("held_out")
    base, previous, own = (str(paths.policy(name)) for name in (paths.BASE, PREVIOUS, KEY))
    candidates, responses = str(paths.candidates(KEY)), str(paths.responses(KEY))
    pairs = str(paths.pairs(KEY))
    return (
        Node(
            "prepare",
            "prepare",
            inputs=(),
            params=("compute", "prepare", "scorers", "source"),
            outputs=(
                Output(scenes, persist=True),
                Output(base, persist=True),
                Output(held_out, persist=True),
                Output(search, persist=True),
                _figures(paths.PREPARE_METRICS),
            ),
            comment="outs are kept before a re-run: a model that a killed run had finished, with the same settings, "
            "is not trained again",
        ),
        Node(
            "sample_prompts",
            "sample_prompts",
            inputs=(*(path.as_posix() for path in files), base),
            params=("evaluation_sets", "images", "sample_prompts", "source"),
            outputs=(Output(questions), _figures(paths.SAMPLING_METRICS)),
        ),
        Node(
            "evaluate_base",
            "evaluate_policy",
            inputs=(questions, base, held_out, search, *parsers),
            params=("compute", "evaluate_policy", "evaluation_sets", "scorers", "source"),
            outputs=_evaluation(paths.BASE),
            argument=paths.BASE,
        ),
        Node(
            "generate_beams",
            "generate_beams",
            inputs=(images, prompts, wordings, previous, search),
            params=("compute", "generate_beams", "scorers.search"),
            outputs=(Output(candidates, persist=True),),
            argument=KEY,
            comment="a chain of adapters names its base, so a policy's folder stands for both; finished shards are kept "
            "before a re-run, and their manifest says what they were made from",
        ),
        Node(
            "score_beams",
            "score_beams",
            inputs=(images, candidates, prompts, held_out),
            params=("compute", "score_beams", "scorers.held_out"),
            outputs=(Output(responses, persist=True), _stage_figures("score_beams", KEY)),
            argument=KEY,
        ),
        Node(
            "select_pairs",
            "select_pairs",
            inputs=(candidates, prompts, responses),
            params=("select_pairs",),
            outputs=(Output(str(paths.pairs(KEY).parent)), _stage_figures("select_pairs", KEY)),
            argument=KEY,
        ),
        Node(
            "train_dpo",
            "train_dpo",
            inputs=(images, wordings, pairs, previous),
            params=("compute", "train_dpo"),
            outputs=(Output(f"data/train_dpo/{KEY}"), Output(own), _stage_figures("train_dpo", KEY)),
            argument=KEY,
        ),
        Node(
            "evaluate_policy",
            "evaluate_policy",
            inputs=(questions, own, base, held_out, search, *parsers),
            params=("compute", "evaluate_policy", "evaluation_sets", "scorers", "source"),
            outputs=_evaluation(KEY),
            argument=KEY,
        ),
        Node(
            "summarize",
            "summarize",
            inputs=(
                str(paths.answers(KEY).parents[1]),
                questions,
                str(paths.responses(KEY).parent),
                str(paths.pairs(KEY).parents[1]),
                str(paths.PREPARE_METRICS),
                str(paths.stage_metrics("train_dpo", KEY).parent),
                *parsers,
            ),
            params=("evaluation_sets", "iterations", "source", "summarize"),
            outputs=(
                Output(str(paths.SUMMARY.with_suffix(".md")), cached=False),
                Output(str(paths.PLOTS), cached=False),
                _figures(paths.SUMMARY),
                Output(str(paths.HEADLINE), cached=False, metric=True),
            ),
        ),
    )


def steps(params: Params) -> Iterator[Step]:
    """Yield every run of a stage, each after the runs that it depends on."""
    folders = {
        _scorer("search"): params.scorers.search.folder,
        _scorer("held_out"): params.scorers.held_out.folder,
    }
    once = {node.name: _filled(node, folders) for node in nodes(params)}
    each = [node for node in once.values() if node.each]
    for name in ("prepare", "sample_prompts", "evaluate_base"):
        yield Step(once[name], name)
    for iteration, settings in params.iterations.items():
        filling = {**folders, KEY: iteration, PREVIOUS: settings.previous}
        for node in each:
            yield Step(_filled(node, filling), f"{node.name}@{iteration}")
    yield Step(once["summarize"], "summarize")


def _filled(node: Node, values: Mapping[str, str]) -> Node:
    """Return a node with its placeholders replaced."""

    def fill(text: str) -> str:
        for key, value in values.items():
            text = text.replace(key, value)
        return text

    return replace(
        node,
        inputs=tuple(fill(path) for path in node.inputs),
        outputs=tuple(replace(output, path=fill(output.path)) for output in node.outputs),
        argument=None if node.argument is None else fill(node.argument),
    )


def _scorer(role: str) -> str:
    """Return the folder of a scorer as DVC looks it up in params.yaml."""
    return f"${{scorers.{role}.folder}}"


def _evaluation(name: str) -> tuple[Output, ...]:
    return (Output(str(paths.answers(name).parent)), _stage_figures("evaluate_policy", name))


def _stage_figures(stage: str, name: str) -> Output:
    return _figures(paths.stage_metrics(stage, name))


def _figures(path: Path) -> Output:
    return Output(str(path), cached=False)
