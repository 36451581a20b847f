"""Tables as a source: three formats give the same prompts, and a bad row is named by its line."""

import csv
import json
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.records import Prompt
from csrdata.sources.table import Columns, Table

COLUMNS = Columns("file", "question", "key", "kind")
ROWS = [
    {"key": f"p{n}", "file": f"photos/{n}.jpg", "question": f'Say, "what" is\nthis {n}?', "kind": "ab"[n % 2]}
    for n in range(9)
]


def write(path: Path) -> Path:
    """Write the rows in the format that the name says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        pl.DataFrame(ROWS).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_each_format_gives_the_same_prompts(tmp_path: Path, name: str) -> None:
    """Ids, images and texts are the columns'; the sample is the same whatever the format."""
    found = Table(write(tmp_path / name), COLUMNS).prompts(count=9, seed=0)
    assert found == [Prompt(f"p{n}", f"photos/{n}.jpg", f'Say, "what" is\nthis {n}?') for n in range(9)]
    four = Table(tmp_path / name, COLUMNS).prompts(count=4, seed=3)
    assert four == Table(write(tmp_path / "other.jsonl"), COLUMNS).prompts(count=4, seed=3)


def test_without_ids_the_rows_number_is_the_id(tmp_path: Path) -> None:
    """Appended rows change no id."""
    found = Table(write(tmp_path / "t.csv"), Columns("file", "question", None, None)).prompts(count=9, seed=0)
    assert [one.prompt_id for one in found] == [f"row-{n:09d}" for n in range(9)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.jsonl", b'{"key": "a"\n', 't.jsonl: line 1: got {"key": "a", expected a JSON object'),
        ("t.jsonl", b"[1]\n", "t.jsonl: line 1: got [1], expected a JSON object"),
        ("t.jsonl", b"[" * 100_000, "t.jsonl: line 1: got JSON that is nested too deeply"),
        (
            "t.jsonl",
            b'{"key": "a", "file": "a.jpg", "kind": "x"}',
            "t.jsonl: line 1: column question: got no such column",
        ),
        (
            "t.jsonl",
            b'{"key": 1}\n\xff\n',
            "t.jsonl: line 1: column file: got no such column, expected one of key",
        ),
        ("t.jsonl", b"\xff\n", "t.jsonl: line 1: got byte 0 is not UTF-8, expected UTF-8"),
        ("t.jsonl", b" " * 1_000_001, "t.jsonl: line 1: got a longer line, expected at most 1,000,000 bytes"),
        ("t.csv", b"", "t.csv: got an empty file, expected a line of column names"),
        (
            "t.csv",
            b"key,file\n1,a.jpg\n",
            "t.csv: line 1: column question: got no such column, expected one of file, key",
        ),
        (
            "t.csv",
            b"key,file,question,kind\n1,a.jpg\n",
            "t.csv: line 2: got 2 fields, expected 4 fields, as in line 1",
        ),
        ("t.csv", b'key,file,question,kind\n1,"a', "t.csv: line 2: got unexpected end of data, expected CSV"),
        (
            "t.csv",
            b"key,file,question,kind\n1,../a.jpg,x,y\n",
            "t.csv: line 2: image: got ../a.jpg, expected a path",
        ),
        ("t.csv", b"key,file,question,kind\n1,a.jpg,caf\xe9,y\n", "t.csv: line 2: got byte 11 is not UTF-8"),
        ("t.parquet", b"PAR1 no PAR1", "t.parquet: got "),
        (
            "t.xlsx",
            b"x",
            "params.yaml: source.file: got t.xlsx, expected a file whose name ends with one of .jsonl",
        ),
    ],
)
def test_a_strangers_table_is_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """The file and the line are named, whatever is wrong with it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        Table(tmp_path / name, COLUMNS).prompts(count=1, seed=0)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(words)


def test_parquet_of_other_types_is_one_line(tmp_path: Path) -> None:
    """A column that is missing, and values that are no text, are named; a row counts from 0."""
    pl.DataFrame({"file": [1], "question": ["x"]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(
        UserError, match=r"t.parquet: column key: got no such column, expected one of file, question"
    ):
        Table(tmp_path / "t.parquet", COLUMNS).prompts(count=1, seed=0)
    with pytest.raises(UserError, match=r"t.parquet: row 0: image: got 1, expected the path of an image"):
        Table(tmp_path / "t.parquet", Columns("file", "question", None, None)).prompts(count=1, seed=0)


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    """The error names the file and the key."""
    with pytest.raises(
        UserError, match=r"no.csv: got no such file.*params.yaml: source.file, then: dvc repro"
    ):
        Table(tmp_path / "no.csv", COLUMNS).prompts(count=1, seed=0)


def test_a_large_table_streams(tmp_path: Path) -> None:
    """A file of 20 MB takes a fraction of that in memory: rows that are not sampled are not kept."""
    row = {"key": "", "file": "a.jpg", "question": "x" * 2000, "kind": "a"}
    with (tmp_path / "t.jsonl").open("w", encoding="utf-8") as file:
        for number in range(10_000):
            file.write(json.dumps({**row, "key": number}) + "\n")
    assert (tmp_path / "t.jsonl").stat().st_size > 20_000_000
    tracemalloc.start()
    Table(tmp_path / "t.jsonl", COLUMNS).prompts(count=10, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
