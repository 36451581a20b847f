"""Stages of an iteration that does not run: whether it runs, and the empty, marked outputs that it writes if not.

An iteration does not run if `check_stop` stopped the loop at the policy that it starts from, or if that policy did not run
either. One without a pair trains no policy, if `stop_when.least_pairs` is set. Every output then says why: `stopped.json` in
folders, next to tables without rows, and `{"stopped": ...}` as metrics. No model is imported; the rest of the DAG goes on.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.check_stop import few_pairs
from csrdata.pipeline.stopping import MARK, Stopped, checked, policy_mark, read_stopped
from csrdata.records import Dropped, ImageFile, Pair, Record, Verdict
from csrdata.storage.disk import atomic_folder
from csrdata.storage.tables import read_rows, write_json, write_rows

CHAIN = "chain.json"
"""In a policy's folder: any other folder is the user's."""
TABLES: dict[str, tuple[tuple[Callable[[str], Path], Record], ...]] = {
    "judge_answers": ((paths.verdicts, Verdict),),
    "select_pairs": ((paths.pairs, Pair), (paths.dropped, Dropped), (paths.pair_images, ImageFile)),
}
"""Files that a later stage depends on by their names: DVC runs no stage whose input is missing. They have no row."""
LATER = ("evaluate_policy", "match_recall", "measure_attention", "check_stop")
"""Stages that read the policy of their own iteration."""


def why_stopped(stage: str, name: str, params: Params) -> Stopped | None:
    """Return where and why the loop stopped, if an iteration's stage must not run; None if it must.

    Args:
        stage: a key of `csrdata.pipeline.STAGES`.
        name: the iteration, or "base", which always runs.
        params: all parameters.

    Raises:
        UserError: a file that says so is damaged, or the pairs are missing.
    """
    if name == paths.BASE:
        return None
    previous = params.iterations[name].previous
    marks = [policy_mark(previous)]
    if params.stop_when is not None:
        marks.append(checked(previous))
    if stage in LATER:
        marks.append(policy_mark(name))
    for path, made_by in marks:
        if path.is_file() and (found := read_stopped(path, made_by)) is not None:
            return found
    least = None if params.stop_when is None else params.stop_when.least_pairs
    if stage != "train_dpo" or least is None:
        return None
    pairs = read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}")
    return None if pairs else (name, few_pairs(0, least))


def write_stopped(stage: str, name: str, params: Params, stopped: Stopped) -> None:
    """Write the empty outputs of a stage that does not run, each with the reason; they replace those of an earlier run.

    Raises:
        UserError: the folder of the policy holds something that csrdata did not write.
    """
    from csrdata.pipeline.graph import steps

    content = {"stopped": {"iteration": stopped[0], "reason": stopped[1]}}
    (step,) = [one for one in steps(params) if (one.node.stage, one.node.argument) == (stage, name)]
    for output in step.node.outputs:
        path = Path(output.path)
        if path.suffix == ".json":
            write_json(path, content)
            continue
        replaced = "*"
        if path == paths.policy(name):
            replaced = MARK if (path / MARK).is_file() else CHAIN
        with atomic_folder(path, replaces=replaced) as partial:
            write_json(partial / MARK, content)
            for table, record in TABLES.get(stage, ()):
                write_rows(partial / table(name).name, [], record)


def clear(stage: str, name: str) -> None:
    """Remove the marks of a stage that runs now."""
    for folder in (Path("data") / stage / name, *([paths.policy(name)] if stage == "train_dpo" else [])):
        if (folder / MARK).is_file():
            (folder / MARK).unlink(missing_ok=True)  # another share may have removed it
            with suppress(OSError):  # it holds something else
                folder.rmdir()
