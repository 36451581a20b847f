"""Run the shards of a stage by the engine of params.yaml, all of them or one share (`csrdata run STAGE --shards i/n`)."""

import platform
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from csrdata import paths
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.code import stage_hash
from csrdata.storage.shard_shares import Share, ShareStore
from csrdata.storage.tables import ShardStore

if TYPE_CHECKING:
    from csrdata.engines.base import Engine, OpenWorker, Worker

SHARDED = ("generate_beams", "measure_signals", "score_beams")
"""The stages whose shards can be shared out."""
MOST_SHARES = 100_000


def run_shards(
    store: ShardStore,
    plan: Sequence[Sequence[Any]],
    open_worker: "OpenWorker",
    *,
    params: Params,
    stage: str,
    name: str,
    unit: str,
    share: Share | None,
    device: str,
    threads: int,
) -> bool:
    """Compute the shards that are missing from a store, and return whether the store is complete.

    Args:
        store: of the stage's shards.
        plan: the items of each shard, in the store's order.
        open_worker: opens a worker; must be picklable.
        params: `engine` is read.
        stage: a key of `csrdata.pipeline.STAGES`.
        name: the iteration.
        unit: name of one item, for the progress bar.
        share: the shards that this process makes; None for all.
        device: a torch device, on which workers compute.
        threads: threads of each worker.

    Raises:
        UserError: a worker raised it or died; or a node of a Ray cluster has another version of csrdata.
    """
    from csrdata.engines.runlog import RunLog

    own = store if share is None else ShareStore(store, share)
    if params.engine.kind != "local":
        open_worker = partial(_open_with_same_code, stage, stage_hash(stage), open_worker)
    label = name if share is None else f"{name}-{share.part}-of-{share.of}"
    open_engine(params, device=device, threads=threads).run(
        own,
        plan,
        open_worker,
        title=f"{stage}@{name}",
        unit=unit,
        log=RunLog(paths.run_log(stage, label)),
    )
    if not isinstance(own, ShareStore):
        return True
    waiting = own.waiting()
    if waiting:
        missing = f"{len(waiting)} of all {len(plan)} are not there yet, the first is shard {waiting[0]}"
        say(f"{stage}@{name}, shards {share}: done; {missing}. Next: the other shares, then: dvc repro")
    else:
        say(f"{stage}@{name}, shards {share}: done; all {len(plan)} are there. Next: dvc repro")
    return not waiting


def open_engine(params: Params, *, device: str, threads: int) -> "Engine":
    """Return the engine that `engine.kind` names. A new kind needs a case here and a section in `csrdata.sections`."""
    settings = params.engine
    match settings.kind:
        case "local":
            from csrdata.engines.local import LocalEngine, fitting_workers

            return LocalEngine(fitting_workers(settings.workers, device=device, threads=threads))
        case "ray":
            from csrdata.engines.ray import RayEngine

            return RayEngine(
                settings.workers,
                gpus=0 if device == "cpu" else settings.gpus_per_worker,
                cpus=threads,
                address=settings.address,
                patience=settings.patience,
            )


def parse_share(text: str, *, again: str) -> Share:
    """Return the share that `--shards` names.

    Args:
        text: `i/n`, i from 0 to n - 1.
        again: the command without the option, for an error's next command.

    Raises:
        UserError: the text is something else.

    Example: "2/8" -> shards 2, 10, 18, ...
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not int(found[1]) < int(found[2]) <= MOST_SHARES:
        raise UserError(
            "--shards", got=text, expected="i/n, with i from 0 to n - 1", do=f"{again} --shards 0/4"
        )
    return Share(int(found[1]), int(found[2]))


def _open_with_same_code(stage: str, code: str, open_worker: "OpenWorker", number: int) -> "Worker":
    """Open a worker, after checking that this node has the code that the shards are listed under.

    Raises:
        UserError: it has other code.
    """
    if stage_hash(stage) != code:
        raise UserError(
            f"csrdata on {platform.node()}",
            got=f"other code of {stage}",
            expected="the code of the process that runs the stage",
            do="install the same version on every node, then: dvc repro (finished shards are kept)",
        )
    return open_worker(number)
