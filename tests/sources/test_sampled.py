"""What becomes of sampled prompts: excluded and unreadable ones leave with a reason, the others' images are described."""

from hashlib import sha256
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.records import ImageFile, LeaveReason, Prompt
from csrdata.sources.exclusion import Exclusion, read_exclusion
from csrdata.sources.sampled import ImageReader, keep_usable
from tests.tiny import picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three good images, an empty file and a damaged one."""
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "4.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    return tmp_path


PROMPTS = [Prompt(f"p{number}", f"{number}.png", "Describe.") for number in range(6)]
"""The last one's image is missing."""


def test_every_prompt_is_kept_or_has_a_reason(root: Path) -> None:
    """Kept and left out add up; an image that is empty, damaged or missing costs its prompt alone."""
    found = keep_usable(PROMPTS, images=ImageReader(root), exclusion=Exclusion())
    assert [one.prompt_id for one in found.prompts] == ["p0", "p1", "p2"]
    assert [(one.record_id, one.reason, one.detail) for one in found.left_out[::2]] == [
        ("p3", LeaveReason.UNREADABLE_IMAGE, "got an empty file"),
        ("p5", LeaveReason.UNREADABLE_IMAGE, "got no such file"),
    ]
    content = (root / "1.png").read_bytes()
    width, height = picture(1).size
    assert found.images[1] == ImageFile("1.png", sha256(content).hexdigest(), len(content), width, height)
    assert found.counts() == {
        "sampled": 6,
        "prompts": 3,
        "images": 3,
        "left_out": {"excluded": 0, "unreadable_image": 3},
    }


def test_what_is_excluded_leaves_by_id_or_by_hash(root: Path) -> None:
    """Both kinds of lines count, in any case and line ending; comments and blank lines do not."""
    digest = sha256((root / "2.png").read_bytes()).hexdigest().upper()
    (root / "exclude.txt").write_bytes(f"\ufeff# asked for by its owner\np0\r\n\n{digest}\nnobody\n".encode())
    exclusion = read_exclusion(root / "exclude.txt")
    found = keep_usable(PROMPTS[:3], images=ImageReader(root), exclusion=exclusion)
    assert [one.prompt_id for one in found.prompts] == ["p1"]
    assert [(one.record_id, one.reason) for one in found.left_out] == [("p0", "excluded"), ("p2", "excluded")]
    assert [one.image for one in found.images] == ["1.png"]
    assert exclusion.unmatched(found.excluded) == ["nobody"]
    assert exclusion.names["nobody"] == 5


def test_the_hash_of_a_damaged_image_excludes_it(root: Path) -> None:
    """What the user excluded counts as excluded, whatever else is wrong with it; both its names have matched."""
    damaged = sha256((root / "4.png").read_bytes()).hexdigest()
    exclusion = Exclusion({damaged: 1, "p0": 2, sha256((root / "0.png").read_bytes()).hexdigest(): 3})
    found = keep_usable(PROMPTS, images=ImageReader(root), exclusion=exclusion)
    reasons = {one.record_id: one.reason for one in found.left_out}
    assert reasons == {
        "p0": LeaveReason.EXCLUDED,
        "p3": LeaveReason.UNREADABLE_IMAGE,
        "p4": LeaveReason.EXCLUDED,
        "p5": LeaveReason.UNREADABLE_IMAGE,
    }
    assert exclusion.unmatched(found.excluded) == []


def test_no_usable_image_is_an_error(root: Path) -> None:
    """A wrong root must not end in an empty table: the first prompt says what is wrong."""
    with pytest.raises(
        UserError, match=r"no prompt that can be used of 3; p3: image 3.png: got an empty file"
    ):
        keep_usable(PROMPTS[3:], images=ImageReader(root), exclusion=Exclusion())


def test_a_bad_exclusion_is_one_line(root: Path) -> None:
    """A file that is missing or not UTF-8 is named: leaving it out would publish what must not be."""
    with pytest.raises(
        UserError, match=r"no.txt: got no such file, expected ids or image hashes, one per line"
    ):
        read_exclusion(root / "no.txt")
    (root / "e.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"e.txt: line 2: got byte 0 is not UTF-8"):
        read_exclusion(root / "e.txt")
