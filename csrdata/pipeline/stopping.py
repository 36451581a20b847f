"""A loop that has stopped, as its marks say: which iterations ran, and where and why the loop stopped.

The stages of an iteration that does not run write `stopped.json` into their folders (`csrdata.pipeline.not_run`).
`summarize` and `report` are about the policies that ran.
"""

from collections.abc import Iterable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.summary import StoppedLoop
from csrdata.params import FILE, Params, load_params
from csrdata.storage.json_values import open_json

MARK = "stopped.json"
"""In an output folder of a stage that did not run."""

Stopped = tuple[str, str]
"""The iteration at which the loop stopped, and the reason."""


def ran(iterations: Iterable[str]) -> tuple[str, ...]:
    """Return those of some iterations whose policies were evaluated: the loop had not stopped before them."""
    return tuple(name for name in iterations if not (paths.answers(name).parent / MARK).is_file())


def stopped_loops(params: Params) -> tuple[StoppedLoop, ...]:
    """Return where the loop stopped and why, with the iterations that did not run because of it; empty if it did not.

    Raises:
        UserError: a file that says so is missing or damaged.
    """
    reasons: dict[Stopped, list[str]] = {}
    there = ran(params.iterations)
    for name in params.iterations:
        if name in there and params.stop_when is None:
            continue
        mark = paths.answers(name).parent / MARK, f"dvc repro evaluate_policy@{name}"
        found = read_stopped(*(checked(name) if name in there else mark))
        if found is not None:
            reasons.setdefault(found, [])
            reasons[found] += [] if name in there else [name]
    return tuple(
        StoppedLoop(iteration, reason, tuple(names)) for (iteration, reason), names in reasons.items()
    )


def has_pairs(name: str) -> bool:
    """Return whether an iteration has selected its pairs; of one that did not run, the table is marked and empty."""
    table = paths.pairs(name)
    return table.is_file() and not table.with_name(MARK).is_file()


def need_ran(name: str) -> str:
    """Return the name of an iteration that ran.

    Raises:
        UserError: the loop stopped before it; the error says where and why.
    """
    path, made_by = policy_mark(name)
    found = read_stopped(path, made_by) if path.is_file() else None
    if found is None:
        return name
    raise UserError(
        f"iteration {name}",
        got=f"an iteration that did not run: the loop stopped at iteration {found[0]} ({found[1]})",
        expected=f"one of {', '.join(ran(load_params().iterations)) or 'none'}",
        do=f"name another iteration, or change stop_when in {FILE}, then: dvc repro",
    )


def policy_mark(name: str) -> tuple[Path, str]:
    """Return the mark of a policy that was not trained, and the command that makes it."""
    return paths.policy(name) / MARK, f"dvc repro train_dpo@{name}"


def checked(name: str) -> tuple[Path, str]:
    """Return the metrics of `check_stop` for a policy, and the command that makes them."""
    stage = "check_base" if name == paths.BASE else f"check_stop@{name}"
    return paths.stage_metrics("check_stop", name), f"dvc repro {stage}"


def read_stopped(path: Path, made_by: str) -> Stopped | None:
    """Return what a mark or metrics say; None if the loop goes on.

    Raises:
        UserError: the file is missing or damaged.
    """
    value = open_json(path, made_by=made_by).items(needs=("stopped",))["stopped"]
    if value.value is None:
        return None
    parts = value.fields("iteration", "reason")
    return parts["iteration"].text(), parts["reason"].text()
