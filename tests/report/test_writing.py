"""What is written: one file or a folder by size, the same bytes again, texts cut where sentences are, and the rules in words."""

from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.records import NO_PARENT, Dropped
from csrdata.report.drift import findings
from csrdata.report.figures import figure_tables
from csrdata.report.funnel import funnel
from csrdata.report.series import SeriesReader
from csrdata.report.sides import AbsentObjects, key, side
from csrdata.report.writing import MARK, Form, write_report
from tests.report.made import CHOSEN, REJECTED, content, draw_images, pair, tree, truth, write_series

IDS = ["p-0", "p-1"]


def _written(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_size_decides(tmp_path: Path) -> None:
    """A page has everything in it up to the limit; above it, its data and its images are files next to it."""
    series = write_series(tmp_path, "1", [pair(one, CHOSEN, REJECTED) for one in IDS])
    shown = content([series], images=draw_images(tmp_path / "images", IDS))
    small = write_report(shown, tmp_path / "small.html", form=None)
    assert (small.path, small.form) == (str(tmp_path / "small.html"), Form.FILE)
    large = write_report(shown, tmp_path / "large.html", form=None, most_bytes=100)
    assert (large.path, large.form) == (str(tmp_path / "large/index.html"), Form.FOLDER)
    files = set(_written(tmp_path / "large"))
    assert files == {
        MARK,
        "index.html",
        "data/index-0.js",
        "data/details-0.js",
        "images/0.jpg",
        "images/1.jpg",
    }
    assert large.bytes == sum(map(len, _written(tmp_path / "large").values()))
    assert (large.series, large.prompts, large.images, large.images_missing) == ({"iteration 1": 2}, 2, 2, 0)


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    """A second report of the same tables is the same, so that the stage settles; an earlier one is replaced."""
    series = write_series(tmp_path, "1", [pair(one, CHOSEN, REJECTED) for one in IDS])
    shown = content([series], images=draw_images(tmp_path / "images", IDS))
    write_report(shown, tmp_path / "report", form=None)
    first = _written(tmp_path / "report")
    write_report(shown, tmp_path / "report", form=None)
    assert _written(tmp_path / "report") == first


def test_a_folder_of_other_things_stays(tmp_path: Path) -> None:
    """A folder that is no report is never replaced."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("mine", encoding="utf-8")
    series = write_series(tmp_path, "1", [pair("p-0", CHOSEN, REJECTED)])
    with pytest.raises(UserError, match="a folder that holds other things"):
        write_report(content([series]), tmp_path / "site", form=Form.FOLDER)
    assert (tmp_path / "site/index.html").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("output", ["taken/report.html", "taken/deep/folder"])
def test_an_output_inside_a_file_is_one_line_before_any_work(tmp_path: Path, output: str) -> None:
    """It was a traceback behind minutes of work; the file stays, and nothing else is written."""
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="expected a path inside a folder that you may write"):
        write_report(content([]), tmp_path / output, form=None)
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "taken").is_dir()


def test_missing_images_are_counted(tmp_path: Path) -> None:
    """A pair whose image is gone is shown without it, and counted."""
    series = write_series(tmp_path, "1", [pair(one, CHOSEN, REJECTED) for one in IDS])
    images = draw_images(tmp_path / "images", IDS[:1])
    written = write_report(content([series], images=images), tmp_path / "page.html", form=Form.FILE)
    assert (written.images, written.images_missing) == (1, 1)


def test_a_folder_among_the_plots_is_no_table(tmp_path: Path) -> None:
    """It was a traceback; the tables next to it are shown."""
    (tmp_path / "notes.csv").mkdir()
    (tmp_path / "recall.csv").write_text("split,value\nheld_out,90\n", encoding="utf-8")
    assert [one["name"] for one in figure_tables(tmp_path)] == ["recall"]


def test_a_table_of_cases_is_for_reading(tmp_path: Path) -> None:
    """Made-up objects are words, a column without a value is left out; a cell that is not JSON stays as it is."""
    marks = '[{""start"": 1, ""end"": 2, ""object"": ""dog"", ""mistake"": ""stereotype""}]'
    lines = ["case,side,absent", f'0,,"{marks}"', "1,,[]", '2,,"no [JSON"', "3"]
    (tmp_path / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
    (found,) = figure_tables(tmp_path)
    assert found["columns"] == ["case", "absent"]
    assert found["rows"] == [["0", "dog (stereotype)"], ["1", ""], ["2", "no [JSON"], ["3"]]


def test_ranges_have_all_rows_once(tmp_path: Path) -> None:
    """Read range by range, the rows are those of the tables."""
    ids = [f"p-{number}" for number in range(5)]
    reader = SeriesReader(write_series(tmp_path, "1", [pair(one, CHOSEN, REJECTED) for one in ids]))
    found = [reader.read(first, last) for first, last in (("p-0", "p-1"), ("p-2", "p-4"))]
    assert reader.ids().to_list() == ids
    assert [sorted(rows.pairs) for rows in found] == [ids[:2], ids[2:]]
    assert sum(len(rows) for part in found for rows in part.sentences.values()) == 25


def test_a_prompt_that_keeps_a_pair_is_not_in_the_funnel(tmp_path: Path) -> None:
    """Curation took pairs out of a prompt that keeps one and of one that lost all: the funnel and the range have the second."""
    rows = [
        Dropped("p-000", "label", "pair 1 is labelled bad"),
        Dropped("p-900", "label", "pair 0 is labelled bad"),
        Dropped("p-900", "where", "pair 1: not true: margin > 1"),
    ]
    reader = SeriesReader(write_series(tmp_path, "1", [pair("p-000", CHOSEN, REJECTED)], dropped=rows))
    assert reader.ids().to_list() == ["p-000", "p-900"]
    assert funnel(reader, prompts=2).reasons == {"label": 1}
    found = reader.read("p-000", "p-900").dropped
    assert found == {
        "p-900": Dropped("p-900", "label", "pair 0 is labelled bad; pair 1: not true: margin > 1")
    }


def test_places_are_those_of_javascript() -> None:
    """Sentences and made-up objects behind a character of two code units begin one unit later."""
    text = "\N{SMILING FACE WITH SUNGLASSES} A star. A circle."
    nodes = {one.node_id: one for one in tree("p-0", text, REJECTED)}
    cut = side(text, context="", leaf=3, tree=nodes, image="p-0.png", absent=AbsentObjects(truth(["p-0"])))
    assert cut.spans == [(0, len(text) + 1, 0)]
    assert cut.absent is not None
    assert [(begin, end, name) for begin, end, name, _ in cut.absent] == [(5, 9, "star")]


def test_a_side_without_stored_sentences_is_split() -> None:
    """A text that the tree does not have is split at its sentences; they have no node."""
    cut = side("One. Two.", context="", leaf=None, tree={}, image="", absent=AbsentObjects(None))
    assert [(cut.text[begin:end].strip(), node) for begin, end, node in cut.spans] == [
        ("One.", NO_PARENT),
        ("Two.", NO_PARENT),
    ]
    assert cut.absent is None


def test_equal_sides_share_a_key() -> None:
    """The context and the end of a side are part of it."""
    assert key("", "A.", complete=True) == key("", "A.", complete=True)
    assert (
        len({key("", "A.", complete=True), key("B.", "A.", complete=True), key("", "A.", complete=False)})
        == 3
    )


STILL = {"relevance": 30.0, "relevance_held_out": 30.0, "chair_s": 40.0, "recall": 90.0, "present_per_answer": 3.0, "length": 30.0, "repetition": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("after", "rules"),
    [
        ({}, []),
        ({"relevance": 32.0, "relevance_held_out": 32.0, "chair_s": 20.0}, []),
        ({"relevance": 32.0, "relevance_held_out": 29.0}, ["reward hacking"]),
        ({"relevance": 32.0, "chair_s": 44.0}, ["reward hacking"]),
        ({"chair_s": 20.0, "recall": 87.0}, ["silence"]),
        ({"chair_s": 20.0, "length": 20.0}, ["silence"]),
        ({"chair_s": 20.0, "present_per_answer": 2.5}, ["silence"]),
        ({"recall": 80.0}, []),
        ({"repetition": 9.0}, ["repetition"]),
    ],
)
def test_rules_fire_on_what_they_say(after: dict[str, float], rules: list[str]) -> None:
    """Reward hacking, silence and repetition are told from progress."""
    found = findings({"base": STILL, "1": STILL | after}, ["base", "1"])
    assert [one.rule for one in found] == rules


def test_slow_drift_is_told_from_the_first_policy() -> None:
    """Two small losses of recall are a large one from the base to the last policy."""
    steps = [STILL, STILL | {"chair_s": 38.0, "recall": 88.5}, STILL | {"chair_s": 36.0, "recall": 87.0}]
    found = findings(dict(zip("abc", steps, strict=True)), list("abc"))
    assert [(one.rule, one.begin, one.end) for one in found] == [("silence", "a", "c")]
    assert found[0].words == "CHAIR_S fell by 4.0 points, but less is said: recall fell by 3.0 points."


def test_no_pairs_is_a_clear_error(tmp_path: Path) -> None:
    """A project without pairs has nothing to show, and the next command is named."""
    with pytest.raises(UserError, match="Next: dvc repro select_pairs"):
        write_report(replace(content([])), tmp_path / "page.html", form=None)
