"""Wiring of `score_beams`: candidate sentences and the held-out scorer in, whole answers with their rewards out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from csrdata import paths
from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.inputs import need_images, need_scorer
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import open_scorer, scorer_folder
from csrdata.records import Prompt, Response, Sentence
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import ShardStore, fingerprint, read_rows, read_table, write_json

if TYPE_CHECKING:
    from csrdata.engines.base import Worker


def run(params: Params, name: str) -> None:
    """Score the answers that the search of iteration `name` produced; intact shards are kept."""
    from csrdata.engines.local import LocalEngine, fitting_workers
    from csrdata.engines.runlog import RunLog

    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    made_by = f"dvc repro generate_beams@{name}"
    candidates = check_shards(paths.candidates(name), made_by=made_by)
    shards = [paths.candidates(name) / file for file in candidates.names()]
    root = need_images(params, (prompt.image for prompt in prompts))
    store = ShardStore(
        paths.responses(name),
        Response,
        fingerprint=fingerprint(
            candidates=[candidates.files[file].sha256 for file in candidates.names()],
            images=root.hashes(),
            held_out=need_scorer(scorer_folder(params.scorers.held_out)),
            code=stage_hash("score_beams"),
            params=[params.score_beams.model_dump(), params.compute.model_dump()],
        ),
        shards=len(shards),
    )
    images = {prompt.prompt_id: prompt.image for prompt in prompts}
    workers = fitting_workers(
        params.engine.workers, device=params.compute.device, threads=params.compute.threads
    )
    LocalEngine(workers).run(
        store,
        [[file] for file in shards],
        partial(_open_worker, params, images, root, made_by),
        title=f"score_beams@{name}",
        unit="shard",
        log=RunLog(paths.run_log("score_beams", name)),
    )
    responses = read_table(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    write_json(paths.stage_metrics("score_beams", name), _metrics(responses, prompts=len(prompts)))


def _open_worker(
    params: Params, images: Mapping[str, str], root: ImageRoot, made_by: str, number: int
) -> "Worker":
    """Load the held-out scorer for worker `number`, which scores shards of candidates."""
    set_up_process(params.compute)
    from csrdata.engines.base import Worker
    from csrdata.engines.local import take_device
    from csrdata.generation.scoring import score

    settings = params.score_beams
    judge = partial(
        score,
        images=images,
        root=root,
        held_out=open_scorer(params.scorers.held_out, device=take_device(params.compute.device, number)),
        image_weight=settings.image_weight,
        scale=settings.scale,
        repetition_threshold=settings.repetition_threshold,
        aggregate_by=settings.aggregate,
    )

    def make(files: Sequence[Path]) -> list[Response]:
        return [row for file in files for row in judge(read_rows(file, Sentence, made_by=made_by))]

    return Worker(make)


def _metrics(responses: pl.DataFrame, *, prompts: int) -> dict[str, float]:
    """Return figures of the answers for `dvc metrics show`: percentages of all answers, and means."""
    means = responses.select(pl.col("words", "sentences", "reward", "relevance", "relevance_held_out").mean())
    return {
        "responses_per_prompt": len(responses) / prompts,
        "finished": 100 * float(responses["finished"].mean() or 0),  # type: ignore[arg-type]
        "canonical": 100 * float(responses["canonical"].mean() or 0),  # type: ignore[arg-type]
        **{f"mean_{name}": value for name, value in means.row(0, named=True).items()},
    }
