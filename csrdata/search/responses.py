"""The whole answers of a search tree: for each leaf, the joined texts and the aggregated rewards of its path.

Rewards are computed from stored raw values: those of the search (`Sentence`) and those that were measured afterwards
(`Signal`). A change of signal, weight, scale or aggregate therefore needs no model and no image.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean

from csrdata.errors import UserError
from csrdata.records import NO_PARENT, Fate, Response, Sentence, Signal
from csrdata.search.reward import aggregate, calibrate, without_gaps, without_repetitions
from csrdata.search.words import word_count

SEARCH = "search"
"""The name of the relevance that the search stored, among the signals."""
HELD_OUT = "held_out"
"""The signal of the scorer that the search did not use."""

Values = Mapping[int, float | None]
"""A signal of one tree, 0..100, by `node_id`; None where it says nothing of the sentence."""


def score(
    sentences: Iterable[Sentence],
    signals: Iterable[Signal],
    *,
    signal: str,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of all trees of a shard; a prompt that the policy could not take has none.

    Args:
        sentences: rows of whole trees; the rows of a prompt are consecutive.
        signals: what was measured on these sentences. Without rows of `held_out`, the held-out columns are null.
        signal: the image term of the reward: `search`, or the name of a signal.
        image_weight, scale, repetition_threshold, aggregate_by: see `responses`.

    Raises:
        UserError: a sentence has no row of a signal.
    """
    by_name: dict[str, dict[tuple[str, int], float | None]] = {}
    for row in signals:
        by_name.setdefault(row.name, {})[row.prompt_id, row.node_id] = row.value
    searched = (row for row in sentences if row.fate != Fate.REFUSED)
    found: list[Response] = []
    for _, rows in groupby(searched, key=lambda row: row.prompt_id):
        tree = list(rows)
        found += responses(
            tree,
            _values(tree, by_name[HELD_OUT], name=HELD_OUT) if HELD_OUT in by_name else None,
            image_term=None if signal == SEARCH else _values(tree, by_name.get(signal, {}), name=signal),
            image_weight=image_weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
            aggregate_by=aggregate_by,
        )
    return found


def _values(
    tree: Sequence[Sentence], measured: Mapping[tuple[str, int], float | None], *, name: str
) -> dict[int, float | None]:
    """Return a signal of one tree, by `node_id`, for every sentence with a text."""
    values: dict[int, float | None] = {}
    for sentence in tree:
        if sentence.relevance is None:
            continue
        key = (sentence.prompt_id, sentence.node_id)
        if key not in measured:
            raise UserError(
                f"signals of prompt {sentence.prompt_id}",
                got=f"no row of {name} for sentence {sentence.node_id}",
                expected="one for each candidate with a text",
                do="dvc repro measure_signals",
            )
        values[sentence.node_id] = measured[key]
    return values


def responses(
    tree: Sequence[Sentence],
    held_out: Values | None,
    *,
    image_term: Values | None = None,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of one prompt's tree, one per leaf, in the order of `tree`.

    Args:
        tree: all sentences of the prompt, including pruned ones, because `rank`, `zscore` and `sibling_rank` are relative to
            others.
        held_out: R_I from the held-out scorer, for every sentence with a text; None without such a scorer.
        image_term: the signal that takes the place of R_I, for every sentence with a text; None for the R_I of the search.
            A sentence without a value has the mean of the tree's others (`csrdata.search.reward.without_gaps`).
        image_weight: lambda of equation 4, 0..1.
        scale: a `csrdata.search.reward.Scale`.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`; repetition is measured by the search's scorer.
        aggregate_by: a `csrdata.search.reward.Aggregate`, over an answer's sentences, without the end.

    Raises:
        ValueError: a parent is not an earlier sentence of the tree.
    """
    nodes = {sentence.node_id: sentence for sentence in tree}

    def rewards(relevances: Values, weight: float) -> dict[int, float]:
        return sentence_rewards(
            tree,
            relevances,
            image_weight=weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
        )

    stored = {sentence.node_id: each for sentence in tree if (each := sentence.relevance) is not None}
    own: Values = stored if image_term is None else image_term
    reward, likelihood = rewards(own, image_weight), rewards(own, 0.0)
    reward_held_out = None if held_out is None else rewards(held_out, image_weight)
    relevance = _filled(tree, own)
    other = None if held_out is None else _filled(tree, held_out)
    answers = []
    for leaf in tree:
        if leaf.fate not in (Fate.FINISHED, Fate.CUT):
            continue
        path = path_to(leaf, nodes)
        scored = [sentence.node_id for sentence in path if sentence.node_id in reward]
        text = "".join(sentence.text for sentence in path)
        answers.append(
            Response(
                prompt_id=leaf.prompt_id,
                leaf_id=leaf.node_id,
                text=text,
                words=word_count(text),
                sentences=len(scored),
                tokens=sum(len(sentence.token_ids) for sentence in path),
                logprob=sum(sentence.logprob for sentence in path),
                reward=aggregate([reward[node] for node in scored], aggregate_by),
                likelihood=aggregate([likelihood[node] for node in scored], aggregate_by),
                relevance=_mean([relevance[node] for node in scored]),
                relevance_held_out=None if other is None else _mean([other[node] for node in scored]),
                reward_held_out=None
                if reward_held_out is None
                else aggregate([reward_held_out[node] for node in scored], aggregate_by),
                finished=leaf.fate == Fate.FINISHED,
                end=leaf.token_ids[-1] if leaf.fate == Fate.FINISHED else None,
                canonical=bool(leaf.canonical),
            )
        )
    return answers


def sentence_rewards(
    tree: Sequence[Sentence],
    relevances: Values,
    *,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
) -> dict[int, float]:
    """Return the calibrated reward (equation 4) of each sentence with a text, by `node_id`.

    Args:
        tree: as in `responses`.
        relevances: the image term R_I, 0..100, by `node_id`, for every sentence with a text; None where it says nothing of
            the sentence, which then has the mean of the others (`csrdata.search.reward.without_gaps`).
        image_weight, scale, repetition_threshold: as in `responses`.
    """
    with_text = [sentence for sentence in tree if sentence.relevance is not None]
    values = calibrate(
        [sentence.logprob for sentence in with_text],
        [len(sentence.token_ids) for sentence in with_text],
        without_repetitions(
            list(_filled(tree, relevances).values()),
            [sentence.repetition or 0.0 for sentence in with_text],
            repetition_threshold=repetition_threshold,
        ),
        image_weight=image_weight,
        scale=scale,
        parents=[sentence.parent_id for sentence in with_text],
    )
    return {sentence.node_id: value for sentence, value in zip(with_text, values, strict=True)}


def _filled(tree: Sequence[Sentence], values: Values) -> dict[int, float]:
    """Return a signal of each sentence with a text; one without a value has the mean of the others."""
    nodes = [sentence.node_id for sentence in tree if sentence.relevance is not None]
    return dict(zip(nodes, without_gaps([values[node] for node in nodes]), strict=True))


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def path_to(leaf: Sentence, nodes: Mapping[int, Sentence]) -> list[Sentence]:
    """Return the sentences of an answer, from the first one to `leaf`.

    Raises:
        ValueError: a parent is not an earlier sentence of the tree; the path would have no end.
    """
    path = [leaf]
    while (parent := path[-1].parent_id) != NO_PARENT:
        if parent >= path[-1].node_id or parent not in nodes:
            node = f"prompt {leaf.prompt_id}: sentence {path[-1].node_id}"
            raise ValueError(f"{node}: the parent is {parent}, expected an earlier sentence of the tree")
        path.append(nodes[parent])
    return path[::-1]
