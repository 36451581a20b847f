"""Which sampled questions policies answer: excluded ones leave with a reason, unreadable images leave or stop the sampling."""

from hashlib import sha256
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation_sets.answerable import Answerable, keep_answerable
from csrdata.evaluation_sets.base import Asked
from csrdata.records import Kind, LeftOut, Question, Truth
from csrdata.sources.exclusion import Exclusion
from csrdata.sources.sampled import ImageReader
from tests.tiny import pictures


def _question(split: str, number: int) -> Question:
    return Question(
        f"{split}-{number}", split, Kind.DESCRIBE, f"{number}.png", "What?", answer=None, negative=None
    )


SAMPLED = Asked(
    [*(_question("list", number) for number in range(3)), *(_question("own", number) for number in range(4))],
    [Truth(f"{number}.png", "list", ["dog"], "{}") for number in range(3)],
    {f"own-{number}": f"photo {number}" for number in range(4)},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path, 4)
    return tmp_path


def _keep(root: Path, *excluded: str) -> Answerable:
    exclusion = Exclusion({name: line for line, name in enumerate(excluded, start=1)})
    return keep_answerable(SAMPLED, images=ImageReader(root), exclusion=exclusion, shrinking={"own"})


def test_an_excluded_image_leaves_every_split(root: Path) -> None:
    """By its hash it leaves all questions about it, and the truth about it; asked and left out add up per split."""
    found = _keep(root, digest := sha256((root / "1.png").read_bytes()).hexdigest())
    detail = f"its image is excluded: {digest}"
    assert found.left_out == [
        LeftOut("list-1", "list", "1.png", "excluded", detail),
        LeftOut("own-1", "own", "1.png", "excluded", detail),
    ]
    kept = [*SAMPLED.questions[:1], SAMPLED.questions[2], SAMPLED.questions[3], *SAMPLED.questions[5:]]
    assert found.asked.questions == kept
    assert [truth.image for truth in found.asked.truths] == ["0.png", "2.png"]
    assert [image.image for image in found.images] == ["0.png", "2.png", "3.png"]
    left_out = {"excluded": 1, "unreadable_image": 0}
    assert found.counts() == {
        "list": {"sampled": 3, "questions": 2, "left_out": left_out},
        "own": {"sampled": 4, "questions": 3, "left_out": left_out},
    }


def test_a_question_leaves_by_its_id_or_its_prompts(root: Path) -> None:
    """An id of another question, or of nothing, leaves all as it is and is not counted as matched."""
    found = _keep(root, "list-0", "photo 3", "photo 9", "own-9")
    assert [row.record_id for row in found.left_out] == ["list-0", "own-3"]
    assert found.excluded == {"list-0", "photo 3"}
    assert "0.png" in {image.image for image in found.images}  # the other split still asks about it


def test_a_damaged_image_costs_its_question_only_where_it_may(root: Path) -> None:
    """In a set of prompts the question is left out; in a fixed list the image is named, unless it is excluded."""
    (root / "3.png").write_bytes(b"no image")
    found = _keep(root)
    assert [(row.record_id, row.reason) for row in found.left_out] == [("own-3", "unreadable_image")]
    content = (root / "2.png").read_bytes()[:60]
    (root / "2.png").write_bytes(content)
    with pytest.raises(UserError) as caught:
        _keep(root)
    words = str(caught.value)
    assert words.startswith("question list-2: image 2.png: got ")
    assert words.endswith(
        "list is measured on every image of its list. Next: put the image there or exclude the question "
        "(source.exclude), then: dvc repro"
    )
    found = _keep(root, sha256(content).hexdigest())
    reasons = [(row.record_id, row.reason) for row in found.left_out]
    assert reasons == [("list-2", "excluded"), ("own-2", "excluded"), ("own-3", "unreadable_image")]
    (root / "2.png").unlink()
    with pytest.raises(UserError, match=r"question list-2: image 2.png: got no such file, expected an image"):
        _keep(root)


def test_a_split_without_questions_is_an_error(root: Path) -> None:
    """A set of which nothing is left would be missing from the summary without a word."""
    with pytest.raises(
        UserError, match=r"questions of list: got none that can be asked; list-0: image 0.png: its id"
    ):
        _keep(root, "list-0", "list-1", "list-2")
