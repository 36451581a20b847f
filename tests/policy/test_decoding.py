"""The decoder, with shared and with plain passes, against transformers' `generate`, on two model families."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from benchmarks.naive import continue_answer
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, PlainPasses
from csrdata.policy.passes import Passes, SharedPasses
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.policy.proposing import DiverseGroups, Proposing
from csrdata.records import NO_PARENT, Stop
from csrdata.search.beam import Branch, Proposal
from tests.tiny import FAMILIES, picture

PROMPTS = ["Describe the image.", "What do you see in this picture? Describe it.", "Describe."]
GROUPS, PENALTY, SENTENCE_LIMIT, RESPONSE_LIMIT = 4, 1.5, 14, 30


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A tiny policy of each family."""
    build: Callable[[Path], Path] = FAMILIES[request.param]
    return load_policy(build(tmp_path_factory.mktemp(request.param) / "policy"))


def decoder(
    policy: Policy,
    prompts: list[str],
    passes: type[Passes] = SharedPasses,
    *,
    response_limit: int = RESPONSE_LIMIT,
    banned: list[int] | None = None,
    proposing: Proposing | None = None,
) -> SentenceDecoder:
    fast = SentenceDecoder(
        passes(policy.model),  # type: ignore[call-arg]
        policy.tokenizer,
        prompt_ids=[*prompts, *(prompt for prompt in PROMPTS if prompt not in prompts)],
        proposing=DiverseGroups(GROUPS, PENALTY) if proposing is None else proposing,
        max_sentence_tokens=SENTENCE_LIMIT,
        max_response_tokens=response_limit,
        end_ids=end_ids(policy.model, policy.processor),
        banned_ids=banned_ids(policy.model, policy.processor) if banned is None else banned,
    )
    numbers = list(range(len(prompts)))
    for batch in [numbers] if fast.passes.together else [[number] for number in numbers]:
        fast.admit(batch, encoded(policy, [prompts[number] for number in batch]))
    return fast


def encoded(policy: Policy, prompts: list[str]) -> dict[str, torch.Tensor]:
    images = [picture(PROMPTS.index(prompt)) for prompt in prompts]
    return dict(
        encode(policy.processor, images, [render_prompt(policy.processor, prompt) for prompt in prompts])
    )


def roots(count: int) -> list[Branch]:
    return [Branch(index, NO_PARENT, 0, 0, 0.0, None) for index in range(count)]


def decode_depths(
    fast: SentenceDecoder, count: int, depth: int
) -> list[tuple[int, tuple[int, ...], list[Proposal]]]:
    """Decode some depths with two live answers per prompt: (prompt, tokens before, proposals) of each live answer."""
    live, before, found = roots(count), {None: ()}, []
    for _ in range(depth):
        proposed = fast.propose(live)
        following, states = [], {}
        for branch, proposals in zip(live, proposed, strict=True):
            so_far = before[branch.state]
            found.append((branch.prompt, so_far, proposals))
            for proposal in [
                row for row in proposals if row.stop is Stop.SENTENCE_END or row.stop is Stop.SENTENCE_LIMIT
            ][:2]:
                following.append(
                    Branch(
                        branch.prompt,
                        0,
                        branch.depth + 1,
                        len(so_far + proposal.token_ids),
                        0.0,
                        proposal.state,
                    )
                )
                states[proposal.state] = so_far + proposal.token_ids
        live, before = following, states
        if not live:
            break
    return found


@pytest.mark.parametrize("passes", [SharedPasses, CachedPasses, PlainPasses])
def test_equal_to_encoding_everything_again(policy: Policy, passes: type[Passes]) -> None:
    """Every sentence of three depths equals that of `generate` on the re-encoded prefix; log-probabilities within 1e-4."""
    seen = set()
    nodes = decode_depths(decoder(policy, PROMPTS, passes), len(PROMPTS), depth=3)
    for prompt, before, proposals in nodes:
        slow = continue_answer(
            policy,
            picture(prompt),
            PROMPTS[prompt],
            before,
            groups=GROUPS,
            penalty=PENALTY,
            sentence_limit=SENTENCE_LIMIT,
            response_limit=RESPONSE_LIMIT,
        )
        assert [(row.token_ids, row.stop, row.text) for row in proposals] == [
            (each.tokens, each.stop, each.text) for each in slow
        ]
        assert [row.logprob for row in proposals] == pytest.approx([each.logprob for each in slow], abs=1e-4)
        seen |= {row.stop for row in proposals}
    assert len(nodes) > 2 * len(PROMPTS), "answers went on for more than one sentence"
    assert len(seen) > 1, "sentences stopped for more than one reason"


def test_prompts_may_come_in_later(policy: Policy) -> None:
    """A prompt admitted while others are decoded gives the same sentences as alone, and does not change the others."""
    fast = decoder(policy, PROMPTS[:2])
    first = fast.propose(roots(2))
    fast.admit([2], encoded(policy, PROMPTS[2:]))
    going = next(row for row in first[1] if row.stop in (Stop.SENTENCE_END, Stop.SENTENCE_LIMIT))
    branch = Branch(1, 0, 1, len(going.token_ids), 0.0, going.state)
    continued, begun = fast.propose([branch, Branch(2, NO_PARENT, 0, 0, 0.0, None)])
    (alone,) = decoder(policy, PROMPTS[2:]).propose(roots(1))
    assert [row.token_ids for row in begun] == [row.token_ids for row in alone]
    slow = continue_answer(
        policy,
        picture(1),
        PROMPTS[1],
        going.token_ids,
        groups=GROUPS,
        penalty=PENALTY,
        sentence_limit=SENTENCE_LIMIT,
        response_limit=RESPONSE_LIMIT,
    )
    assert [row.token_ids for row in continued] == [each.tokens for each in slow]


def test_prompts_do_not_touch_each_other(policy: Policy) -> None:
    """A prompt gives the same sentences alone and in a batch."""
    together = decode_depths(decoder(policy, PROMPTS), len(PROMPTS), depth=2)
    for index, prompt in enumerate(PROMPTS):
        alone = decode_depths(decoder(policy, [prompt]), 1, depth=2)
        mine = [proposals for owner, _, proposals in together if owner == index]
        assert [[row.token_ids for row in row_] for row_ in mine] == [
            [row.token_ids for row in proposals] for _, _, proposals in alone
        ]


def test_rows_are_diverse_and_clean(policy: Policy) -> None:
    """The penalty makes first tokens differ; no row contains a banned token; no sentence exceeds its limit."""
    proposed = decoder(policy, PROMPTS).propose(roots(len(PROMPTS)))
    assert any(len({row.token_ids[0] for row in proposals}) == GROUPS for proposals in proposed)
    rows = [row for proposals in proposed for row in proposals]
    assert not set(banned_ids(policy.model, policy.processor)) & {
        token for row in rows for token in row.token_ids
    }
    assert max(len(row.token_ids) for row in rows) <= SENTENCE_LIMIT


@pytest.mark.parametrize("limit", [1, 6, 11, 14])
def test_no_answer_passes_its_limit(policy: Policy, limit: int) -> None:
    """A sentence that ends with the last allowed token ends the answer: there is no room for another sentence."""
    found = decode_depths(decoder(policy, PROMPTS, response_limit=limit), len(PROMPTS), depth=4)
    for _, before, proposals in found:
        for row in proposals:
            total = len(before) + len(row.token_ids)
            assert total <= limit
            assert total < limit or row.stop in (Stop.RESPONSE_LIMIT, Stop.END)


def test_a_tokenizer_may_have_nothing_to_ban(policy: Policy) -> None:
    """With an empty `banned_ids`, every token can be generated."""
    assert len(decoder(policy, PROMPTS[:1], banned=[]).propose(roots(1))[0]) == GROUPS


def test_the_model_still_works_as_before(policy: Policy) -> None:
    """Ordinary calls of a model with the shared-prefix attention give the same logits as before."""
    inputs = encode(policy.processor, [picture(0)], [render_prompt(policy.processor, PROMPTS[0])])
    with torch.inference_mode():
        switched = policy.model(**inputs).logits
        fresh = load_policy(policy.folder).model(**inputs).logits
    assert torch.allclose(switched, fresh, atol=1e-6)


def kept(fast: SentenceDecoder) -> int:
    """Bytes of the prompts' keys and values."""
    assert isinstance(fast.passes, SharedPasses)
    assert fast.passes.prefix is not None
    return fast.passes.prefix.bytes()


def test_the_prefix_is_kept_once_a_prompt(policy: Policy) -> None:
    """The stored keys and values of the prompts do not depend on the number of rows: one entry per prompt."""
    fast = decoder(policy, PROMPTS)
    held = kept(fast)
    fast.propose(roots(len(PROMPTS)))
    cache = DynamicCache()
    inputs = encode(
        policy.processor,
        [picture(i) for i in range(3)],
        [render_prompt(policy.processor, p) for p in PROMPTS],
    )
    policy.model(**inputs, past_key_values=cache, use_cache=True)
    expected = sum(layer.keys.numel() * 4 + layer.values.numel() * 4 for layer in cache.layers)
    assert held == kept(fast) == expected
