"""Tables are written whole or not at all, checked on reading, and shards survive a kill."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.records import Dropped, Question, Sentence
from csrdata.storage.shard_manifest import FILE
from csrdata.storage.tables import (
    PARTIAL,
    ShardStore,
    fingerprint,
    hash_path,
    read_rows,
    read_table,
    seal,
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
    (tmp_path / "nothing").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    for path, words in [
        (tmp_path / "none.parquet", "got no such table"),
        (tmp_path / "nothing", "got no such table"),
        (tmp_path, "expected rows and hashes of the shards"),
        (tmp_path / "broken.parquet", "expected a readable Parquet file"),
    ]:
        with pytest.raises(UserError, match=words):
            read_table(path, Dropped, made_by="x")


def test_a_fingerprint_follows_content(tmp_path: Path) -> None:
    """A file's and a folder's hash change with bytes and names, and with nothing else."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = hash_path(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_path(tmp_path / "b") == before
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert hash_path(tmp_path / "b") != before
    with pytest.raises(UserError, match="no such file or folder"):
        fingerprint(a=tmp_path / "gone")
    assert fingerprint(a=[1, 2]) == fingerprint(a=[1, 2]) != fingerprint(a=[2, 1])


def store(folder: Path, *, key: str = "k", shards: int = 3) -> ShardStore:
    return ShardStore(folder / "shards", Dropped, fingerprint={"params": key}, shards=shards)


def rows_of(index: int) -> list[Dropped]:
    return [dataclasses.replace(row, detail=f"shard {index}") for row in ROWS]


def make(shards: ShardStore) -> list[int]:
    """Make what is missing, as an engine does, and return what that was."""
    missing = shards.missing()
    for index in missing:
        shards.add(index, shards.write(index, rows_of(index)))
    shards.finish()
    return missing


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path: Path, *, at: float = 0.5) -> None:
    """Change eight bytes of a file, by default in its middle."""
    content = bytearray(path.read_bytes())
    start = int(at * len(content))
    content[start : start + 8] = bytes(255 - byte for byte in content[start : start + 8])
    path.write_bytes(content)


def truncate(folder: Path) -> list[int]:
    (folder / "00001.parquet").write_bytes((folder / "00001.parquet").read_bytes()[:40])
    return [1]


def flip_a_shard(folder: Path) -> list[int]:
    flip(folder / "00001.parquet", at=0.1)
    return [1]


def empty(folder: Path) -> list[int]:
    (folder / "00001.parquet").write_bytes(b"")
    return [1]


def foreign(folder: Path) -> list[int]:
    write_rows(folder / "00001.parquet", ROWS * 2, Dropped)
    return [1]


def swap(folder: Path) -> list[int]:
    (folder / "00000.parquet").rename(folder / "x")
    (folder / "00001.parquet").rename(folder / "00000.parquet")
    (folder / "x").rename(folder / "00001.parquet")
    return [0, 1]


def delete(folder: Path) -> list[int]:
    (folder / "00001.parquet").unlink()
    return [1]


def add_one(folder: Path) -> list[int]:
    shutil.copy(folder / "00001.parquet", folder / "00003.parquet")
    return []


def lose_the_manifest(folder: Path) -> list[int]:
    (folder / FILE).unlink()
    return [0, 1, 2]


def age_the_manifest(folder: Path) -> list[int]:
    write_json(folder / FILE, {"fingerprint": {"params": "k"}, "shards": 3})
    return [0, 1, 2]


def damage_the_manifest(folder: Path) -> list[int]:
    (folder / FILE).write_bytes(b"\xff\xfe{")
    return [0, 1, 2]


SHARD_DAMAGES: dict[Callable[[Path], list[int]], str] = {
    truncate: r"00001.parquet: got SHA-256 \w{12}…, expected \w{12}…, the 2 rows that manifest.json lists",
    flip_a_shard: r"00001.parquet: got SHA-256 \w{12}…, expected \w{12}…, the 2 rows that manifest.json lists",
    empty: r"00001.parquet: got SHA-256 \w{12}…, expected \w{12}…, the 2 rows that manifest.json lists",
    foreign: r"00001.parquet: got SHA-256 \w{12}…, expected \w{12}…, the 2 rows that manifest.json lists",
    swap: r"00000.parquet: got SHA-256 \w{12}…, expected \w{12}…, the 2 rows that manifest.json lists",
    delete: r"00001.parquet: got no such file, expected one of 3 shards",
    add_one: r"00003.parquet: got one shard too many, expected 3 shards",
    lose_the_manifest: r"manifest.json: got no such file, expected rows and hashes of the shards",
    age_the_manifest: r"manifest.json: got no readable list of shards, expected rows and hashes of the shards",
    damage_the_manifest: r"manifest.json: got no readable list of shards, expected rows and hashes of the shards",
}


@pytest.mark.parametrize("damage", SHARD_DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_shard_is_refused_by_readers_and_made_again_by_its_stage(
    tmp_path: Path, damage: Callable[[Path], list[int]]
) -> None:
    """A reader names the shard, what was expected and the command; a stage makes it again, to the same bytes."""
    make(store(tmp_path))
    folder = tmp_path / "shards"
    before = files(folder)
    made_again = damage(folder)
    with pytest.raises(UserError, match=SHARD_DAMAGES[damage] + r"\. Next: dvc repro x$"):
        read_table(folder, Dropped, made_by="dvc repro x")
    assert make(store(tmp_path)) == made_again
    assert files(folder) == before


HASH = "a" * 64
FORGED = {
    "a name of 5,000 digits": (1, {f"{'1' * 5000}.parquet": {"rows": 1, "sha256": HASH}}),
    "a hash that is a number": (1, {"00000.parquet": {"rows": 1, "sha256": int("1" * 64)}}),
    "negative rows": (1, {"00000.parquet": {"rows": -1, "sha256": HASH}}),
    "a negative number of shards": (-1, {}),
    "10^15 shards": (10**15, {}),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_manifest_is_one_line(tmp_path: Path, case: str) -> None:
    """Values that csrdata never writes are refused as damage, quickly and without a traceback."""
    make(store(tmp_path))
    path = tmp_path / "shards/manifest.json"
    shards, listed = FORGED[case]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shards": shards, "files": listed}))
    with pytest.raises(UserError, match=r"got no readable list of shards|got an unfinished shard"):
        read_table(tmp_path / "shards", Dropped, made_by="x")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_shard, empty, foreign, swap], ids=lambda one: one.__name__
)
def test_one_shard_read_alone_is_held_to_its_manifest(
    tmp_path: Path, damage: Callable[[Path], list[int]]
) -> None:
    """A reader that takes shards one by one refuses a damaged one as well."""
    make(store(tmp_path))
    damage(tmp_path / "shards")
    with pytest.raises(UserError, match=r"that manifest\.json lists"):
        read_table(tmp_path / "shards/00001.parquet", Dropped, made_by="x")


def test_opening_a_store_touches_nothing(tmp_path: Path) -> None:
    """Other inputs make the shards invalid; each is removed only when a new one replaces it."""
    make(store(tmp_path))
    before = files(tmp_path / "shards")
    other = store(tmp_path, key="other", shards=2)
    assert other.missing() == [0, 1]
    assert files(tmp_path / "shards") == before
    other.add(0, other.write(0, rows_of(7)))
    assert store(tmp_path, key="other", shards=2).missing() == [1]
    assert make(store(tmp_path, key="other", shards=2)) == [1]
    assert sorted(files(tmp_path / "shards")) == ["00000.parquet", "00001.parquet", FILE]


def test_a_shard_that_is_not_listed_is_made_again(tmp_path: Path) -> None:
    """A kill between a shard's rename and the manifest's update: made again, to the same bytes; notes of a user stay."""
    whole = store(tmp_path / "a")
    make(whole)
    killed = store(tmp_path / "b")
    killed.add(0, killed.write(0, rows_of(0)))
    killed.write(1, rows_of(1))
    (killed.folder / f"00002.parquet.0a1b2c3d{PARTIAL}").write_text("half")
    with pytest.raises(UserError, match=r"00001.parquet: got an unfinished shard, expected one of 3"):
        (killed.folder / "00002.parquet").write_bytes(b"")
        read_table(killed.folder, Dropped, made_by="x")
    assert make(store(tmp_path / "b")) == [1, 2]
    assert files(killed.folder) == files(whole.folder)


def test_seal_lists_shards_that_were_brought(tmp_path: Path) -> None:
    """Complete shards get a manifest that readers and a stage of the same fingerprint accept; a gap is refused."""
    make(store(tmp_path))
    before = files(tmp_path / "shards")
    (tmp_path / "shards" / FILE).write_text("{}")
    seal(tmp_path / "shards", Dropped, fingerprint={"params": "k"})
    assert files(tmp_path / "shards") == before
    (tmp_path / "shards/00001.parquet").unlink()
    with pytest.raises(UserError, match=r"00001.parquet: got no such table"):
        seal(tmp_path / "shards", Dropped, fingerprint={"params": "k"})


def test_every_flipped_byte_of_a_table_is_noticed(tmp_path: Path) -> None:
    """A single table carries its own checksum: wherever eight bytes change, the reader says so in one line."""
    path = tmp_path / "dropped.parquet"
    write_rows(path, ROWS, Dropped)
    whole = path.read_bytes()
    for start in range(0, len(whole) - 8, 8):
        path.write_bytes(whole)
        flip(path, at=start / len(whole))
        try:
            assert read_rows(path, Dropped, made_by="x") == ROWS
        except UserError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - what is read must be right, or refused


def test_a_table_without_a_checksum_is_read(tmp_path: Path) -> None:
    """Tables that other programs wrote are checked by their columns alone."""
    to_table(ROWS, Dropped).write_parquet(tmp_path / "dropped.parquet")
    assert read_rows(tmp_path / "dropped.parquet", Dropped, made_by="x") == ROWS


def test_a_kill_leaves_whole_shards_only(tmp_path: Path) -> None:
    """Kill -9 in the middle of writing shards: the next run keeps what is listed and makes the rest, to the same bytes."""
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from tests.storage.test_tables import rows_of, store
        shards = store(Path(sys.argv[1]))
        while True:
            for index in range(3):
                shards.add(index, shards.write(index, rows_of(index)))
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
    assert len(make(store(tmp_path))) <= 1
    make(store(tmp_path / "whole"))
    assert files(tmp_path / "shards") == files(tmp_path / "whole/shards")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROWS[0], dataclasses.replace(ROWS[1], reason="bored")], "row 1: column reason: got bored"),
        ([dataclasses.replace(ROWS[0], prompt_id="")], "row 0: column prompt_id: got '', expected an id"),
        ([dataclasses.replace(ROWS[0], detail=None)], "column detail: row 0: got null, expected String"),
    ],
)
def test_a_shard_that_nobody_may_read_is_not_written(tmp_path: Path, rows: list[Dropped], words: str) -> None:
    """Values that reading refuses are a bug of the stage: no `UserError`, the place is named, an older shard stays."""
    make(store(tmp_path))
    before = files(tmp_path / "shards")
    with pytest.raises(ValueError, match=re.escape(f"00001.parquet: {words}")):
        store(tmp_path).write(1, rows)
    assert files(tmp_path / "shards") == before


def test_a_row_in_two_shards_is_refused(tmp_path: Path) -> None:
    """What must be unique in a table is unique across its shards."""
    shards = store(tmp_path, shards=2)
    shards.missing()
    for index in range(2):
        shards.add(index, shards.write(index, ROWS))
    shards.finish()
    with pytest.raises(UserError, match=r"shards: .*column prompt_id"):
        read_table(tmp_path / "shards", Dropped, made_by="dvc repro")
