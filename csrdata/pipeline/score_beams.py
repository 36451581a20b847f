"""Wiring of `score_beams`: candidate sentences and their signals in, whole answers with their rewards out; no model runs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.shards import run_shards
from csrdata.records import Prompt, Response, Sentence, Signal
from csrdata.search.responses import score
from csrdata.sections.method import ScoreBeams
from csrdata.storage.shard_manifest import ShardManifest, check_shards
from csrdata.storage.shard_shares import Share
from csrdata.storage.tables import ShardStore, fingerprint, read_rows, read_table, write_json

if TYPE_CHECKING:
    from csrdata.engines.base import Worker


def run(params: Params, name: str, share: Share | None = None) -> None:
    """Score the answers that the search of iteration `name` produced; intact shards are kept.

    With `share`, score only the shards of this share; metrics are written when all shards are there.

    Raises:
        UserError: an input is missing or damaged, or the signals are of other candidates.
    """
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    candidates = check_shards(paths.candidates(name), made_by=f"dvc repro generate_beams@{name}")
    signals = check_shards(paths.signals(name), made_by=f"dvc repro measure_signals@{name}")
    if signals.shards != candidates.shards:
        raise UserError(
            str(paths.signals(name)),
            got=f"{signals.shards} shards",
            expected=f"{candidates.shards}, as {paths.candidates(name)} has",
            do=f"dvc repro measure_signals@{name}",
        )
    store = ShardStore(
        paths.responses(name),
        Response,
        fingerprint=fingerprint(
            candidates=_hashes(candidates),
            signals=_hashes(signals),
            code=stage_hash("score_beams"),
            params=params.score_beams.model_dump(),
        ),
        shards=candidates.shards,
    )
    complete = run_shards(
        store,
        [[file] for file in candidates.names()],
        partial(_open_worker, params.score_beams, name),
        params=params,
        stage="score_beams",
        name=name,
        unit="shard",
        share=share,
        device="cpu",
        threads=1,
    )
    if not complete:
        return
    responses = read_table(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    write_json(paths.stage_metrics("score_beams", name), _metrics(responses, prompts=len(prompts)))


def _hashes(manifest: ShardManifest) -> list[str]:
    return [manifest.files[file].sha256 for file in manifest.names()]


def _open_worker(settings: ScoreBeams, name: str, _number: int) -> "Worker":
    """Return a worker that scores shards of candidates, given their file names."""
    from csrdata.engines.base import Worker

    def make(files: Sequence[str]) -> list[Response]:
        return [row for file in files for row in _score(settings, name, file)]

    return Worker(make)


def _score(settings: ScoreBeams, name: str, file: str) -> list[Response]:
    candidates: Path = paths.candidates(name) / file
    return score(
        read_rows(candidates, Sentence, made_by=f"dvc repro generate_beams@{name}"),
        read_rows(paths.signals(name) / file, Signal, made_by=f"dvc repro measure_signals@{name}"),
        signal=settings.signal,
        image_weight=settings.image_weight,
        scale=settings.scale,
        repetition_threshold=settings.repetition_threshold,
        aggregate_by=settings.aggregate,
    )


def _metrics(responses: pl.DataFrame, *, prompts: int) -> dict[str, float]:
    """Return figures of the answers for `dvc metrics show`: percentages of all answers, and means."""
    means = responses.select(pl.col("words", "sentences", "reward", "relevance", "relevance_held_out").mean())
    return {
        "responses_per_prompt": len(responses) / prompts,
        "finished": 100 * float(responses["finished"].mean() or 0),  # type: ignore[arg-type]
        "canonical": 100 * float(responses["canonical"].mean() or 0),  # type: ignore[arg-type]
        **{f"mean_{name}": value for name, value in means.row(0, named=True).items() if value is not None},
    }
