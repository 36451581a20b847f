"""How foreign text is printed."""

import json
import pickle

import pytest

from csrdata.errors import UserError
from csrdata.inspection.diff import DistributionSides
from csrdata.inspection.histogram import histogram
from csrdata.inspection.stats import Distribution
from csrdata.text import has_control_characters, json_text, one_line, printable
from tests.nasty import NASTY, SURROGATE, unsafe

ALL = [*NASTY.values(), SURROGATE]


@pytest.mark.parametrize("text", ALL, ids=[*NASTY, "surrogate"])
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    """Unsafe characters are escaped in every encoding; safe text is unchanged."""
    for encoding in ("utf-8", "ascii", "latin-1"):
        shown = printable(text, encoding=encoding)
        assert unsafe(shown) == set()
        assert "\n" not in shown
        shown.encode(encoding)
    assert printable(printable(text)) == printable(text)


def test_an_escape_is_pythons() -> None:
    """An escape shows which character it was."""
    assert printable("a\x1b[31m\u202e\U000e0041\ud800\n") == r"a\x1b[31m\u202e\U000e0041\ud800\n"
    assert printable("é█", encoding="ascii") == r"\xe9\u2588"


@pytest.mark.parametrize(
    "text",
    ["Ein Bär, 3 × 4 €", "一只猫", "قطة می‌خواهم", "क्‍ष", "👩‍🍳", "e\u0301", "a\u00a0b"],
    ids=["latin", "chinese", "persian", "hindi", "emoji", "combining", "no-break space"],
)
def test_other_scripts_stay_as_they_are(text: str) -> None:
    """Joiners that a script or an emoji needs are kept."""
    assert printable(text) == text
    assert not has_control_characters(text)


@pytest.mark.parametrize("text", ALL, ids=[*NASTY, "surrogate"])
def test_an_error_is_one_printable_line(text: str) -> None:
    """An error is safe whichever part quotes the text, also after pickling between processes."""
    error = UserError(text, got=text, expected=text, do=text)
    for said in (str(error), str(pickle.loads(pickle.dumps(error)))):  # noqa: S301 - what was pickled here
        assert unsafe(said) == set()
        assert len(said.splitlines()) == 1


def test_an_error_is_bounded() -> None:
    """A megabyte in each part, or a number too long to print, still gives a short line."""
    assert len(str(UserError("p" * 10**6, got="g" * 10**6, expected="e" * 10**6, do="d" * 10**6))) < 1500
    assert "got a value of type int" in str(UserError("seed", got=10**5000, expected="less", do="mend it"))


def test_a_line_says_that_it_was_cut() -> None:
    """White space is one space; the last character of a cut line is an ellipsis."""
    assert one_line("a \n\t b", limit=10) == "a b"
    assert one_line("x" * 11, limit=10) == "x" * 9 + "\N{HORIZONTAL ELLIPSIS}"
    assert one_line("x" + " " * 1000 + "y", limit=10).endswith("\N{HORIZONTAL ELLIPSIS}")


def test_json_is_printable_ascii() -> None:
    """Every control character is escaped, DEL too, which `json` lets through."""
    assert unsafe(json_text(ALL)) == set()
    assert json_text("\x7f") == r'"\u007f"'


def test_a_record_is_json_by_its_fields() -> None:
    """A dataclass within a dataclass gives an object within an object, keys in the order of the fields, tuples as lists."""
    found = histogram([0, 1, 1, 4], bins=2)
    assert found is not None
    record = DistributionSides(Distribution(4, 1.5, 0.3, 1.0, 3.1, found), None)
    assert json.loads(json_text(record)) == {
        "a": {
            "count": 4,
            "mean": 1.5,
            "p10": 0.3,
            "p50": 1.0,
            "p90": 3.1,
            "histogram": {"low": 0, "high": 4, "counts": [3, 1]},
        },
        "b": None,
    }
