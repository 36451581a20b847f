"""Wiring of pairs of sentences: the candidates of the search and their signals in, pairs or reasons out.

A search has many more candidates than answers: only those of a batch of prompts are in memory.
"""

from collections.abc import Mapping, Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.batches import Select
from csrdata.records import Dropped, DropReason, Prompt, Sentence, Signal
from csrdata.search import sentence_pairs
from csrdata.search.continuations import Scored, Values
from csrdata.search.pairs import CountClaims, Outcome
from csrdata.search.responses import sentence_rewards
from csrdata.sections.method import ScoreBeams, SentencePairs
from csrdata.storage.shard_ranges import ShardRanges

SEARCH, ELSEWHERE = "search", "elsewhere"
"""`score_beams.signal` for the search's own R_I, and the name of the signal that is the base of evidence."""

ByPrompt = Mapping[str, Values]
"""A signal by `prompt_id` and `node_id`."""


def selector(prompts: Sequence[Prompt], settings: SentencePairs, *, params: Params, name: str) -> Select:
    """Return what selects pairs of iteration `name` from the candidates of its search.

    Args:
        prompts: all that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.
    """
    candidates = ShardRanges(paths.candidates(name), Sentence, made_by=f"dvc repro generate_beams@{name}")
    by_evidence = settings.order == "evidence" or settings.ends != "none"
    names = {params.score_beams.signal} - {SEARCH} | ({ELSEWHERE} if by_evidence else set())
    signals = _Signals(name, names) if names else None
    claims = _claims(settings, params, prompts)

    def select(some: Sequence[Prompt]) -> list[Outcome]:
        wanted = {prompt.prompt_id for prompt in some}
        found = candidates.by_prompt(some[0].prompt_id, some[-1].prompt_id)
        trees = {prompt_id: tree for prompt_id, tree in found.items() if prompt_id in wanted}
        own = [prompt for prompt in some if prompt.prompt_id in trees]
        measured = {} if signals is None else signals.read(trees)
        outcomes: dict[str, list[Outcome]] = {prompt.prompt_id: [] for prompt in some}
        for outcome in _of_trees(own, trees, settings, params.score_beams, claims=claims, signals=measured):
            outcomes[outcome.prompt_id].append(outcome)
        nothing = {one: [Dropped(one, DropReason.NO_SIBLINGS.value, "no candidates")] for one in wanted}
        return [outcome for one, made in outcomes.items() for outcome in made or nothing[one]]

    return select


def _of_trees(
    prompts: Sequence[Prompt],
    trees: Mapping[str, Sequence[Sentence]],
    settings: SentencePairs,
    reward: ScoreBeams,
    *,
    claims: CountClaims | None,
    signals: Mapping[str, ByPrompt],
) -> list[Outcome]:
    def score(tree: Sequence[Sentence]) -> Scored:
        relevances: Values = {sentence.node_id: sentence.relevance for sentence in tree}
        if reward.signal != SEARCH and tree:
            relevances = signals[reward.signal][tree[0].prompt_id]
        rewards = sentence_rewards(
            tree,
            relevances,
            image_weight=reward.image_weight,
            scale=reward.scale,
            repetition_threshold=reward.repetition_threshold,
        )
        return Scored(rewards, relevances)

    return sentence_pairs.make(
        prompts,
        trees,
        **settings.model_dump(exclude={"curation", "kind"}),
        score=score,
        elsewhere=signals.get(ELSEWHERE),
        claims=claims,
    )


class _Signals:
    """The named signals of an iteration's candidates."""

    def __init__(self, name: str, names: set[str]) -> None:
        self._made_by = f"dvc repro measure_signals@{name}"
        self._folder, self._names = paths.signals(name), names
        self._rows = ShardRanges(self._folder, Signal, made_by=self._made_by)

    def read(self, trees: Mapping[str, Sequence[Sentence]]) -> dict[str, ByPrompt]:
        """Return each signal of the candidates of some trees.

        Raises:
            UserError: the table is damaged, or a candidate with a text has no row of a signal.
        """
        found: dict[str, dict[str, dict[int, float | None]]] = {
            signal: {prompt_id: {} for prompt_id in trees} for signal in self._names
        }
        measured = self._rows.by_prompt(min(trees), max(trees)) if trees else {}
        for row in (row for prompt_id in trees for row in measured.get(prompt_id, ())):
            if row.name in self._names:
                found[row.name][row.prompt_id][row.node_id] = row.value
        for signal, values in found.items():
            for prompt_id, tree in trees.items():
                for sentence in tree:
                    if sentence.relevance is not None and sentence.node_id not in values[prompt_id]:
                        raise UserError(
                            f"{self._folder}: prompt {prompt_id}",
                            got=f"no row of {signal} for candidate {sentence.node_id}",
                            expected="one for each candidate with a text",
                            do=self._made_by,
                        )
        return {signal: dict(values) for signal, values in found.items()}


def _claims(settings: SentencePairs, params: Params, prompts: Sequence[Prompt]) -> CountClaims | None:
    match settings.order:
        case "truth":
            from csrdata.pipeline.oracle import count_claims

            return count_claims(params, prompts)
    return None
