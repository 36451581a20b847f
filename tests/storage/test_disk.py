"""Files are complete or absent, two writers are safe, no user's folder is removed, and a disk error names the file."""

import errno
import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.storage.disk import (
    PARTIAL,
    atomic_file,
    atomic_folder,
    read_json,
    refusal,
    refusals_in_words,
    write_json,
)
from csrdata.storage.tables import write_table
from tests.imports import ROOT


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse files over a size, as a full disk refuses any: EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    """An error while a file or folder is written leaves neither it nor its temporary one; an older one stays."""
    write_json(tmp_path / "a", {"old": 1})
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model") as partial:
        (partial / "weights").write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == ["a"]
    assert read_json(tmp_path / "a", made_by="") == {"old": 1}


def test_two_writers_share_no_temporary_name(tmp_path: Path) -> None:
    """Two writers of one path both end; the last one's content is there, whole, and neither removes the other's."""
    with atomic_file(tmp_path / "a") as first:
        first.write_text("1")
        with atomic_file(tmp_path / "a") as second:
            second.write_text("2")
        assert first.read_text() == "1"
    assert (tmp_path / "a").read_text() == "1"
    with atomic_folder(tmp_path / "m", replaces="x") as one:
        (one / "x").write_text("1")
        with atomic_folder(tmp_path / "m", replaces="x") as two:
            (two / "x").write_text("2")
        assert (one / "x").exists()
    assert (tmp_path / "m/x").read_text() == "1"
    assert names(tmp_path) == ["a", "m"]


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    """The next writer of a path removes what a killed one left, and what another process holds is left alone."""
    dead, living, other = (
        tmp_path / f"a.{digits}{PARTIAL}" for digits in ("00000000", "00000001", "0000000g")
    )
    for path in (dead, living, other):
        path.write_text("half")
    script = "import fcntl, sys\nfile = open(sys.argv[1])\nfcntl.flock(file, fcntl.LOCK_EX)\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(living)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        write_json(tmp_path / "a", {})
        assert names(tmp_path) == sorted(["a", living.name, other.name])
        holder.kill()
    write_json(tmp_path / "a", {})
    assert names(tmp_path) == sorted(["a", other.name])


@pytest.mark.parametrize("replaces", [None, "chain.json"])
def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path, replaces: str | None) -> None:
    """A user's folder, file or link stays as it is, in one line, before anything is written."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter").write_text("years")
    (tmp_path / "link").symlink_to(thesis)
    (tmp_path / "file").write_text("x")
    before = names(tmp_path)
    for name, got in (("thesis", "a folder that holds other things"), ("link", "a link"), ("file", "a file")):
        with (
            pytest.raises(UserError, match=rf"{name}: got {got}, expected nothing there.*Next: move it away"),
            atomic_folder(tmp_path / name, replaces=replaces),
        ):
            pytest.fail("it was opened")
    assert (thesis / "chapter").read_text() == "years"
    assert names(tmp_path) == before


def test_an_older_folder_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    """A folder with the marker is replaced, and nothing of the older one remains."""
    for content in ("1", "2"):
        with atomic_folder(tmp_path / "m", replaces="chain.json") as partial:
            (partial / "chain.json").write_text(content)
            (partial / content).write_text("")
    assert names(tmp_path / "m") == ["2", "chain.json"]
    assert names(tmp_path) == ["m"]


def test_json_is_sorted(tmp_path: Path) -> None:
    """Equal values are equal bytes, whatever the order of their keys."""
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "got no such file, expected a JSON file"),
        (b"", "got line 1: Expecting value, expected JSON"),
        (b"\xff\xfe{}", "got byte 0 is not UTF-8, expected JSON in UTF-8"),
        (b"[" * 200_000, "got JSON that is nested too deeply, expected a JSON object of a few levels"),
        (b"[1]", "got a list, expected a JSON object"),
        (b"null", "got a NoneType, expected a JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "got Exceeds the limit"),
        (rb'{"a": ["\ud800"]}', "got a lone surrogate, expected Unicode text"),
    ],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The error names the file, what is wrong with it, and the command that makes it."""
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "a.json", made_by="dvc repro x")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: {words}")
    assert str(caught.value).endswith("Next: dvc repro x")


def test_no_room_names_the_file_whichever_library_reports_it(tmp_path: Path) -> None:
    """Python, polars and a folder's writer: the error names the final path, and nothing half-written is left."""
    write_json(tmp_path / "a.json", {"old": 1})
    table = pl.DataFrame({"a": [os.urandom(20).hex() for _ in range(5000)]})
    for write, name in (
        (lambda: write_json(tmp_path / "a.json", {"x": "y" * 50_000}), "a.json"),
        (lambda: write_table(tmp_path / "t.parquet", table), "t.parquet"),
        (lambda: _write_folder(tmp_path / "m"), "m"),
    ):
        with (
            pytest.raises(UserError) as caught,
            file_size_limit(10_000),
            refusals_in_words("s", again="csrdata run s"),
        ):
            write()
        assert str(caught.value) == (
            f"{tmp_path / name}: got File too large, expected room on the disk. Next: make room or choose another "
            "disk, then: csrdata run s (what was finished is kept)"
        )
    assert names(tmp_path) == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


def _write_folder(path: Path) -> None:
    with atomic_folder(path) as partial:
        (partial / "weights").write_bytes(bytes(50_000))


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    """A file where a folder must be, a name that is too long, and a folder that cannot be entered are one line each."""
    (tmp_path / "file").write_text("")
    for path, got in (
        (tmp_path / "file/a", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with (
            pytest.raises(UserError, match=f"got {got}, expected a free path"),
            refusals_in_words("s", again="x"),
        ):
            write_json(path / "a.json", {})


def test_a_refusal_is_told_from_other_errors() -> None:
    """Errors of Rust libraries are recognised by their number; a bug keeps its traceback."""
    assert refusal(OSError(errno.EROFS, "x")) == errno.EROFS
    assert refusal(RuntimeError("I/O error: No space left on device (os error 28)")) == errno.ENOSPC
    assert refusal(FileNotFoundError(errno.ENOENT, "x")) is None
    assert refusal(ValueError("os error 28")) is None
    with pytest.raises(ZeroDivisionError), refusals_in_words("s", again="x"):
        _ = 1 / 0


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    """Killed within a write, it leaves a temporary file that the next writer removes, and the old content until then."""
    write_json(tmp_path / "a", {"old": 1})
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from csrdata.storage.disk import atomic_file
        with atomic_file(Path(sys.argv[1])) as partial:
            partial.write_text("half")
            os.kill(os.getpid(), 9)
    """)
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert len(names(tmp_path)) == 2
    assert read_json(tmp_path / "a", made_by="") == {"old": 1}
    write_json(tmp_path / "a", {"new": 1})
    assert names(tmp_path) == ["a"]
