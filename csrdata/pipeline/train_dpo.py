"""Wiring of `train_dpo`: pairs and the previous policy in; the next policy (a chain of adapters) and a step log out.

The log-probabilities of the pairs under the previous policy are kept, too: analyses need no model then. Several processes
may run the stage together (`accelerate launch`); the first one alone writes.
"""

import dataclasses
import shutil
from functools import partial
from pathlib import Path

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline import runtime
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.inputs import need_images, need_policy
from csrdata.pipeline.references import write_references
from csrdata.pipeline.wordings import read_wordings
from csrdata.policy import launched
from csrdata.records import Pair
from csrdata.storage.tables import read_rows, write_json, write_table


def step_log(name: str) -> Path:
    """Return the path of iteration `name`'s step log: one row per optimizer step."""
    return Path("data/train_dpo") / name / "log.parquet"


def run(params: Params, name: str) -> None:
    """Train policy `name` on the pairs of the iteration of the same name, by DPO (equations 1 and 5) or as `loss` says."""
    section = params.train_dpo
    compute = params.compute.model_copy(update={"device": launched.own_device(params.compute.device)})
    runtime.set_up_process(compute, seed=section.seed)

    import polars as pl

    from csrdata.policy.loading import load_policy, new_chain
    from csrdata.policy.resuming import Work
    from csrdata.policy.training import StepLog, train

    pairs = read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}")
    previous = need_policy(params.iterations[name].previous)
    own = paths.pair_images(name).is_file()  # pairs that bring their images along
    images = need_images(
        params, (pair.image for pair in pairs), listed=paths.pair_images(name) if own else paths.IMAGES
    )
    policy = load_policy(
        previous,
        device=compute.device,
        dtype=compute.dtype,
        wordings=read_wordings(paths.WORDINGS),
    )
    work = Work(paths.unfinished_training(name), code=stage_hash("train_dpo"))
    train_with = partial(train, policy, pairs, root=images, work=work, **section.model_dump())
    if launched.number():
        train_with(adapter_folder=None)
        return
    with new_chain(paths.policy(name), previous=previous, name=name) as adapter:
        report = train_with(adapter_folder=adapter)
    numbers = {field.name: pl.Float64 for field in dataclasses.fields(StepLog)} | {"step": pl.Int64}
    steps = [dataclasses.asdict(step) for step in report.steps]
    write_table(step_log(name), pl.DataFrame(steps, schema=numbers))
    write_references(paths.references(name), report.references)
    write_json(paths.stage_metrics("train_dpo", name), report.summary())
    shutil.rmtree(work.folder)
