"""Releases that a stranger wrote to do harm, pulled from a Hub on this machine: one line each, and nothing is touched."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csrdata.cli import main
from csrdata.publishing.release.layout import image_name as layout_image
from csrdata.publishing.release.manifest import (
    MANIFEST,
    File,
    Manifest,
    describe_file,
    identity,
    read_manifest,
    write_manifest,
)
from tests.publishing.hub_server import online, serve
from tests.publishing.hub_state import Blob, Hub
from tests.publishing.project import edit, image_name, make_project, release, sign

PAIRS = "iteration_1/train-00000-of-00001.parquet"
OWN_PAIRS = "csrdata/iteration_1/pairs.parquet"
PROMPTS = "csrdata/prompts.parquet"
RESPONSES = "csrdata/iteration_1/responses.parquet"
CANDIDATES = "candidates/iteration_1-00000-of-00001.parquet"
UNPAIRED = "images/unpaired-00000-of-00001.parquet"
CONFIG = b"[core]\n\tfsmonitor = touch owned\n"

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good release of two iterations, by path."""
    parent = tmp_path_factory.mktemp("whole")
    release(make_project(parent / "project"), parent / "release")
    folder = parent / "release"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    scratch = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve(scratch / "server") as made:
        online(patch, scratch)
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        here = template.replace(huggingface_hub.constants.ENDPOINT, made.url)
        patch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", here)
        yield made


@pytest.fixture
def folder(whole: dict[str, bytes], tmp_path: Path) -> Path:
    for path, content in whole.items():
        (tmp_path / "release" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / path).write_bytes(content)
    return tmp_path / "release"


@pytest.fixture
def run(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Publish files as `me/set` at v1, run a command in `tmp_path/home`, return its exit code, stdout and stderr."""

    def run(files: dict[str, bytes], *words: str) -> tuple[int, str, str]:
        hub.repos.pop(("dataset", "me/set"), None)
        repo = hub.create("me/set")
        commit = hub.commit(repo, "x", {path: hub.store(content) for path, content in files.items()})
        repo.tags["v1"] = commit.oid
        (tmp_path / "home").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "home")
        monkeypatch.setattr(sys, "argv", ["csrdata", *words])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def state(folder: Path, **changed: Any) -> None:
    """Change fields of the manifest as JSON, whatever they are; the rest stays."""
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(raw | changed), encoding="utf-8")


def list_file(folder: Path, path: str, content: bytes, rows: int | None = None) -> None:
    """Put a file into a release and state it in the manifest, identity included."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    old = read_manifest(folder)
    files = [*old.files, File(path, len(content), hashlib.sha256(content).hexdigest(), rows)]
    signed(folder, old, files=files)


def signed(folder: Path, old: Manifest, **changed: Any) -> None:
    new = dataclasses.replace(old, **changed)
    write_manifest(
        folder, dataclasses.replace(new, identity=identity(new.files, params=new.params, models=new.models))
    )


def rename_iteration(name: str) -> Damage:
    """Call the first iteration otherwise, in the manifest and in every path, as a real release of that name has it."""

    def damage(folder: Path) -> None:
        old = read_manifest(folder)
        counts = [dataclasses.replace(old.iterations[0], name=name), old.iterations[1]]
        files = [
            dataclasses.replace(file, path=file.path.replace("iteration_1", f"iteration_{name}"))
            for file in old.files
        ]
        signed(folder, old, iterations=counts, files=files)

    return damage


def rows_of(path: str, change: Callable[[list[dict[str, Any]]], object]) -> Damage:
    """Change the rows of one table and state them."""

    def damage(folder: Path) -> None:
        edit(folder / path, change)
        sign(folder)

    return damage


def repath(name: str) -> Damage:
    """Give the first pair's image another name, in all tables."""

    def damage(folder: Path) -> None:
        old = pl.read_parquet(folder / OWN_PAIRS)["image"][0]
        for path, column in (
            (PAIRS, "image_path"),
            (OWN_PAIRS, "image"),
            (OWN_PAIRS.replace("_1", "_2"), "image"),
            (PROMPTS, "image"),
        ):
            edit(
                folder / path,
                lambda rows, column=column: [
                    row.update({column: name}) for row in rows if row[column] == old
                ],
            )
        sign(folder)

    return damage


def embed(content: bytes, name: str | None = None) -> Damage:
    """Give the prompt without a pair another image, under a name, by default its own."""
    given = name or image_name(content)

    def damage(folder: Path) -> None:
        old = pl.read_parquet(folder / UNPAIRED)["image"][0]
        edit(folder / UNPAIRED, lambda rows: rows[0].update({"image": given, "bytes": content}))
        edit(folder / PROMPTS, lambda rows: [row.update(image=given) for row in rows if row["image"] == old])
        sign(folder)

    return damage


def bomb(folder: Path) -> None:
    """Let a table of some kilobytes claim two million rows, in footer, manifest and counts alike."""
    path, rows = folder / RESPONSES, 2_000_000
    table = pq.read_table(path)
    columns = {name: pa.repeat(table.column(name)[0], rows) for name in table.column_names}
    pq.write_table(pa.table(columns), path, row_group_size=rows, compression="zstd")
    old = read_manifest(folder)
    counts = [dataclasses.replace(old.iterations[0], responses=rows), old.iterations[1]]
    files = [describe_file(folder, path) if file.path == RESPONSES else file for file in old.files]
    signed(folder, old, files=files, iterations=counts)


def duplicate(folder: Path) -> None:
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    state(folder, iterations=[raw["iterations"][0], raw["iterations"][0]])


def claim(**changed: Any) -> Damage:
    return lambda folder: state(folder, **changed)


def write(path: str, content: bytes) -> Damage:
    """Put bytes into a file of the release and state nothing."""

    def damage(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)

    return damage


def put_text(path: str, content: bytes) -> Damage:
    """Put bytes into a file of the release and state them."""

    def damage(folder: Path) -> None:
        (folder / path).write_bytes(content)
        sign(folder)

    return damage


def no_parquet(folder: Path) -> None:
    (folder / PROMPTS).write_bytes(b"owned")
    old = read_manifest(folder)
    stated = {"bytes": 5, "sha256": hashlib.sha256(b"owned").hexdigest()}
    files = [dataclasses.replace(file, **stated) if file.path == PROMPTS else file for file in old.files]
    signed(folder, old, files=files)


def damage_pages(path: str) -> Damage:
    """Keep a Parquet file's footer and overwrite its pages."""

    def damage(folder: Path) -> None:
        content = (folder / path).read_bytes()
        size = 8 + int.from_bytes(content[-8:-4], "little")
        (folder / path).write_bytes(b"PAR1" + b"\x00" * (len(content) - size - 4) + content[-size:])
        sign(folder)

    return damage


def other_columns(path: str) -> Damage:
    def damage(folder: Path) -> None:
        rows = pq.read_metadata(folder / path).num_rows
        pl.DataFrame({"x": list(range(rows))}).write_parquet(folder / path)
        sign(folder)

    return damage


NESTED = b"[" * 100_000
PNG = b"\x89PNG\r\n\x1a\n"

CASES: dict[str, tuple[Damage, str]] = {
    # Names become paths.
    "an absolute name": (
        rename_iteration("/home/me/thesis"),
        "iterations.0.name: got /home/me/thesis, expected at most 32",
    ),
    "a parent": (rename_iteration("../.."), "iterations.0.name: got ../.., expected at most 32 lower-case"),
    "a folder of git": (rename_iteration(".git/config"), "name: got .git/config, expected at most 32"),
    "a device of Windows": (rename_iteration("con"), "name: got con, expected at most 32 lower-case letters"),
    "no name": (rename_iteration(""), "iterations.0.name: got '', expected at most 32"),
    "a name with a line break": (rename_iteration("1\n"), "iterations.0.name: got"),
    "a name that is a number": (claim(iterations=[{"name": 1}]), "iterations.0"),
    "a name twice": (duplicate, "got 1 twice, expected each iteration once"),
    "names that share a split": (
        lambda folder: signed(
            folder,
            read_manifest(folder),
            iterations=[
                dataclasses.replace(one, name=name)
                for one, name in zip(read_manifest(folder).iterations, ("a-b", "a_b"), strict=True)
            ],
        ),
        "got iteration_a_b twice, expected each split once",
    ),
    # Files.
    "no list of files": (claim(files=[]), "files: got [], expected "),
    "a file that is not listed": (write("dvc.yaml", b"stages: {}"), "@v1: dvc.yaml: got not in the manifest"),
    "a hook of git": (write(".git/config", CONFIG), "@v1: .git/config: got not in the manifest"),
    "a file name of two lines": (
        write("a\nb\x1b[31m", b"x"),
        "@v1: 'a\\nb\\x1b[31m': got not in the manifest",
    ),
    "a listed file of another kind": (
        lambda folder: list_file(folder, "Makefile", b"all:\n\ttouch owned\n"),
        "files: got Makefile, expected a file of a release of iteration 1, 2",
    ),
    "a path out of it": (
        lambda folder: signed(
            folder,
            read_manifest(folder),
            files=[*read_manifest(folder).files, File("../owned", 1, "0" * 64, None)],
        ),
        "files: got ../owned, expected a file of a release",
    ),
    "a file listed twice": (
        lambda folder: signed(
            folder,
            read_manifest(folder),
            files=[*read_manifest(folder).files, read_manifest(folder).files[0]],
        ),
        "got README.md twice, expected each path once",
    ),
    "a missing table": (lambda folder: (folder / OWN_PAIRS).unlink(), f"@v1: {OWN_PAIRS}: got no such file"),
    "other bytes": (write("README.md", b"owned"), "README.md: got 5 bytes on the Hub, expected"),
    "another identity": (claim(identity="0" * 64), "expected the identity of files, params, models"),
    # The manifest's own form.
    "no JSON": (write(MANIFEST, b"owned"), "got expected value at line 1 column 1, expected JSON"),
    "an empty manifest": (write(MANIFEST, b""), "expected JSON"),
    "a list": (write(MANIFEST, b"[]"), "got format None, expected format 3"),
    "not UTF-8": (write(MANIFEST, b'{"format": 2, "repo_id": "\xff"}'), "expected JSON"),
    "deep nesting": (
        write(MANIFEST, NESTED),
        "got recursion limit exceeded at line 1 column 202, expected JSON",
    ),
    "half a character": (write(MANIFEST, b'{"format": 2, "repo_id": "\\ud800"}'), "expected JSON"),
    "NaN": (write(MANIFEST, b'{"format": NaN}'), "expected JSON"),
    "an endless number": (write(MANIFEST, b'{"format": 2, "date": 1e999}'), "a number that is not finite"),
    "a number of 5,000 digits": (write(MANIFEST, b'{"format": ' + b"9" * 5000 + b"}"), "expected JSON"),
    "a manifest of 9 MB": (
        write(MANIFEST, b" " * 9_000_000),
        "got 9,000,000 bytes, expected at most 8,000,000",
    ),
    "a later format": (
        claim(format=4),
        "got format 4, expected format 3. Next: pip install --upgrade csrdata",
    ),
    "an older format": (
        claim(format=1),
        "got format 1, expected format 3. Next: ask its owner to push it again",
    ),
    "an unknown key": (claim(owned=True), "owned: got True, expected"),
    "a wrong type": (claim(models="none"), "models: got none, expected a valid list"),
    "true as a number": (
        claim(
            iterations=[
                {"name": "1", "prompts": True, "candidates": 0, "responses": 0, "pairs": 0, "dropped": {}}
            ]
        ),
        "iterations.0.prompts: got True, expected a valid integer",
    ),
    "colours of a terminal": (claim(tag="\x1b[31mowned"), "got the character U+001B, expected JSON"),
    # Tables.
    "rows that the manifest does not say": (
        lambda folder: signed(
            folder,
            read_manifest(folder),
            iterations=[dataclasses.replace(read_manifest(folder).iterations[0], responses=99)],
            files=[file for file in read_manifest(folder).files if "iteration_2" not in file.path],
        ),
        "csrdata/iteration_1/responses.parquet: got 14 rows, expected 99 rows",
    ),
    "no Parquet": (no_parquet, f"{PROMPTS}: got "),
    "damaged pages": (damage_pages(PROMPTS), f"{PROMPTS}: got "),
    "damaged pages of candidates": (damage_pages(CANDIDATES), f"{CANDIDATES}: got "),
    "damaged pages of images": (damage_pages(PAIRS), f"{PAIRS}: got "),
    "other columns": (other_columns(OWN_PAIRS), f"{OWN_PAIRS}: column prompt_id: got no such column"),
    "other columns of candidates": (
        other_columns(CANDIDATES),
        f"{CANDIDATES}: column prompt_id: got no such column",
    ),
    "other columns of images": (other_columns(PAIRS), f"{PAIRS}: column images: got no such column"),
    "a table of two million rows": (bomb, f"{RESPONSES}: got 2,000,000 rows in "),
    "a fingerprint that is a list": (
        put_text("csrdata/iteration_1/candidates.json", b'{"fingerprint": [1]}'),
        "csrdata/iteration_1/candidates.json: got",
    ),
    "parameters that grow": (
        put_text("provenance/params.yaml", b"a: &a [1, 1]\nb: [*a, *a]\n"),
        "provenance/params.yaml: got an alias, expected plain YAML",
    ),
    "nested parameters": (put_text("provenance/params.yaml", NESTED), "params.yaml: got more than 16 levels"),
    "parameters with escapes": (
        put_text("provenance/params.yaml", b"a: \x1b[31m"),
        "got the character U+001B",
    ),
    # Images.
    "a path in place of a name": (
        repath(".git/config"),
        "column image: got .git/config, expected images/SHA256.EXT",
    ),
    "a name with a parent": (repath(f"images/../{'0' * 64}.png"), "expected images/SHA256.EXT"),
    "an absolute path": (repath("/etc/passwd"), "column image: got /etc/passwd, expected images/SHA256.EXT"),
    "an image of another name": (
        repath(f"images/{'0' * 64}.png"),
        "got other bytes, expected those of images/000",
    ),
    "a configuration as an image": (embed(CONFIG), "expected a PNG, JPEG, WebP"),
    "half an image": (embed(PNG + b"rubbish"), "expected a PNG, JPEG, WebP"),
    "no bytes": (embed(b""), "got 0 bytes, expected 1 to 100,000,000 bytes"),
    "an image that no table names": (
        rows_of(UNPAIRED, lambda rows: rows[0].update(image=layout_image("0" * 64, "png"))),
        "expected an image that a table names",
    ),
    "a missing image": (
        rows_of(UNPAIRED, lambda rows: rows[0].update(image=None)),
        "got None, expected images/SHA",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_release_is_one_line(
    folder: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path, case: str
) -> None:
    """Exit code 1, one line that names what is wrong, and no file anywhere that was not there."""
    damage, words = CASES[case]
    damage(folder)
    files = files_of(folder)
    before = files_of(tmp_path)
    code, out, err = run(files, "pull", "me/set@v1")
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert words in err
    assert "\x1b" not in err
    assert files_of(tmp_path) == before
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("command", ["stats", "diff"])
@pytest.mark.parametrize(
    "case", ["an absolute name", "no list of files", "NaN", "other columns", "damaged pages"]
)
def test_reading_from_the_hub_checks_the_same(
    folder: Path, run: Callable[..., tuple[int, str, str]], case: str, command: str
) -> None:
    """`stats` and `diff` of a hostile release are one line too; a table that `diff` does not read is no matter to it."""
    damage, words = CASES[case]
    damage(folder)
    source = "hf://datasets/me/set@v1"
    given = (
        ["stats", source, "--iteration", "1"]
        if command == "stats"
        else ["diff", f"{source}:1", f"{source}:1"]
    )
    code, out, err = run(files_of(folder), *given)
    if (command, case) == ("diff", "damaged pages"):
        assert code == 0, err
        return
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert words in err


def test_a_good_release_is_pulled(
    folder: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """What the cases damage is whole: undamaged, and signed again by the tests' own tools, it is pulled."""
    for path in (PAIRS, OWN_PAIRS, CANDIDATES, UNPAIRED):
        edit(folder / path, lambda rows: rows)
    sign(folder)
    code, out, err = run(files_of(folder), "pull", "me/set@v1")
    assert (code, out) == (0, "set\n"), err
    assert len(list((tmp_path / "home/set/data/images").iterdir())) == 7


@pytest.mark.parametrize(
    "target",
    [
        "a link out of it",
        "a scratch folder that is a link",
        "a record that is a link",
        "a record of elsewhere",
    ],
)
def test_no_link_in_the_target_is_followed(
    folder: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path, target: str
) -> None:
    """What a link points to, and what a record of an earlier pull claims, stays as it is."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    (tmp_path / "home/set").mkdir(parents=True)
    put = tmp_path / "home/set"
    thesis = hashlib.sha256(b"years of work").hexdigest()
    if target == "a link out of it":
        (put / "data").symlink_to(precious)
        record = {"source": "x", "files": {}, "incoming": {}}
        (put / "csrdata-pull.json").write_text(json.dumps(record))
    elif target == "a scratch folder that is a link":
        (put / ".csrdata-pull").symlink_to(precious)
    elif target == "a record that is a link":
        (precious / "record").write_text(json.dumps({"source": "x", "files": {}, "incoming": {}}))
        (put / "csrdata-pull.json").symlink_to(precious / "record")
    else:
        record = {"source": "x", "files": {"../../precious/thesis.tex": thesis}, "incoming": {}}
        (put / "csrdata-pull.json").write_text(json.dumps(record))
    before = files_of(tmp_path)
    code, out, err = run(files_of(folder), "pull", "me/set@v1")
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert files_of(tmp_path) == before


def test_a_hub_that_lies_about_a_file_is_refused(
    folder: Path, run: Callable[..., tuple[int, str, str]], hub: Hub, tmp_path: Path
) -> None:
    """A listing that names a path out of the target is refused before anything is asked for."""
    files = files_of(folder)
    code, _, err = run({**files, "../owned": b"x", "a/../../owned": b"x"}, "pull", "me/set@v1")
    assert code == 1
    assert "../owned: got not in the manifest" in err
    assert not list(tmp_path.rglob("owned"))
    assert isinstance(hub.repo("me/set").head.tree["../owned"], Blob)
