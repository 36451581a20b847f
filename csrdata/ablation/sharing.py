"""Stages that several arms have in common run once: what one project has made, another takes from the shared DVC cache.

DVC's own run cache does not do it: it leaves out stages whose outputs persist between runs (the search, its signals and
scores) and stages without inputs (`prepare`), which are the ones that cost. Here a run of a stage has a key: the hash of its
command, parameters, code and outputs, and of the keys of the runs whose outputs it reads. Equal keys mean equal results. A
finished run is stored under its key: its entry of dvc.lock, the outputs that are not in the cache, and its line of the
log. A project that needs the key gets the entry, and `dvc checkout` brings the outputs.

`prepare` trains several models, and keeps those that a project already has with the same settings. Where no run has its
key, a project starts from the outputs of the one whose parameters differ least: an arm with another scorer trains that one
alone.
"""

import functools
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.params import FILE, Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.dag import CODE, Form, command, kinds_in_use
from csrdata.pipeline.graph import Step, steps
from csrdata.pipeline.staleness import LOCK
from csrdata.storage.disk import atomic_folder, read_json, write_json
from csrdata.storage.dvc_lock import dvc_hash, read_lock, write_stages

ENTRY, LOG, FILES = "entry.json", "log.json", "files"
"""In the folder of a key: the entry of dvc.lock, the lines of the log, the outputs that no cache holds."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a project has from itself and from others; the names of stages as DVC has them."""

    present: list[str]
    """Those that its dvc.lock has as they are to be."""
    taken: list[str]
    """Those of them that come from others."""
    started: list[str]
    """Those that will run, and find there what another project has made with other parameters."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of a stage in a project: what its result is determined by."""

    step: Step
    key: str
    cmd: str
    params: Mapping[str, Mapping[str, Any]]
    """By file, as in dvc.lock."""
    after: tuple[str, ...]
    """The names of the runs whose outputs it reads."""

    def is_recorded(self, lock: Mapping[str, Any]) -> bool:
        """Return whether dvc.lock has it with this command and these parameters."""
        entry = lock.get(self.step.name)
        return entry is not None and entry.get("cmd") == self.cmd and entry.get("params") == self.params


def runs_of(project: Path, params: Params, raw: Mapping[str, Any]) -> list[Ran]:
    """Return the runs of stages of a project, in the order of the DAG.

    Args:
        project: its folder; input files that no stage makes are hashed there.
        params: its parameters.
        raw: the same as read: the values that DVC compares.
    """
    found: list[Ran] = []
    for step in steps(params):
        cmd = command(step.node, Form.PROJECT)
        values = {
            str(FILE): {key: _value(raw, key) for key in sorted(step.node.params)},
            str(CODE): {step.node.stage: _code(step.node.stage, _frozen(params))},
        }
        read = {path: _makers(path, found) for path in step.node.inputs}
        made_by = {
            path: [ran.key for ran in makers] or dvc_hash(project / path) for path, makers in read.items()
        }
        outs = [output.path for output in step.node.outputs]
        text = json.dumps([cmd, values, made_by, outs], sort_keys=True, ensure_ascii=False)
        after = tuple(dict.fromkeys(ran.step.name for makers in read.values() for ran in makers))
        found.append(Ran(step, hashlib.sha256(text.encode()).hexdigest(), cmd, values, after))
    return found


def publish(store: Path, project: Path, runs: Sequence[Ran], *, names: Collection[str] | None = None) -> None:
    """Store the finished runs of a project for others.

    Args:
        store: the folder of all keys.
        project: its folder, after `dvc repro` of the runs.
        runs: of `runs_of`.
        names: the stages that are up to date, as DVC names them; None: all.
    """
    lock, log, good = read_lock(project / LOCK), _read_log(project), set[str]()
    for ran in runs:
        name, target = ran.step.name, store / ran.key
        if not ran.is_recorded(lock) or not good.issuperset(ran.after):
            continue  # it, or what it reads, ran with other parameters
        good.add(name)
        if (names is not None and name not in names) or (target / ENTRY).is_file():
            continue
        with atomic_folder(target, replaces=ENTRY) as partial:
            write_json(
                partial / ENTRY, {"stage": name, "entry": lock[name], "code": _all_code(ran.step.node.stage)}
            )
            write_json(partial / LOG, {"lines": [line for line in log if _is_of(line, ran.step)]})
            for output in ran.step.node.outputs:
                if not output.cached:
                    _copy(project / output.path, partial / FILES / output.path)


def adopt(store: Path, project: Path, runs: Sequence[Ran]) -> Adopted:
    """Give a project the entries of runs that others have finished; `dvc checkout` then brings their outputs."""
    lock = read_lock(project / LOCK) if (project / LOCK).is_file() else {}
    present, taken, started, lines = [], {}, {}, []
    for ran in runs:
        folder = store / ran.key
        if ran.is_recorded(lock):
            present.append(ran.step.name)
        elif (folder / ENTRY).is_file():
            taken[ran.step.name] = read_json(folder / ENTRY, made_by="")["entry"]
            lines += read_json(folder / LOG, made_by="")["lines"]
            _copy(folder / FILES, project)
        elif not ran.step.node.inputs and ran.step.name not in lock and (near := _nearest(store, ran)):
            started[ran.step.name] = near
    if taken or started:
        _append_log(project, lines)
        write_stages(project / LOCK, taken | started)
    return Adopted([*present, *taken], list(taken), list(started))


def _nearest(store: Path, ran: Ran) -> dict[str, Any] | None:
    """Return the entry of the finished run whose parameters differ least, if one of the same code is stored."""
    found = []
    for path in sorted(store.glob(f"*/{ENTRY}")):
        stored = read_json(path, made_by="")
        if stored["stage"] == ran.step.name and stored.get("code") == _all_code(ran.step.node.stage):
            found.append(stored["entry"])
    own = dict(_leaves(ran.params[str(FILE)]))
    return max(found, key=lambda entry: _in_common(own, entry["params"][str(FILE)]), default=None)


def _in_common(own: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """Return how many values two sets of parameters have in common."""
    theirs = dict(_leaves(other))
    return sum(key in theirs and theirs[key] == value for key, value in own.items())


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is no section, under its dotted key."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def code_of(params: Params) -> dict[str, str]:
    """Return the hash of the code behind each stage of a project."""
    return {stage: _code(stage, _frozen(params)) for stage in {step.node.stage for step in steps(params)}}


def _makers(path: str, before: Sequence[Ran]) -> list[Ran]:
    """Return the runs whose outputs are at a path, in it or around it."""
    return [ran for ran in before if any(_overlap(path, output.path) for output in ran.step.node.outputs)]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _frozen(params: Params) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the kinds in use in a form that a cache takes as a key."""
    return tuple((module, tuple(sorted(kinds))) for module, kinds in sorted(kinds_in_use(params).items()))


@functools.cache
def _code(stage: str, kinds: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    return stage_hash(stage, kinds=dict(kinds))


@functools.cache
def _all_code(stage: str) -> str:
    """Return the hash of the code behind a stage, whatever kinds are in use."""
    return stage_hash(stage)


def _value(raw: Mapping[str, Any], key: str) -> Any:
    value: Any = raw
    for part in key.split("."):
        value = value[part]
    return value


def _copy(source: Path, target: Path) -> None:
    """Copy a file or the files of a folder, if it is there."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _read_log(project: Path) -> list[dict[str, Any]]:
    """Return the lines of a project's log of stages; a line that a kill cut off is left out."""
    path = project / paths.STAGE_LOG
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def _append_log(project: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path = project / paths.STAGE_LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _is_of(line: Mapping[str, Any], step: Step) -> bool:
    return line.get("stage") == step.node.stage and line.get("name") == step.node.argument
