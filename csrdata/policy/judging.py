"""A policy judges two of its own answers to an image, in both orders (Table 3 of the paper).

Both orders are in one batch, and a batch holds contests of similar length. The policy answers greedily: of two verdicts it
states the more probable one. How sure it is costs nothing more: the logits of the token that tells its verdict from the
other one are those it chose from. Prompts are those of sampling, around another instruction: a chat template may print
another date today.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from csrdata.errors import UserError
from csrdata.images import ImageRoot, load_image
from csrdata.policy.answering import batches, greedy_settings
from csrdata.policy.asking import frame_of
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import answer_text, check_tokens, context_limit, encode, end_ids
from csrdata.progress import progress as bar_of
from csrdata.records import Verdict, Winner
from csrdata.search.contests import Contest
from csrdata.search.judging import Judging

VERDICT_TOKENS = 16
"""The most tokens of a verdict."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the policy said in one order."""

    place: int | None
    """The place, 0 or 1, of the answer that it names; None if it names neither or both."""
    margin: float | None
    """Log-odds (nats) of the answer at place 0 against the one at place 1; None if they are not known."""


UNREADABLE = Said(None, None)


@torch.inference_mode()
def judge(
    policy: Policy,
    contests: Sequence[Contest],
    *,
    images: Mapping[str, str],
    root: Path | ImageRoot,
    judging: Judging,
    batch_size: int,
    progress: bool = True,
) -> list[Verdict]:
    """Return the policy's verdict on each contest, in the order of `contests`.

    A contest whose prompt would spell out one of the model's special tokens, or leave no room for a verdict in the model's
    context, is unreadable.

    Args:
        policy: the judge; as a rule the policy that wrote the answers.
        contests: two answers each.
        images: the image file of each prompt, by `prompt_id`.
        root: the folder that image paths are relative to.
        judging: how the policy is asked, and how its verdict is read.
        batch_size: prompts in one batch, 1 or more; the two orders of a contest are always in one batch.
        progress: show the progress bar.

    Raises:
        UserError: an image is missing or unreadable, or the chat template fails.
    """
    verdicts: dict[int, Verdict] = {}
    lengths = [len(one.texts[0]) + len(one.texts[1]) for one in contests]
    with bar_of(total=len(contests), title="judge answers", unit="contest", disable=not progress) as bar:
        for batch in batches(lengths, max(1, batch_size // 2)):
            said = _ask(policy, [contests[index] for index in batch], images, root=root, judging=judging)
            for index, (forward, backward) in zip(batch, said, strict=True):
                verdicts[index] = _verdict(contests[index], forward, backward)
            bar.update(len(batch))
    return [verdicts[index] for index in range(len(contests))]


def _ask(
    policy: Policy,
    contests: Sequence[Contest],
    images: Mapping[str, str],
    *,
    root: Path | ImageRoot,
    judging: Judging,
) -> list[tuple[Said, Said]]:
    """Return what the policy says of each contest, forward and backward."""
    asked = [
        _Asked(
            index,
            load_image(images[one.prompt_id], root=root, place=f"prompt {one.prompt_id}"),
            (judging.ask(*one.texts), judging.ask(*reversed(one.texts))),
        )
        for index, one in enumerate(contests)
    ]
    going = [one for one in asked if _is_plain(policy, one.texts[0])]
    inputs = _encoded(policy, going)
    fitting = [one for one, fits in zip(going, _fit(policy, inputs), strict=True) if fits]
    if len(fitting) < len(going):
        inputs = _encoded(policy, fitting)
    said = _answers(policy, inputs, judging) if fitting else []
    found = {one.index: (said[2 * place], said[2 * place + 1]) for place, one in enumerate(fitting)}
    return [found.get(index, (UNREADABLE, UNREADABLE)) for index in range(len(contests))]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A contest as the policy is asked."""

    index: int
    image: Image
    texts: tuple[str, str]
    """Instructions: forward and backward."""


def _encoded(policy: Policy, asked: Sequence[_Asked]) -> Mapping[str, Tensor]:
    """Return the inputs of all contests, two rows for each; empty without any."""
    if not asked:
        return {}
    frame = frame_of(policy)
    images, prompts = (
        [one.image for one in asked for _ in one.texts],
        [frame.around(text) for one in asked for text in one.texts],
    )
    return encode(policy.processor, images, prompts).to(policy.device, policy.model.dtype)


def _fit(policy: Policy, inputs: Mapping[str, Tensor]) -> list[bool]:
    """Return of each contest whether both orders and a verdict fit into the model's context."""
    if not inputs:
        return []
    limit = context_limit(policy.model)
    tokens: list[int] = inputs["attention_mask"].sum(-1).view(-1, 2).amax(-1).tolist()
    return [limit is None or count + VERDICT_TOKENS <= limit for count in tokens]


def _answers(policy: Policy, inputs: Mapping[str, Tensor], judging: Judging) -> list[Said]:
    """Return what the policy says to each of B encoded prompts."""
    settings = greedy_settings(policy, max_new_tokens=VERDICT_TOKENS)
    settings.return_dict_in_generate = settings.output_logits = True
    output = policy.model.generate(**inputs, generation_config=settings)  # type: ignore[operator]
    generated = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    logits = torch.stack(output.logits, dim=1)  # [B, tokens, V]
    ends = set(end_ids(policy.model, policy.processor))
    spoken = [list(itertools.takewhile(lambda token: token not in ends, ids)) for ids in generated]
    return [_read(policy, ids, own, judging) for ids, own in zip(spoken, logits, strict=True)]


def _read(policy: Policy, ids: Sequence[int], logits: Tensor, judging: Judging) -> Said:
    """Return what one row of generated tokens says.

    Args:
        ids: the tokens, without the end.
        logits: [T, V], those that each token was chosen from; T is their number or more.
    """
    text = answer_text(policy.processor, ids)
    place, swapped = judging.read(text), judging.swapped(text)
    if place is None or swapped is None:
        return UNREADABLE
    own, other = (policy.tokenizer(each, add_special_tokens=False)["input_ids"] for each in (text, swapped))
    apart = [index for index, (mine, theirs) in enumerate(zip(own, other, strict=False)) if mine != theirs]
    if own != list(ids) or not apart:
        return Said(place, None)
    odds = float(logits[apart[0], own[apart[0]]] - logits[apart[0], other[apart[0]]])
    return Said(place, odds if place == 0 else -odds)


def _verdict(contest: Contest, forward: Said, backward: Said) -> Verdict:
    winners = (Winner.FIRST.value, Winner.SECOND.value)
    return Verdict(
        prompt_id=contest.prompt_id,
        first_leaf=contest.leaves[0],
        second_leaf=contest.leaves[1],
        forward=None if forward.place is None else winners[forward.place],
        backward=None if backward.place is None else winners[1 - backward.place],
        forward_margin=forward.margin,
        backward_margin=None if backward.margin is None else -backward.margin,
    )


def _is_plain(policy: Policy, text: str) -> bool:
    """Return whether a text spells out none of the model's special tokens."""
    try:
        check_tokens(policy.processor, [("verdict", text)])
    except UserError:
        return False
    return True
