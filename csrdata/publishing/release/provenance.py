"""The provenance of a release from dvc.lock: the inputs of the DAG, and whether the tables are its outputs.

The card states the parameters, models and hashes that the data depend on. They are right only if the pipeline is up to date,
so a project whose params.yaml or tables differ from its dvc.lock is refused: `dvc repro` updates both. The commit is git's.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from csrdata.errors import UserError
from csrdata.storage.dvc_lock import REPRO, dvc_hash, read_lock


def inputs(stages: Mapping[str, Any]) -> dict[str, str]:
    """Return the MD5 of the files that stages read but no stage wrote (source files, external data), by path.

    Example: `{"csrdata/search/pairs.py": "3f...", ...}`
    """
    made = [PurePosixPath(out["path"]) for stage in stages.values() for out in stage.get("outs", [])]
    return {
        str(dep["path"]): str(dep["md5"])
        for stage in stages.values()
        for dep in stage.get("deps", [])
        if "md5" in dep and not any(_overlap(PurePosixPath(dep["path"]), out) for out in made)
    }


def behind(stages: Mapping[str, Any], tables: Sequence[str]) -> dict[str, Any]:
    """Return the stages that wrote `tables`, and all stages that these depend on, in the lock's order."""
    wanted = {PurePosixPath(path) for path in tables}
    found: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name, stage in stages.items():
            outs = [PurePosixPath(out["path"]) for out in stage.get("outs", [])]
            if name not in found and any(_overlap(out, path) for out in outs for path in wanted):
                found.add(name)
                wanted |= {PurePosixPath(dep["path"]) for dep in stage.get("deps", [])}
                grown = True
    return {name: stage for name, stage in stages.items() if name in found}


FREE = frozenset({"source.origin", "images"})
"""Parameters that no table depends on: what a card says of the images, and where the images are (their hashes say what)."""


def check_run(lock: Path, tables: Sequence[str], *, params: Mapping[str, Any], root: Path) -> None:
    """Check by dvc.lock that a project's tables are unchanged and were made with the current parameters.

    Args:
        lock: dvc.lock.
        tables: the outputs to release, as paths of dvc.lock.
        params: the content of params.yaml.
        root: the project's folder.

    Raises:
        UserError: a table or a parameter differs; the error names the first one.
    """
    stages = behind(read_lock(lock), tables)
    check_params(stages, params, lock=lock)
    check_outs(stages, tables, root=root, lock=lock)


def check_params(stages: Mapping[str, Any], params: Mapping[str, Any], *, lock: Path) -> None:
    """Compare params.yaml with the parameters that the stages ran with.

    Args:
        stages: those whose outputs are released.
        params: the content of the whole file.
        lock: named in the error.

    Raises:
        UserError: a parameter differs; the error names the first one.
    """
    for name, stage in stages.items():
        for key, ran_with in stage.get("params", {}).get("params.yaml", {}).items():
            differing = _difference(_value(params, key), ran_with, key)
            if differing is not None:
                key_, now, then = differing
                raise UserError(
                    f"params.yaml: {key_}", got=now, expected=f"{then}, as {lock} says of {name}", do=REPRO
                )


def check_outs(stages: Mapping[str, Any], tables: Sequence[str], *, root: Path, lock: Path) -> None:
    """Compare tables with the hashes in dvc.lock.

    Raises:
        UserError: a table is not the one that its stage wrote, or no stage wrote it.
    """
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    for table in tables:
        if table not in made:
            raise UserError(
                f"{lock}: {table}", got="no such output", expected="the output of a stage", do=REPRO
            )
    for name, stage in stages.items():
        for out in stage.get("outs", []):
            if out["path"] in tables and dvc_hash(root / out["path"]) != out["md5"]:
                raise UserError(
                    out["path"],
                    got="other content",
                    expected=f"what {lock} lists as {name}'s output",
                    do=REPRO,
                )


def check_read(lock: Path, tables: Sequence[str], *, root: Path) -> None:
    """Compare tables with the hashes that dvc.lock has of them as the inputs of stages: they may have been made again since.

    Args:
        lock: dvc.lock.
        tables: files, as paths of dvc.lock.
        root: the project's folder.

    Raises:
        UserError: a stage read another table, or the table is missing.
    """
    for name, stage in read_lock(lock).items():
        for dep in stage.get("deps", []):
            if dep["path"] in tables and dep.get("md5") != dvc_hash(root / dep["path"]):
                raise UserError(
                    dep["path"],
                    got="other content" if (root / dep["path"]).exists() else "no such table",
                    expected=f"what {lock} lists as {name}'s input",
                    do=REPRO,
                )


def commit(root: Path, *, within: str = ".") -> str | None:
    """Return the git commit of the project, with `+changes` appended if tracked files differ; None outside git.

    Args:
        root: the project's folder.
        within: the file or folder of it whose changes count.

    Example: "5869a51c3e0b2f7d6a1e4b8c9d0f1a2b3c4d5e6f"
    """
    git = shutil.which("git")
    if git is None:
        return None
    found, changed = (
        subprocess.run([git, *words], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        for words in (
            ["rev-parse", "HEAD"],
            ["status", "--porcelain", "--untracked-files=no", "--", within],
        )
    )
    if found.returncode:
        return None
    return found.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one == other or one in other.parents or other in one.parents


def _value(params: Mapping[str, Any], key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _difference(now: Any, then: Any, key: str) -> tuple[str, Any, Any] | None:
    """Return the first key that differs, and both values; None if none differs.

    Added iterations and the keys of `FREE` do not count.
    """
    if key in FREE:
        return None
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        keys = then if key == "iterations" else {**then, **now}
        parts = (_difference(now.get(part), then.get(part), f"{key}.{part}") for part in keys)
        return next((part for part in parts if part is not None), None)
    return None if now == then else (key, now, then)
