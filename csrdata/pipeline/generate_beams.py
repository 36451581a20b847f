"""Wiring of `generate_beams`: prompts, the previous policy and a scorer in, all candidate sentences out."""

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

from csrdata import paths
from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.pipeline.code import stage_hash
from csrdata.pipeline.inputs import need, need_images, need_policy, need_scorer
from csrdata.pipeline.proposing import open_proposing
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import open_scorer
from csrdata.pipeline.shards import run_shards
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Prompt, Sentence
from csrdata.sections.scorers import scorer_folder
from csrdata.storage.shard_shares import Share
from csrdata.storage.tables import ShardStore, fingerprint, read_rows

if TYPE_CHECKING:
    from csrdata.engines.base import Worker


def run(params: Params, name: str, share: Share | None = None) -> None:
    """Search answers to all prompts with the policy that iteration `name` starts from; intact shards are kept.

    With `share`, make only the shards of this share, while other processes make the others.
    """
    from csrdata.engines.shards import shard

    settings = params.generate_beams
    previous = params.iterations[name].previous
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    images = need_images(params, (prompt.image for prompt in prompts))
    plan = shard(prompts, settings.prompts_per_shard)
    store = ShardStore(
        paths.candidates(name),
        Sentence,
        fingerprint=fingerprint(
            prompts=[paths.PROMPTS, need(paths.WORDINGS, made_by="dvc repro sample_prompts")],
            images=images.hashes(),
            policy=[need_policy(one) for one in (paths.BASE, previous)],
            scorer=need_scorer(scorer_folder(params.scorers.search, role="search")),
            code=stage_hash("generate_beams"),
            params=[settings.model_dump(), params.compute.model_dump()],
        ),
        shards=len(plan),
    )
    complete = run_shards(
        store,
        plan,
        partial(_open_worker, params, name, images),
        params=params,
        stage="generate_beams",
        name=name,
        unit="prompt",
        share=share,
        device=params.compute.device,
        threads=params.compute.threads,
    )
    match settings.proposal.kind:
        case "served" if complete and share is None:
            from csrdata.pipeline.served import remove_old_replies

            remove_old_replies(params, name, plan)
        case "served":  # the last share does not know whether another still writes
            pass
        case _:
            shutil.rmtree(paths.replies(name), ignore_errors=True)


def _open_worker(params: Params, name: str, images: ImageRoot, number: int) -> "Worker":
    """Load the policy and the search's scorer for worker `number`."""
    set_up_process(params.compute)
    from csrdata.engines.base import Worker
    from csrdata.engines.local import take_device
    from csrdata.generation.clock import Clock
    from csrdata.generation.generating import generate
    from csrdata.generation.in_flight import InFlight
    from csrdata.policy.loading import load_policy

    settings, clock, in_flight = params.generate_beams, Clock(), InFlight()
    previous = params.iterations[name].previous
    device = take_device(params.compute.device, number)
    policy = load_policy(
        paths.policy(previous),
        device=device,
        dtype=params.compute.dtype,
        wordings=read_wordings(paths.WORDINGS),
    )
    search: dict[str, Any] = {
        "root": images,
        "policy": policy,
        "scorer": open_scorer(params, "search", device=device, policy=lambda: policy),
        **settings.model_dump(exclude={"proposal", "prompts_per_shard", "guidance"}),
        "guidance": settings.guidance.kind,
        "image_weight": settings.guidance.image_weight,
        "scale": settings.guidance.scale,
        "repetition_threshold": settings.guidance.repetition_threshold,
        "clock": clock,
        "in_flight": in_flight,
    }
    match settings.proposal.kind:
        case "served":
            from csrdata.pipeline.served import open_served

            return Worker(partial(open_served(params, name, policy), **search), clock, in_flight)
        case _:
            return Worker(
                partial(generate, proposing=open_proposing(settings.proposal), **search), clock, in_flight
            )
