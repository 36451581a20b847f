"""Algorithm 1: the sentence-level search, over two functions (arXiv 2405.14622, section 3.3).

The search does not depend on a model. `Propose` returns several candidates for the next sentence of each live answer;
`Guide` scores them. A candidate carries an opaque `state`, which `Propose` gets back if the candidate is kept (for example
a row of its cache). Every candidate becomes a row of the tree, with its parent, its fate and the reason why it stopped. The
rows of a prompt depend on that prompt alone. All answers of a prompt grow together: each step of the search is one depth.

Left out on purpose: what a sentence is (`sentences.py`), what a reward is (`reward.py`), which answers make a pair
(`pairs.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from csrdata.records import NO_PARENT, Fate, Sentence, Stop


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate sentence from the policy, not yet scored."""

    group: int
    """The row that proposed it, from 0: a group of diverse group decoding, or the number of a sample."""
    text: str
    token_ids: tuple[int, ...]
    logprob: float
    """Sum of natural-log probabilities, without the diversity penalty (equation 2)."""
    stop: Stop
    state: object = None
    """Given back to `Propose` if this candidate is kept; the search does not read it."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A live answer: a path from the prompt to a kept sentence, which the next depth continues."""

    prompt: int
    """Index of its prompt in the list given to `search`."""
    node_id: int
    """`node_id` of its last sentence; `NO_PARENT` for the empty answer."""
    depth: int
    """Number of its sentences."""
    tokens: int
    """Number of its tokens."""
    reward: float
    """Sum of its sentences' rewards from the guidance."""
    state: object
    """The `state` of its last sentence's proposal; None for the empty answer."""
    texts: tuple[str, ...] = ()
    """The texts of its sentences, in order."""
    root: int = 0
    """Which of its prompt's empty answers it grew from, from 0."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """The scores of a proposal."""

    relevance: float
    """R_I, 0..100 (equation 3)."""
    truncated: bool
    """Whether the sentence is longer than the scorer's text limit."""
    repetition: float
    """Largest cosine similarity, 0..1, of its text to an earlier sentence of its answer; 0 for a first sentence."""
    reward: float
    """The value by which the candidates of a depth are ranked; higher is better."""


Propose = Callable[[Sequence[Branch]], Sequence[Sequence[Proposal]]]
"""Return the candidates for the next sentence of each live answer: one list per branch, in the same order."""

Candidates = tuple[int, Sequence[tuple[Branch, Proposal]]]
"""A prompt's index, and its proposals of one depth, each with the branch that it continues. All have a non-empty text."""

Guide = Callable[[Sequence[Candidates]], Sequence[Sequence[Guidance]]]
"""Score the candidates of each prompt: one `Guidance` per proposal, in the same order."""


def search(
    prompt_ids: Sequence[str],
    *,
    propose: Propose,
    guide: Guide,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentences: int,
    roots: int = 1,
    at_once: int | None = None,
) -> list[list[Sentence]]:
    """Search all answers of the prompts, depth by depth, and return each prompt's tree as flat rows.

    When a prompt has no live answer left, the search starts the next one, so that batches stay full.

    Args:
        prompt_ids: ids of the prompts.
        propose: proposes sentences for the live answers of all prompts together.
        guide: scores the new sentences of all prompts together.
        keep_best: number of unfinished candidates with the highest rewards to keep at each depth, 1 or more.
        keep_worst: number of those with the lowest rewards to keep, 0 or more.
        rank_by: `sentence` ranks the candidates of a depth by their rewards (Algorithm 1), `cumulative` by the sums of
            rewards along their paths.
        max_sentences: limit on the sentences of an answer, 1 or more; an unfinished answer with this many is cut.
        roots: number of empty answers from which the search of a prompt starts, 1 or more. Equal candidates of different
            answers are never merged.
        at_once: number of prompts to search at the same time, 1 or more; None for all.

    Returns:
        One list per prompt, in the order of `prompt_ids`: its sentences in the order of `node_id`, with `canonical` null.
    """
    trees: list[list[Sentence]] = [[] for _ in prompt_ids]
    for index, tree in search_each(
        prompt_ids,
        propose=propose,
        guide=guide,
        keep_best=keep_best,
        keep_worst=keep_worst,
        rank_by=rank_by,
        max_sentences=max_sentences,
        roots=roots,
        at_once=at_once,
    ):
        trees[index] = tree
    return trees


def search_each(
    prompt_ids: Sequence[str],
    *,
    propose: Propose,
    guide: Guide,
    keep_best: int,
    keep_worst: int,
    rank_by: str,
    max_sentences: int,
    roots: int = 1,
    at_once: int | None = None,
) -> Iterator[tuple[int, list[Sentence]]]:
    """Yield each prompt's index and tree as soon as it is finished; arguments are those of `search`."""
    trees: list[list[Sentence]] = [[] for _ in prompt_ids]
    waiting = iter(range(len(prompt_ids)))
    live: list[Branch] = []
    most = len(prompt_ids) if at_once is None else at_once
    while live := live + _roots(waiting, live, at_once=most, each=roots):
        candidates: dict[int, list[tuple[Branch, Proposal]]] = {}
        for branch, proposals in zip(live, propose(live), strict=True):
            candidates.setdefault(branch.prompt, []).extend((branch, each) for each in merge_equal(proposals))
        scores = guide(
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
        going_on = {branch.prompt for branch in live}
        yield from ((index, trees[index]) for index in candidates if index not in going_on)


def merge_equal(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Return the proposals without duplicates: of equal ones the most probable, with the lowest of their group numbers.

    Two proposals are equal if their stripped texts are equal and either both or neither end the answer.
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
    All candidates are kept if there are at most keep_best + keep_worst.

    Example: rewards 5 4 3 2 1 with keep_best=2, keep_worst=1 -> best best pruned pruned worst
    """
    order = sorted(range(len(rewards)), key=lambda index: (-rewards[index], index))
    fates = [Fate.PRUNED] * len(rewards)
    for index in order[keep_best:][::-1][:keep_worst]:
        fates[index] = Fate.KEPT_WORST
    for index in order[:keep_best]:
        fates[index] = Fate.KEPT_BEST
    return fates


def _roots(waiting: Iterator[int], live: Sequence[Branch], *, at_once: int, each: int) -> list[Branch]:
    """Return the empty answers of the next waiting prompts, so that at most `at_once` prompts are searched."""
    room = at_once - len({branch.prompt for branch in live})
    return [
        Branch(index, NO_PARENT, 0, 0, 0.0, None, root=root)
        for index in islice(waiting, room)
        for root in range(each)
    ]


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
    """Add the candidates of one depth to a prompt's tree; return the kept ones as branches, in the order of `node_id`."""
    guidance = [next(scores) if proposal.text.strip() else None for _, proposal in candidates]
    fates = [
        _fate_without_rank(branch, proposal, max_sentences=max_sentences) for branch, proposal in candidates
    ]
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
                Branch(
                    branch.prompt,
                    node_id,
                    branch.depth + 1,
                    tokens,
                    total,
                    proposal.state,
                    texts,
                    branch.root,
                )
            )
    return live


def _fate_without_rank(branch: Branch, proposal: Proposal, *, max_sentences: int) -> Fate | None:
    """Return the fate of a candidate that does not depend on its rank, or None if its rank decides."""
    if proposal.stop is Stop.END:
        return Fate.FINISHED
    if proposal.stop is Stop.RESPONSE_LIMIT or branch.depth + 1 >= max_sentences or not proposal.text.strip():
        return Fate.CUT
    return None
