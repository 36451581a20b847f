"""params.yaml: all its sections (`csrdata.sections`), and how it is read.

An unknown key or a value out of range is refused in one line. Configuration objects are used in the stages only: all other
code takes plain keyword arguments. The comments in params.yaml state the meaning, unit, range and source of each key, and a
test checks that none is missing.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from csrdata.errors import UserError
from csrdata.publishing.release.layout import is_iteration_name, same_split
from csrdata.search.reward import REWARD_SCALES
from csrdata.sections.engines import AnyEngine
from csrdata.sections.engines import problem_of as engine_problem
from csrdata.sections.evaluation import AnySet, EvaluatePolicy, MatchRecall, MeasureAttention, Summarize
from csrdata.sections.method import AnyPairs, GenerateBeams, Guidance, ScoreBeams, TrainDpo
from csrdata.sections.models import AnyModels, JudgeScorer, Scorers
from csrdata.sections.scorers import problem_of as scorer_problem
from csrdata.sections.sources import AnySource, Images, SamplePrompts
from csrdata.sections.stopping import StopWhen, problem_of
from csrdata.sections.values import Count, Numbers, Section
from csrdata.strict_yaml import read_yaml
from csrdata.validation import explain

FILE = Path("params.yaml")
NAME = "1 to 32 characters of a-z, 0-9, '-' and '_', the first a letter or digit, and not base"
"""What an iteration may be called, in words; releases define the pattern."""
RESERVED_SETS = ("record", "max_new_tokens", "stopped")
"""Keys in the metrics of `evaluate_policy` that are not splits."""


class Compute(Section):
    threads: Count
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
    dtype: Numbers


class Iteration(Section):
    previous: str


class Params(Section):
    """The whole file."""

    compute: Compute
    engine: AnyEngine
    images: Images
    source: AnySource
    prepare: AnyModels
    scorers: Scorers
    sample_prompts: SamplePrompts
    evaluation_sets: dict[str, AnySet]
    generate_beams: GenerateBeams
    score_beams: ScoreBeams
    select_pairs: AnyPairs
    train_dpo: TrainDpo
    evaluate_policy: EvaluatePolicy
    match_recall: MatchRecall | None
    measure_attention: MeasureAttention | None
    summarize: Summarize
    stop_when: StopWhen | None = None
    iterations: dict[str, Iteration]


def load_params(path: Path = FILE) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: the file is missing or is not YAML 1.2; a key is unknown (the nearest valid key is named), missing
            or out of range; an iteration starts from one that is not listed before it; or there is no iteration.
    """
    if not path.is_file():
        raise UserError(
            str(path),
            got="no such file",
            expected="the pipeline's parameters",
            do="run the command in the folder of params.yaml",
        )
    return check_params(read_yaml(path), path)


def check_params(raw: object, path: Path) -> Params:
    """Validate the content of a params file that is named `path`; see `load_params`."""
    if not isinstance(raw, dict):
        got = "an empty file" if raw is None else raw
        raise UserError(str(path), got=got, expected="sections of keys", do=_fix(path))
    _refuse_old_names(raw, path)
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Params, raw, place=str(path), do=_fix(path)) from None
    _check_relations(params, path)
    return params


OLD_NAMES = {
    "build_seed": "source (the images), prepare (the models) and scorers (their folders)",
    "repeat_similarity": "repetition_threshold",
    "sample_prompts.questions_per_image": "source.questions_per_image",
    "generate_beams.groups": "generate_beams.proposal.groups",
    "generate_beams.diversity_penalty": "generate_beams.proposal.diversity_penalty",
}
"""Keys of earlier versions, alone or with the sections above them, with their names today."""


def values_to_hash(params: Params, *, exclude: Collection[str]) -> dict[str, Any]:
    """Return the values of some parameters, for a hash that says whether two results are of the same settings.

    Keys that older versions did not have are left out where they are null, so that earlier results stay those of the same
    settings.

    Args:
        params: a whole file.
        exclude: sections that change no result.
    """
    found = params.model_dump(exclude=set(exclude))
    pairs = found.get("select_pairs", {})
    newer = [(found, "stop_when"), (found.get("train_dpo", {}), "checkpoint_every")]
    newer += [(rule, "ends_per_prompt") for rule in (pairs, *pairs.get("parts", ()))]
    for section, key in newer:
        if key in section and section[key] is None:
            del section[key]
    return found


def _refuse_old_names(raw: Mapping[object, object], path: Path, *, above: str = "") -> None:
    """Raise if the file has a key of an earlier version, and name the key of today.

    An "unknown key" error would not say where its value goes.
    """
    for key, value in raw.items():
        new = OLD_NAMES.get(f"{above}{key}") or OLD_NAMES.get(str(key))
        if new is not None:
            raise UserError(
                f"{path}: {above}{key}",
                got="a name of an earlier version",
                expected=new,
                do=_fix(path),
            )
        if isinstance(value, dict) and len(above) < 100:
            _refuse_old_names(value, path, above=f"{above}{key}.")


def _check_relations(params: Params, path: Path) -> None:
    """Check what depends on several keys.

    Raises:
        UserError: naming the key, the value and what is expected.
    """
    _check_engine(params, path)
    _check_chain(params.iterations, path)
    _check_sets(params.evaluation_sets, path)
    _check_signals(params, path)
    _check_guidance(params.generate_beams.guidance, path)
    _check_scorer_folders(params.scorers, path)
    _check_judges(params.scorers, path)
    _check_training(params.train_dpo, path)
    _check_matching(params, path)
    _check_stopping(params, path)


def _fix(path: Path) -> str:
    """Return the next command after an error."""
    return f"fix {path}, then: dvc repro"


def _check_engine(params: Params, path: Path) -> None:
    """Check that workers reserve what they compute on."""
    problem = engine_problem(params.engine, device=params.compute.device)
    if problem is not None:
        key, got, expected = problem
        raise UserError(f"{path}: engine.{key}", got=got, expected=expected, do=_fix(path))


def _check_sets(sets: Mapping[str, AnySet], path: Path) -> None:
    """Check the names of evaluation sets: they become splits of tables and keys of metrics."""
    for name in sets:
        if not is_iteration_name(name) or name in RESERVED_SETS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {' or '.join(RESERVED_SETS)}"
            raise UserError(f"{path}: evaluation_sets.{name}", got=name, expected=expected, do=_fix(path))


RESERVED_SIGNALS = ("search", "held_out", "elsewhere")
"""Signals that are not in `scorers.others`."""


def _check_signals(params: Params, path: Path) -> None:
    """Check the names of scorers, and that the signal of the reward is one that is measured."""
    others = params.scorers.others
    for name in others:
        if not is_iteration_name(name) or name in RESERVED_SIGNALS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {', '.join(RESERVED_SIGNALS)}"
            raise UserError(f"{path}: scorers.others.{name}", got=name, expected=expected, do=_fix(path))
    if params.evaluate_policy.decoding == "search" and params.score_beams.signal != "search":
        place, got = (
            f"{path}: evaluate_policy.decoding",
            f"search, with score_beams.signal {params.score_beams.signal}",
        )
        expected = "greedy: only the search's own signal is measured on evaluation images"
        raise UserError(place, got=got, expected=expected, do=_fix(path))
    if params.score_beams.signal not in {"search", *others}:
        expected = f"one of {', '.join(['search', *others])} (search, or a name of scorers.others)"
        place = f"{path}: score_beams.signal"
        raise UserError(place, got=params.score_beams.signal, expected=expected, do=_fix(path))


def _check_guidance(section: Guidance, path: Path) -> None:
    """Check that a calibrated reward has a scale with an image term."""
    if section.kind == "reward" and section.scale == "mean_log":
        expected = f"one of {', '.join(REWARD_SCALES)} where kind is reward (mean_log is for likelihood)"
        place = f"{path}: generate_beams.guidance.scale"
        raise UserError(place, got=section.scale, expected=expected, do=_fix(path))


BASE_POLICY = Path("policies/base")
"""The one policy of a project that no iteration makes."""


def _check_scorer_folders(scorers: Scorers, path: Path) -> None:
    """Check that no scorer is a folder where the record of another one goes."""
    problem = scorer_problem(scorers)
    if problem is not None:
        key, got, expected = problem
        raise UserError(f"{path}: {key}", got=got, expected=expected, do=_fix(path))


def _check_judges(scorers: Scorers, path: Path) -> None:
    """Check that no judge is a policy that an iteration makes: it would be needed before it is there."""
    places = {f"others.{name}": scorer for name, scorer in scorers.others.items()}
    for place, scorer in {"search": scorers.search, "held_out": scorers.held_out, **places}.items():
        if not isinstance(scorer, JudgeScorer):
            continue
        folder, base = Path(os.path.normpath(scorer.folder)), BASE_POLICY
        if folder != base and folder.is_relative_to(base.parent):
            expected = f"{base}, or a folder outside {base.parent}"
            raise UserError(
                f"{path}: scorers.{place}.folder", got=scorer.folder, expected=expected, do=_fix(path)
            )


def _check_training(section: TrainDpo, path: Path) -> None:
    """Check that there is something to train on, and that no key of `train_dpo` is without effect."""
    dpo, loss = section.dpo_weight, section.loss
    problems = (
        (not dpo and not section.sft_weight, "dpo_weight", dpo, "above 0, or sft_weight above 0"),
        (not dpo and section.margin != "none", "margin", section.margin, "none where dpo_weight is 0"),
        (
            not dpo and section.ld_alpha is not None,
            "ld_alpha",
            section.ld_alpha,
            "null where dpo_weight is 0",
        ),
        (
            section.margin == "target" and loss != "sigmoid",
            "margin",
            section.margin,
            f"none or weight where loss is {loss}",
        ),
        (
            (loss == "robust") != (section.label_smoothing > 0),
            "label_smoothing",
            section.label_smoothing,
            "above 0 where loss is robust, and 0 for any other loss",
        ),
    )
    for is_wrong, key, got, expected in problems:
        if is_wrong:
            raise UserError(f"{path}: train_dpo.{key}", got=got, expected=expected, do=_fix(path))


MOST_BIASES = 1000
"""The most points of a curve: each has an answer to every description."""


def _check_matching(params: Params, path: Path) -> None:
    """Check that the biases of `match_recall` are a grid with 0 on it, and that the answers they belong to are greedy."""
    settings = params.match_recall
    if settings is None:
        return
    for name, value in (("low", settings.low), ("high", settings.high)):
        steps = value / settings.step
        if abs(steps - round(steps)) > 1e-9 * max(1.0, abs(steps)):
            expected = f"a multiple of step, {settings.step:g}: 0 is one of the biases"
            raise UserError(f"{path}: match_recall.{name}", got=value, expected=expected, do=_fix(path))
    biases = round((settings.high - settings.low) / settings.step) + 1
    if biases > MOST_BIASES:
        place, got = f"{path}: match_recall.step", f"{biases:,} biases from low to high"
        raise UserError(place, got=got, expected=f"at most {MOST_BIASES:,}", do=_fix(path))
    if params.evaluate_policy.decoding != "greedy":
        place, got = f"{path}: match_recall", f"evaluate_policy.decoding: {params.evaluate_policy.decoding}"
        expected = "null: the bias is one of greedy answers"
        raise UserError(place, got=got, expected=expected, do=_fix(path))


def _check_stopping(params: Params, path: Path) -> None:
    """Check that the limits of `stop_when` can hold and can fire."""
    if params.stop_when is None:
        return
    problem = problem_of(
        params.stop_when,
        source=params.source,
        sets=params.evaluation_sets,
        pairs=params.select_pairs,
        prompts=params.sample_prompts.prompts,
        has_held_out=params.scorers.held_out is not None,
    )
    if problem is not None:
        key, got, expected = problem
        place = f"{path}: stop_when{f'.{key}' if key else ''}"
        raise UserError(place, got=got, expected=expected, do=_fix(path))


def _check_chain(iterations: Mapping[str, Iteration], path: Path) -> None:
    """Check the iterations of a file.

    Each needs a name that a folder may have, and starts from the base or from an iteration listed before it.
    """
    do = _fix(path)
    if not iterations:
        expected = 'one iteration or more, such as "1": {previous: base}'
        raise UserError(f"{path}: iterations", got="none", expected=expected, do=do)
    for position, (name, iteration) in enumerate(iterations.items()):
        place = f"{path}: iterations.{name}"
        if name == "base" or not is_iteration_name(name):
            raise UserError(place, got=name, expected=NAME, do=do)
        earlier = ["base", *list(iterations)[:position]]
        if iteration.previous not in earlier:
            raise UserError(
                f"{place}.previous", got=iteration.previous, expected=f"one of {', '.join(earlier)}", do=do
            )
    if alike := same_split(list(iterations)):
        name, earlier_name = alike
        expected = f"a name that differs from {earlier_name} in more than - and _"
        raise UserError(f"{path}: iterations.{name}", got=name, expected=expected, do=do)
