"""The microworld's detector: it reads every sentence, and learns what is at each place."""

from pathlib import Path

import pytest

from csrdata.relevance.claims import Claim
from csrdata.sources.microworld.detector_training import (
    COLOUR,
    NOTHING,
    detector_config,
    detector_metrics,
    labels,
    train_detector,
)
from csrdata.sources.microworld.parsing import all_sentences
from csrdata.sources.microworld.source import Microworld
from csrdata.sources.microworld.world import COLOURS, PLACES, SHAPES, Scene, SceneObject, sample_scenes


def test_every_sentence_is_read_as_the_exact_parser_reads_it() -> None:
    """The words of the vocabulary give shape, colour and place of all sentences of the language."""
    vocabulary = detector_config().vocabulary()
    for text, claim in all_sentences().items():
        said = ((COLOUR, claim.colour), ("place", claim.place))
        assert vocabulary.claims(text) == [Claim(claim.shape, said)], text


def test_labels_by_hand() -> None:
    """One object: its shape and colour at its place, nothing anywhere else."""
    scene = Scene("s", "garden", (SceneObject("star", "blue", "right"),))
    shapes, colours = labels([scene])
    place = PLACES.index("right")
    assert [int(value) for value in shapes[0]] == [
        SHAPES.index("star") if index == place else NOTHING for index in range(9)
    ]
    assert [int(value) for value in colours[0]] == [
        COLOURS.index("blue") if index == place else -100 for index in range(9)
    ]


def test_it_learns_and_is_kept(tmp_path: Path) -> None:
    """A few seconds of training tell places, colours and most shapes; the same settings give and keep the same bytes."""
    settings = {"split": "scorer", "scenes": 400, "steps": 40, "batch": 32, "learning_rate": 1e-3, "seed": 0}
    for name in ("one", "two"):
        train_detector(tmp_path / name, **settings)  # type: ignore[arg-type]
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["detector.json", "detector.safetensors", "sha256.json", "training.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    before = (tmp_path / "one/detector.safetensors").stat().st_mtime_ns
    train_detector(tmp_path / "one", **settings)  # type: ignore[arg-type]
    assert (tmp_path / "one/detector.safetensors").stat().st_mtime_ns == before
    found = detector_metrics(tmp_path / "one", sample_scenes(split="validation", count=30, seed=0), seed=0)
    assert found["prefers_true_shape"] > 70
    assert found["prefers_true_colour"] > 90
    assert found["prefers_true_place"] > 90


@pytest.mark.parametrize(
    ("sentence", "questions"),
    [
        ("There is an orange ring at the top.", ["Is there a ring in the image?"]),
        ("star star arrow", ["Is there a star in the image?", "Is there an arrow in the image?"]),
        ("There is nothing.", []),
    ],
)
def test_a_sentence_is_checked_by_questions_about_its_shapes(sentence: str, questions: list[str]) -> None:
    """The question is one that the policy was trained on; a sentence without a shape cannot be checked."""
    assert Microworld(Path(), questions_per_image=2, seed=0).checks(sentence) == questions
