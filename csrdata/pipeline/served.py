"""Wiring of a search whose sentences a server samples: `generate_beams.proposal.kind: served` (docs/servers.md)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.inputs import need, need_policy
from csrdata.records import Prompt, Sentence
from csrdata.sections.method import ServedSampling
from csrdata.storage.tables import fingerprint

NAME = 32
"""Characters of the name that a server has for a policy: the beginning of a hash of the policy's content."""

if TYPE_CHECKING:
    from csrdata.policy.loading import Policy


def open_served(params: Params, name: str, policy: "Policy") -> Callable[..., list[Sentence]]:
    """Return the function that searches a shard; it takes the prompts, and the arguments of `generate_served` left.

    Args:
        params: `generate_beams` is read; its proposal is of the kind `served`.
        name: the iteration.
        policy: that the iteration starts from.
    """
    from csrdata.generation.answer_server import AnswerServer, rules_of
    from csrdata.generation.served import generate_served, replies_file
    from csrdata.policy.prompting import banned_ids, end_ids

    settings = params.generate_beams.proposal
    assert isinstance(settings, ServedSampling)  # noqa: S101 - the caller chose by kind
    model: Any = policy.model
    inputs = reply_inputs(params, name)
    server = AnswerServer(
        settings.server,
        policy=inputs["policy"][:NAME],
        temperature=settings.temperature,
        rules=rules_of(
            vocabulary=model.config.get_text_config().vocab_size,
            ends=end_ids(policy.model, policy.processor),
            banned=banned_ids(policy.model, policy.processor),
        ),
        in_flight=settings.in_flight,
        patience=settings.patience,
    )
    search = partial(
        generate_served,
        server=server,
        count=settings.count,
        seed=settings.seed,
        tolerance=settings.tolerance,
    )

    def make(prompts: Sequence[Prompt], **rest: Any) -> list[Sentence]:
        replies = replies_file(paths.replies(name), inputs=inputs, prompts=prompts)
        return search(prompts, replies=replies, **rest)

    return make


def reply_inputs(params: Params, name: str) -> dict[str, str]:
    """Return hashes of what a server's replies depend on: the policy, prompts with their images, and the sampling."""
    settings, sampled = params.generate_beams, params.generate_beams.proposal
    prompts = (paths.PROMPTS, paths.IMAGES, paths.WORDINGS)
    return fingerprint(
        policy=[need_policy(one) for one in (paths.BASE, params.iterations[name].previous)],
        prompts=[need(path, made_by="dvc repro sample_prompts") for path in prompts],
        sampling=[
            sampled.model_dump(include={"count", "temperature", "seed"}),
            settings.max_sentence_tokens,
            settings.max_response_tokens,
        ],
    )


def remove_old_replies(params: Params, name: str, plan: Sequence[Sequence[Prompt]]) -> None:
    """Remove the replies of other policies, prompts or settings; those of the shards of `plan` stay."""
    from csrdata.generation.served import replies_file

    inputs, folder = reply_inputs(params, name), paths.replies(name)
    kept = {replies_file(folder, inputs=inputs, prompts=prompts) for prompts in plan}
    for path in folder.glob("*"):
        if path not in kept:
            path.unlink(missing_ok=True)
