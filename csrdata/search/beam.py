"""Algorithm 1: the sentence-level search, over two functions (arXiv 2405.14622, section 3.3).

The search knows no model. `Propose` continues live answers by one sentence each, in several ways; `Guide` scores the new
sentences. What an implementation of `Propose` needs again when a candidate is kept (a row of its cache, say) travels as
an opaque `state`. Every candidate becomes a row of the tree, with its parent, its fate and why it stopped; the rows of a
prompt depend on that prompt alone. All answers of a prompt grow together: each step of the search is one depth.

Left out on purpose: what a sentence is (`sentences.py`), what a reward is (`reward.py`), which answers make a pair
(`pairs.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from csrdata.records import NO_PARENT, Fate, Sentence, Stop


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate sentence as the policy proposed it."""

    group: int
    """The row of diverse group decoding it came from."""
    text: str
    token_ids: tuple[int, ...]
    logprob: float
    """Sum of natural-log probabilities, without the diversity penalty (equation 2)."""
    stop: Stop
    state: object = None
    """What `Propose` gets back when this candidate is kept; the search never looks at it."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A live answer: a path from the prompt to a kept sentence, to be continued."""

    prompt: int
    """Index of its prompt in the search's list."""
    node_id: int
    """Its last sentence, or `NO_PARENT` for the empty answer."""
    depth: int
    """Sentences so far."""
    tokens: int
    """Tokens so far."""
    reward: float
    """Sum of the guidance's rewards so far."""
    state: object
    """The `state` of its last sentence's proposal; None for the empty answer."""
    texts: tuple[str, ...] = ()
    """Of its sentences."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """The scores of a proposal."""

    relevance: float
    """R_I, 0..100 (equation 3)."""
    truncated: bool
    """The sentence is longer than the scorer's text limit."""
    repetition: float
    """Largest cosine of its text with an earlier sentence of its answer, 0..1."""
    reward: float
    """Ranks it among the candidates of its depth."""


Propose = Callable[[Sequence[Branch]], Sequence[Sequence[Proposal]]]
"""Continue each live answer by one sentence: a list of candidates for each branch."""

Candidates = tuple[int, Sequence[tuple[Branch, Proposal]]]
"""A prompt's index, and its proposals of one depth that have a text, each with the answer that it continues."""

Guide = Callable[[Sequence[Candidates]], Sequence[Sequence[Guidance]]]
"""Score the candidates of each prompt: a `Guidance` for each proposal."""


def search(
    prompt_ids: Sequence[str],
    *,
    propose: Propose,
    reward: Guide,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentences: int,
    at_once: int | None = None,
) -> list[list[Sentence]]:
    """Search all answers of the prompts, depth by depth, and return each prompt's tree as flat rows.

    When a prompt has no live answer left, the next one in the list takes its place, so that a batch stays full.

    Args:
        prompt_ids: the prompts, in the order of the result.
        propose: continues live answers of all prompts together.
        reward: scores the new sentences of all prompts together.
        keep_best: unfinished candidates of a depth to keep for a high reward, 1 or more.
        keep_worst: those to keep for a low reward, 0 or more.
        rank_by: `sentence` ranks the candidates of a depth by their rewards (Algorithm 1), `cumulative` by the sums of
            rewards along their paths.
        max_sentences: an answer that has this many sentences and has not ended is cut.
        at_once: prompts that are searched at a time, 1 or more; None for all.

    Returns:
        For each prompt its sentences by `node_id`; `canonical` is null.
    """
    trees: list[list[Sentence]] = [[] for _ in prompt_ids]
    waiting = iter(range(len(prompt_ids)))
    live: list[Branch] = []
    while live := live + _roots(waiting, live, len(prompt_ids) if at_once is None else at_once):
        candidates: dict[int, list[tuple[Branch, Proposal]]] = {}
        for branch, proposals in zip(live, propose(live), strict=True):
            candidates.setdefault(branch.prompt, []).extend((branch, each) for each in merge_equal(proposals))
        scores = reward(
            [
                (index, [(branch, proposal) for branch, proposal in own if proposal.text.strip()])
                for index, own in candidates.items()
            ]
        )
        live = []
        for (index, own), guidance in zip(candidates.items(), scores, strict=True):
            live += _grow(
                trees[index],
                prompt_ids[index],
                own,
                iter(guidance),
                keep_best=keep_best,
                keep_worst=keep_worst,
                rank_by=rank_by,
                max_sentences=max_sentences,
            )
    return trees


def merge_equal(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Return the proposals without duplicates; of equal ones the most probable stays, under the lowest group.

    Two are equal when their texts are equal and both end the answer or neither does.
    """
    best: dict[tuple[str, bool], Proposal] = {}
    for proposal in proposals:
        key = (proposal.text.strip(), proposal.stop is Stop.END)
        first = best.setdefault(key, proposal)
        if proposal.logprob > first.logprob:
            best[key] = replace(proposal, group=first.group)
    return list(best.values())


def survivors(rewards: Sequence[float], *, keep_best: int, keep_worst: int) -> list[Fate]:
    """Return the fate of each unfinished candidate of a depth, given their rewards.

    The worst are kept on purpose: a preference pair needs a plausible loser. Of equal rewards the earlier ranks higher.
    With no more candidates than places, all are kept.

    Example: rewards 5 4 3 2 1 with keep_best=2, keep_worst=1 -> best best pruned pruned worst
    """
    order = sorted(range(len(rewards)), key=lambda index: (-rewards[index], index))
    fates = [Fate.PRUNED] * len(rewards)
    for index in order[keep_best:][::-1][:keep_worst]:
        fates[index] = Fate.KEPT_WORST
    for index in order[:keep_best]:
        fates[index] = Fate.KEPT_BEST
    return fates


def _roots(waiting: Iterator[int], live: Sequence[Branch], at_once: int) -> list[Branch]:
    """Return the empty answers of as many waiting prompts as there is room for."""
    room = at_once - len({branch.prompt for branch in live})
    return [Branch(index, NO_PARENT, 0, 0, 0.0, None) for index in islice(waiting, room)]


def _grow(
    tree: list[Sentence],
    prompt_id: str,
    candidates: Sequence[tuple[Branch, Proposal]],
    scores: Iterator[Guidance],
    *,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentences: int,
) -> list[Branch]:
    """Add the candidates of one depth to a prompt's tree; return the branches to continue, in the order of their nodes."""
    guidance = [next(scores) if proposal.text.strip() else None for _, proposal in candidates]
    fates = [_own_fate(branch, proposal, max_sentences=max_sentences) for branch, proposal in candidates]
    open_ = [index for index, fate in enumerate(fates) if fate is None]
    own = [each.reward if each else 0.0 for each in guidance]
    totals = [branch.reward + reward for (branch, _), reward in zip(candidates, own, strict=True)]
    ranked = totals if rank_by == "cumulative" else own
    ranks = survivors([ranked[index] for index in open_], keep_best=keep_best, keep_worst=keep_worst)
    for index, survival in zip(open_, ranks, strict=True):
        fates[index] = survival
    live = []
    for (branch, proposal), each, fate, total in zip(candidates, guidance, fates, totals, strict=True):
        node_id = len(tree)
        tree.append(
            Sentence(
                prompt_id=prompt_id,
                node_id=node_id,
                parent_id=branch.node_id,
                depth=branch.depth + 1,
                group=proposal.group,
                text=proposal.text,
                token_ids=list(proposal.token_ids),
                logprob=proposal.logprob,
                relevance=each.relevance if each else None,
                relevance_truncated=each.truncated if each else False,
                repetition=each.repetition if each else None,
                guidance_reward=each.reward if each else None,
                stop=proposal.stop.value,
                fate=str(fate),
                canonical=None,
            )
        )
        if fate in (Fate.KEPT_BEST, Fate.KEPT_WORST):
            tokens = branch.tokens + len(proposal.token_ids)
            texts = (*branch.texts, proposal.text)
            live.append(
                Branch(branch.prompt, node_id, branch.depth + 1, tokens, total, proposal.state, texts)
            )
    return live


def _own_fate(branch: Branch, proposal: Proposal, *, max_sentences: int) -> Fate | None:
    """Return the fate that a candidate has by itself, or None where its rank decides."""
    if proposal.stop is Stop.END:
        return Fate.FINISHED
    if proposal.stop is Stop.RESPONSE_LIMIT or branch.depth + 1 >= max_sentences or not proposal.text.strip():
        return Fate.CUT
    return None
