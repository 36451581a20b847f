"""Wiring of pairs of sentences: the candidates of the search and their signals in, pairs or reasons out.

Tables are read shard by shard: a search has many more candidates than answers.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.records import Dropped, DropReason, Prompt, Sentence, Signal
from csrdata.search import sentence_pairs
from csrdata.search.continuations import Scored, Values
from csrdata.search.pairs import CountClaims, Outcome
from csrdata.search.responses import sentence_rewards
from csrdata.sections.method import ScoreBeams, SentencePairs
from csrdata.storage.shard_manifest import check_names
from csrdata.storage.tables import read_rows

SEARCH, ELSEWHERE = "search", "elsewhere"
"""`score_beams.signal` for the search's own R_I, and the name of the signal that is the base of evidence."""

ByPrompt = Mapping[str, Values]
"""A signal by `prompt_id` and `node_id`."""


def make(prompts: Sequence[Prompt], settings: SentencePairs, *, params: Params, name: str) -> list[Outcome]:
    """Return the pairs of iteration `name` from the candidates of its search.

    Args:
        prompts: those that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.
    """
    made_by = f"dvc repro generate_beams@{name}"
    manifest = check_names(paths.candidates(name), made_by=made_by)
    wanted = {prompt.prompt_id: prompt for prompt in prompts}
    claims = _claims(settings, params, prompts)
    found: dict[str, list[Outcome]] = {prompt.prompt_id: [] for prompt in prompts}
    for file in manifest.names():
        rows = read_rows(paths.candidates(name) / file, Sentence, made_by=made_by)
        trees = {prompt_id: list(tree) for prompt_id, tree in groupby(rows, key=lambda row: row.prompt_id)}
        own = [wanted[prompt_id] for prompt_id in trees if prompt_id in wanted]
        for outcome in _of_shard(own, trees, settings, params.score_beams, claims, name=name, file=file):
            found[outcome.prompt_id].append(outcome)
    nothing = {one: [Dropped(one, DropReason.NO_SIBLINGS.value, "no candidates")] for one in wanted}
    return [outcome for one, outcomes in found.items() for outcome in outcomes or nothing[one]]


def _of_shard(
    prompts: Sequence[Prompt],
    trees: Mapping[str, Sequence[Sentence]],
    settings: SentencePairs,
    reward: ScoreBeams,
    claims: CountClaims | None,
    *,
    name: str,
    file: str,
) -> list[Outcome]:
    by_evidence = settings.order == "evidence" or settings.ends != "none"
    names = {reward.signal} - {SEARCH} | ({ELSEWHERE} if by_evidence else set())
    signals = _read_signals(paths.signals(name) / file, names, trees, name=name) if names else {}

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


def _read_signals(
    path: Path, names: set[str], trees: Mapping[str, Sequence[Sentence]], *, name: str
) -> dict[str, ByPrompt]:
    """Return the named signals of a shard's candidates.

    Raises:
        UserError: the table is missing or damaged, or a candidate with a text has no row of a signal.
    """
    made_by = f"dvc repro measure_signals@{name}"
    found: dict[str, dict[str, dict[int, float | None]]] = {
        signal: {prompt_id: {} for prompt_id in trees} for signal in names
    }
    for row in read_rows(path, Signal, made_by=made_by):
        if row.name in names and row.prompt_id in trees:
            found[row.name][row.prompt_id][row.node_id] = row.value
    for signal, values in found.items():
        for prompt_id, tree in trees.items():
            for sentence in tree:
                if sentence.relevance is not None and sentence.node_id not in values[prompt_id]:
                    raise UserError(
                        f"{path}: prompt {prompt_id}",
                        got=f"no row of {signal} for candidate {sentence.node_id}",
                        expected="one for each candidate with a text",
                        do=made_by,
                    )
    return {signal: dict(values) for signal, values in found.items()}


def _claims(settings: SentencePairs, params: Params, prompts: Sequence[Prompt]) -> CountClaims | None:
    match settings.order:
        case "truth":
            from csrdata.pipeline.oracle import count_claims

            return count_claims(params, prompts)
    return None
