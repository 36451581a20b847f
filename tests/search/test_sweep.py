"""A sweep selects what `score_beams` and `select_pairs` would select under each setting."""

from dataclasses import replace

import pytest

from csrdata.records import NO_PARENT, Fate, Pair, Prompt, Sentence
from csrdata.search.answer_pairs import make
from csrdata.search.responses import score
from csrdata.search.sweep import Setting, Tree, grid, sweep
from tests.inspection.made import PROMPTS, sentence

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
        length_balance=None,
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
        [Tree(PROMPTS[0], TREE, None)],
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
        [Tree(PROMPTS[0], TREE, None)],
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
    term = {0: 1.0, 1: 90.0, 2: 50.0}
    setting = replace(PRESENT, image_weight=1.0)
    own, other = (
        sweep(
            [Tree(PROMPTS[0], TREE, values)],
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
