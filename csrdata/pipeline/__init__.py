"""The stages by name, and how to run one: `stages/*.py` call `main`, `csrdata run STAGE` calls `run`.

The module `csrdata/pipeline/<stage>.py` holds the wiring of a stage: one function, `run(params)` or `run(params,
name)`, as `Needs` says. It turns parameters and paths into one library call, and writes tables and metrics.
Configuration objects stop here. The module of a stage is imported when the stage runs, so that listing the stages
loads no model library.
"""

import difflib
import importlib
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

from csrdata import paths
from csrdata.engines.runlog import append_event, cpu_seconds
from csrdata.entry import leaving_in_words, say
from csrdata.errors import UserError
from csrdata.params import FILE, Params, load_params
from csrdata.pipeline.guard import guarded
from csrdata.pipeline.written import files_now, written
from csrdata.policy import launched
from csrdata.storage.shard_shares import Share

KEPT = "; what was finished is kept. Next: dvc repro"
"""The end of the message when a signal stops a stage."""


TOGETHER = "train_dpo"
"""The stage that several processes may run together."""


class Needs(StrEnum):
    """Which argument a stage takes."""

    NOTHING = "nothing"
    ITERATION = "iteration"
    POLICY = "policy"
    """The name of an iteration, or `base`."""


STAGES = {
    "prepare": Needs.NOTHING,
    "sample_prompts": Needs.NOTHING,
    "generate_beams": Needs.ITERATION,
    "measure_signals": Needs.ITERATION,
    "score_beams": Needs.ITERATION,
    "judge_answers": Needs.ITERATION,
    "select_pairs": Needs.ITERATION,
    "train_dpo": Needs.ITERATION,
    "evaluate_policy": Needs.POLICY,
    "match_recall": Needs.POLICY,
    "measure_attention": Needs.POLICY,
    "check_stop": Needs.POLICY,
    "summarize": Needs.NOTHING,
    "report": Needs.NOTHING,
}
"""Every stage and the argument it takes, in the order of the DAG."""

ABOUT = {
    "prepare": "draw the images, train the base policy and the scorers",
    "sample_prompts": "sample the training prompts and the evaluation questions",
    "generate_beams": "search answers to every prompt, sentence by sentence",
    "measure_signals": "measure each candidate with further scorers, and with images of other prompts",
    "score_beams": "score whole answers; no model runs",
    "judge_answers": "let the policy judge its own answers (select_pairs.kind: judged)",
    "select_pairs": "make preference pairs, or record why a prompt has none; no model runs",
    "train_dpo": "train the next policy on the pairs",
    "evaluate_policy": "answer the evaluation questions with one policy",
    "match_recall": "measure one policy at the base's recall, by a bias on end-of-sequence",
    "measure_attention": "measure how much of its attention one policy gives to the image",
    "check_stop": "compare one policy with the limits of stop_when: the loop may stop after it",
    "summarize": "compare the base and all iterations in one table",
    "report": "write the page that shows prompts, pairs, trees and figures (data/report/index.html)",
}
"""What each stage does, for `csrdata run --list`."""


def main(stage: str, argv: Sequence[str] | None = None) -> None:
    """Run a stage as a script. `leaving_in_words` says how the process ends on an error or a signal.

    Args:
        stage: a key of `STAGES`.
        argv: the arguments after the script's name, by default those of the process. The first one is the iteration
            or policy, if the stage takes one.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with leaving_in_words(stage, kept=KEPT, reword=works_here):
        run(stage, words[0] if words else None, extra=words[1:])


def works_here(error: UserError) -> UserError:
    """Return the error with a next command that works in this folder; see `csrdata.pipeline.pulled.next_step`."""
    from csrdata.pipeline.pulled import next_step

    return next_step(error)


def run(stage: str, name: str | None, *, extra: Sequence[str] = (), shards: str | None = None) -> None:
    """Read params.yaml, run a stage, and print to stderr what it wrote.

    Args:
        stage: a key of `STAGES`.
        name: the iteration or policy; None for a stage that takes no name.
        extra: further arguments of the user; any is an error.
        shards: `i/n`, the share of the stage's shards that this process makes; None for all.

    Raises:
        UserError: the stage is unknown; the name is missing, unknown or unexpected; the stage has no shards; or the stage
            itself raises.
    """
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, n=1, cutoff=0.4)
        expected = near[0] if near else f"one of {', '.join(STAGES)}"
        raise UserError(
            "stage", got=stage, expected=expected, do=f"csrdata run {near[0] if near else '--list'}"
        )
    from csrdata.pipeline import not_run

    params = load_params()
    _check_name(stage, name, params, extra=extra)
    share = None if shards is None else _share(stage, name, shards)
    _check_project(params)
    if launched.number():
        _follow(stage, name, params)
        return
    before, start, used = files_now(), time.perf_counter(), cpu_seconds()
    with guarded(stage, name, share):
        stopped = None if name is None else not_run.why_stopped(stage, name, params)
        if name is None or stopped is None:
            try:
                _run(stage, name, params, share)
            finally:
                if stage == TOGETHER and name is not None:
                    with suppress(OSError):  # it has something to go on from: it stays
                        paths.unfinished_training(name).rmdir()
        elif share is None:
            not_run.write_stopped(stage, name, params, stopped)
    seconds = time.perf_counter() - start
    spent = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds() - used, 3)}
    append_event(paths.STAGE_LOG, "stage", stage=stage, name=name, **spent)
    label = f"{stage}@{name}" if name else stage
    if stopped is not None:
        say(f"{label}: not run, because the loop stopped at iteration {stopped[0]}: {stopped[1]}")
    if share is None:
        say(f"{label}: {written(before, files_now())} in {seconds:.1f} s")


def _share(stage: str, name: str | None, shards: str) -> Share:
    """Return the share of a stage that a user names."""
    from csrdata.pipeline.shards import SHARDED, parse_share

    if stage not in SHARDED:
        expected = f"one of {', '.join(SHARDED)}"
        raise UserError("--shards", got=stage, expected=expected, do=f"csrdata run {stage} without --shards")
    return parse_share(shards, again=f"csrdata run {stage} --iteration {name}")


def _run(stage: str, name: str | None, params: Params, share: Share | None) -> None:
    """Run the wiring of a stage."""
    from csrdata.pipeline import not_run

    wiring = importlib.import_module(f"{__name__}.{stage}")
    if name is None:
        wiring.run(params)
        return
    not_run.clear(stage, name)
    if share is None:
        wiring.run(params, name)
    else:
        wiring.run(params, name, share)


def _follow(stage: str, name: str | None, params: Params) -> None:
    """Run a stage in another process than the first of `accelerate launch`, which holds the lock, writes and reports.

    Raises:
        UserError: this stage is not one that several processes run together.
    """
    from csrdata.pipeline import not_run

    if stage != TOGETHER or name is None:
        raise UserError(
            "accelerate launch",
            got=f"{launched.planned()} processes for {stage}",
            expected=f"{TOGETHER}, the only stage that several processes run together",
            do=f"csrdata run {stage}",
        )
    if not_run.why_stopped(stage, name, params) is None:
        importlib.import_module(f"{__name__}.{stage}").run(params, name)


def listing() -> str:
    """Return one line per stage: its name, what it does, and the argument it takes."""
    takes = {Needs.NOTHING: "", Needs.ITERATION: " [--iteration T]", Needs.POLICY: " [--iteration T or base]"}
    return "\n".join(f"{stage:<16} {ABOUT[stage]}{takes[needs]}" for stage, needs in STAGES.items())


def _check_name(stage: str, name: str | None, params: Params, *, extra: Sequence[str]) -> None:
    needs = STAGES[stage]
    valid = [] if needs is Needs.NOTHING else list(params.iterations)
    if needs is Needs.POLICY:
        valid.insert(0, paths.BASE)
    expected = f"one of {', '.join(valid)} ({FILE}: iterations)" if valid else "none"
    got = " ".join([*([name] if name is not None else []), *extra])
    if extra or (name not in valid if valid else name is not None):
        raise UserError(f"{stage}: {needs}", got=got, expected=expected, do=_call(stage, valid))


def _check_project(params: Params) -> None:
    """Refuse to run in a project whose dvc.yaml or code.yaml is of other parameters or of another csrdata.

    DVC would record the results under what those files say.
    """
    from csrdata.pipeline import dag

    if not dag.CODE.is_file():
        return
    for path, text in dag.project_files(params).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise UserError(
                str(path),
                got="other stages" if path.is_file() else "no such file",
                expected=f"those of {FILE} and of the installed csrdata",
                do="csrdata dag, then: dvc repro",
            )


def _call(stage: str, valid: Sequence[str]) -> str:
    return f"csrdata run {stage}" + (f" --iteration {valid[-1]}" if valid else "")
