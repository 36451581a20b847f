"""The worker of `generate_beams`: it returns all candidate sentences for a shard of prompts.

The decoder proposes candidates and the guidance ranks them. An engine (`csrdata/engines/`) decides where a shard runs. The
rows of a shard depend only on its prompts, the models and the settings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import BatchFeature

from csrdata.generation.admission import Admitted, admit
from csrdata.generation.clock import Clock
from csrdata.generation.guidance import guide
from csrdata.generation.in_flight import InFlight, halving
from csrdata.images import ImageRoot
from csrdata.policy.choosing import passes_for, prompts_to_compare
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.known_tokens import KnownPasses
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import (
    are_canonical,
    banned_ids,
    check_prompt,
    check_tokens,
    encode,
    end_ids,
)
from csrdata.policy.proposing import Known, Proposing
from csrdata.policy.static_passes import forget_passes
from csrdata.records import NO_PARENT, Prompt, Sentence
from csrdata.relevance.base import Scorer
from csrdata.search.beam import Branch, Candidates, Guidance, Proposal, search_each


def generate(
    prompts: Sequence[Prompt],
    *,
    root: Path | ImageRoot,
    policy: Policy,
    scorer: Scorer,
    proposing: Proposing,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentence_tokens: int,
    max_response_tokens: int,
    max_sentences: int,
    prompts_at_once: int,
    guidance: str,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    clock: Clock,
    in_flight: InFlight | None = None,
) -> list[Sentence]:
    """Run the search for a shard of prompts and return every candidate, prompt by prompt.

    A prompt that the policy cannot take gives one row that says why (`csrdata.generation.admission`).

    Args:
        prompts: the shard's prompts.
        root: the folder that image paths are relative to.
        policy: proposes the sentences.
        scorer: computes R_I (equation 3).
        proposing, max_sentence_tokens, max_response_tokens: see `SentenceDecoder`.
        keep_best, keep_worst, rank_by, max_sentences: see `search`. Where `proposing` starts several answers of a prompt
            (`SampledAnswers`), all of them are continued, and the first three are not used.
        prompts_at_once: number of prompts searched at the same time, 1 or more; when one is finished, the next one starts.
            Each time memory runs out, half as many are (`csrdata.generation.in_flight`).
        guidance, image_weight, scale, repetition_threshold: see `guide`.
        clock: receives the time spent on read, vision, prefill, decode, clip and check.
        in_flight: receives the numbers of prompts that were searched at the same time, if memory ran out.

    Raises:
        UserError: an image is missing, or a prompt is empty or contains a special token; or memory runs out with one prompt.
    """
    for prompt in prompts:
        check_prompt(prompt.text, prompt_id=prompt.prompt_id)
    check_tokens(policy.processor, ((f"prompt {prompt.prompt_id}", prompt.text) for prompt in prompts))
    with clock.spend("read"):
        admitted, refused = admit(
            prompts,
            root=root,
            policy=policy,
            max_response_tokens=max_response_tokens,
        )
    if not admitted:
        return refused

    def attempt(left: Sequence[int], at_once: int) -> Iterator[tuple[int, list[Sentence]]]:
        found = _search(
            [admitted[index] for index in left],
            policy=policy,
            scorer=scorer,
            proposing=proposing,
            keep_best=keep_best if proposing.roots == 1 else proposing.roots,
            keep_worst=keep_worst if proposing.roots == 1 else 0,
            rank_by=rank_by,
            max_sentence_tokens=max_sentence_tokens,
            max_sentences=max_sentences,
            at_once=at_once,
            guidance=guidance,
            image_weight=image_weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
            clock=clock,
        )
        try:
            yield from found
        except (RuntimeError, MemoryError):
            forget_passes(policy.model)
            raise

    trees = halving(
        len(admitted),
        attempt,
        at_once=prompts_at_once,
        used=InFlight() if in_flight is None else in_flight,
    )
    with clock.spend("check"):
        found = [sentence for tree in trees for sentence in mark_canonical(tree, policy=policy)]
    order = {prompt.prompt_id: place for place, prompt in enumerate(prompts)}
    return sorted(found + refused, key=lambda row: order[row.prompt_id])


def _search(
    admitted: Sequence[Admitted],
    *,
    policy: Policy,
    scorer: Scorer,
    proposing: Proposing,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentence_tokens: int,
    max_sentences: int,
    at_once: int,
    guidance: str,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    clock: Clock,
) -> Iterator[tuple[int, list[Sentence]]]:
    """Search prompts that the policy can take; yield each one's place and tree as it is finished."""
    model: Any = policy.model
    images, rendered = [one.image for one in admitted], [one.rendered for one in admitted]

    def encoded(indices: Sequence[int]) -> BatchFeature:
        with clock.spend("read"):
            return encode(
                policy.processor, [images[index] for index in indices], [rendered[index] for index in indices]
            ).to(model.device, model.dtype)

    passes = passes_for(
        model,
        encoded,
        prompts_to_compare([image.size for image in images], [one.tokens for one in admitted]),
        at_once=at_once,
        answer_tokens=max(one.answer_tokens for one in admitted),
        graphs=not isinstance(proposing, Known),
    )
    if passes.together and isinstance(proposing, Known):
        passes = KnownPasses(model)
    decoder = SentenceDecoder(
        passes,
        policy.tokenizer,
        prompt_ids=[one.prompt.prompt_id for one in admitted],
        proposing=proposing,
        max_sentence_tokens=max_sentence_tokens,
        max_response_tokens=[one.answer_tokens for one in admitted],
        end_ids=end_ids(policy.model, policy.processor),
        banned_ids=banned_ids(policy.model, policy.processor),
    )
    with clock.spend("clip"):
        score_candidates = guide(
            scorer,
            images,
            guidance=guidance,
            image_weight=image_weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
        )

    def propose(branches: Sequence[Branch]) -> list[list[Proposal]]:
        new = list(dict.fromkeys(branch.prompt for branch in branches if branch.state is None))
        for batch in [new] if passes.together and new else [[prompt] for prompt in new]:
            inputs = encoded(batch)
            with clock.spend_within("prefill", model.get_decoder(), rest="vision"):
                decoder.admit(batch, inputs)
        with clock.spend("decode"):
            return decoder.propose(branches)

    def timed_guidance(candidates: Sequence[Candidates]) -> Sequence[Sequence[Guidance]]:
        with clock.spend("clip"):
            return score_candidates(candidates)

    yield from search_each(
        [one.prompt.prompt_id for one in admitted],
        propose=propose,
        guide=timed_guidance,
        keep_best=keep_best,
        keep_worst=keep_worst,
        rank_by=rank_by,
        max_sentences=max_sentences,
        roots=proposing.roots,
        at_once=at_once if passes.together else 1,
    )


def mark_canonical(tree: Sequence[Sentence], *, policy: Policy) -> list[Sentence]:
    """Set `canonical` of each sentence: whether the text up to its end is tokenised as it was generated.

    Training tokenises texts. If its tokens differ from the generated ones, it sees another answer, with another probability,
    than the one that was scored.

    Args:
        tree: a prompt's sentences in the order of `node_id`, each with 1 token or more.
        policy: its tokenizer.
    """
    paths: dict[int, tuple[str, list[int]]] = {NO_PARENT: ("", [])}
    for sentence in tree:
        text, tokens = paths[sentence.parent_id]
        paths[sentence.node_id] = text + sentence.text, tokens + sentence.token_ids
    found = are_canonical(
        policy.processor,
        [paths[sentence.node_id] for sentence in tree],
        ends=end_ids(policy.model, policy.processor),
    )
    return [replace(sentence, canonical=own) for sentence, own in zip(tree, found, strict=True)]
