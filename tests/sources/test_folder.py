"""A folder of images as a source: each image once, with one of the prompts."""

from collections import Counter
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.sources.folder import Folder
from tests.tiny import picture

WORDINGS = ("Describe the photo.", "What do you see?", "<image>\nWhat is odd here?")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of thirty images in two folders, and a file that is not an image."""
    for number in range(30):
        path = tmp_path / f"photos/{'ab'[number % 2]}/{number}.{'jpg' if number % 3 else 'PNG'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    (tmp_path / "photos/notes.txt").write_text("none")
    return tmp_path


def test_each_image_is_asked_once(root: Path) -> None:
    """Every image file is a prompt with its path as the id, and every wording is used."""
    found = Folder(root, "photos", WORDINGS).prompts(count=30, seed=0)
    assert {one.prompt_id for one in found} == {
        path.relative_to(root).as_posix() for path in root.rglob("*.*") if path.suffix != ".txt"
    }
    assert all(one.image == one.prompt_id for one in found)
    assert set(Counter(one.text for one in found)) == {
        "Describe the photo.",
        "What do you see?",
        "What is odd here?",
    }


def test_another_wording_changes_its_share_alone(root: Path) -> None:
    """Images that the new wording did not win keep theirs."""
    before = {one.image: one.text for one in Folder(root, "photos", WORDINGS[:2]).prompts(count=30, seed=0)}
    after = {one.image: one.text for one in Folder(root, "photos", WORDINGS).prompts(count=30, seed=0)}
    changed = {after[image] for image, text in before.items() if after[image] != text}
    assert changed == {"What is odd here?"}


def test_more_images_keep_the_earlier_ones_wording(root: Path) -> None:
    """An image's prompt does not depend on the others."""
    before = Folder(root, "photos/a", WORDINGS).prompts(count=15, seed=0)
    assert set(before) < set(Folder(root, "photos", WORDINGS).prompts(count=30, seed=0))


def test_a_bad_file_name_and_a_bad_wording_are_one_line(root: Path) -> None:
    """A name that a terminal would obey is shown escaped; a mark within a wording is refused by its place in the list."""
    with pytest.raises(
        UserError, match=r"^params.yaml: source.prompts\[1\]: prompt: got a <image> b, expected at most"
    ):
        Folder(root, "photos", ("x", "a <image> b")).prompts(count=1, seed=0)
    picture(0).save(root / "photos/a\x1b[2J.png")
    with pytest.raises(
        UserError, match=r"^folder photos: image: got 'photos/a\\x1b\[2J.png', expected the path"
    ):
        Folder(root, "photos", WORDINGS).prompts(count=1, seed=0)
