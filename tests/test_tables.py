"""Tables are written whole or not at all, checked on reading, and shards survive a kill."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.records import Dropped, Question, Sentence
from csrdata.tables import (
    PARTIAL,
    ShardStore,
    atomic_folder,
    fingerprint,
    hash_path,
    read_rows,
    read_table,
    to_table,
    write_json,
    write_rows,
)

ROWS = [Dropped("p0", "no_response", ""), Dropped("p1", "under_margin", "0.01 < 0.1")]


def test_rows_come_back(tmp_path: Path) -> None:
    """What is written is what is read, nulls and lists included."""
    write_rows(tmp_path / "dropped.parquet", ROWS, Dropped)
    assert read_rows(tmp_path / "dropped.parquet", Dropped, made_by="x") == ROWS
    question = Question("q", "held_out", "describe", "i.png", "Describe.", None, None)
    write_rows(tmp_path / "questions.parquet", [question], Question)
    assert read_rows(tmp_path / "questions.parquet", Question, made_by="x") == [question]


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    """Two writes of the same rows give the same file: DVC's hashes depend on it."""
    for name in ("a", "b"):
        write_rows(tmp_path / name, ROWS, Dropped)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_rows_keep_the_columns(tmp_path: Path) -> None:
    """An empty table still has its record's columns and types."""
    write_rows(tmp_path / "empty.parquet", [], Sentence)
    table = read_table(tmp_path / "empty.parquet", Sentence, made_by="x")
    assert table.schema == to_table([], Sentence).schema
    assert table.schema["token_ids"] == pl.List(pl.Int64)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            pl.DataFrame({"prompt_id": ["p"], "reason": ["r"]}),
            "column detail: got no such column, expected String",
        ),
        (
            pl.DataFrame({"prompt_id": ["p"], "reason": ["r"], "detail": [1]}),
            "column detail: got Int64, expected String",
        ),
        (
            pl.DataFrame({"prompt_id": ["p", None], "reason": ["r", "r"], "detail": ["d", "d"]}),
            "column prompt_id: row 1: got null, expected String",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(tmp_path: Path, table: pl.DataFrame, words: str) -> None:
    """The error names file, column, row, what is there, what was expected, and what to run."""
    table.write_parquet(tmp_path / "dropped.parquet")
    with pytest.raises(UserError) as error:
        read_table(tmp_path / "dropped.parquet", Dropped, made_by="dvc repro select_pairs@1")
    assert str(error.value) == f"{tmp_path / 'dropped.parquet'}: {words}. Next: dvc repro select_pairs@1"


def test_a_missing_and_a_broken_table(tmp_path: Path) -> None:
    """A file that is not there, an empty folder and a file that is no Parquet are one line each."""
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    for path, words in [
        (tmp_path / "none.parquet", "got no such table"),
        (tmp_path, "expected a readable Parquet file"),
        (tmp_path / "broken.parquet", "expected a readable Parquet file"),
    ]:
        with pytest.raises(UserError, match=words):
            read_table(path, Dropped, made_by="x")


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    """An error while a folder is written leaves neither the folder nor its temporary one."""
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model") as partial:
        (partial / "weights").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_follows_content(tmp_path: Path) -> None:
    """A file's and a folder's hash change with bytes and names, and with nothing else."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = hash_path(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_path(tmp_path / "b") == before
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert hash_path(tmp_path / "b") != before
    assert fingerprint(a=[1, 2]) == fingerprint(a=[1, 2]) != fingerprint(a=[2, 1])


def store(folder: Path, *, key: str = "k") -> ShardStore:
    return ShardStore(folder / "shards", Dropped, fingerprint={"params": key}, shards=3)


def test_complete_shards_are_kept_and_broken_ones_made_again(tmp_path: Path) -> None:
    """A shard that does not read back, and what a killed run left, is made again; the rest is kept."""
    first = store(tmp_path)
    for index in range(3):
        first.write(index, ROWS)
    first.path(1).write_bytes(first.path(1).read_bytes()[:40])
    (first.folder / f"00002.parquet{PARTIAL}").write_text("half")
    again = store(tmp_path)
    assert again.missing() == [1]
    assert not list(again.folder.glob(f"*{PARTIAL}"))


def test_other_inputs_empty_the_store(tmp_path: Path) -> None:
    """Shards made from other inputs or params are not reused."""
    store(tmp_path).write(0, ROWS)
    assert store(tmp_path).missing() == [1, 2]
    assert store(tmp_path, key="other").missing() == [0, 1, 2]


def test_a_kill_leaves_whole_shards_only(tmp_path: Path) -> None:
    """Kill -9 in the middle of writing shards: every file that is there reads back, and the rest is missing."""
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from csrdata.records import Dropped
        from tests.test_tables import store
        rows = [Dropped(f"p{number:04d}", "no_response", "") for number in range(2000)]
        shards = store(Path(sys.argv[1]))
        while True:
            for index in range(3):
                shards.write(index, rows)
                print(index, flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert store(tmp_path).missing() == []


def test_json_is_sorted(tmp_path: Path) -> None:
    """Equal values are equal bytes, whatever the order of their keys."""
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
