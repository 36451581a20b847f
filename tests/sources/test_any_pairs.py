"""Files of pairs in any known layout become one table; what has no pair is counted with its reason."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.publishing.export.formats import FORMATS
from csrdata.sources.imported.any_pairs import read_any
from tests.inspection.made import PAIR


def _lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", [name for name, known in FORMATS.items() if not known.viewer])
def test_every_export_is_read_again(form: str, tmp_path: Path) -> None:
    """The rows that csrdata exports for a trainer give the instruction, the two sides and the image back."""
    path = _lines(tmp_path / "rows.jsonl", [FORMATS[form].row(PAIR, "images/a.png")])
    found = read_any(path).pairs.collect().row(0, named=True)
    assert [found[name] for name in ("prompt", "chosen", "rejected", "image")] == [
        PAIR.prompt,
        PAIR.chosen,
        PAIR.rejected,
        "images/a.png",
    ]


def test_parquet_is_scanned_with_its_scores(tmp_path: Path) -> None:
    """A Parquet file keeps known columns, fills in the others, and counts rows without a text."""
    path = tmp_path / "pairs.parquet"
    rows = {
        "prompt": ["p", "p", None],
        "chosen": ["a", None, "c"],
        "rejected": ["b", "b", "d"],
        "chosen_reward": [1, 2, 3],
        "origin": [None, "x", "x"],
        "margin": ["high", "low", "low"],
    }
    pl.DataFrame(rows).write_parquet(path)
    found = read_any(path)
    row = found.pairs.collect().row(0, named=True)
    assert (row["prompt_id"], row["chosen_reward"], row["origin"], row["margin"]) == (
        "row-0",
        1.0,
        "unknown",
        None,
    )
    assert found.dropped["reason"].to_list() == ["bad_row", "bad_row"]


def test_a_bad_row_is_counted_and_the_rest_read(tmp_path: Path) -> None:
    """A row of another kind is a reason, not an error; kept + dropped = rows."""
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows = [good, {"prompt": "p"}, {**good, "chosen": 7}, {**good, "chosen": "\ud800 x"}]
    found = read_any(_lines(tmp_path / "rows.jsonl", rows))
    assert (found.pairs.collect().height, found.dropped.height) == (2, 2)


@pytest.mark.parametrize(
    ("name", "content"), [("x.jsonl", '{"a": 1}'), ("x.jsonl", ""), ("x.json", "[1]"), ("x.parquet", "PAR1")]
)
def test_a_file_of_another_kind_is_one_line(name: str, content: str, tmp_path: Path) -> None:
    """A file without pairs is refused in one line that names it."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=name) as error:
        read_any(tmp_path / name)
    assert "\n" not in str(error.value)
