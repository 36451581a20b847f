"""Pages on terminals of 40 to 200 columns: nothing is cut off, no text is markup or a control sequence."""

import io
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from csrdata.inspection.cost import SearchCost
from csrdata.inspection.diff import MovedIds, diff
from csrdata.inspection.diff_report import diff_report
from csrdata.inspection.page import number
from csrdata.inspection.report import report
from csrdata.inspection.search_tree import SearchTree, search_tree
from csrdata.inspection.stats import stats
from csrdata.inspection.tree import render_tree
from csrdata.records import NO_PARENT, Fate
from tests.inspection.made import ITERATION, PROMPTS, sentence
from tests.inspection.test_diff import NEW, OLD
from tests.nasty import NASTY, unsafe

WIDTHS = (40, 60, 80, 120, 200)
SEARCH = SearchCost(
    prompts=31,
    seconds=1234.5,
    sentences_per_second=56.78,
    peak_mib=910.0,
    spent={"read": 12.34, "decode": 66.66, "other": 21.0},
)
STATS = stats(ITERATION, search=SEARCH)


def _drawn(page: RenderableType, width: int, *, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(width=width, file=file).print(page)
    file.flush()
    return raw.getvalue().decode(encoding)


def _figures(value: Any) -> Iterator[float]:
    """Yield every number of plain figures; a histogram's counts are drawn, not written."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in {"counts", "ids"} or isinstance(inner, dict):
                yield from _figures(inner)
    elif isinstance(value, int | float):
        yield value


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"[+-]?\d[\d.]*(?:e[+-]?\d+)?", text))


@pytest.mark.parametrize("width", WIDTHS)
def test_stats_show_every_figure_at_any_width(width: int) -> None:
    """Each number is unbroken, each line fits, and no ellipsis replaces text."""
    text = _drawn(report(STATS), width)
    assert {number(value) for value in _figures(asdict(STATS))} - _numbers(text) == set()
    assert max(map(len, text.splitlines())) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_diff_shows_every_figure_at_any_width(width: int) -> None:
    """The page of `diff` has counts, means, and the distributions of both sides at every width."""
    figures = diff(OLD, NEW)
    # Changes are drawn with a sign; of a distribution, median, ends and mean are drawn.
    shown = {key: value for key, value in asdict(figures).items() if key != "paired"}
    for sides in shown["distributions"].values():
        for one in sides.values():
            del one["p10"], one["p90"]
    text = _drawn(diff_report(figures), width)
    assert {number(value) for value in _figures(shown)} - _numbers(text) == set()
    words = " ".join(text.split())
    for name in figures.ids.lost:
        assert name in words
    assert max(map(len, text.splitlines())) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def _deep(levels: int) -> SearchTree:
    """Return one prompt whose answer has that many sentences."""
    path = [
        sentence(node, node - 1 if node else NO_PARENT, f" Word{node} {'long' * 20}.", fate=Fate.KEPT_BEST)
        for node in range(levels)
    ]
    return SearchTree(PROMPTS[0], path, responses=[], pairs=[], dropped=None)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("levels", [1, 4, 12, 60])
def test_a_tree_shows_every_sentence_at_any_width(width: int, levels: int) -> None:
    """At any depth of the search, the guides leave half of the width to the text."""
    text = _drawn(render_tree(_deep(levels)), width)
    solid = re.sub(r"[\s│├└─]|depth \d+", "", text)
    for node in range(levels):
        assert f"Word{node}{'long' * 20}.R_T0.14R_I20.0reward0.5kept_best,sentence_end" in solid
    assert max(map(len, text.splitlines())) <= width


def test_every_figure_of_stats_has_a_unit() -> None:
    """Each line of a table ends with the unit or the range of its number; a row of several numbers has a header."""
    lines = _drawn(report(STATS), 120).splitlines()
    table = [line for line in lines if re.search(r"\S  +-?\d[\d.]*(  |$)", line.rstrip())]
    bare = [line for line in table if re.search(r"-?\d[\d.]*$", line.rstrip()) and "R_" not in line]
    assert len(table) > 30
    one = [line for line in bare if len(re.findall(r"  +-?\d[\d.]*", line)) == 1]
    assert [line for line in one if not line.startswith(("guidance of", "reward of", "margin of"))] == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_text_is_neither_obeyed_nor_markup(text: str) -> None:
    """Hostile text as iteration, label, prompt, image or sentence is drawn as it is, or escaped, by any console."""
    tree = search_tree(ITERATION, "train-00000")
    prompt = replace(tree.prompt, image=text, text=text)
    sentences = [replace(one, text=text) for one in tree.sentences]
    pages = (
        report(replace(STATS, iteration=text)),
        diff_report(
            replace(diff(OLD, NEW), a=text, ids=MovedIds(flipped=[], changed=[], lost=[text], added=[]))
        ),
        render_tree(replace(tree, prompt=prompt, sentences=sentences)),
    )
    for page in pages:
        drawn = _drawn(page, 120)
        assert unsafe(drawn) == set()
        if text.isprintable() and text.isascii():
            assert text in drawn


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_without_unicode_gets_ascii(width: int) -> None:
    """In ASCII, bars, guides and lines have a fallback; foreign text is escaped before layout, so lines still fit."""
    tree = search_tree(ITERATION, "train-00000")
    named = replace(tree, prompt=replace(tree.prompt, text="Ein Bär 一只猫 " * 9))
    pages = (report(replace(STATS, iteration="é")), diff_report(diff(OLD, NEW)), render_tree(named))
    for page in pages:
        assert max(map(len, _drawn(page, width, encoding="ascii").splitlines())) <= width
    assert "@" in _drawn(pages[0], width, encoding="ascii")
    assert r"B\xe4r" in "".join(_drawn(pages[2], width, encoding="ascii").split("\n"))
