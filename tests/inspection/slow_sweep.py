"""A sweep tree by tree with the stages' own functions: slow, and what `csrdata.inspection.sweep` is compared with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from csrdata.inspection.sweep import Setting, SweepRow, TruthOf
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.search.answer_pairs import select
from csrdata.search.responses import Values, path_to, responses, sentence_rewards
from csrdata.search.reward import aggregate


@dataclass(frozen=True, slots=True)
class Tree:
    """What is known of a prompt's search."""

    prompt: Prompt
    sentences: Sequence[Sentence]
    image_term: Values | None
    """The signal that takes the place of R_I; None for the R_I of the search."""


@dataclass
class _Counts:
    pairs: int = 0
    changed: int = 0
    flipped: int = 0
    margins: float = 0.0
    gaps: int = 0
    shorter: int = 0
    comparisons: int = 0
    truer: int = 0

    def row(self, setting: Setting) -> SweepRow:
        def mean(total: float, count: int) -> float | None:
            return total / count if count else None

        return SweepRow(
            setting,
            pairs=self.pairs,
            changed=self.changed,
            flipped=self.flipped,
            mean_margin=mean(self.margins, self.pairs),
            mean_length_gap=mean(self.gaps, self.pairs),
            chosen_shorter=mean(100 * self.shorter, self.pairs),
            comparisons=self.comparisons,
            truer_chosen=mean(100 * self.truer, self.comparisons),
        )


def sweep(
    trees: Iterable[Tree],
    settings: Sequence[Setting],
    *,
    present: Setting,
    repetition_threshold: float | None,
    max_length_gap: float,
    per_prompt: int,
    false_share: TruthOf | None = None,
) -> list[SweepRow]:
    """Return what each setting selects; one tree is in memory at a time.

    Args:
        trees: the search of every prompt.
        settings: the grid.
        present: the setting that `changed` and `flipped` compare with.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`.
        max_length_gap, per_prompt: see `csrdata.search.answer_pairs.select`.
        false_share: what is known of the truth; None if nothing is.
    """
    counts = [_Counts() for _ in settings]
    for tree in trees:
        answers = _Answers(tree, repetition_threshold)
        chosen = {
            setting: _selected(
                tree.prompt, answers, setting, max_length_gap=max_length_gap, per_prompt=per_prompt
            )
            for setting in dict.fromkeys([present, *settings])
        }
        texts = {text for pairs in chosen.values() for pair in pairs for text in (pair.chosen, pair.rejected)}
        shares = {text: None if false_share is None else false_share(tree.prompt, text) for text in texts}
        for setting, count in zip(settings, counts, strict=True):
            _add(count, chosen[setting], before=chosen[present], shares=shares)
    return [count.row(setting) for count, setting in zip(counts, settings, strict=True)]


class _Answers:
    """The whole answers of a tree, under any setting."""

    def __init__(self, tree: Tree, repetition_threshold: float | None) -> None:
        self._sentences, self._threshold = tree.sentences, repetition_threshold
        stored = {one.node_id: one.relevance for one in tree.sentences if one.relevance is not None}
        self._relevances: Values = stored if tree.image_term is None else tree.image_term
        nodes = {one.node_id: one for one in tree.sentences}
        self._plain = responses(
            tree.sentences,
            None,
            image_term=tree.image_term,
            image_weight=0.0,
            scale="raw",
            repetition_threshold=repetition_threshold,
            aggregate_by="sum",
        )
        self._paths = [
            [one.node_id for one in path_to(nodes[answer.leaf_id], nodes) if one.relevance is not None]
            for answer in self._plain
        ]
        self._rewards: dict[tuple[float, str], Mapping[int, float]] = {}

    def under(self, setting: Setting) -> list[Response]:
        """Return the answers with the rewards of a setting."""
        key = (setting.image_weight, setting.scale)
        if key not in self._rewards:
            self._rewards[key] = sentence_rewards(
                self._sentences,
                self._relevances,
                image_weight=setting.image_weight,
                scale=setting.scale,
                repetition_threshold=self._threshold,
            )
        rewards = self._rewards[key]
        return [
            replace(answer, reward=aggregate([rewards[node] for node in path], setting.aggregate))
            for answer, path in zip(self._plain, self._paths, strict=True)
        ]


def _selected(
    prompt: Prompt, answers: _Answers, setting: Setting, *, max_length_gap: float, per_prompt: int
) -> list[Pair]:
    found = select(
        prompt,
        answers.under(setting),
        order="reward",
        margin=setting.margin,
        max_length_gap=max_length_gap,
        per_prompt=per_prompt,
        seed=0,
    )
    return [] if isinstance(found, Dropped) else found


def _add(
    count: _Counts, pairs: Sequence[Pair], *, before: Sequence[Pair], shares: Mapping[str, float | None]
) -> None:
    sides, earlier = (list(_sides(each)) for each in (pairs, before))
    count.changed += sides != earlier
    count.flipped += any((two, one) in earlier for one, two in sides)
    for pair in pairs:
        gap = (pair.scores.chosen_words or 0) - (pair.scores.rejected_words or 0)
        count.pairs += 1
        count.margins += pair.scores.margin or 0.0
        count.gaps += gap
        count.shorter += gap < 0
        one, other = shares[pair.chosen], shares[pair.rejected]
        if one is not None and other is not None and one != other:
            count.comparisons += 1
            count.truer += one < other


def _sides(pairs: Sequence[Pair]) -> Iterator[tuple[int | None, int | None]]:
    for pair in pairs:
        yield pair.scores.chosen_leaf, pair.scores.rejected_leaf
