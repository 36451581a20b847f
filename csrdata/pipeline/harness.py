"""Wiring of `csrdata evaluate --harness lmms-eval`: a policy of this project in, another harness's figures out. No stage."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from csrdata import paths
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.evaluation.harness.columns import JUDGED
from csrdata.evaluation.harness.process import FAMILIES, HARNESS, check_installed, run_harness, task_names
from csrdata.evaluation.harness.results import CONFIDENCE, HarnessProtocol, TaskResult, read_results
from csrdata.evaluation.measured import Evaluation
from csrdata.evaluation.record import installed_versions
from csrdata.params import load_params
from csrdata.pipeline.checkpoint import unpacked
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.runtime import set_up_process
from csrdata.sections.values import Dtype
from csrdata.storage.disk import hash_path, write_json

FILED = Path("metrics/lmms_eval")
"""Where the figures are filed: `ITERATION/TASK.json`."""


def harness_evaluations(
    name: str, tasks: str, *, include: Path | None, python: Path | None
) -> list[Evaluation]:
    """Run tasks of lmms-eval on a policy, file each task's figures below `FILED`, and return them.

    Args:
        name: base, or an iteration of params.yaml.
        tasks: names, separated by commas.
        include: a folder with further tasks; None: only lmms-eval's own.
        python: the interpreter that has lmms-eval; None: this one.

    Raises:
        UserError: there is no such policy, its family is not supported, lmms-eval is not installed, or it fails.
    """
    params, asked = load_params(), task_names(tasks)
    names = [paths.BASE, *params.iterations]
    if name not in names:
        raise UserError(
            "--iteration", got=name, expected=f"one of {', '.join(names)}", do="csrdata evaluate --help"
        )
    if include is not None and not include.is_dir():
        raise UserError(
            "--include-path", got=str(include), expected="a folder of tasks", do="csrdata evaluate --help"
        )
    version = check_installed(python)
    for task in sorted(JUDGED & set(asked)):
        say(f"{task} asks a paid model to judge: without its key the figures mean nothing")
    policy, dtype = need_policy(name), unpacked(params.compute.dtype)
    set_up_process(params.compute)
    with tempfile.TemporaryDirectory(prefix="csrdata-") as temporary:
        model, output = Path(temporary) / "model", Path(temporary) / "output"
        for folder in (model, output):
            folder.mkdir()
        digest = _merge(policy, model, dtype=dtype)
        run_harness(
            model,
            output,
            tasks=asked,
            include=include,
            device=params.compute.device,
            dtype=dtype,
            python=python,
        )
        results = read_results(output, asked)
    versions = {**installed_versions(), HARNESS: version}
    found = [_evaluation(name, one, digest=digest, versions=versions) for one in results]
    _file(name, found)
    return found


def _merge(policy: Path, folder: Path, *, dtype: Dtype) -> str:
    """Write a policy as one model folder for the harness; return the folder's SHA-256."""
    from csrdata.policy.checkpoint import write_checkpoint
    from csrdata.policy.greedy_folder import answer_greedily, model_type
    from csrdata.policy.loading import read_chain

    family = model_type(read_chain(policy).model)
    if family not in FAMILIES:
        raise UserError(
            f"--harness {HARNESS}: model of {policy}",
            got=family,
            expected=f"one of {', '.join(FAMILIES)}",
            do="csrdata export DIR --to checkpoint, and run lmms_eval with a model class of the family",
        )
    merged = write_checkpoint(policy, folder, dtype=dtype)
    if merged.kept is not None:
        say(f"{merged.adapters} adapters merged; {merged.kept:.1%} of their update is left in {dtype}")
    answer_greedily(folder)
    return hash_path(folder)


def _evaluation(name: str, result: TaskResult, *, digest: str, versions: dict[str, str]) -> Evaluation:
    settings = result.generation
    sampled = bool(settings.get("do_sample")) or float(settings.get("temperature") or 0) > 0
    beams = settings.get("num_beams") or 1
    greedy = not sampled and beams == 1
    protocol = HarnessProtocol(
        measure=f"{HARNESS} {result.task}",
        rules=f"{HARNESS} {versions[HARNESS]}, task version {result.version}",
        task=result.task,
        task_version=result.version,
        questions=result.questions,
        questions_sha256=result.questions_sha256,
        prompt="as the task asks",
        max_new_tokens=str(settings.get("max_new_tokens", "1024, the harness's default")),
        decoding="greedy"
        if greedy
        else f"as the task says: {beams} beams, {'sampled' if sampled else 'greedy'}",
        generation=json.dumps(settings, sort_keys=True),
        shots=result.shots,
        model="base" if name == paths.BASE else f"iteration {name}",
        model_sha256=digest,
        versions=versions,
    )
    return Evaluation(
        name=name,
        benchmark=f"{HARNESS} {result.task}",
        variant=None,
        protocol=protocol,
        empty_answers=result.empty_answers,
        confidence=CONFIDENCE,
        figures=result.figures,
    )


def _file(name: str, found: Sequence[Evaluation]) -> None:
    for one in found:
        path = FILED / name / f"{one.benchmark.split()[-1]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, one.as_json())
        say(f"filed in {path}")
