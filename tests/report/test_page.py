"""The page in a real browser: it opens from a file, and each of its tools does what it says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.evaluation.summary import StoppedLoop, Summary
from csrdata.report.drift import drift
from csrdata.report.writing import Form, write_report
from csrdata.storage.values import MAX_TEXT
from tests.report.browser import Page, chromium, need_browser
from tests.report.made import CHOSEN, REJECTED, content, draw_images, drop, pair, truth, write_series

IDS = [f"p-{number:03d}" for number in range(60)]
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><b id=injected>x</b>",
    "<img src=x onerror=alert(3)>",
    "\u202egnp.exe",
    "</textarea><iframe src=javascript:alert(4)>",
    "A" * (MAX_TEXT - 3),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty prompts in two iterations: in the second, one pair is flipped, one changed, one lost, and one added."""
    folder = tmp_path_factory.mktemp("report")
    pairs = [
        pair(one, CHOSEN, f"{REJECTED} Number {at}.", margin=1.0 + at) for at, one in enumerate(IDS[:58])
    ]
    flipped = replace(pairs[0], chosen=pairs[0].rejected, rejected=pairs[0].chosen)
    changed = replace(pairs[1], chosen="A red circle is there.")
    second = [flipped, changed, *pairs[3:], pair(IDS[58], CHOSEN, REJECTED)]
    known = truth(IDS)
    series = [
        write_series(folder, "1", pairs, dropped=[drop(IDS[58]), drop(IDS[59])], known=known),
        write_series(folder, "2", second, dropped=[drop(IDS[2]), drop(IDS[59])], known=known),
    ]
    shown = content(series, images=draw_images(folder / "images", IDS))
    write_report(shown, folder / "report.html", form=Form.FILE)
    write_report(shown, folder / "beside", form=Form.FOLDER)
    return folder


@pytest.fixture
def page(report: Path) -> Iterator[Page]:
    need_browser()
    with chromium() as opened:
        opened.open(report / "report.html")
        yield opened
        assert opened.messages == []


@pytest.mark.parametrize("name", ["report.html", "beside/index.html"])
def test_it_opens_from_a_file(report: Path, name: str) -> None:
    """One file or a folder: pairs, images and texts are there without a network, and the console says nothing."""
    need_browser()
    with chromium() as opened:
        page = opened.open(report / name)
        assert opened.count() == "116 pairs"
        page.wait_for_selector(".card[data-ready] img")
        page.wait_for_function("document.querySelector('.card img').naturalWidth === 40")
        assert CHOSEN in page.inner_text(".card .side.chosen")
        assert opened.messages == []


def test_search_order_and_range(page: Page) -> None:
    """The search narrows, the order sorts, numbers and a drag across a chart filter the list; one button clears all."""
    tab = page.page
    tab.fill("#search", "number 57")
    tab.wait_for_function("document.querySelector('#count').innerText === '2 pairs'")
    tab.fill("#search", "")
    tab.select_option("#sort", "margin")
    tab.click("#down")
    assert page.cards()[0] == "p-057"
    tab.fill("[data-measure=margin] input >> nth=0", "50")
    tab.keyboard.press("Tab")
    assert page.count() == "18 pairs"
    tab.click("#clear")
    assert page.count() == "116 pairs"
    box = tab.locator("[data-measure=margin] svg").bounding_box()
    tab.mouse.move(box["x"] + 2, box["y"] + 10)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10, steps=5)
    tab.mouse.up()
    assert 0 < int(page.count().split()[0]) < 116
    tab.click("[data-measure=margin] svg")
    assert page.count() == "116 pairs"


def test_only_what_is_seen_is_in_the_document(page: Page) -> None:
    """The list is virtual: a few cards are there at the top and at the end."""
    assert len(page.cards()) < 15
    page.page.evaluate("scrollTo(0, 1e9)")
    page.page.wait_for_timeout(300)
    page.page.evaluate("scrollTo(0, 1e9)")
    assert page.cards()[-1] == "p-058"
    assert len(page.cards()) < 15


def test_labels_by_keys_and_clicks_are_saved(page: Page) -> None:
    """J and k move, 1 2 3 label, a click labels too; the file has the columns that `csrdata curate` reads."""
    tab = page.page
    for key in ("j", "1", "j", "j", "2", "k", "3"):
        tab.keyboard.press(key)
    tab.locator(".card", has_text="p-001").first.locator("[data-label=good]").click()
    with tab.expect_download() as download:
        tab.click("#save")
    rows = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert rows == [
        "prompt_id,number,iteration,label",
        "p-000,0,1,good",
        "p-000,0,2,unsure",
        "p-001,0,1,good",
    ]


def test_the_tree_shows_every_candidate(page: Page) -> None:
    """The key t opens the tree: five candidates, the two paths of the pair, and all numbers of the chosen one."""
    tab = page.page
    tab.keyboard.press("j")
    tab.keyboard.press("t")
    tab.wait_for_selector("#tree[open] .candidate")
    assert tab.locator("#tree .candidate").count() == 5
    assert (
        tab.locator("#tree .candidate.chosen").count()
        == tab.locator("#tree .candidate.rejected").count()
        == 2
    )
    tab.click("#tree .candidate[data-node='2']")
    assert "pruned" in tab.inner_text("#tree-detail")
    tab.keyboard.press("Escape")
    assert tab.locator("#tree[open]").count() == 0


def test_compare_shows_what_moved(page: Page) -> None:
    """Two iterations: 55 pairs stay, one is flipped, changed, lost and added; a bar opens its pairs."""
    tab = page.page
    tab.click("#tab-compare")
    counts = [int(text.split()[0]) for text in tab.locator("#compared .bar-count").all_inner_texts()]
    assert counts == [55, 1, 1, 1, 1]
    shares = [float(text.rstrip("%")) for text in tab.locator("#compared .bar-count small").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1)
    tab.click("#compared button.bar:has(.flipped)")
    assert page.cards() == ["p-000", "p-000"]


def test_the_funnel_opens_its_prompts(page: Page) -> None:
    """A bar of the funnel shows the prompts that were dropped for its reason, in its iteration."""
    tab = page.page
    tab.click("#tab-overview")
    tab.locator(".funnel").first.locator("button.bar:has(.lost)").click()
    assert page.cards() == ["p-058", "p-059"]
    assert "gap 12 words" in tab.inner_text(".card .why")


def test_made_up_objects_are_marked(page: Page) -> None:
    """Where the truth is known, the star that no image shows is marked, and the circle is not."""
    page.page.wait_for_selector(".card[data-ready]")
    first = page.page.locator(".card[data-ready]").first
    assert [text.split()[0] for text in first.locator(".made-up").all_inner_texts()] == ["star"]


def test_an_address_leads_to_its_prompt(report: Path) -> None:
    """A link with a prompt and an iteration selects that pair."""
    need_browser()
    with chromium() as opened:
        page = opened.open(report / "report.html", hash_="#p=p-040&s=1&n=0")
        page.wait_for_selector(".card[aria-current]")
        assert page.get_attribute(".card[aria-current]", "aria-label") == "p-040, iteration 2"


@pytest.mark.parametrize("form", list(Form))
def test_hostile_texts_are_shown_as_text(tmp_path: Path, form: Form) -> None:
    """Answers that are markup, scripts, direction overrides or as long as a table allows are text; nothing of them runs."""
    need_browser()
    pairs = [pair(f"p-{at}", text, f"{text} no") for at, text in enumerate(HOSTILE)]
    series = write_series(
        tmp_path, "1", [replace(one, prompt=one.chosen[:80]) for one in pairs], search=False
    )
    output = tmp_path / ("page.html" if form is Form.FILE else "page")
    written = write_report(
        content([series], parameters=HOSTILE[1] + "A" * 1_000_000, source=HOSTILE[0]), output, form=form
    )
    with chromium() as opened:
        page = opened.open(Path(written.path))
        for at, text in enumerate(HOSTILE):
            page.evaluate(f"location.hash = '#p=p-{at}&s=0&n=0'")
            page.wait_for_selector(f".card[aria-current][aria-label^='p-{at},'][data-ready]")
            said = page.inner_text(".card[aria-current] .side.chosen .sentences")
            assert text.replace("\u202e", "[U+202E]")[:60] in said.replace("\n", "")
        page.click("#tab-origin")
        assert HOSTILE[1] in page.inner_text("#view-origin pre")
        assert page.locator("#injected, iframe, img[src=x]").count() == 0
        assert opened.messages == []


def test_where_the_loop_stopped_is_said(tmp_path: Path) -> None:
    """The overview begins with the iteration, the reason and what did not run, also where no figure was measured."""
    need_browser()
    series = write_series(tmp_path, "1", [pair("p-0", CHOSEN, REJECTED)], search=False)
    stopped = StoppedLoop("1", "12 pairs, fewer than 50 <b>", ("2", "3"))
    summary = Summary(("base", "1"), splits={}, pairs={}, training={}, prepared=None, stopped=(stopped,))
    write_report(content([series], drift=drift(summary)), tmp_path / "page.html", form=Form.FILE)
    with chromium() as opened:
        page = opened.open(tmp_path / "page.html")
        page.click("#tab-overview")
        assert page.inner_text("#view-overview").startswith(
            "The loop stopped at iteration 1: 12 pairs, fewer than 50 <b>. Not run: 2, 3."
        )
        assert opened.messages == []


def test_attention_is_drawn_along_the_answer(tmp_path: Path) -> None:
    """A table by token is one curve for each policy over all tokens, not the first token by iteration."""
    need_browser()
    rows = [["base", "own", str(token), "0.5"] for token in (1, 2, 3)]
    rows += [["1", "own", str(token), "0.4"] for token in (1, 2, 3)]
    table = {
        "name": "image_attention_by_token", "title": "Attention", "unit": "0 to 1", "left_out": 0,
        "columns": ["iteration", "answers", "token", "mean"], "rows": rows,
    }  # fmt: skip
    series = write_series(tmp_path, "1", [pair("p-0", CHOSEN, REJECTED)], search=False)
    write_report(content([series], figures=[table]), tmp_path / "page.html", form=Form.FILE)
    with chromium(width=390) as opened:
        page = opened.open(tmp_path / "page.html")
        page.click("#tab-figures")
        paths = page.eval_on_selector_all(
            "#view-figures path", "paths => paths.map(one => one.getAttribute('d'))"
        )
        assert [path.count("L") for path in paths] == [2, 2]
        assert page.inner_text("#view-figures .legend").split("\n") == ["base", "iteration 1"]
        views = page.locator("#views")
        assert views.evaluate("bar => bar.scrollWidth <= bar.clientWidth"), "a tab is cut off on a phone"
        assert opened.messages == []


@pytest.mark.parametrize("pairs", [0, 1])
def test_next_to_nothing_is_a_page(tmp_path: Path, pairs: int) -> None:
    """No truth, no image, no search tree, and one pair or none: the page says what there is."""
    need_browser()
    rows = [replace(one, scores=type(one.scores)()) for one in [pair("p-0", CHOSEN, REJECTED)][:pairs]]
    series = write_series(tmp_path, "1", rows, dropped=[] if pairs else [drop("p-0")], search=False)
    write_report(content([series], parameters="", hashes={}), tmp_path / "page.html", form=Form.FILE)
    with chromium(width=390, height=800) as opened:
        page = opened.open(tmp_path / "page.html")
        assert opened.count() == ("1 pair" if pairs else "0 pairs")
        for view in ("overview", "compare", "figures", "origin", "pairs"):
            page.click(f"#tab-{view}")
        if pairs:
            page.wait_for_selector(".card[data-ready] .no-image")
            page.click(".card [data-tree]")
            assert "no search tree" in page.inner_text("#tree")
        assert opened.messages == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
