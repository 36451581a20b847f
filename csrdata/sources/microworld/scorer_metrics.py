"""How often a scorer prefers a true sentence to the same sentence with one false part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.language import SENTENCE_PATTERNS, sentence
from csrdata.sources.microworld.world import COLOURS, PLACES, SHAPES, Scene, scene_objects, stable_random

FALSE_PARTS = ("shape", "colour", "place")


@dataclass(frozen=True)
class Contest:
    """Sentences about one object, in the same wording: the true one, and one per part that is made false."""

    true: str
    shape: str
    colour: str
    place: str

    def texts(self) -> tuple[str, str, str, str]:
        """Return the true sentence, and the false ones in the order of `FALSE_PARTS`."""
        return self.true, self.shape, self.colour, self.place


@torch.inference_mode()
def scorer_metrics(folder: Path, scenes: Sequence[Scene], *, seed: int, batch: int = 256) -> dict[str, float]:
    """Return the percentage of objects, 0..100, whose true sentence scores higher than the false one, by its false part.

    The false part is an absent shape, a wrong colour or a wrong place. The scorer is loaded like any other open_clip model,
    with its own image transform and tokenizer.
    """
    model, transform = _load(folder)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    wins = dict.fromkeys(FALSE_PARTS, 0)
    total = 0
    for start in range(0, len(scenes), batch):
        part = scenes[start : start + batch]
        pictures = torch.stack([transform(Image.fromarray(draw(scene))) for scene in part])
        seen = model.encode_image(pictures, normalize=True)
        held = [(row, contest) for row, scene in enumerate(part) for contest in contests(scene, seed=seed)]
        texts = [text for _, each in held for text in each.texts()]
        said = model.encode_text(tokenizer(texts), normalize=True).view(len(held), 4, -1)
        scores = torch.einsum("nkd,nd->nk", said, seen[[row for row, _ in held]])
        for column, kind in enumerate(wins, start=1):
            wins[kind] += int((scores[:, 0] > scores[:, column]).sum())
        total += len(held)
    return {f"prefers_true_{kind}": 100 * count / total for kind, count in wins.items()}


def _load(folder: Path) -> tuple[Any, Any]:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), transform


def contests(scene: Scene, *, seed: int) -> list[Contest]:
    """Return one contest for each object of a scene."""
    rng = stable_random("contests", seed, scene.scene_id)
    absent = [shape for shape in SHAPES if shape not in scene_objects(scene)]
    found = []
    for thing in scene.objects:
        words = {"pattern": rng.randrange(len(SENTENCE_PATTERNS)), "phrase": rng.randrange(3)}
        wrong_colour = rng.choice([colour for colour in COLOURS if colour != thing.colour])
        wrong_place = rng.choice([place for place in PLACES if place != thing.place])
        found.append(
            Contest(
                sentence(thing, **words),
                sentence(replace(thing, shape=rng.choice(absent)), **words),
                sentence(replace(thing, colour=wrong_colour), **words),
                sentence(replace(thing, place=wrong_place), **words),
            )
        )
    return found
