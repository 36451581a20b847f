"""Sides of `csrdata compare` that a project or a file gives: an iteration with its answers, or answers of any model."""

from collections.abc import Sequence
from pathlib import Path

from csrdata import paths
from csrdata.evaluation.comparison import Side
from csrdata.evaluation.pack.base import Bench
from csrdata.params import FILE, load_params
from csrdata.pipeline.benches import project_bench, project_splits
from csrdata.pipeline.evaluating import Answered, answers_of_file, answers_of_policy


def policies() -> list[str]:
    """Return the policies of this project, the base first; outside a project, none."""
    return [paths.BASE, *load_params().iterations] if FILE.is_file() else []


def side_of_policy(name: str, splits: Sequence[str]) -> Side:
    """Return the base or an iteration of this project.

    Args:
        name: of the policy.
        splits: to compare on; empty: all that it has.

    Raises:
        UserError: it was not evaluated, or on other questions.
    """
    benches = {split: project_bench(split) for split in splits or project_splits()}
    answered = {split: answers_of_policy(name, bench, split=split) for split, bench in benches.items()}
    return _side(name if name == paths.BASE else f"iteration {name}", benches, answered)


def side_of_file(path: Path, split: str, bench: Bench, *, stated: Path | None) -> Side:
    """Return the answers of a file to a benchmark's questions; `split` is what it is compared under."""
    return _side(str(path), {split: bench}, {split: answers_of_file(path, bench, stated=stated)})


def _side(name: str, benches: dict[str, Bench], answered: dict[str, Answered]) -> Side:
    return Side(
        name=name,
        figures={split: {0: one.measured(benches[split])} for split, one in answered.items()},
        protocols={split: one.protocol for split, one in answered.items()},
        checks={
            split: {name: bench.check(name) for name in bench.labels} for split, bench in benches.items()
        },
        labels={key: label for bench in benches.values() for key, label in bench.labels.items()},
    )
