"""The stages by name, and the one way into them: `stages/*.py` and `csrdata run STAGE` call `main`.

A stage's wiring is `csrdata/pipeline/<stage>.py` with one function `run(params, name)`: parameters and paths in, one
library call, tables and metrics out. Config stops there. A stage is imported when it runs, so that listing stages loads no
model library.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from enum import StrEnum

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, Params, load_params

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


class Needs(StrEnum):
    """What a stage wants to be told."""

    NOTHING = "nothing"
    ITERATION = "iteration"
    POLICY = "policy"
    """An iteration, or `base`."""


STAGES = {
    "build_seed": Needs.NOTHING,
    "sample_prompts": Needs.NOTHING,
    "generate_beams": Needs.ITERATION,
    "score_beams": Needs.ITERATION,
    "select_pairs": Needs.ITERATION,
    "train_dpo": Needs.ITERATION,
    "evaluate_policy": Needs.POLICY,
    "summarize": Needs.NOTHING,
}
"""Every stage, in the order of the DAG."""


def main(stage: str, argv: Sequence[str] | None = None) -> None:
    """Run a stage as a script: `argv` holds the iteration where the stage needs one.

    A user's mistake is one line and exit code 1, an interrupt one line and 130.

    Args:
        stage: a key of `STAGES`.
        argv: the words after the script's name; by default the process's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        run(stage, words[0] if words else None, extra=words[1:])
    except UserError as error:
        from csrdata.pipeline.pulled import next_step

        print(next_step(error), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\n{stage}: interrupted; what was finished is kept. Next: dvc repro", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run(stage: str, name: str | None, *, extra: Sequence[str] = ()) -> None:
    """Load params.yaml and run a stage.

    Raises:
        UserError: no such stage, a name that is missing, unknown or not wanted, or whatever the stage itself refuses.
    """
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, n=1, cutoff=0.4)
        expected = near[0] if near else f"one of {', '.join(STAGES)}"
        raise UserError(
            "stage", got=stage, expected=expected, do=f"csrdata run {near[0] if near else '--help'}"
        )
    params = load_params()
    _check_name(stage, name, params, extra=extra)
    importlib.import_module(f"{__name__}.{stage}").run(params, name)


def _check_name(stage: str, name: str | None, params: Params, *, extra: Sequence[str]) -> None:
    needs = STAGES[stage]
    valid = [] if needs is Needs.NOTHING else list(params.iterations)
    if needs is Needs.POLICY:
        valid.insert(0, paths.BASE)
    expected = f"one of {', '.join(valid)} ({FILE}: iterations)" if valid else "none"
    got = " ".join([*([name] if name is not None else []), *extra])
    if extra or (name not in valid if valid else name is not None):
        raise UserError(f"{stage}: {needs}", got=got, expected=expected, do=_call(stage, valid))


def _call(stage: str, valid: Sequence[str]) -> str:
    return f"csrdata run {stage}" + (f" --iteration {valid[-1]}" if valid else "")
