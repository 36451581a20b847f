"""`csrdata import --from NAME` from a file to the pairs: one file of each layout, with rows that are no pair of it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata.cli import main
from csrdata.records import Dropped, Pair
from csrdata.sources.imported.formats import FORMATS, RATED
from csrdata.storage.tables import hash_path, read_json, read_rows
from tests.tiny import pictures

WHAT = "What is it?"
PLAIN = [(0, 0, WHAT, "A cat.", "A dog.", None)]
"""The pair of the first row: row, number, prompt, chosen, rejected, margin."""


def turns(*texts: str) -> list[dict[str, str]]:
    """Return a conversation: a question with the image's mark, an answer, and so on."""
    said = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(texts)]
    said[0]["value"] = f"<image>\n{said[0]['value']}"
    return said


def completion(response: str, *ratings: float | str) -> dict[str, Any]:
    rated = zip(RATED, ratings, strict=True)
    return {
        "annotations": {name: {"Rating": str(rating), "Rationale": "..."} for name, rating in rated},
        "model": "m",
        "response": response,
    }


@dataclass(frozen=True)
class Case:
    """A file of a layout: rows with a pair first, then one for each reason."""

    file: str
    rows: list[dict[str, Any]]
    pairs: list[tuple[int, int, str, str, str, float | None]]
    dropped: list[tuple[str, str]]
    """Reason, and the whole detail, of the rows behind those with a pair."""
    left_out: dict[str, int]


def cases(image: Path) -> dict[str, Case]:
    """Return a file for each name of `--from`. The layouts with images in their rows have the bytes of `image`."""
    inline = {"bytes": image.read_bytes(), "path": "1.jpg"}
    broken = {"bytes": b"\x89PNG\r\n\x1a\n...", "path": "1.jpg"}
    text = {"question": WHAT, "chosen": "A cat.", "rejected": "A dog."}
    asked = {"image": image.name, "conversations": turns(WHAT, "A cat.")}
    outputs = {
        "output_1": {"from": "llava", "value": "A dog."},
        "output_2": {"from": "llava", "value": "A cat."},
    }
    four = [
        completion("A dog.", 2, 2, 2),
        completion("A cat.", 5, 5, 5),
        completion("A cat. ", 5, 4, 3),
        completion("It?", "N/A", 1, 1),
        completion("An owl.", 3, 4, 5),
    ]
    rated = {"id": "7", "prompt": WHAT, "models": ["m"], "img_path": image.name}
    alike = [completion("A cat.", 1, 2, 3), completion("A dog.", 3, 2, 1)]
    earlier = "conversations: got several turns, expected one question and one answer: a prompt has no earlier turns"
    unrated = ("no_response", "1 completions with all ratings")
    equal = ("under_margin", "all 2 completions are rated 2.00")
    return {
        "rlhf-v": Case(
            "RLHF-V-Dataset.parquet",
            [
                {"ds_name": "RLHF-V", "image": inline, "text": json.dumps(text), "idx": 0},
                {"ds_name": "RLHF-V", "image": inline, "text": str(text), "idx": 1},
                {"ds_name": "RLHF-V", "image": broken, "text": json.dumps(text), "idx": 2},
            ],
            PLAIN,
            [("bad_row", "expected JSON with question, chosen and rejected"), ("bad_image", "")],
            {},
        ),
        "rlaif-v": Case(
            "RLAIF-V-Dataset_000.parquet",
            [
                {"image": inline, **text, "idx": "0", "image_path": "1.jpg"},
                {"image": inline, **text, "rejected": None, "idx": "1", "image_path": "1.jpg"},
            ],
            PLAIN,
            [("bad_row", "rejected: got None, expected a text")],
            {},
        ),
        "povid": Case(
            "povid.json",
            [
                {**asked, "id": "1", "rejected_conversations": turns(WHAT, "A dog.")},
                {**asked, "id": "2", "rejected_conversations": turns("Who is it?", "A dog.")},
                {
                    **asked,
                    "id": "3",
                    "conversations": turns(WHAT, "A cat.", "Who?", "Tom."),
                    "rejected_conversations": turns(WHAT, "A dog."),
                },
            ],
            PLAIN,
            [("bad_row", "expected the question of conversations"), ("bad_row", earlier)],
            {},
        ),
        "llava-rlhf": Case(
            "llava_7b_v1_preference.json",
            [
                {**asked, **outputs, "id": "1", "preference": 2},
                {
                    **asked,
                    **outputs,
                    "id": "2",
                    "preference": 2,
                    "conversations": turns("Who?", "Tom.", WHAT, "unused"),
                },
                {**asked, **outputs, "id": "3", "preference": 0},
            ],
            PLAIN,
            [("bad_row", earlier), ("bad_row", "preference: got 0, expected 1 or 2")],
            {},
        ),
        "vlfeedback": Case(
            "vlfeedback.jsonl",
            [
                {**rated, "completions": four},
                {**rated, "completions": four[2:4]},
                {**rated, "completions": alike},
            ],
            [(0, 0, WHAT, "A cat.", "A dog.", 3.0)],
            [unrated, equal],
            {},
        ),
        "vlfeedback-all": Case(
            "vlfeedback.parquet",
            [
                {**rated, "completions": columnar(four)},
                {**rated, "completions": columnar(four[:2])},
                {**rated, "completions": columnar(four[2:4])},
                {**rated, "completions": columnar(alike)},
            ],
            [
                (0, 0, WHAT, "A cat.", "A dog.", 3.0),
                (0, 1, WHAT, "A cat.", "A dog.", 2.0),
                (0, 2, WHAT, "An owl.", "A dog.", 2.0),
                (0, 3, WHAT, "A cat.", "An owl.", 1.0),
                (1, 0, WHAT, "A cat.", "A dog.", 3.0),
            ],
            [unrated, equal],
            {"equal_texts": 1, "no_response": 4, "under_margin": 1},
        ),
        "columns": Case(
            "pairs.jsonl",
            [
                {"image": image.name, "prompt": WHAT, "chosen": "A cat.", "rejected": "A dog."},
                {"image": image.name, "prompt": WHAT, "chosen": "A cat."},
            ],
            PLAIN,
            [("bad_row", "rejected: got no such key, expected one of chosen, image, prompt")],
            {},
        ),
    }


def columnar(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return completions as `datasets` stores them: a mapping of lists."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    match file.suffix:
        case ".parquet":
            pl.DataFrame(rows).write_parquet(file)
        case ".json":
            file.write_text(json.dumps(rows), encoding="utf-8")
        case _:
            file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image in the folder `images` of the current folder."""
    monkeypatch.chdir(tmp_path)
    return pictures(tmp_path / "images", 1)[0]


def csrdata(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["csrdata", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code if isinstance(left.value.code, int) else -1


NAMES = [*FORMATS, "columns"]


@pytest.mark.parametrize("layout", NAMES)
def test_a_file_becomes_pairs_and_reasons(
    layout: str, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line: every pair with its texts, image, id and margin; every other row with its reason."""
    case = cases(image)[layout]
    write(Path(case.file), case.rows)
    code = csrdata(monkeypatch, "import", case.file, "--from", layout, "--name", "mine", "--images", "images")
    printed = capsys.readouterr()
    assert (code, printed.out) == (0, "data/import/mine\n"), printed.err
    folder = Path("data/import/mine")
    pairs = read_rows(folder / "pairs.parquet", Pair, made_by="")
    assert [
        (one.prompt_id, one.number, one.prompt, one.chosen, one.rejected, one.scores.margin) for one in pairs
    ] == [(f"mine-{row:09d}", *rest) for row, *rest in case.pairs]
    assert {(one.origin, one.image) for one in pairs} == {("mine", f"images/{hash_path(image)}.png")}
    dropped = read_rows(folder / "dropped.parquet", Dropped, made_by="")
    first = len(case.rows) - len(case.dropped)
    assert [(one.prompt_id, one.reason) for one in dropped] == [
        (f"mine-{number:09d}", reason) for number, (reason, _) in enumerate(case.dropped, start=first)
    ]
    for one, (_, words) in zip(dropped, case.dropped, strict=True):
        assert words in one.detail
    record = read_json(folder / "record.json", made_by="")
    assert (record["layout"], record["rows"], record["rows_with_pair"]) == (layout, len(case.rows), first)
    assert (record["pairs"], record["left_out"]) == (len(case.pairs), case.left_out)
    assert f"mine: {len(case.pairs)} pairs, 1 images; rows without a pair: " in printed.err
    assert dropped[0].detail in printed.err


@pytest.mark.parametrize("layout", NAMES)
def test_a_file_without_a_pair_is_one_line(
    layout: str, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place, what is wrong with the first row, what was expected, and the next command; no folder is left."""
    case = cases(image)[layout]
    write(Path(case.file), case.rows[-len(case.dropped) :])
    code = csrdata(monkeypatch, "import", case.file, "--from", layout, "--name", "mine", "--images", "images")
    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert printed.err.startswith("1 files: got no pair; ")
    assert "expected 1 or more pairs. Next: choose the layout with --from" in printed.err
    assert not Path("data").exists() or not list(Path("data/import").iterdir())


def test_every_two_completions_have_an_id_of_their_own(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `vlfeedback-all`: (`prompt_id`, `number`) names one pair; the default has one pair of a row, a widest one."""
    case = cases(image)["vlfeedback-all"]
    write(Path(case.file), case.rows)
    options = ["--name", "mine", "--images", "images"]
    found = {}
    for layout in ("vlfeedback-all", "vlfeedback"):
        assert csrdata(monkeypatch, "import", case.file, "--from", layout, *options) == 0
        found[layout] = read_rows(Path("data/import/mine/pairs.parquet"), Pair, made_by="")
    capsys.readouterr()
    names = [(one.prompt_id, one.number) for one in found["vlfeedback-all"]]
    assert len(set(names)) == len(names) == 5
    assert [(one.prompt_id, one.number, one.scores.margin) for one in found["vlfeedback"]] == [
        ("mine-000000000", 0, 3.0),
        ("mine-000000001", 0, 3.0),
    ]
