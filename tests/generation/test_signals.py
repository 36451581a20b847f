"""The signals of a shard, against scorers whose values can be read off."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from csrdata.generation import signals
from csrdata.generation.clock import Clock
from csrdata.generation.signals import images_elsewhere, measure
from csrdata.images import ImageRoot, describe_image
from csrdata.records import NO_PARENT, Fate, Sentence, Signal, Stop
from csrdata.relevance.base import Relevance
from csrdata.relevance.open_clip import load_open_clip
from tests.relevance.test_open_clip import save_tiny_clip
from tests.tiny import picture


@dataclass
class Counted:
    """A scorer whose relevance is the image's first red value plus the length of the text; it counts what it embeds."""

    opened: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    silent: str = ""
    """The text of which it says nothing."""

    def open(self, images: Sequence[Image.Image]) -> "Counted":
        self.opened.append(len(images))
        self.reds = [float(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]
        return self

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        self.asked.append(len(texts))
        return [
            Relevance(None if text == self.silent else self.reds[owner] + len(text), truncated=False)
            for owner, text in zip(owners, texts, strict=True)
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        raise AssertionError("no signal is about repetition")


def row(prompt: str, node: int, text: str, *, fate: Fate = Fate.PRUNED) -> Sentence:
    return Sentence(
        prompt_id=prompt,
        node_id=node,
        parent_id=NO_PARENT,
        depth=1,
        group=0,
        text=text,
        token_ids=[1],
        logprob=-1.0,
        relevance=9.0 if text else None,
        relevance_truncated=False,
        repetition=0.0 if text else None,
        guidance_reward=0.0 if text else None,
        stop=Stop.SENTENCE_END if text else Stop.END,
        fate=fate,
        canonical=None,
    )


FILES = {"p1": "a.png", "p2": "b.png", "p3": "copy_of_a.png", "p4": "c.png"}
REDS = {"a.png": 10, "b.png": 20, "copy_of_a.png": 10, "c.png": 40}
ROWS = [
    row("p1", 0, "A."),
    row("p1", 1, "Long."),
    row("p1", 2, "", fate=Fate.FINISHED),
    row("p2", 0, "A."),
    replace(row("p0", 0, ""), token_ids=[], fate=Fate.REFUSED, stop=Stop.BAD_IMAGE),
    row("p3", 0, "Bcd."),
    row("p4", 0, "A."),
]


@pytest.fixture
def root(tmp_path: Path) -> ImageRoot:
    for name, red in REDS.items():
        Image.new("RGB", (4, 4), (red, 0, 0)).save(tmp_path / name)
    return ImageRoot(tmp_path, {name: describe_image(name, root=tmp_path, place=name) for name in REDS})


def measured(
    root: Path | ImageRoot, scorers: dict[str, Counted], search: Counted, *, most: int = 32
) -> list[Signal]:
    return measure(
        ROWS, images=FILES, root=root, scorers=scorers, search=search, other_images=most, clock=Clock()
    )


def test_signals_by_hand(root: ImageRoot) -> None:
    """R_I by each scorer for its own image; `elsewhere` is the mean over the images of other prompts, never an equal one."""
    found = measured(root, {"held_out": Counted(), "more": Counted(silent="Long.")}, Counted())
    # Images a and copy_of_a are one: their others are b (20) and c (40).
    assert [(one.prompt_id, one.node_id, one.name, one.value) for one in found] == [
        ("p1", 0, "held_out", 12.0),
        ("p1", 0, "more", 12.0),
        ("p1", 0, "elsewhere", 32.0),
        ("p1", 1, "held_out", 15.0),
        ("p1", 1, "more", None),
        ("p1", 1, "elsewhere", 35.0),
        ("p2", 0, "held_out", 22.0),
        ("p2", 0, "more", 22.0),
        ("p2", 0, "elsewhere", 27.0),
        ("p3", 0, "held_out", 14.0),
        ("p3", 0, "more", 14.0),
        ("p3", 0, "elsewhere", 34.0),
        ("p4", 0, "held_out", 42.0),
        ("p4", 0, "more", 42.0),
        ("p4", 0, "elsewhere", 17.0),
    ]


def test_each_image_is_embedded_once(root: ImageRoot) -> None:
    """Two prompts with equal bytes share an image; each scorer opens the shard once and scores its texts in one call."""
    own, search = Counted(), Counted()
    measured(root, {"held_out": own}, search)
    assert (own.opened, own.asked) == ([3], [5])
    assert search.opened == [3]
    assert sum(search.asked) == 5 * 2


def test_texts_go_in_bounded_calls(root: ImageRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """`elsewhere` scores a bounded number of texts at once, and gives the same values."""
    whole = measured(root, {}, Counted(), most=2)
    monkeypatch.setattr(signals, "_ROWS_AT_ONCE", 4)
    search = Counted()
    assert measured(root, {}, search, most=2) == whole
    assert max(search.asked) == 4


def test_a_single_image_has_no_elsewhere(root: ImageRoot) -> None:
    """In a shard whose prompts have one image, and for a scorer that says nothing, `elsewhere` is null."""
    alone = [one for one in ROWS if one.prompt_id in {"p1", "p3"}]
    found = measure(
        alone, images=FILES, root=root, scorers={}, search=Counted(), other_images=32, clock=Clock()
    )
    assert {(one.name, one.value) for one in found} == {("elsewhere", None)}
    assert {one.value for one in measured(root, {}, Counted(silent="A.")) if one.node_id == 0} == {None, 34.0}


def test_other_images_are_chosen_by_hash() -> None:
    """The choice is fixed for an image, whatever the order of the shard; it differs from image to image."""
    shard = [hashlib.sha256(bytes([number])).hexdigest() for number in range(50)]
    chosen = images_elsewhere(shard[7], shard, most=8)
    assert len(chosen) == len(set(chosen)) == 8
    assert 7 not in chosen
    turned = shard[::-1]
    assert [turned[index] for index in images_elsewhere(shard[7], turned, most=8)] == [
        shard[index] for index in chosen
    ]
    assert images_elsewhere(shard[8], shard, most=8) != chosen
    assert sorted(images_elsewhere(shard[7], shard, most=100)) == [index for index in range(50) if index != 7]


def test_a_shard_without_candidates_has_no_signals(root: ImageRoot) -> None:
    """If every prompt was refused, no image is read."""
    refused = [one for one in ROWS if one.fate == Fate.REFUSED]
    assert (
        measure(refused, images={}, root=root, scorers={}, search=Counted(), other_images=32, clock=Clock())
        == []
    )


def test_held_out_is_what_scoring_computed_before(tmp_path: Path, root: ImageRoot) -> None:
    """With a CLIP, the held-out values have the bits of one call over the shard's images and texts."""
    (tmp_path / "clip").mkdir()
    save_tiny_clip(tmp_path / "clip")
    clip = load_open_clip(tmp_path / "clip")
    rows = [
        row(f"q{number}", node, text)
        for number in range(3)
        for node, text in enumerate(["A red circle.", f"Picture {number}.", "A star."])
    ]
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    found = measure(
        rows,
        images={f"q{number}": f"{number}.png" for number in range(3)},
        root=tmp_path,
        scorers={"held_out": clip},
        search=clip,
        other_images=32,
        clock=Clock(),
    )
    expected = clip.open([picture(number) for number in range(3)]).relevance(
        [number for number in range(3) for _ in range(3)], [one.text for one in rows]
    )
    assert [one.value for one in found if one.name == "held_out"] == [value for value, _ in expected]


def test_the_clock_tells_each_signal(root: ImageRoot) -> None:
    """The run log gets the seconds of every signal."""
    clock = Clock()
    measure(
        ROWS,
        images=FILES,
        root=root,
        scorers={"held_out": Counted()},
        search=Counted(),
        other_images=2,
        clock=clock,
    )
    assert set(clock.take()) == {"read", "held_out", "elsewhere"}
