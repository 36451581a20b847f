"""What `stats` and `show` say about an iteration small enough to check by hand."""

import io
import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from csrdata.errors import UserError
from csrdata.inspection.histogram import Histogram, histogram, sparkline
from csrdata.inspection.pair_bias import FORM
from csrdata.inspection.report import report
from csrdata.inspection.search_tree import search_tree
from csrdata.inspection.stats import stats
from csrdata.inspection.tree import render_tree
from csrdata.inspection.tree_figures import ReasonOfTree, tree_figures
from csrdata.records import Dropped, Fate, Pair, Prompt, Response, Sentence
from csrdata.search.pairs import form
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import seal, to_table, write_rows
from csrdata.text import json_text
from tests.inspection.made import DROPPED, EMPTY, ITERATION, PAIR, PROMPTS, RESPONSES, SENTENCES, sentence
from tests.scores import pair_with, without_scores


def _text(drawn: RenderableType, *, width: int = 160) -> str:
    page = io.StringIO()
    Console(width=width, file=page).print(drawn)
    return page.getvalue()


LATER = [
    replace(sentence(node, 0, f" {node}.", fate=Fate.PRUNED), repetition=value)
    for node, value in ((5, 0.2), (6, 0.4), (7, 0.9))
]
LONGER = replace(ITERATION, candidates=to_table([*SENTENCES, *LATER], Sentence))
"""With three second sentences."""


def test_counts_cover_every_candidate_and_prompt() -> None:
    """Fates and stops add up to the candidates; kept and dropped add up to the prompts."""
    figures = stats(ITERATION)
    counts, pairs = figures.counts, figures.pairs
    assert sum(counts.by_fate.values()) == sum(counts.by_stop.values()) == counts.candidates == 5
    assert counts.by_fate["finished"] == counts.by_stop["end"] == 2
    assert counts.tokens_per_prompt == 5 * 2 / 2
    assert pairs.with_pairs + sum(pairs.dropped.values()) == counts.prompts == 2
    assert pairs.kept == 1


def test_length_and_likelihood_beside_the_choice() -> None:
    """The chosen answer is the shorter one by a word, and the language term alone would have taken the other."""
    pairs = stats(ITERATION).pairs
    assert (pairs.chosen_shorter, pairs.mean_length_gap, pairs.length_only_auc) == (100, -1, 0)
    assert pairs.likelihood_prefers_rejected == 100
    assert stats(ITERATION).responses.reward_length_correlation == pytest.approx(-1)


def test_components_are_those_of_sentences_with_text() -> None:
    """The end has no relevance and is in no distribution; two tokens of -1 nat each give e^-1 per token."""
    found = stats(ITERATION).distributions
    assert found.sentence_relevance is not None
    assert found.sentence_probability_per_token is not None
    assert found.sentence_relevance.count == 3
    assert found.sentence_relevance.p50 == 10
    assert found.sentence_probability_per_token.mean == pytest.approx(0.36787944)


def test_similarity_is_that_of_sentences_after_another() -> None:
    """A first sentence repeats nothing, and the end has no text: neither counts."""
    found = stats(LONGER).distributions
    assert found.sentence_repetition is not None
    assert (found.sentence_repetition.count, found.sentence_repetition.p50) == (3, 0.4)
    assert stats(ITERATION).distributions.sentence_repetition is None


def test_nothing_made_gives_no_figures_but_a_report() -> None:
    """Without a pair or an answer the figures are null, not an error; the JSON keeps its keys."""
    figures = stats(EMPTY)
    assert figures.pairs.length_only_auc is None
    assert figures.distributions.pair_margin is None
    bare, full = (json.loads(json_text(one)) for one in (figures, stats(ITERATION)))
    assert bare.keys() == full.keys()
    assert bare["pairs"].keys() == full["pairs"].keys()
    assert "prompts without a pair" in _text(report(figures))


def test_the_report_shows_every_figure() -> None:
    """Each count and each distribution has its line."""
    text = _text(report(stats(ITERATION)))
    for words in (
        "kept_best".replace("_", " "),
        "R_I of a sentence",
        "margin of a pair",
        "no response",
        "length only auc",
    ):
        assert words in text


def test_the_report_fits_an_ordinary_terminal() -> None:
    """In 80 columns no number is cut and no histogram is broken."""
    figures = stats(LONGER)
    text = _text(report(figures), width=80)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for field in fields(figures.distributions):
        found = getattr(figures.distributions, field.name)
        assert sparkline(found.histogram.counts).rstrip() in text


def test_a_tree_shows_every_candidate_and_marks_the_pair() -> None:
    """The chosen path has +, the rejected -, a pruned sentence neither; brackets in a text are not markup."""
    lines = _text(render_tree(search_tree(ITERATION, "train-00000"))).splitlines()
    marked = {mark: [line for line in lines if f"── {mark} " in line] for mark in "+-"}
    assert ["A red circle." in line or "(end)" in line for line in marked["+"]] == [True, True]
    assert any("A [blue] star." in line and "R_I 2.0" in line for line in marked["-"])
    assert any("A fog." in line and "pruned" in line for line in lines)
    assert any("R(y) 0.9, 3 words" in line for line in marked["+"])


def test_a_repeat_is_shown_where_it_is_close() -> None:
    """The line of a candidate shows its repetition at or above a cosine of 0.5."""
    tree = search_tree(ITERATION, "train-00000")
    first, second, *rest = tree.sentences
    sentences = [replace(first, repetition=0.93), replace(second, repetition=0.3), *rest]
    drawn = _text(render_tree(replace(tree, sentences=sentences)))
    assert drawn.count("repetition") == 1
    assert "repetition 0.93" in drawn


def test_a_prompt_without_a_pair_shows_why() -> None:
    """The title has the reason for no pair, and its figures."""
    assert "no pair: no_response: 0 answers" in _text(render_tree(search_tree(ITERATION, "train-00001")))


def test_a_pair_that_curation_took_out_is_shown_and_counted() -> None:
    """Its prompt keeps another pair, so it is no prompt without a pair; `show` and `stats` name what was taken out."""
    removed = Dropped("train-00000", "label", "pair 1 is labelled bad")
    curated = replace(ITERATION, dropped=to_table([DROPPED, removed], Dropped))
    tree = search_tree(curated, "train-00000")
    assert (tree.dropped, tree.removed) == (None, [removed])
    drawn = _text(render_tree(tree))
    assert "taken out by curation (numbers before it): pair 1 is labelled bad" in drawn
    assert "no pair" not in drawn
    assert tree_figures(tree, iteration="1").removed == [ReasonOfTree("label", removed.detail)]
    figures = stats(curated)
    assert figures.pairs.dropped == stats(ITERATION).pairs.dropped
    assert figures.pairs.removed == {"label": 1, "where": 0}
    assert "pairs taken out by curation" in _text(report(figures))


def test_the_tree_as_json_holds_every_candidate_under_its_parent() -> None:
    """`show --json`: the keys are stable; an answer is with its last sentence; a prompt without a pair has its reason."""
    shown = json.loads(json_text(tree_figures(search_tree(ITERATION, "train-00000"), iteration="1")))
    keys = ["iteration", "prompt_id", "image", "prompt", "pairs", "dropped", "removed", "candidates"]
    assert list(shown) == keys
    assert shown["pairs"] == [
        {
            "number": 0,
            "origin": "csr_search",
            "form": "answers",
            "margin": 0.8,
            "context": "",
            "chosen_leaf": 3,
            "rejected_leaf": 4,
        }
    ]
    first, second, third = shown["candidates"]
    assert (third["node_id"], third["fate"], third["children"]) == (2, "pruned", [])
    assert (first["answer"], second["children"][0]["node_id"]) == (None, 4)
    (end,) = first["children"]
    assert end == {
        "node_id": 3,
        "depth": 2,
        "text": "",
        "probability": math.exp(-2.0),
        "relevance": None,
        "repetition": 0.0,
        "guidance_reward": None,
        "fate": "finished",
        "stop": "end",
        "answer": {
            "text": "A red circle.",
            "words": 3,
            "reward": 0.9,
            "relevance": 10.0,
            "finished": True,
            "canonical": True,
        },
        "children": [],
    }
    other = tree_figures(search_tree(ITERATION, "train-00001"), iteration="1")
    assert (other.pairs, other.candidates) == ([], [])
    assert other.dropped == ReasonOfTree("no_response", DROPPED.detail)


def test_an_unknown_prompt_names_the_nearest() -> None:
    """A misspelled id is answered with the nearest id."""
    with pytest.raises(
        UserError, match=r"got train-0001, expected a prompt such as train-00001\. Next: csrdata show"
    ):
        search_tree(ITERATION, "train-0001")


def test_pairs_without_scores_have_their_lengths_and_a_dash() -> None:
    """Pairs without scores: stats count words; margins and leaves are unknown, never 0; show marks no path."""
    bare = replace(ITERATION, pairs=to_table([without_scores(PAIR)], Pair))
    figures = stats(bare)
    pairs = figures.pairs
    assert (pairs.by_origin, pairs.mean_margin) == ({"judge": 1}, None)
    assert (pairs.mean_chosen_words, pairs.likelihood_prefers_rejected) == (3.0, None)
    assert figures.distributions.pair_margin is None
    assert re.search(r"mean margin +- +on the scale", _text(report(figures)))
    shown = _text(render_tree(search_tree(bare, "train-00000")))
    assert "pair: answers by judge, margin - (" in shown
    assert "0" not in shown.partition("judge, margin")[2].splitlines()[0]


SENTENCE_PAIR = pair_with(
    PAIR,
    number=1,
    chosen=" A red circle.",
    rejected=" A [blue] star.",
    chosen_complete=False,
    rejected_complete=False,
    origin="csr_sentences",
    chosen_leaf=0,
    rejected_leaf=1,
    margin=18.0,
)
GO_ON = pair_with(
    SENTENCE_PAIR,
    number=2,
    context=" A red circle.",
    rejected="",
    rejected_complete=True,
    rejected_leaf=3,
    margin=None,
)
SEVERAL = replace(ITERATION, pairs=to_table([GO_ON, PAIR, SENTENCE_PAIR], Pair))


def test_several_pairs_of_a_prompt_are_counted() -> None:
    """Pairs are counted by origin and form, prompts once; margins of several origins have no mean in common."""
    figures = stats(SEVERAL)
    pairs = figures.pairs
    assert (pairs.kept, pairs.with_pairs) == (3, 1)
    assert pairs.by_origin == {"csr_search": 1, "csr_sentences": 2}
    assert pairs.by_form == {"answers": 1, "sentences": 1, "go_on": 1, "stop": 0}
    assert (pairs.mean_margin, figures.distributions.pair_margin) == (None, None)
    assert pairs.likelihood_prefers_rejected == 100
    alone = replace(ITERATION, pairs=to_table([replace(SENTENCE_PAIR, number=0)], Pair))
    assert stats(alone).pairs.mean_margin == 18.0
    assert stats(alone).pairs.likelihood_prefers_rejected is None
    assert re.search(r"with pairs +1 +prompts", _text(report(figures)))


def test_the_form_of_a_table_is_that_of_a_pair() -> None:
    """The expression over a table and the function of a pair agree on every form."""
    stop = pair_with(
        GO_ON, number=3, chosen="", rejected=" A.", chosen_complete=True, rejected_complete=False
    )
    pairs = [PAIR, SENTENCE_PAIR, GO_ON, stop, pair_with(PAIR, number=4, context=" A."), without_scores(PAIR)]
    table = to_table(pairs, Pair).select(form=FORM)
    assert table["form"].to_list() == [form(pair).value for pair in pairs]


def test_a_tree_marks_every_pair_by_its_number() -> None:
    """Whole answers are marked along their paths, sentences alone, and the context of a pair is not marked."""
    text = _text(render_tree(search_tree(SEVERAL, "train-00000")))
    for line in (
        "pair 0: answers by csr_search, margin 0.8 (+ chosen, - rejected)",
        "pair 1: sentences by csr_sentences, margin 18 (",
        "pair 2: go on by csr_sentences, margin - (",
        "+0 +1 +2 A red circle.",
        "-0 -1 A [blue] star.",
        "+0 -2 (end)",
    ):
        assert line in text
    shown = tree_figures(search_tree(SEVERAL, "train-00000"), iteration="1").pairs
    assert [(pair.number, pair.form) for pair in shown] == [(0, "answers"), (1, "sentences"), (2, "go_on")]


def test_a_pair_outside_the_tree_is_one_line() -> None:
    """If the search lacks the answer of a pair, the error names the leaf, not a missing key."""
    elsewhere = to_table([pair_with(PAIR, rejected_leaf=9)], Pair)
    with pytest.raises(
        UserError, match=r"pair train-00000: rejected_leaf: got 9, expected a sentence of the prompt's"
    ):
        search_tree(replace(ITERATION, pairs=elsewhere), "train-00000")


def test_shards_are_checked_together(tmp_path: Path) -> None:
    """Two valid shards are refused if prompts are swapped between them or one prompt is in both."""
    shards = tmp_path / "sentences"
    later = [replace(row, prompt_id="train-00001") for row in SENTENCES]
    for second, words in ((SENTENCES, "row 5: column prompt_id"), (later, "")):
        write_rows(shards / "00000.parquet", later, Sentence)
        write_rows(shards / "00001.parquet", second, Sentence)
        seal(shards, Sentence, fingerprint={})
        for name, rows, record in (
            ("prompts", PROMPTS, Prompt),
            ("responses", RESPONSES, Response),
            ("pairs", [PAIR], Pair),
            ("dropped", [DROPPED], Dropped),
        ):
            write_rows(tmp_path / f"{name}.parquet", rows, record)
        paths = {name: tmp_path / f"{name}.parquet" for name in ("prompts", "responses", "pairs", "dropped")}
        for texts in (True, False):
            with pytest.raises(UserError, match=words or "row 5: column node_id") as caught:
                IterationTables("1", candidates=shards, **paths).load(texts=texts)
            assert str(caught.value).endswith("Next: dvc repro generate_beams@1")


def test_figures_need_no_texts(tmp_path: Path) -> None:
    """Loaded without the texts of candidates and answers, an iteration of two shards has the same figures."""
    later = [replace(row, prompt_id="train-00001") for row in SENTENCES]
    shards = tmp_path / "sentences"
    for number, rows in enumerate((SENTENCES, later)):
        write_rows(shards / f"0000{number}.parquet", rows, Sentence)
    seal(shards, Sentence, fingerprint={})
    for name, rows, record in (
        ("prompts", PROMPTS, Prompt),
        ("responses", RESPONSES, Response),
        ("pairs", [PAIR], Pair),
        ("dropped", [DROPPED], Dropped),
    ):
        write_rows(tmp_path / f"{name}.parquet", rows, record)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("prompts", "responses", "pairs", "dropped")}
    tables = IterationTables("1", candidates=shards, **paths)
    slim = tables.load(texts=False)
    assert not {"text"} & {*slim.candidates.columns, *slim.responses.columns}
    assert stats(slim) == stats(tables.load())


def test_a_histogram_counts_every_finite_value() -> None:
    """The highest value is in the last bin; equal values share one bin; no value gives no histogram."""
    assert histogram([0, 1, 1, 4], bins=2) == Histogram(0, 4, (3, 1))
    assert histogram([2.0, 2.0], bins=3) == Histogram(2.0, 2.0, (2, 0, 0))
    assert histogram([float("nan")]) is None
    assert sparkline((0, 1, 8)) == " ▁█"
