"""An import: rows of files become a folder of checked pairs, with every row accounted for."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.sources.imported.folder import Imported, bring, read
from csrdata.sources.imported.formats import FORMATS, Columns, by_columns
from csrdata.storage.tables import hash_path, read_json
from tests.tiny import pictures

FORM = by_columns(Columns())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two images, one of them twice, and a broken one."""
    pictures(tmp_path / "images", 2)
    (tmp_path / "images/again.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    (tmp_path / "images/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    return tmp_path


def row(**changes: Any) -> dict[str, Any]:
    return {
        "image": "0.png",
        "prompt": "<image>\nWhat is it?",
        "chosen": " A cat.\r\n",
        "rejected": "A dog.",
    } | changes


def write(file: Path, rows: list[Any]) -> Path:
    lines = [json.dumps(one) for one in rows]
    text = "\n".join(lines) if file.suffix == ".jsonl" else f"[{','.join(lines)}]"
    file.write_text(text, encoding="utf-8")
    return file


def import_(folder: Path, *files: Path, form: Any = FORM) -> Imported:
    return bring(files, to=folder / "out", name="mine", layout="columns", form=form, images=folder / "images")


GOOD = [row(), row(image="again.png", prompt="Who?"), row(image={"path": "1.png", "bytes": None})]
BAD = [
    (row(chosen="A dog. "), "equal_texts", "chosen and rejected have one text"),
    (row(chosen=" \n"), "bad_row", "chosen: got 0 characters, expected a text of 1 to"),
    (row(rejected=None), "bad_row", "rejected: got None, expected a text"),
    (row(rejected="A\x1b[2J."), "bad_row", r"got '\x1b', expected a text without control characters"),
    (row(chosen="A \ud800."), "bad_row", r"got '\ud800', expected a text without"),
    (row(prompt=" "), "bad_row", "prompt: got"),
    (row(prompt="a <image> b <image>"), "bad_row", "expected at most one <image>"),
    (row(image=None), "bad_row", "image: got no image"),
    (row(image="../secret.png"), "bad_row", "expected a path relative to"),
    (row(image="/etc/passwd"), "bad_row", "expected a path relative to"),
    (row(image="9.png"), "bad_image", "got no such file"),
    (row(image="broken.png"), "bad_image", "broken.png: got"),
    ({"image": "0.png"}, "bad_row", "prompt: got no such key, expected one of image"),
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_every_row_is_a_pair_or_has_its_reason(folder: Path, suffix: str) -> None:
    """Pairs + dropped = rows; texts are trimmed, images copied once under the hash of their bytes, ids are numbers."""
    file = write(folder / f"pairs{suffix}", [*GOOD, *(one for one, _, _ in BAD)])
    done = import_(folder, file)
    commonest = "chosen and rejected have one text"
    assert done == Imported(
        3, {"bad_image": 2, "bad_row": 10, "equal_texts": 1}, 2, left_out={}, commonest=commonest
    )
    brought = read(folder / "out")
    assert [pair.prompt_id for pair in brought.pairs] == [f"mine-{number:09d}" for number in range(3)]
    first, second, third = brought.pairs
    assert (first.prompt, first.chosen, first.rejected, first.origin) == (
        "What is it?",
        "A cat.",
        "A dog.",
        "mine",
    )
    assert (first.scores.chosen_words, first.scores.chosen_logprob, first.scores.margin) == (2, None, None)
    assert first.image == second.image == f"images/{hash_path(folder / 'images/0.png')}.png"
    assert {path.name for path in (folder / "out/images").iterdir()} == {
        Path(image).name for image in (first.image, third.image)
    }
    assert [file.image for file in brought.images] == sorted({first.image, third.image})
    for number, (dropped, (_, reason, words)) in enumerate(zip(brought.dropped, BAD, strict=True), start=3):
        assert (dropped.prompt_id, dropped.reason) == (f"mine-{number:09d}", reason)
        assert words in dropped.detail


def test_the_record_says_what_could_not_be_checked(folder: Path) -> None:
    """The files by name and hash, the counts, and a list of what csrdata cannot know; no path of this machine."""
    file = write(folder / "pairs.jsonl", [*GOOD, BAD[0][0]])
    import_(folder, file)
    record = read_json(folder / "out/record.json", made_by="")
    assert record["files"] == [
        {"file": "pairs.jsonl", "bytes": file.stat().st_size, "sha256": hash_path(file)}
    ]
    assert (record["rows"], record["pairs"], record["dropped"]) == (4, 3, {"equal_texts": 1})
    assert (record["name"], record["layout"], record["images"]) == ("mine", "columns", 2)
    assert (record["rows_with_pair"], record["left_out"]) == (3, {})
    assert record["commonest"] == [
        {"rows": 1, "reason": "equal_texts", "detail": "chosen and rejected have one text"}
    ]
    assert record["compared_with"] == []
    assert any("licences" in one for one in record["not_checked"])
    assert str(folder) not in (folder / "out/record.json").read_text()


def test_bytes_of_images_come_from_parquet(folder: Path) -> None:
    """A column of images as `datasets` stores it; more rows than one batch, several files, in their order."""
    contents = [(folder / f"images/{number % 2}.png").read_bytes() for number in range(150)]
    tables = [
        pl.DataFrame(
            {
                "image": [{"bytes": content, "path": "x.png"} for content in contents],
                "question": [f"{number}?" for number in range(start, start + 150)],
                "chosen": "A cat.",
                "rejected": "A dog.",
                "idx": list(range(150)),
            }
        )
        for start in (0, 150)
    ]
    for number, table in enumerate(tables):
        table.write_parquet(folder / f"{number}.parquet")
    done = import_(folder, folder / "0.parquet", folder / "1.parquet", form=FORMATS["rlaif-v"])
    assert done == Imported(300, {}, 2)
    assert [pair.prompt for pair in read(folder / "out").pairs] == [f"{number}?" for number in range(300)]


def test_an_import_is_whole_or_not_there(folder: Path) -> None:
    """A second import replaces the first; one that fails leaves it; a folder of something else is left alone."""
    import_(folder, write(folder / "a.jsonl", GOOD))
    before = hash_path(folder / "out")
    (folder / "b.jsonl").write_text('{"image": "0.png"}\nnot JSON\n')
    with pytest.raises(
        UserError, match=r"b\.jsonl: line 2: got not JSON, expected a JSON object\. Next: choose"
    ):
        import_(folder, folder / "b.jsonl")
    assert hash_path(folder / "out") == before
    import_(folder, folder / "a.jsonl")
    assert hash_path(folder / "out") == before
    import_(folder, write(folder / "c.jsonl", GOOD[:1]))
    assert len(read(folder / "out").pairs) == 1
    (folder / "other").mkdir()
    (folder / "other/thesis.txt").write_text("three years")
    with pytest.raises(UserError):
        bring(
            [folder / "a.jsonl"], to=folder / "other", name="mine", layout="columns", form=FORM, images=folder
        )
    assert (folder / "other/thesis.txt").read_text() == "three years"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "got .csv, expected a name that ends with one of .parquet, .json, .jsonl"),
        ("a.json", b"{}", "got a dict, expected a JSON list of rows"),
        ("a.json", b"[1]", "a.json: row 0: got 1, expected an object"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b"\xff\xfe", "is not UTF-8"),
        ("a.parquet", b"PAR1....PAR1", "expected a readable Parquet file"),
        ("a.jsonl", b"", "1 files: got no pair; no row, expected 1 or more pairs"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(folder: Path, name: str, content: bytes, words: str) -> None:
    """Another kind, damage, or nothing in it; and no folder is left."""
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_(folder, folder / name)
    assert words in str(caught.value)
    assert not (folder / "out").exists()
    with pytest.raises(UserError, match=r"none\.json: got no such file"):
        import_(folder, folder / "none.json")


def test_a_table_of_other_columns_is_one_line(folder: Path) -> None:
    """Parquet without any of the layout's columns lists those that it has."""
    pl.DataFrame({"a": [1]}).write_parquet(folder / "a.parquet")
    with pytest.raises(
        UserError, match="columns: got a, expected a column of image, prompt, chosen, rejected"
    ):
        import_(folder, folder / "a.parquet")


def test_a_damaged_import_is_named(folder: Path) -> None:
    """A pair whose image is not listed is one line."""
    import_(folder, write(folder / "a.jsonl", GOOD))
    images = folder / "out/images.parquet"
    pl.read_parquet(images).head(1).write_parquet(images)
    with pytest.raises(UserError, match=r"images\.parquet: got no row for images/"):
        read(folder / "out")
