"""A detector as a scorer: what a sentence claims, how probable it is, and what its folder may hold."""

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from csrdata.errors import UserError
from csrdata.relevance.base import Relevance, Scorer
from csrdata.relevance.claims import Claim, Vocabulary
from csrdata.relevance.detector import DetectorScorer, load_detector
from csrdata.relevance.grid_detector import GridConfig, GridDetections, GridNetwork, pixels_of
from tests.tiny import picture

COCO = Vocabulary(
    names={
        "person": ["person", "man", "woman"],
        "hot dog": ["hot dog"],
        "dog": ["dog", "puppy"],
        "bus": ["bus"],
    },
    attributes={
        "colour": {"red": ["red"], "blue": ["blue", "navy blue"]},
        "place": {"left": ["on the left"], "bottom left": ["on the left below", "at the bottom left"]},
    },
)
CONFIG: dict[str, Any] = {
    "kind": "grid",
    "rows": 1,
    "columns": 2,
    "cell": 4,
    "width": 8,
    "names": {"circle": ["circle"], "star": ["star"]},
    "places": {"left": ["on the left"], "right": ["on the right"]},
    "attributes": {"colour": {"red": ["red"], "blue": ["blue"]}},
}


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("A red bus.", [Claim("bus", (("colour", "red"),))]),
        (
            "A Navy Blue bus on the left below.",
            [Claim("bus", (("colour", "blue"), ("place", "bottom left")))],
        ),
        ("Two buses on the left.", [Claim("bus", (("place", "left"),))]),
        ("A man eats a hot dog.", [Claim("person"), Claim("hot dog")]),
        ("The man sees a man and a puppy, a dog.", [Claim("person"), Claim("dog")]),
        ("A red dog beside a blue bus.", [Claim("dog"), Claim("bus")]),
        ("A red and blue bus.", [Claim("bus")]),
        ("A business woman.", [Claim("person")]),
        ("The mood is calm.", []),
        ("", []),
    ],
)
def test_what_a_sentence_claims(sentence: str, claims: list[Claim]) -> None:
    """Synonyms, plurals and longer phrases first; attributes only of a single object, and only one value of each."""
    assert COCO.claims(sentence) == claims


@dataclass(frozen=True)
class Listed:
    """A detector of photographs in a few lines: what it found is a list of names with scores."""

    found: Sequence[dict[str, float]]
    vocabulary: Vocabulary = COCO

    def detect(self, images: Sequence[Image.Image]) -> "Listed":
        return self

    def probability(self, image: int, claim: Claim) -> float:
        return self.found[image].get(claim.name, 0.0)


def test_any_detector_is_a_scorer() -> None:
    """The mean probability of the claims; a sentence without one has no value; nothing is truncated."""
    scorer: Scorer = DetectorScorer(Listed([{"person": 0.9, "hot dog": 0.5}, {"bus": 1.0}]))
    scores = scorer.open([picture(0), picture(1)])
    texts = ["A man eats a hot dog.", "A bus.", "The mood is calm.", "A bus."]
    assert scores.relevance([0, 0, 0, 1], texts) == [
        Relevance(70.0, truncated=False),
        Relevance(0.0, truncated=False),
        Relevance(None, truncated=False),
        Relevance(100.0, truncated=False),
    ]
    assert scores.repetition(["A man.", "A bus."], [(), ("The red bus.", "A man.")]) == pytest.approx(
        [0.0, 0.5**0.5]
    )


def test_probabilities_of_places() -> None:
    """With a place the object there counts, without one the most probable; attributes multiply."""
    found = GridDetections(
        GridConfig.model_validate(CONFIG),
        names=np.array([[[0.6, 0.1, 0.3], [0.2, 0.7, 0.1]]]),
        attributes={"colour": np.array([[[0.5, 0.5], [0.9, 0.1]]])},
    )

    def chance(name: str, *attributes: tuple[str, str]) -> float:
        return found.probability(0, Claim(name, attributes))

    assert chance("circle") == 0.6
    assert chance("circle", ("place", "right")) == 0.2
    assert chance("circle", ("colour", "red")) == pytest.approx(max(0.6 * 0.5, 0.2 * 0.9))
    assert chance("star", ("place", "right"), ("colour", "blue")) == pytest.approx(0.07)
    assert chance("star") == 0.7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A detector with random weights."""
    folder = tmp_path / "detector"
    folder.mkdir()
    torch.manual_seed(0)
    network = GridNetwork(GridConfig.model_validate(CONFIG))
    save_file(network.state_dict(), folder / "detector.safetensors")
    (folder / "detector.json").write_text(json.dumps(CONFIG))
    return folder


def test_a_folder_is_loaded_and_used(folder: Path) -> None:
    """Images of any size are scaled; values are 0..100 and the same again; the network sees what it was given."""
    images = [picture(0), picture(1).resize((8, 4))]
    assert pixels_of(images[1], (8, 4)).shape == (3, 4, 8)
    assert float(pixels_of(Image.new("RGB", (8, 4), "white"), (8, 4)).min()) == 1.0
    texts = ["A red circle on the left.", "A star.", "A dog."]
    first = load_detector(folder, device="cpu").open(images).relevance([0, 1, 0], texts)
    assert first == load_detector(folder, device="cpu").open(images).relevance([0, 1, 0], texts)
    assert [one.value is None for one in first] == [False, False, True]
    assert all(0 <= one.value <= 100 for one in first if one.value is not None)


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "detector.json").write_text(json.dumps({**CONFIG, **changes})) and None


def _text(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "detector.json").write_bytes(content) and None


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _pickled(folder: Path) -> None:
    (folder / "detector.safetensors").unlink()
    (folder / "detector.pt").write_bytes(pickle.dumps({}))


def _weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "detector.safetensors"
        save_file(change(load_file(file)), file)

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_without("detector.json"), "got no detector.json in it, expected a detector"),
        (_text(b"{"), "detector.json: got something else, expected a JSON object of at most 1,000,000 bytes"),
        (_text(b"[" * 100_000), "detector.json: got something else"),
        (_text(b" " * 1_000_001), "detector.json: got something else"),
        (_config(import_path="os"), "detector.json: import_path: got an unknown key, expected one of kind, rows"),
        (_config(kind="yolo"), "detector.json: kind: got yolo"),
        (_config(width=10**9), "detector.json: width: got 1000000000, expected a value less than or equal to 16384"),
        (_config(rows=2.5), "detector.json: rows: got 2.5"),
        (_config(names={}), "detector.json: names: got {}"),
        (_config(places={"left": ["on the left"]}), "detector.json: places: got 1, expected 2, one for each part"),
        (_without("detector.safetensors"), "detector.safetensors: got no such file, expected weights as safetensors"),
        (_pickled, "got detector.pt, a pickle, which can run code when it is read"),
        (_config(names={"circle": ["circle"]}), "name.bias: got shape [3], expected shape [2]"),
        (_weights(lambda weights: {**weights, "more": torch.zeros(1)}), "more: got shape [1], expected no such tensor"),
        (_weights(lambda weights: {**weights, "name.bias": torch.full([3], torch.nan)}), "name.bias: got NaN or infinity"),
    ],
)  # fmt: skip
def test_a_hostile_folder_is_refused(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    """Only listed keys, bounded sizes, and the weights of the configured network; each refusal is one line."""
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_detector(folder, device="cpu")
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert line.endswith("Next: dvc repro prepare")
