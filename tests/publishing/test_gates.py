"""Each gate refuses one defect, in a release that is otherwise complete and has a matching manifest."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from csrdata.errors import UserError
from csrdata.publishing.card.dataset import card
from csrdata.publishing.card.figures import figures
from csrdata.publishing.origins import of_source
from csrdata.publishing.release.gates import check
from csrdata.publishing.release.manifest import MANIFEST, read_manifest, write_manifest
from csrdata.sources.microworld.source import ORIGIN
from tests.publishing.project import edit, image_name, make_project, release, sign

PAIRS = "iteration_1/train-00000-of-00001.parquet"
CANDIDATES = "candidates/iteration_2-00000-of-00001.parquet"
TOKEN = "hf_" + "AbCdEfGhIj" * 3
"""The form of a Hugging Face token, and none."""

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("whole")
    release(make_project(parent / "project"), parent / "release")
    return parent / "release"


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "release"))


def state_anew(folder: Path) -> Path:
    """Let card and manifest of a release speak of its rows as they are now."""
    sign(folder)
    manifest = read_manifest(folder)
    names = [one.name for one in manifest.iterations]
    text = card(manifest, origin=of_source(ORIGIN), figures=figures(folder, names), plots={})
    (folder / "README.md").write_text(text, encoding="utf-8")
    sign(folder)
    return folder


def put(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        check(folder, **options)
    assert str(folder) not in str(error.value)  # a temporary folder, gone when the line is read
    return str(error.value)


def test_a_release_passes(folder: Path, tmp_path: Path) -> None:
    """A release of `write_release` passes, with embedded images or with references."""
    assert check(folder).repo_id == "me/set"
    release(make_project(tmp_path / "project"), folder, images="reference")
    check(folder)


def test_the_tests_own_edit_is_no_reason(folder: Path) -> None:
    """Rows rewritten unchanged, with a new manifest, pass, so the other tests fail only because of their change."""
    for file in (PAIRS, CANDIDATES):
        edit(folder / file, lambda rows: rows)
    state_anew(folder)
    check(folder)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("images", [{"bytes": None, "path": "2.png"}], "row 2: images: got no bytes, expected one image"),
        ("images", [], "row 2: images: got no bytes, expected one image"),
        (
            "images",
            [{"bytes": b"x", "path": "data/2.png"}],
            "row 2: images: got data/2.png, expected the file",
        ),
        (
            "images",
            [{"bytes": b"x", "path": None}],
            "row 2: images: got None, expected the file name of images/",
        ),
        ("origin", None, "row 2: origin: got null, expected String"),
        ("rejected_reward_held_out", float("nan"), "got nan, expected a finite number"),
        ("margin", float("inf"), "row 2: margin: got inf, expected a finite number"),
        ("rejected", [], "row 2: rejected: got [], expected one message of the assistant with words in it"),
        ("prompt", [{"role": "user", "content": " "}], "one message of the user with words in it"),
        (
            "image_path",
            "/srv/images/2.png",
            "row 2: image_path: got /srv/images/2.png, expected images/SHA256",
        ),
        ("image_path", "data/images/2.png", "got data/images/2.png, expected images/SHA256.EXT"),
        ("image_path", f"images/{'0' * 64}.png/../x", "expected images/SHA256.EXT"),
        ("image_path", f"images/{'0' * 64}.png\n", "expected images/SHA256.EXT"),
        ("image_path", None, "row 2: image_path: got null, expected images/SHA256.EXT"),
    ],
)
def test_a_bad_pair_is_refused(folder: Path, column: str, value: object, words: str) -> None:
    """Missing or broken images, scores, answers and paths of a machine: by file and row."""
    edit(folder / PAIRS, lambda rows: rows[2].update({column: value}))
    assert words in refusal(state_anew(folder))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_image_is_refused(folder: Path, kind: str) -> None:
    """An image file that ends in the middle opens, and does not decode."""
    whole = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(whole, kind)
    content = whole.getvalue()[:-400]
    put_image(folder, content, image_name(content, "png" if kind == "PNG" else "jpg"))
    words = refusal(state_anew(folder))
    assert f"{PAIRS}: row 2: images: got " in words
    assert "image that decodes" in words


def test_an_image_is_what_its_name_says(folder: Path) -> None:
    """Other bytes, another format, an image that no table names, one that is missing: each is named."""
    whole = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(whole, "PNG")
    content = whole.getvalue()
    for name, words in (
        (image_name(b"x"), f"row 2: images: got other bytes, expected those of {image_name(b'x')}"),
        (image_name(content, "jpg"), "row 2: images: got a png image, expected the format of images/"),
        (image_name(content), "got an image that no table names, expected the images of all prompts"),
    ):
        put_image(folder, content, name)
        assert words in refusal(state_anew(folder))


def test_what_was_decoded_is_hashed_alone(folder: Path) -> None:
    """Bytes that were decoded under their name are not decoded again; other bytes under that name are refused."""
    content = b"no image at all"
    name = image_name(content)
    put_image(folder, content, name)
    assert "damaged header" in refusal(state_anew(folder))
    assert "no table names" in refusal(folder, decoded={name})
    put_image(folder, content + b".", name)
    assert f"got other bytes, expected those of {name}" in refusal(state_anew(folder), decoded={name})


def test_pairs_of_an_oracle_are_refused(folder: Path) -> None:
    """Pairs that the truth ordered are for comparison alone: one line, and what to change."""
    edit(folder / PAIRS, lambda rows: rows[4].update(origin="oracle"))
    assert refusal(state_anew(folder)) == (
        f"{PAIRS}: row 4: origin: got oracle, expected pairs that were made without the truth about their images. "
        "Next: take another select_pairs.order in params.yaml, then: dvc repro, and push again"
    )


def test_an_image_without_a_pair_travels_too(folder: Path) -> None:
    """A prompt whose image is nowhere in the release is an error."""
    edit(folder / "images/unpaired-00000-of-00001.parquet", lambda rows: rows.clear())
    found = refusal(state_anew(folder))
    assert found.startswith("images/")
    assert "got no such image, expected the images of all prompts" in found


def put_image(folder: Path, content: bytes, name: str) -> None:
    """Give the third pair another image."""
    file = name.rpartition("/")[2]
    row = {"images": [{"bytes": content, "path": file}], "image_path": name}
    edit(folder / PAIRS, lambda rows: rows[2].update(row))


def test_an_equal_pair_is_refused(folder: Path) -> None:
    """Two answers that are equal for a trainer are refused."""
    edit(folder / PAIRS, lambda rows: rows[4].update(rejected=rows[4]["chosen"]))
    assert refusal(state_anew(folder)).startswith(f"{PAIRS}: row 4: got two equal answers")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("relevance", None, "row 0: relevance: got null, expected a score"),
        ("guidance_reward", None, "row 0: guidance_reward: got null, expected a score"),
        ("logprob", None, "row 0: logprob: got null, expected Float64"),
        ("logprob", float("-inf"), "got -inf, expected a finite number"),
        ("fate", "eaten", "row 0: fate: got eaten, expected one of kept_best"),
        ("iteration", "1", "row 0: iteration: got 1, expected one of 2"),
    ],
)
def test_a_candidate_without_its_scores_is_refused(
    folder: Path, column: str, value: object, words: str
) -> None:
    """A sentence with words has R_T, R_I and a reward; the end has none of the last two, which is no fault."""
    edit(folder / CANDIDATES, lambda rows: rows[0].update({column: value}))
    assert words in refusal(state_anew(folder))


def test_a_row_too_few_is_refused(folder: Path) -> None:
    """Lost rows are noticed, by the funnel and by the card."""
    edit(folder / PAIRS, lambda rows: rows.pop())
    assert refusal(state_anew(folder)) == (
        "provenance/manifest.json: iteration 1: iteration_1/train-*.parquet: got 5 rows, expected 6 rows. "
        "Next: fix the project's tables (dvc repro), then push again"
    )


def test_a_prompt_without_fate_is_refused(folder: Path) -> None:
    """Kept and dropped add up to the prompts."""
    manifest = read_manifest(folder)
    counts = [dataclasses.replace(manifest.iterations[0], dropped={}), manifest.iterations[1]]
    write_manifest(folder, dataclasses.replace(manifest, iterations=counts))
    assert (
        "iteration 1: got 6 pairs of 6 prompts and 0 prompts without, expected 7 prompts in all"
        in refusal(folder)
    )


@pytest.mark.parametrize(
    ("old", "new"), [("num_examples: 6", "num_examples: 7"), ("download_size: ", "download_size: 1")]
)
def test_a_card_that_says_otherwise_is_refused(folder: Path, old: str, new: str) -> None:
    """The card's rows and bytes are those of the files."""
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    sign(folder)
    assert refusal(folder).startswith("README.md: iteration_1: got {'train': ")


def test_lost_features_are_refused(folder: Path) -> None:
    """A file that polars wrote would load as structs of bytes, not as images."""
    pl.read_parquet(folder / PAIRS).write_parquet(folder / PAIRS)
    assert "expected the release's columns, with their features" in refusal(state_anew(folder))


def test_files_are_those_of_the_manifest(folder: Path) -> None:
    """A changed byte, a file more, a file less, a link, a changed identity: each is named."""
    size = (folder / "provenance/params.yaml").stat().st_size
    put(folder / "provenance/params.yaml", "\n")
    assert refusal(folder).startswith(f"provenance/params.yaml: got another file, expected {size} bytes")
    sign(folder)
    whole = (folder / PAIRS).read_bytes()
    (folder / PAIRS).write_bytes(whole[:-9])
    assert refusal(folder).startswith(f"{PAIRS}: got another file")
    (folder / PAIRS).write_bytes(whole)
    (folder / "notes.txt").write_text("mine")
    assert refusal(folder).startswith("notes.txt: got not in the manifest")
    (folder / "notes.txt").unlink()
    (folder / "plots/margin.png").rename(folder.parent / "margin.png")
    assert refusal(folder).startswith("plots/margin.png: got no such file")
    (folder / "plots/margin.png").symlink_to(folder.parent / "margin.png")
    assert refusal(folder).startswith("plots/margin.png: got another file")
    (folder / "plots/margin.png").unlink()
    (folder.parent / "margin.png").rename(folder / "plots/margin.png")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(manifest | {"identity": "0" * 64}))
    assert refusal(folder).startswith(f"{MANIFEST}: got {'0' * 64}, expected the identity of files")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("README.md", "see /home/ann/csr/notes.md", "got an absolute path (/home/ann/csr/notes.md)"),
        ("README.md", "see ~/csr/notes.md", "got a home path"),
        ("README.md", "see ../notes.md", "got a parent path"),
        ("README.md", f"use {TOKEN}", "got a Hugging Face token"),
        ("provenance/params.yaml", "# data: /srv/data", "got an absolute path (/srv/data)"),
        ("provenance/params.yaml", "# token=Zx81kkPq20aaLm", "got a token"),
        ("provenance/manifest.json", "", "got an absolute path (/srv/x/y.py)"),
    ],
)
def test_what_must_not_go_out_is_refused(folder: Path, file: str, text: str, words: str) -> None:
    """Paths of a machine and tokens in the card or the metadata: by line, and a token is not shown."""
    if text:
        put(folder / file, text + "\n")
    else:
        write_manifest(folder, dataclasses.replace(read_manifest(folder), inputs={"/srv/x/y.py": "0" * 32}))
    sign(folder)
    found = refusal(folder)
    assert words in found
    assert found.startswith(f"{file}: line ")
    assert TOKEN not in found


def test_parameters_that_nobody_could_pull_are_refused(folder: Path) -> None:
    """What a pull refuses of a stranger's params.yaml is not pushed either."""
    put(folder / "provenance/params.yaml", "a: &a [1, 1]\nb: *a\n")
    sign(folder)
    assert "provenance/params.yaml: got an alias, expected plain YAML" in refusal(folder)


def test_a_remote_in_the_lock_is_refused(tmp_path: Path) -> None:
    """A dvc.lock that names a bucket is not published; the same address in a card is a link."""
    project = make_project(tmp_path / "project")
    lock = project / "dvc.lock"
    lock.write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    deps:\n    - path: s3://bucket/data\n      md5: 1\n"
    )
    release(project, tmp_path / "release", lock=lock)
    words = refusal(tmp_path / "release")
    assert words.startswith("provenance/dvc.lock: line 6: got an address (s3://)")


def test_the_very_token_is_found_whatever_it_looks_like(folder: Path) -> None:
    """The caller's secrets are searched for exactly, and not shown."""
    put(folder / "README.md", "correct-horse-battery\n")
    sign(folder)
    words = refusal(folder, secrets=["correct-horse-battery"])
    assert "got the write token" in words
    assert "horse" not in words
