"""Pairs that the truth chose: no policy that was trained on them is published, nor what such a policy wrote.

`csrdata.publishing.release.gates` refuses these pairs themselves.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from csrdata import paths
from csrdata.pipeline.results import LOCK
from csrdata.publishing.release.gates import check_origins
from csrdata.publishing.release.provenance import check_read
from csrdata.records import ORACLE, Pair
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import read_table


def check_policy(name: str) -> None:
    """Check that no pair that a policy was trained on was chosen by the truth: those of all iterations behind it.

    Pairs that cannot be looked at are refused, too.

    Args:
        name: of the policy: an iteration, or `base`, which passes.

    Raises:
        UserError: the truth chose a pair; or the pairs of an iteration are missing, or differ from those that dvc.lock says
            it was trained on.
    """
    behind = trained_on(name)
    if LOCK.is_file():
        check_read(LOCK, [paths.pairs(one).as_posix() for one in behind], root=Path())
    for one in behind:
        table = read_table(paths.pairs(one), Pair, made_by=_made_by(one))
        check_origins(paths.pairs(one).as_posix(), table, behind=f" (policy {name} was trained on them)")


def trained_on(name: str) -> list[str]:
    """Return the iterations on whose pairs a policy was trained, the first one first; none for the base.

    Raises:
        UserError: there is no such policy.
    """
    if name == paths.BASE:
        return []
    chain = open_json(paths.policy(name) / "chain.json", made_by=f"dvc repro train_dpo@{name}")
    return [PurePosixPath(one).name for one in chain.items(needs=("adapters",))["adapters"].texts()]


def warning(iterations: Iterable[str]) -> str | None:
    """Return a line about the pairs of some iterations that the truth chose; None without any, or without a table."""
    found = {name: _count(name) for name in iterations if paths.pairs(name).is_file()}
    counts = [f"{count:,} of iteration {name}" for name, count in found.items() if count]
    if not counts:
        return None
    return (
        f"the truth about the images chose pairs ({', '.join(counts)}; origin {ORACLE}): they are for comparison alone. The "
        "export does not name their origin; do not publish it. csrdata push refuses such pairs, and policies trained on them"
    )


def _count(name: str) -> int:
    origins = read_table(paths.pairs(name), Pair, made_by=_made_by(name))["origin"]
    return int((origins == ORACLE).sum())


def _made_by(name: str) -> str:
    return f"dvc repro select_pairs@{name}"
