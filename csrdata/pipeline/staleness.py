"""Which runs of stages are out of date, by the hashes in dvc.lock: the rule of `dvc status`, without DVC.

A run is out of date if dvc.lock has no entry for it, or its command, a parameter, an input or an output differs from that
entry. The first difference is returned in words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.params import FILE, Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.dag import CODE, Form, command, dependencies, kinds_in_use
from csrdata.pipeline.graph import Step
from csrdata.storage.dvc_lock import dvc_hash, entry

LOCK = Path("dvc.lock")


@dataclass(frozen=True, slots=True)
class Project:
    """What a project's steps are compared with."""

    params: Params
    raw: Mapping[str, Any]
    """params.yaml as parsed: the values that DVC compares."""
    form: Form
    """Whether a stage's code is a hash in code.yaml or files."""


def why_stale(step: Step, lock: Mapping[str, Any], project: Project) -> str | None:
    """Return why a step has to run, or None if its outputs are up to date.

    Args:
        step: of the project in the present folder.
        lock: the stages of dvc.lock by name.
        project: what it is compared with.
    """
    recorded = lock.get(step.name)
    if recorded is None:
        return "it has not run"
    if recorded.get("cmd") != command(step.node, project.form):
        return "its command has changed"
    wanted = parameters(step, project)
    for file, values in wanted.items():
        then = recorded.get("params", {}).get(file, {})
        for key, value in values.items():
            if key not in then or then[key] != value:
                return f"{file}: {key} has changed"
    if recorded.get("params", {}).keys() - wanted.keys():
        return "its parameters have changed"
    return _differs(recorded.get("deps", []), inputs(step, project)) or _differs(
        recorded.get("outs", []), [output.path for output in step.node.outputs]
    )


def record(step: Step, project: Project) -> dict[str, Any]:
    """Return the entry of dvc.lock for a step that has just run."""
    parts: dict[str, Any] = {"cmd": command(step.node, project.form)}
    if read := inputs(step, project):
        parts["deps"] = [entry(Path(path), name=path) for path in sorted(read)]
    parts["params"] = parameters(step, project)
    parts["outs"] = [
        entry(Path(path), name=path) for path in sorted(output.path for output in step.node.outputs)
    ]
    return parts


def inputs(step: Step, project: Project) -> list[str]:
    """Return the files and folders that a step depends on, code included where it is files."""
    code = dependencies(step.node.stage, project.params) if project.form is Form.REPOSITORY else []
    return [*step.node.inputs, *code]


def parameters(step: Step, project: Project) -> dict[str, dict[str, Any]]:
    """Return the parameters that a step depends on, by file and key."""
    found = {str(FILE): {key: _value(project.raw, key) for key in sorted(step.node.params)}}
    if project.form is Form.PROJECT:
        kinds = kinds_in_use(project.params)
        found[str(CODE)] = {step.node.stage: stage_hash(step.node.stage, kinds=kinds)}
    return found


def _value(raw: Mapping[str, Any], key: str) -> Any:
    value: Any = raw
    for part in key.split("."):
        value = value[part]
    return value


def _differs(recorded: Sequence[Mapping[str, Any]], present: Sequence[str]) -> str | None:
    """Return the first path whose content is not the recorded one, in words."""
    then = {one["path"]: one.get("md5") for one in recorded}
    for path in sorted({*then, *present}):
        if path not in then:
            return f"{path} is new"
        if path not in present:
            return f"{path} is not needed any more"
        now = dvc_hash(Path(path))
        if now != then[path]:
            return f"{path} is missing" if now is None else f"{path} has changed"
    return None
