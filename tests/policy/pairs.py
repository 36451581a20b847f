"""Pairs that a policy wrote, for tests of training: log-probabilities come from a slow forward pass of one row each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from csrdata.images import load_image
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import encode, render_prompt
from csrdata.policy.sides import side_of
from csrdata.records import Pair, PairScores

WHOLE = (
    ("", " There is a red circle.", " A blue square sits in the corner.", True, True),
    ("", " A green star. I see a circle.", " No, there is none.", True, True),
)
"""Pairs of whole answers: context, chosen, rejected, and whether each side ends the answer."""
CONTINUED = (
    (" There is a red circle.", " A green star sits here.", " I see a blue square. Yes.", False, True),
    (" A blue square sits in the corner.", "", " There is none.", True, False),
)
"""Pairs of continuations: two sentences of which the second ends the answer, and the end itself against a sentence."""


def ids_of(policy: Policy, text: str) -> list[int]:
    """Return the tokens of a text, by the tokenizer alone."""
    found: list[int] = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def continued_ids(policy: Policy, pair: Pair, name: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a pair's context and those of one side behind it, from both texts together."""
    side = side_of(pair, name)
    end = [] if not side.complete else [policy.tokenizer.eos_token_id if side.end is None else side.end]
    context = ids_of(policy, pair.context)
    both = ids_of(policy, pair.context + side.text)
    assert both[: len(context)] == context
    return context, both[len(context) :] + end


def token_logprobs(policy: Policy, pair: Pair, name: str, *, root: Path = Path()) -> torch.Tensor:
    """Return the log-probability of each token of one side, [T], from one forward pass without padding."""
    context, ids = continued_ids(policy, pair, name)
    picture = load_image(pair.image, root=root, place="test")
    inputs = encode(policy.processor, [picture], [render_prompt(policy.processor, pair.prompt)])
    inputs = inputs.to(policy.device, policy.model.dtype)
    tail = torch.tensor([context + ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model: Any = policy.model
    logits = model(**inputs).logits[0, -len(ids) - 1 : -1].float()
    found: torch.Tensor = logits.log_softmax(-1).gather(1, torch.tensor([ids]).T)[:, 0]
    return found


@torch.no_grad()
def written(
    policy: Policy, rows: Sequence[tuple[str, str, str, bool, bool]], *, one_prompt: bool = False
) -> list[Pair]:
    """Return pairs with the log-probabilities and token counts of a policy, of images `images/0.png` and so on.

    With `one_prompt` they are several pairs of the first prompt. The margins are 1, 2, 3, ...
    """
    pairs = []
    for index, (context, chosen, rejected, chosen_ends, rejected_ends) in enumerate(rows):
        number = index if one_prompt else 0
        prompt = index - number
        pair = Pair(
            prompt_id=f"train-{prompt:05d}",
            number=number,
            image=f"images/{prompt}.png",
            prompt=f"Describe {'the image ' * prompt}now.",
            chosen=chosen,
            rejected=rejected,
            origin="csr_search",
            context=context,
            chosen_complete=chosen_ends,
            rejected_complete=rejected_ends,
        )
        found = {name: token_logprobs(policy, pair, name) for name in ("chosen", "rejected")}
        pairs.append(
            replace(
                pair,
                scores=PairScores(
                    margin=float(index + 1),
                    chosen_logprob=float(found["chosen"].sum()),
                    rejected_logprob=float(found["rejected"].sum()),
                    chosen_tokens=len(found["chosen"]),
                    rejected_tokens=len(found["rejected"]),
                ),
            )
        )
    return pairs
