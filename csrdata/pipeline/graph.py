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
from csrdata.pipeline.scorers import asks_the_policy, trained_scorers
from csrdata.pipeline.source import open_source, source_files
from csrdata.search.responses import SEARCH
from csrdata.sections.method import AnyPairs
from csrdata.sections.scorers import Role, has_record, own_folder, scorer_folder, scorer_of, scorer_roles

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
    """Files and folders with data; code is not part of it."""
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
    prompts, questions = str(paths.PROMPTS), str(paths.PROMPTS.parent)
    images, wordings = str(paths.IMAGES), str(paths.WORDINGS)
    root = Path(params.images.root)
    sets, source = params.evaluation_sets, open_source(params.source, images=root)
    files = [*source_files(params.source, images=root), *set_files(sets, source)]
    parsers = tuple(path.as_posix() for path in parser_files(sets, source))
    search = _scorer(params, "search")
    held_out = () if params.scorers.held_out is None else _scorer(params, "held_out")
    base, previous, own = (str(paths.policy(name)) for name in (paths.BASE, PREVIOUS, KEY))
    candidates, responses = str(paths.candidates(KEY)), str(paths.responses(KEY))
    signals = str(paths.signals(KEY))
    pairs = str(paths.pairs(KEY))
    is_imported = params.select_pairs.kind == "imported"
    searched = () if is_imported else (candidates, prompts, responses, signals)
    return (
        Node(
            "prepare",
            "prepare",
            inputs=(),
            params=("compute", "prepare", "scorers", "source"),
            outputs=_prepared(params),
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
            inputs=(questions, base, *held_out, *search, *parsers),
            params=_evaluation_params(params),
            outputs=_evaluation(paths.BASE),
            argument=paths.BASE,
        ),
        *_matching(params, paths.BASE, (questions, base, *parsers)),
        *_attending(params, paths.BASE, (questions, base)),
        *_stopping(params, paths.BASE),
        *(() if is_imported else _searching(params, images=images, prompts=prompts, wordings=wordings)),
        *_judging(params, inputs=(images, candidates, prompts, wordings, previous)),
        Node(
            "select_pairs",
            "select_pairs",
            inputs=(
                *searched,
                *_pair_inputs(params),
                *_oracle_files(params, parsers),
                *(_stop_inputs(params) if is_imported else ()),
            ),
            params=_pair_params(params),
            outputs=(Output(str(paths.pairs(KEY).parent)), _stage_figures("select_pairs", KEY)),
            argument=KEY,
        ),
        Node(
            "train_dpo",
            "train_dpo",
            inputs=(str(paths.pair_images(KEY)) if is_imported else images, wordings, pairs, previous),
            params=("compute", "train_dpo"),
            outputs=(Output(f"data/train_dpo/{KEY}"), Output(own), _stage_figures("train_dpo", KEY)),
            argument=KEY,
        ),
        Node(
            "evaluate_policy",
            "evaluate_policy",
            inputs=(questions, own, base, *held_out, *search, *parsers),
            params=_evaluation_params(params),
            outputs=_evaluation(KEY),
            argument=KEY,
        ),
        *_matching(params, KEY, (questions, own, base, *parsers)),
        *_attending(params, KEY, (questions, own, base)),
        *_stopping(params, KEY),
        Node(
            "summarize",
            "summarize",
            inputs=(
                str(paths.answers(KEY).parents[1]),
                questions,
                *(
                    ()
                    if is_imported
                    else (str(paths.candidates(KEY).parent), str(paths.responses(KEY).parent))
                ),
                str(paths.pairs(KEY).parents[1]),
                str(paths.references(KEY).parents[1]),
                *(() if params.score_beams.signal == SEARCH else (str(paths.signals(KEY).parent),)),
                str(paths.PREPARE_METRICS),
                str(paths.stage_metrics("train_dpo", KEY).parent),
                *(() if params.match_recall is None else (str(paths.recall_curve(KEY).parent),)),
                *(() if params.measure_attention is None else (str(paths.image_attention(KEY).parents[1]),)),
                *((str(paths.verdicts(KEY).parents[1]),) if params.select_pairs.kind == "judged" else ()),
                *(() if params.stop_when is None else (str(paths.stage_metrics("check_stop", KEY).parent),)),
                *parsers,
            ),
            params=(
                "evaluation_sets",
                "iterations",
                "match_recall",
                "measure_attention",
                "score_beams",
                "select_pairs",
                "source",
                "summarize",
            ),
            outputs=(
                Output(str(paths.SUMMARY.with_suffix(".md")), cached=False),
                Output(str(paths.PLOTS), cached=False),
                _figures(paths.SUMMARY),
                Output(str(paths.HEADLINE), cached=False, metric=True),
            ),
        ),
        _report(questions=questions, is_imported=is_imported, parsers=parsers),
    )


def _report(*, questions: str, is_imported: bool, parsers: tuple[str, ...]) -> Node:
    """Return the stage that shows everything before it. The images are known by their hashes (`paths.IMAGES`)."""
    tables = (paths.candidates(KEY).parent, paths.responses(KEY).parent, paths.signals(KEY).parent)
    return Node(
        "report",
        "report",
        inputs=(
            questions,
            *(() if is_imported else map(str, tables)),
            str(paths.pairs(KEY).parents[1]),
            str(paths.SUMMARY),
            str(paths.PLOTS),
            *parsers,
        ),
        params=(
            "compute",
            "evaluate_policy",
            "evaluation_sets",
            "generate_beams",
            "iterations",
            "match_recall",
            "prepare",
            "sample_prompts",
            "score_beams",
            "scorers",
            "select_pairs",
            "source",
            "summarize",
            "train_dpo",
        ),
        outputs=(Output(str(paths.REPORT)),),
        comment="one page for a browser, with its data in it; above 150 MB a folder of files",
    )


LAST = ("summarize", "report")
"""The stages behind all iterations, in their order."""


def steps(params: Params) -> Iterator[Step]:
    """Yield every run of a stage, each after the runs that it depends on."""
    folders = _scorer_folders(params)
    once = {node.name: _filled(node, folders) for node in nodes(params)}
    each = [node for node in once.values() if node.each]
    for name, node in once.items():
        if not node.each and name not in LAST:
            yield Step(node, name)
    for iteration, settings in params.iterations.items():
        filling = {**folders, KEY: iteration, PREVIOUS: settings.previous}
        for node in each:
            yield Step(_filled(node, filling), f"{node.name}@{iteration}")
    for name in LAST:
        yield Step(once[name], name)


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


def _searching(params: Params, *, images: str, prompts: str, wordings: str) -> tuple[Node, ...]:
    """Return the search, what is measured after it, and the rewards; imported pairs need none of them."""
    search = _scorer(params, "search")
    held_out = () if params.scorers.held_out is None else _scorer(params, "held_out")
    others = tuple(path for name in params.scorers.others for path in _scorer(params, name))
    measured = tuple(dict.fromkeys((*held_out, *others, *search)))
    previous, candidates = str(paths.policy(PREVIOUS)), str(paths.candidates(KEY))
    signals, responses = str(paths.signals(KEY)), str(paths.responses(KEY))
    return (
        Node(
            "generate_beams",
            "generate_beams",
            inputs=(images, prompts, wordings, previous, *search, *_stop_inputs(params)),
            params=("compute", "generate_beams", "scorers.search"),
            outputs=(Output(candidates, persist=True),),
            argument=KEY,
            comment="a chain of adapters names its base, so one dependency on a policy's folder covers both; "
            "finished shards are kept before a re-run, and their manifest says what they were made from",
        ),
        Node(
            "measure_signals",
            "measure_signals",
            inputs=(images, candidates, prompts, *measured, *_asked(params, wordings, previous)),
            params=("compute", "scorers"),
            outputs=(Output(signals, persist=True),),
            argument=KEY,
            comment="a shard for each shard of generate_beams; the search has no use for what is measured here",
        ),
        Node(
            "score_beams",
            "score_beams",
            inputs=(candidates, prompts, signals),
            params=("score_beams",),
            outputs=(Output(responses, persist=True), _stage_figures("score_beams", KEY)),
            argument=KEY,
            comment="no model runs here or in select_pairs: another weight, scale or rule costs seconds",
        ),
    )


def _judging(params: Params, *, inputs: tuple[str, ...]) -> tuple[Node, ...]:
    """Return the stage in which the policy judges its own answers, if pairs are made from its verdicts."""
    if params.select_pairs.kind != "judged":
        return ()
    output = Output(str(paths.verdicts(KEY).parent))
    return (
        Node(
            "judge_answers",
            "judge_answers",
            inputs=inputs,
            params=("compute", "evaluate_policy.batch_size", "source"),
            outputs=(output, _stage_figures("judge_answers", KEY)),
            argument=KEY,
        ),
    )


def _pair_inputs(params: Params) -> tuple[str, ...]:
    """Return what a way to make pairs reads besides the search's tables. Only an oracle reads the truth."""
    settings = params.select_pairs
    curation = settings.curation
    labels = () if curation is None or curation.labels is None else (curation.labels,)
    match settings.kind:
        case "judged":
            return (str(paths.verdicts(KEY)), *labels)
        case "imported":
            return (settings.folder, str(paths.policy(paths.BASE)), *labels)
    return (*((str(paths.TRUTH),) if _is_oracle(settings) else ()), *labels)


def _oracle_files(params: Params, parsers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files of the claim parsers, which only an oracle uses in making pairs."""
    return parsers if _is_oracle(params.select_pairs) else ()


def _pair_params(params: Params) -> tuple[str, ...]:
    """Return the sections that a way to make pairs depends on.

    Sentences have rewards; an oracle and a rule that corrupts answers are the source's; imported images are under its root.
    """
    settings = params.select_pairs
    parts = settings.parts if settings.kind == "mixed" else [settings]
    oracle = ("evaluation_sets", "source") if _is_oracle(settings) else ()
    rule = {"corrupted": ("source",), "imported": ("images", "source")}.get(settings.kind, ())
    rewards = ("score_beams",) if any(part.kind == "sentences" for part in parts) else ()
    return (*oracle, *rule, *rewards, "select_pairs")


def _is_oracle(settings: AnyPairs) -> bool:
    """Return whether the truth orders some of the pairs."""
    parts = settings.parts if settings.kind == "mixed" else [settings]
    return any(part.kind in {"answers", "sentences"} and part.order == "truth" for part in parts)


def _matching(params: Params, name: str, inputs: tuple[str, ...]) -> tuple[Node, ...]:
    """Return the stage that measures a policy at the base's recall, unless params.yaml turns it off."""
    if params.match_recall is None:
        return ()
    return (
        Node(
            "match_base" if name == paths.BASE else "match_recall",
            "match_recall",
            inputs=(*inputs, str(paths.answers(paths.BASE).parent)),
            params=("compute", "evaluate_policy", "evaluation_sets", "match_recall", "source"),
            outputs=(Output(str(paths.recall_curve(name))), _stage_figures("match_recall", name)),
            argument=name,
        ),
    )


def _attending(params: Params, name: str, inputs: tuple[str, ...]) -> tuple[Node, ...]:
    """Return the stage that measures a policy's attention on images, unless params.yaml turns it off."""
    if params.measure_attention is None:
        return ()
    answers = dict.fromkeys(str(paths.answers(one).parent) for one in (name, paths.BASE))
    return (
        Node(
            "attend_base" if name == paths.BASE else "measure_attention",
            "measure_attention",
            inputs=(*inputs, *answers),
            params=("compute", "measure_attention"),
            outputs=(
                Output(str(paths.image_attention(name).parent)),
                _stage_figures("measure_attention", name),
            ),
            argument=name,
        ),
    )


def _stop_inputs(params: Params) -> tuple[str, ...]:
    """Return what tells the first stage of an iteration whether the loop has stopped; nothing where it never does."""
    return () if params.stop_when is None else (str(paths.stage_metrics("check_stop", PREVIOUS)),)


def _stopping(params: Params, name: str) -> tuple[Node, ...]:
    """Return the stage that compares a policy with the limits of `stop_when`, if there are any."""
    if params.stop_when is None:
        return ()
    base, own = (str(paths.stage_metrics("evaluate_policy", one)) for one in (paths.BASE, name))
    pairs = str(paths.stage_metrics("select_pairs", name))
    return (
        Node(
            "check_base" if name == paths.BASE else "check_stop",
            "check_stop",
            inputs=(base,) if name == paths.BASE else (own, base, pairs, *_stop_inputs(params)),
            params=("stop_when",),
            outputs=(_stage_figures("check_stop", name),),
            argument=name,
        ),
    )


def _scorer(params: Params, role: Role) -> tuple[str, ...]:
    """Return the folder that says what a scorer is, as DVC looks it up in params.yaml; empty if it has none."""
    folder = scorer_folder(scorer_of(params.scorers, role), role=role)
    if folder is None:
        return ()
    return (_folder_key(role) if _is_looked_up(params, role) else folder.as_posix(),)


def _is_looked_up(params: Params, role: Role) -> bool:
    return role in {"search", "held_out"} and own_folder(scorer_of(params.scorers, role)) is not None


def _asked(params: Params, *inputs: str) -> tuple[str, ...]:
    """Return the inputs of a stage that asks a policy; none, if no scorer does."""
    asks = any(asks_the_policy(params.scorers, role) for role in scorer_roles(params.scorers))
    return inputs if asks else ()


def _folder_key(role: Role) -> str:
    return f"${{scorers.{role}.folder}}"


def _scorer_folders(params: Params) -> dict[str, str]:
    """Return the scorer folders of params.yaml, by the key that DVC looks up."""
    return {
        _folder_key(role): str(own_folder(scorer_of(params.scorers, role)))
        for role in scorer_roles(params.scorers)
        if _is_looked_up(params, role)
    }


def _prepared(params: Params) -> tuple[Output, ...]:
    """Return what `prepare` writes: drawn images, the base policy, and the scorers that it trains or records."""
    drawn = (str(paths.SCENES),) if params.source.kind == "microworld" else ()
    trained = trained_scorers(params) if params.prepare.kind == "microworld" else None
    scorers: dict[Path, str] = {}
    for role in sorted(scorer_roles(params.scorers), key=lambda role: (role in params.scorers.others, role)):
        settings = scorer_of(params.scorers, role)
        if has_record(settings) or (trained is not None and role in trained.folders):
            for path in _scorer(params, role):
                scorers.setdefault(scorer_folder(settings, role=role) or Path(path), path)
    if trained is not None and trained.tower not in scorers:
        scorers[trained.tower] = trained.tower.as_posix()
    written = (*drawn, str(paths.policy(paths.BASE)), *scorers.values())
    return (*(Output(path, persist=True) for path in written), _figures(paths.PREPARE_METRICS))


def _evaluation_params(params: Params) -> tuple[str, ...]:
    """Return the sections that answers depend on: those of the search too, where the search answers."""
    searching = ("generate_beams", "score_beams") if params.evaluate_policy.decoding == "search" else ()
    return ("compute", "evaluate_policy", "evaluation_sets", *searching, "scorers", "source")


def _evaluation(name: str) -> tuple[Output, ...]:
    return (Output(str(paths.answers(name).parent)), _stage_figures("evaluate_policy", name))


def _stage_figures(stage: str, name: str) -> Output:
    return _figures(paths.stage_metrics(stage, name))


def _figures(path: Path) -> Output:
    return Output(str(path), cached=False)
