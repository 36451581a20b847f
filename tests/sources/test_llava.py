"""LLaVA's files as a source: both forms of rows, images by name in any layout, strangers' files in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.sources.llava import Llava
from tests.tiny import picture

DETAIL = [
    {
        "id": f"{number:012d}",
        "image": f"{number:012d}.jpg",
        "conversations": [
            {"from": "human", "value": text},
            {"from": "gpt", "value": "A dog."},
            {"from": "human", "value": "And then?"},
        ],
    }
    for number, text in enumerate(["<image>\nWhat is this?", "Describe it.\n<image>", "Describe the photo."])
]
RELEASED = [
    {"id": number, "image": f"{number:012d}.jpg", "input": f"Why {number}?<image>"} for number in range(3)
]


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def put(root: Path, *paths: str) -> None:
    """Write an image, another for each path, to each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(root / path)


def refused(tmp_path: Path, value: Any) -> str:
    """Return what is said of a file; the folder's name left out."""
    with pytest.raises(UserError) as caught:
        Llava(tmp_path, (write(tmp_path / "t.json", value),), ".").prompts(count=1, seed=0)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_both_forms_are_read(tmp_path: Path) -> None:
    """Several turns give their first question, the image's mark before or after it goes, ids carry the file's name."""
    put(tmp_path, *(f"coco/train2017/{number:012d}.jpg" for number in range(3)))
    files = (write(tmp_path / "detail_23k.json", DETAIL), write(tmp_path / "csr.json", RELEASED))
    found = Llava(tmp_path, files, "coco").prompts(count=6, seed=0)
    assert [(one.prompt_id, one.text) for one in found] == [
        ("csr/0", "Why 0?"),
        ("csr/1", "Why 1?"),
        ("csr/2", "Why 2?"),
        ("detail_23k/000000000000", "What is this?"),
        ("detail_23k/000000000001", "Describe it."),
        ("detail_23k/000000000002", "Describe the photo."),
    ]
    assert found[4].image == "coco/train2017/000000000001.jpg"


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("train2014/COCO_train2014_000000000123.jpg", "000000000123.jpg"),
        ("000000000123.jpg", "COCO_val2014_000000000123.jpg"),
        ("a/b/000000000123.jpg", "coco/train2017/000000000123.jpg"),
        ("images/vg/7.JPG", "vg/7.JPG"),
    ],
)
def test_images_are_found_by_name(tmp_path: Path, there: str, named: str) -> None:
    """Folders may be any, and COCO's two names of one image are one."""
    put(tmp_path, there, "other/9.jpg")
    rows = [{"id": 1, "image": named, "input": "Why?"}]
    (found,) = Llava(tmp_path, (write(tmp_path / "t.json", rows),), ".").prompts(count=1, seed=0)
    assert found.image == there


def test_a_name_with_two_files_is_refused_unless_they_are_one(tmp_path: Path) -> None:
    """Copies of one image are one; two images of one name are named in one line; a nearer path decides."""
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    rows = [{"id": 1, "image": "1.jpg", "input": "Why?"}]
    assert refused(tmp_path, rows) == (
        "t.json: row 0: image 1.jpg: got 2 different files: a/1.jpg, b/1.jpg, expected one file of this name under "
        "source.folder. Next: name a smaller folder in params.yaml: source.folder, then: dvc repro"
    )
    nearer = [{"id": 1, "image": "b/1.jpg", "input": "Why?"}]
    source = Llava(tmp_path, (write(tmp_path / "t.json", nearer),), ".")
    assert source.prompts(count=1, seed=0)[0].image == "b/1.jpg"
    (tmp_path / "b/1.jpg").write_bytes((tmp_path / "a/1.jpg").read_bytes())
    source = Llava(tmp_path, (write(tmp_path / "t.json", rows),), ".")
    assert source.prompts(count=1, seed=0)[0].image == "a/1.jpg"


def test_a_missing_image_keeps_its_path(tmp_path: Path) -> None:
    """The prompt is sampled all the same: the stage leaves it out and says so."""
    put(tmp_path, "coco/2.jpg")
    rows = [{"id": 1, "image": "1.jpg", "input": "Why?"}]
    (found,) = Llava(tmp_path, (write(tmp_path / "t.json", rows),), "coco").prompts(count=1, seed=0)
    assert found.image == "coco/1.jpg"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": None}, "t.json: row 1: id: got None, expected a text or a whole number"),
        ({"id": True}, "t.json: row 1: id: got True, expected a text or a whole number"),
        (
            {"id": "a\nb"},
            "t.json: row 1: id: got 'a\\nb', expected an id of 1 to 256 characters without control",
        ),
        ({"id": "x" * 300}, "t.json: row 1: id: got 300 characters, expected an id of 1 to 256 characters"),
        ({"id": 0}, "t.json: row 1: id: got t/0, expected an id that is used once"),
        (
            {"image": "../secret.jpg"},
            "t.json: row 1: image: got ../secret.jpg, expected a path relative to images.root",
        ),
        (
            {"image": "/etc/passwd"},
            "t.json: row 1: image: got /etc/passwd, expected a path relative to images.root",
        ),
        (
            {"image": "C:\\x.jpg"},
            "t.json: row 1: image: got C:\\x.jpg, expected a path relative to images.root",
        ),
        (
            {"image": "a\x1b[2J.jpg"},
            "t.json: row 1: image: got 'a\\x1b[2J.jpg', expected the path of an image",
        ),
        ({"image": ["a.jpg", "b.jpg"]}, "t.json: row 1: image: got 2 images, expected exactly 1 image"),
        ({"image": None}, "t.json: row 1: image: got no image, expected exactly 1 image"),
        ({"image": 7}, "t.json: row 1: image: got 7, expected the path of an image"),
        (
            {"input": "What <image> is it?"},
            "t.json: row 1: prompt: got What <image> is it?, expected at most one <image>",
        ),
        (
            {"input": "<image>Same?<image>"},
            "t.json: row 1: prompt: got <image>Same?<image>, expected at most one <image>",
        ),
        (
            {"input": "<image>\n"},
            "t.json: row 1: prompt: got '<image>\\n', expected Unicode text of 1 to 16,384",
        ),
        (
            {"input": "x" * 20_000},
            "t.json: row 1: prompt: got 20,000 characters, expected Unicode text of 1 to 16,384",
        ),
        ({"input": "a\0b"}, "t.json: row 1: prompt: got 'a\\x00b', expected Unicode text"),
        ({"input": "\ud800"}, "t.json: row 1: prompt: got '\\ud800', expected Unicode text"),
        ({"input": 7}, "t.json: row 1: prompt: got 7, expected a text"),
        (
            {"conversations": "Hi"},
            "t.json: row 1: conversations: got Hi, expected a list with a turn from human",
        ),
        (
            {"conversations": [{"from": "gpt", "value": "x"}]},
            "t.json: row 1: conversations: got [{'from': 'gpt'",
        ),
        ({"conversations": [{"from": "human"}]}, "t.json: row 1: prompt: got None, expected a text"),
    ],
)
def test_a_strangers_row_is_one_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """File and row, value and expectation, for wrong types, hostile paths and texts that no prompt may have."""
    put(tmp_path, "0.jpg")
    good = {"id": 0, "image": "0.jpg", "input": "Why?"}
    assert refused(tmp_path, [good, {**good, "id": 1, **change}]).startswith(words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"id": 1,', "t.json: got line 1: Expecting property name"),
        (b"[\xff]", "t.json: got byte 1 is not UTF-8, expected JSON in UTF-8"),
        (b"{}", "t.json: got a dict, expected a JSON list of rows"),
        (b"[" * 100_000, "t.json: got JSON that is nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "t.json: got Exceeds the limit"),
        (b"[7]", "t.json: row 0: got 7, expected an object with id, image, and conversations or input"),
        (b'[{"image": "1.jpg"}]', "t.json: row 0: id: got no such key, expected a value"),
        (b'[{"id": 1, "image": "1.jpg"}]', "t.json: row 0: got neither conversations nor input"),
        (b"[]", "params.yaml: sample_prompts.prompts: got 1, expected at most the 0 prompts"),
    ],
)
def test_a_strangers_file_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    """Broken JSON, another encoding, another form: the file is named."""
    put(tmp_path, "0.jpg")
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        Llava(tmp_path, (tmp_path / "t.json",), ".").prompts(count=1, seed=0)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(words)


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    """A file that is not there, two of one name, and a folder outside the root."""
    put(tmp_path, "0.jpg")
    one = write(tmp_path / "t.json", RELEASED)
    with pytest.raises(UserError, match=r"no.json: got no such file, expected a JSON file of LLaVA's form"):
        Llava(tmp_path, (tmp_path / "no.json",), ".").prompts(count=1, seed=0)
    with pytest.raises(UserError, match=r"source.files: got t twice, expected files of different names"):
        Llava(tmp_path, (one, one), ".").prompts(count=1, seed=0)
    for folder in ("..", "/etc", "nowhere"):
        with pytest.raises(
            UserError, match=rf"^params.yaml: source.folder: got {folder}, expected a folder inside"
        ):
            Llava(tmp_path, (one,), folder).prompts(count=1, seed=0)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is read whole, so that its size has a bound."""
    monkeypatch.setattr("csrdata.sources.llava.MAX_BYTES", 10)
    assert refused(tmp_path, RELEASED).startswith("t.json: got 198 bytes, expected at most 10")
