"""Wiring of `measure_signals`: candidate sentences and scorers in, the signals of each candidate out."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from csrdata import paths
from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.inputs import need, need_images, need_policy, need_scorer
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import asks_questions, asks_the_policy, open_scorer
from csrdata.pipeline.shards import run_shards
from csrdata.records import Prompt, Sentence, Signal
from csrdata.sections.scorers import scorer_folder, scorer_of, scorer_roles
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.shard_shares import Share
from csrdata.storage.tables import ShardStore, fingerprint, read_rows

if TYPE_CHECKING:
    from csrdata.engines.base import Worker

SAMPLED = "dvc repro sample_prompts"


def run(params: Params, name: str, share: Share | None = None) -> None:
    """Measure the candidates of iteration `name`, a shard of signals for each shard of candidates; intact ones are kept.

    With `share`, make only the shards of this share.
    """
    previous = params.iterations[name].previous
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
    candidates = check_shards(paths.candidates(name), made_by=f"dvc repro generate_beams@{name}")
    shards = [paths.candidates(name) / file for file in candidates.names()]
    root = need_images(params, (prompt.image for prompt in prompts))
    roles = scorer_roles(params.scorers)
    store = ShardStore(
        paths.signals(name),
        Signal,
        fingerprint=fingerprint(
            candidates=[candidates.files[file].sha256 for file in candidates.names()],
            images=root.hashes(),
            **{
                f"scorer {role}": need_scorer(scorer_folder(scorer_of(params.scorers, role), role=role))
                for role in roles
            },
            policy=_policy(previous)
            if any(asks_the_policy(params.scorers, role) for role in roles)
            else None,
            code=stage_hash("measure_signals"),
            params=[params.scorers.model_dump(), params.compute.model_dump()],
        ),
        shards=len(shards),
    )
    if params.scorers.held_out is None:
        sys.stderr.write("scorers.held_out is null: relevance_held_out and reward_held_out will be null\n")
    images = {prompt.prompt_id: prompt.image for prompt in prompts}
    run_shards(
        store,
        [[file] for file in shards],
        partial(_open_worker, params, name, images, root),
        params=params,
        stage="measure_signals",
        name=name,
        unit="shard",
        share=share,
        device=params.compute.device,
        threads=params.compute.threads,
    )


def _policy(previous: str) -> list[Path]:
    """Return the policy's folders, and the prompts as the base's template renders them."""
    return [*(need_policy(one) for one in (paths.BASE, previous)), need(paths.WORDINGS, made_by=SAMPLED)]


def _open_worker(
    params: Params, name: str, images: Mapping[str, str], root: ImageRoot, number: int
) -> "Worker":
    """Load the scorers for worker `number`, which measures shards of candidates; a self-check loads the policy."""
    set_up_process(params.compute)
    from csrdata.engines.base import Worker
    from csrdata.engines.local import take_device
    from csrdata.generation.clock import Clock
    from csrdata.generation.signals import OTHER_IMAGES, OTHER_IMAGES_ASKED, measure

    device, clock = take_device(params.compute.device, number), Clock()
    previous = params.iterations[name].previous
    roles = scorer_roles(params.scorers)
    opened = {role: open_scorer(params, role, device=device, policy=previous) for role in roles}
    judge = partial(
        measure,
        images=images,
        root=root,
        search=opened.pop("search"),
        other_images=OTHER_IMAGES_ASKED if asks_questions(params.scorers, "search") else OTHER_IMAGES,
        scorers=opened,
        clock=clock,
    )

    def make(files: Sequence[Path]) -> list[Signal]:
        made_by = f"dvc repro generate_beams@{name}"
        return [row for file in files for row in judge(read_rows(file, Sentence, made_by=made_by))]

    return Worker(make, clock)
