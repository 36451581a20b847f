"""A sweep selects what `score_beams` and `select_pairs` would select under each setting."""

import math
import random
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from csrdata.inspection.batch_rewards import Components, Groups, sums
from csrdata.inspection.sweep import Searches, Setting, SweepRow, grid, sweep
from csrdata.records import NO_PARENT, Fate, Pair, Prompt, Sentence
from csrdata.search.answer_pairs import make
from csrdata.search.responses import score
from csrdata.storage.tables import to_table
from tests.inspection import slow_sweep
from tests.inspection.made import PROMPTS, sentence
from tests.search.trees import end, node

TREE = [
    replace(sentence(0, NO_PARENT, " A red circle.", fate=Fate.KEPT_BEST), logprob=-5.0),
    replace(sentence(1, NO_PARENT, " A blue star.", fate=Fate.KEPT_WORST, relevance=2.0), logprob=-1.0),
    replace(sentence(2, NO_PARENT, " A fog here.", fate=Fate.KEPT_WORST, relevance=10.0), logprob=-3.0),
    sentence(3, 0, "", fate=Fate.FINISHED, relevance=None),
    sentence(4, 1, "", fate=Fate.FINISHED, relevance=None),
    sentence(5, 2, "", fate=Fate.FINISHED, relevance=None),
]
PRESENT = Setting(0.9, "zscore", "sum", 0.1)


def _staged(tree: list[Sentence], prompt: Prompt, setting: Setting) -> list[Pair]:
    answers = score(
        tree,
        [],
        signal="search",
        image_weight=setting.image_weight,
        scale=setting.scale,
        repetition_threshold=None,
        aggregate_by=setting.aggregate,
    )
    found = make(
        [prompt],
        {prompt.prompt_id: answers},
        order="reward",
        margin=setting.margin,
        max_length_gap=1.0,
        per_prompt=1,
        seed=0,
    )
    return [one for one in found if isinstance(one, Pair)]


def test_every_setting_selects_what_the_stages_select() -> None:
    """Pairs, margins and gaps of each point equal those of the stages' own functions."""
    settings = grid(
        image_weights=[0.0, 0.5, 1.0],
        scales=["raw", "zscore", "rank", "sibling_rank"],
        aggregates=["sum", "mean"],
        margins=[0.0, 0.5],
    )
    rows = sweep(
        [Searches(PROMPTS[:1], to_table(TREE, Sentence))],
        settings,
        present=PRESENT,
        repetition_threshold=None,
        max_length_gap=1.0,
        per_prompt=1,
    )
    before = _staged(TREE, PROMPTS[0], PRESENT)
    for row in rows:
        pairs = _staged(TREE, PROMPTS[0], row.setting)
        assert row.pairs == len(pairs)
        assert row.mean_margin == (pytest.approx(pairs[0].scores.margin) if pairs else None)
        assert row.changed == (
            [one.chosen + one.rejected for one in pairs] != [one.chosen + one.rejected for one in before]
        )


def test_language_alone_flips_the_pair_and_truth_is_counted() -> None:
    """With weight 0 the likelier answer is chosen: the sides are swapped, and the made-up star is preferred."""
    rows = sweep(
        [Searches(PROMPTS[:1], to_table(TREE, Sentence))],
        [PRESENT, replace(PRESENT, image_weight=0.0)],
        present=PRESENT,
        repetition_threshold=None,
        max_length_gap=1.0,
        per_prompt=1,
        false_share=lambda _, text: float("star" in text),
    )
    assert [(row.changed, row.flipped, row.truer_chosen) for row in rows] == [(0, 0, 100), (1, 1, 0)]


def test_another_image_term_takes_its_place() -> None:
    """A signal that turns the order of R_I round turns the pair round."""
    term = pl.Series([1.0, 90.0, 50.0, None, None, None])
    setting = replace(PRESENT, image_weight=1.0)
    own, other = (
        sweep(
            [Searches(PROMPTS[:1], to_table(TREE, Sentence), values)],
            [setting],
            present=PRESENT,
            repetition_threshold=None,
            max_length_gap=1.0,
            per_prompt=1,
            false_share=lambda _, text: float("star" in text),
        )[0]
        for values in (None, term)
    )
    assert (own.truer_chosen, other.truer_chosen) == (100, 0)


def _drawn_tree(prompt: Prompt, draw: random.Random) -> list[Sentence]:
    """Return a search of three depths with ties, equal texts, blanks, repetitions and answers that do not count."""
    words = ("", " red", " blue star", " tree", " 木", " dog ")
    tree: list[Sentence] = []
    level = [NO_PARENT]
    for depth in (1, 2, 3):
        kept: list[int] = []
        for parent in level:
            for _ in range(draw.randrange(1, 5)):
                number = len(tree)
                if parent != NO_PARENT and draw.random() < 0.4:
                    one = end(number, parent, logprob=-draw.random(), canonical=draw.random() < 0.9)
                else:
                    value = draw.choice([10.0, 20.0, draw.uniform(0, 40)])
                    one = node(
                        number, parent, f" A{draw.choice(words)}{draw.choice(words)}.", value,
                        logprob=draw.choice([-1.0, -20 * draw.random()]), repetition=draw.choice([0.0, 0.7]),
                    )  # fmt: skip
                    one = replace(one, token_ids=[5] * draw.randrange(1, 9))
                    if draw.random() < 0.6:
                        kept.append(number)
                tree.append(replace(one, prompt_id=prompt.prompt_id, depth=depth))
        level = kept
    return tree


@pytest.mark.parametrize("with_term", [False, True])
@pytest.mark.parametrize(("per_prompt", "gap"), [(1, 1.0), (3, 0.5), (2, 0.0)])
def test_the_figures_are_those_of_a_loop_over_the_trees(
    *, with_term: bool, per_prompt: int, gap: float
) -> None:
    """Batches of random trees: every figure of every setting equals, to the last bit, that of the stages' functions."""
    draw = random.Random(per_prompt)
    prompts = [Prompt(f"p{number:02}", "i.png", "?") for number in range(30)]
    trees = {prompt.prompt_id: _drawn_tree(prompt, draw) for prompt in prompts}
    terms = {
        name: {one.node_id: draw.choice([None, draw.uniform(0, 40)]) for one in tree}
        for name, tree in trees.items()
    }
    settings = grid(
        image_weights=[0.0, 0.3, 0.9, 1.0],
        scales=["raw", "unit", "geometric", "rank", "zscore", "sibling_rank"],
        aggregates=["sum", "mean", "mean_plus_one"],
        margins=[0.0, 0.1],
    )
    common = {
        "present": PRESENT,
        "repetition_threshold": 0.6,
        "max_length_gap": gap,
        "per_prompt": per_prompt,
    }

    def share(prompt: Prompt, text: str) -> float | None:
        return None if "木" in text else text.count("star") / 2

    slow = slow_sweep.sweep(
        [
            slow_sweep.Tree(prompt, trees[prompt.prompt_id], terms[prompt.prompt_id] if with_term else None)
            for prompt in prompts
        ],
        settings,
        **common,
        false_share=share,
    )
    batches = []
    for some in (prompts[:7], prompts[7:8], prompts[8:]):
        rows = [row for prompt in some for row in trees[prompt.prompt_id]]
        values = pl.Series([terms[row.prompt_id][row.node_id] for row in rows], dtype=pl.Float64)
        batches.append(Searches(some, to_table(rows, Sentence), values if with_term else None))
    found: list[SweepRow] = sweep(batches, settings, **common, false_share=share)
    assert found == slow
    assert sum(row.pairs for row in found) > 100 or gap == 0
    assert any(row.flipped and row.comparisons for row in found) or gap == 0


def test_a_scale_without_an_image_term_is_refused() -> None:
    """`mean_log` guides a search by likelihood; a reward on it has no image term to weigh."""
    one = np.ones(1)
    components = Components(-one, np.array([1]), one, np.array([NO_PARENT]), Groups.of(np.array([1])))
    with pytest.raises(ValueError, match="the scale mean_log has no image term"):
        components.on_scale("mean_log")


def test_sums_are_rounded_once() -> None:
    """The sum of each group is `math.fsum` of it, however different its values are; an empty group has 0."""
    draw = random.Random(0)
    groups = [
        [draw.choice([1, -1]) * 10 ** draw.uniform(-20, 20) for _ in range(draw.randrange(12))]
        for _ in range(500)
    ]
    flat = np.array([value for group in groups for value in group])
    found = sums(flat, Groups.of(np.array([len(group) for group in groups])))
    assert found.tolist() == [math.fsum(group) for group in groups]
