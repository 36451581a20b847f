"""Pairs of two sentences that continue the same beginning of an answer, and of a sentence and the end.

Two whole answers to one prompt differ in many sentences and in length. Two candidates of the search with the same parent
differ in one sentence: what is said before it is the pair's context. Where an answer should end is a separate question,
which `csrdata.search.end_pairs` answers.

A sentence may be a side of a pair if it and its beginning are whole (no limit of tokens cut them short) and tokenised as
they were generated, and if it does not repeat an earlier sentence of its answer (in an order by evidence it may be
rejected for that). Such a side does not end the answer: it is
not *complete*, and training writes no end behind it. If the policy wrote end-of-sequence inside the sentence ("a cat", then
the end), ending is part of the candidate, and the stored log-probability contains it: that side is complete.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.records import CSR_SENTENCES, ORACLE, RANDOM, Dropped, DropReason, Pair, Prompt, Sentence
from csrdata.search.continuations import (
    Contrast,
    Prefix,
    Scored,
    Values,
    is_repetition,
    is_whole,
    pair_of,
    prefixes,
    widest,
)
from csrdata.search.end_pairs import end_contrast
from csrdata.search.evidence import evidence_contrast
from csrdata.search.pairs import (
    Claims,
    CountClaims,
    Entry,
    Outcome,
    apart,
    drawn,
    furthest_apart,
    numbered,
    truth_values,
)

ORDERS = ("relevance", "evidence", "reward", "random", "truth")
WITHOUT_GAP = ("random", "truth")
"""Orders whose values are on no scale that `min_gap` could be on."""


def make(
    prompts: Sequence[Prompt],
    trees: Mapping[str, Sequence[Sentence]],
    *,
    order: str,
    min_gap: float,
    chosen_share: float,
    rejected_share: float,
    repetition_threshold: float | None,
    per_prompt: int,
    ends: str,
    end_gap: float,
    ends_per_prompt: int | None,
    seed: int,
    score: Callable[[Sequence[Sentence]], Scored],
    elsewhere: Mapping[str, Values] | None = None,
    claims: CountClaims | None = None,
) -> list[Outcome]:
    """Return the pairs of each prompt, or why it has none, in the order of `prompts`.

    Args:
        prompts: those that the policy could take.
        trees: the candidates of each, by `prompt_id`, in the order of `node_id`.
        order, min_gap, chosen_share, rejected_share, repetition_threshold, per_prompt, ends, end_gap, ends_per_prompt, seed,
            claims: see `select`.
        score: returns rewards and relevances of one tree, as `score_beams` computes them.
        elsewhere: mean R_I of the sentences with images of other prompts, by `prompt_id`; needed for evidence, in
            `order` or `ends`.
    """
    outcomes: list[Outcome] = []
    for prompt in prompts:
        tree = trees.get(prompt.prompt_id, ())
        found = select(
            prompt,
            tree,
            order=order,
            min_gap=min_gap,
            chosen_share=chosen_share,
            rejected_share=rejected_share,
            repetition_threshold=repetition_threshold,
            per_prompt=per_prompt,
            ends=ends,
            end_gap=end_gap,
            ends_per_prompt=ends_per_prompt,
            seed=seed,
            scored=score(tree),
            elsewhere=(elsewhere or {}).get(prompt.prompt_id, {}),
            claims=claims,
        )
        outcomes += [found] if isinstance(found, Dropped) else found
    return outcomes


def select(
    prompt: Prompt,
    tree: Sequence[Sentence],
    *,
    order: str,
    min_gap: float,
    chosen_share: float,
    rejected_share: float,
    repetition_threshold: float | None,
    per_prompt: int,
    ends: str,
    end_gap: float,
    ends_per_prompt: int | None,
    seed: int,
    scored: Scored,
    elsewhere: Values,
    claims: CountClaims | None = None,
) -> list[Pair] | Dropped:
    """Return the pairs of one prompt, or the reason for no pair.

    At each beginning, chosen is the sentence with the highest value and rejected the one with the lowest; ties go to the
    lower node. For `evidence` see `csrdata.search.evidence`. Of all beginnings, those with the largest differences give a
    pair each.

    Args:
        prompt: the prompt of `tree`.
        tree: its candidates, in the order of `node_id`.
        order: what the value of a sentence is. `relevance`: the image term R_I. `evidence`: how much better it fits its
            image than others. `reward`: its calibrated reward. `random`: a number drawn from the seed and its ids, which
            says nothing. `truth`: fewest false claims first, then most true ones.
        min_gap: smallest allowed difference, >= 0: of R_I or evidence (0..100), or of rewards on the scale of
            `score_beams`; not for `random` and `truth`. A difference of 0 never makes a pair.
        chosen_share, rejected_share: for `evidence` alone, see `csrdata.search.evidence.evidence_contrast`.
        repetition_threshold: a sentence whose `repetition` is at or above it is a repetition, and no side of a pair of
            sentences; for `evidence`, and where the answer may end, nothing speaks for it. None turns the rule off.
        per_prompt: most pairs of sentences, 1 or more.
        ends: which pairs with the end there are: `none`; `stop`: those where the end is chosen; `evidence`: also those where
            a sentence is. See `csrdata.search.end_pairs`.
        end_gap: least evidence for or against a sentence, 0..100.
        ends_per_prompt: most pairs with the end, 1 or more; None: as many as `per_prompt`.
        seed: decides between beginnings with equal differences, and draws the numbers of `random`; 0 or more.
        scored: the rewards and relevances of the tree's sentences.
        elsewhere: mean R_I with images of other prompts, 0..100; for evidence, in `order` or
            `ends`.
        claims: counts the claims of a sentence; only for `truth`.

    Returns:
        Pairs of sentences, then those with the end, numbered from 0; or a `Dropped`.
    """
    beginnings = list(prefixes(tree))
    sides = {
        prefix.node: [
            candidate
            for candidate in prefix.candidates
            if is_whole(candidate) and not is_repetition(candidate, repetition_threshold)
        ]
        for prefix in beginnings
    }
    if order == "evidence":
        found_by_evidence = [
            evidence_contrast(
                prefix,
                elsewhere,
                chosen_share=chosen_share,
                rejected_share=rejected_share,
                repetition_threshold=repetition_threshold,
            )
            for prefix in beginnings
        ]
        compared = [each for each in found_by_evidence if each]
    else:
        whole_sides = [one for own in sides.values() for one in own]
        ordered = _order(prompt, whole_sides, order, scored, seed=seed, claims=claims)
        compared = [each for prefix in beginnings if (each := _contrast(prefix, sides[prefix.node], ordered))]
    smallest = 0.0 if order in WITHOUT_GAP else min_gap
    differing = [each for each in compared if each.gap > 0 and each.gap >= smallest]
    found = widest(differing, most=per_prompt, prompt=prompt, seed=seed)
    if ends != "none":
        decided = [
            end_contrast(
                prefix,
                elsewhere,
                end_gap=end_gap,
                repetition_threshold=repetition_threshold,
                go_on=ends == "evidence",
            )
            for prefix in beginnings
        ]
        most = per_prompt if ends_per_prompt is None else ends_per_prompt
        found += widest([each for each in decided if each], most=most, prompt=prompt, seed=seed)
    if found:
        return numbered([pair_of(contrast, prompt, scored) for contrast in found])
    whole = sum(map(len, sides.values()))
    counts = f"{len(tree)} candidates, {whole} of them may be compared"
    if order == "evidence" and not compared:
        detail = f"{counts}; the evidence supports none against another"
        return Dropped(prompt.prompt_id, DropReason.UNDER_MARGIN.value, detail)
    return _why_none(prompt, compared, counts, order, min_gap)


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The sentences of a tree in an order."""

    values: Values
    origin: str
    """Of the pairs."""
    claims: Mapping[int, Claims] | None
    """For an order by truth."""


def _order(
    prompt: Prompt,
    sides: Sequence[Sentence],
    order: str,
    scored: Scored,
    *,
    seed: int,
    claims: CountClaims | None,
) -> _Ordered:
    match order:
        case "relevance":
            return _Ordered(scored.relevances, CSR_SENTENCES, None)
        case "reward":
            return _Ordered(scored.rewards, CSR_SENTENCES, None)
        case "random":
            numbers = {one.node_id: drawn(seed, prompt.prompt_id, one.node_id) for one in sides}
            return _Ordered(numbers, RANDOM, None)
        case "truth":
            if claims is None:
                raise ValueError("an order by truth needs the count of claims")
            counted = {one.node_id: claims(prompt, one.text) for one in sides}
            return _Ordered(truth_values(counted), ORACLE, counted)
    raise ValueError(f"the order is {order}, expected one of {', '.join(ORDERS)}")


def _contrast(prefix: Prefix, sides: Sequence[Sentence], ordered: _Ordered) -> Contrast | None:
    """Return the highest and the lowest sentence at one beginning; None if no two have a value and different texts."""
    entries = [
        Entry(one.node_id, one.text, value)
        for one in sides
        if (value := ordered.values.get(one.node_id)) is not None
    ]
    furthest = furthest_apart(entries)
    if furthest is None:
        return None
    high, low = furthest
    nodes = {one.node_id: one for one in sides}
    gap = apart(furthest)
    margin = None if ordered.origin == RANDOM else gap
    if ordered.claims is not None:
        margin = float(ordered.claims[low.node].false - ordered.claims[high.node].false)
    return Contrast(prefix, nodes[high.node], nodes[low.node], gap=gap, margin=margin, origin=ordered.origin)


def _why_none(
    prompt: Prompt, compared: Sequence[Contrast], counts: str, order: str, min_gap: float
) -> Dropped:
    if not compared:
        detail = f"{counts}, no two after the same beginning"
        return Dropped(prompt.prompt_id, DropReason.NO_SIBLINGS.value, detail)
    places = f"{counts}, at {len(compared)} beginnings"
    if order == "truth":
        detail = f"{places}; none differ in their claims"
        return Dropped(prompt.prompt_id, DropReason.EQUAL_TRUTH.value, detail)
    largest = max(each.gap for each in compared)
    detail = f"{places}; largest difference {largest:.4g}, expected {min_gap:g} or more, and above 0"
    return Dropped(prompt.prompt_id, DropReason.UNDER_MARGIN.value, detail)
