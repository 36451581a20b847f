"""Checks of params.yaml that no single value shows: names, and keys that depend on others."""

from collections.abc import Mapping
from pathlib import Path

from csrdata.errors import UserError
from csrdata.params.evaluation import AnySet
from csrdata.params.method import TrainDpo
from csrdata.params.whole import Iteration, Params
from csrdata.publishing.release.layout import is_iteration_name, same_split

NAME = "1 to 32 characters of a-z, 0-9, '-' and '_', the first a letter or digit, and not base"
"""What an iteration may be called, in words; releases define the pattern."""
RESERVED_SETS = ("record", "max_new_tokens")
"""Keys in the metrics of `evaluate_policy` that are no splits."""


def check_relations(params: Params, path: Path) -> None:
    """Check what depends on several keys.

    Raises:
        UserError: naming the key, the value and what is expected.
    """
    _check_chain(params.iterations, path)
    _check_sets(params.evaluation_sets, path)
    _check_signals(params, path)
    _check_training(params.train_dpo, path)
    _check_matching(params, path)


def to_fix(path: Path) -> str:
    """Return the next command after an error."""
    return f"fix {path}, then: dvc repro"


def _check_sets(sets: Mapping[str, AnySet], path: Path) -> None:
    """Check the names of evaluation sets: they become splits of tables and keys of metrics."""
    for name in sets:
        if not is_iteration_name(name) or name in RESERVED_SETS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {' or '.join(RESERVED_SETS)}"
            raise UserError(f"{path}: evaluation_sets.{name}", got=name, expected=expected, do=to_fix(path))


RESERVED_SIGNALS = ("search", "held_out", "elsewhere")
"""Signals that are no entry of `scorers.others`."""


def _check_signals(params: Params, path: Path) -> None:
    """Check the names of scorers, and that the signal of the reward is one that is measured."""
    others = params.scorers.others
    for name in others:
        if not is_iteration_name(name) or name in RESERVED_SIGNALS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {', '.join(RESERVED_SIGNALS)}"
            raise UserError(f"{path}: scorers.others.{name}", got=name, expected=expected, do=to_fix(path))
    if params.evaluate_policy.decoding == "search" and params.score_beams.signal != "search":
        place, got = (
            f"{path}: evaluate_policy.decoding",
            f"search, with score_beams.signal {params.score_beams.signal}",
        )
        expected = "greedy: only the search's own signal is measured on evaluation images"
        raise UserError(place, got=got, expected=expected, do=to_fix(path))
    if params.score_beams.signal not in {"search", *others}:
        expected = f"one of {', '.join(['search', *others])} (search, or a name of scorers.others)"
        place = f"{path}: score_beams.signal"
        raise UserError(place, got=params.score_beams.signal, expected=expected, do=to_fix(path))


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
            raise UserError(f"{path}: train_dpo.{key}", got=got, expected=expected, do=to_fix(path))


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
            raise UserError(f"{path}: match_recall.{name}", got=value, expected=expected, do=to_fix(path))
    biases = round((settings.high - settings.low) / settings.step) + 1
    if biases > MOST_BIASES:
        place, got = f"{path}: match_recall.step", f"{biases:,} biases from low to high"
        raise UserError(place, got=got, expected=f"at most {MOST_BIASES:,}", do=to_fix(path))
    if params.evaluate_policy.decoding != "greedy":
        place, got = f"{path}: match_recall", f"evaluate_policy.decoding: {params.evaluate_policy.decoding}"
        expected = "null: the bias is one of greedy answers"
        raise UserError(place, got=got, expected=expected, do=to_fix(path))


def _check_chain(iterations: Mapping[str, Iteration], path: Path) -> None:
    """Check the iterations of a file.

    Each needs a name that a folder may have, and starts from the base or from an iteration listed before it.
    """
    do = to_fix(path)
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
