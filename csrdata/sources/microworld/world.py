"""The microworld's scenes: a few coloured shapes at the places of a 3x3 grid, with a theme.

A theme plays the part of bias in a large model's training data: it makes some objects *usual* (its stereotypes, each with a
usual colour and place), so a policy that relies on text names them without looking. This file defines only scenes;
`drawing`, `language` and `parsing` draw, describe and parse them.

The randomness of a scene comes from a stable hash of (seed, split, index). The n-th scene of a split is therefore always the
same, whatever the order, number or process in which scenes are sampled.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

SHAPES = (
    "circle",
    "ring",
    "square",
    "diamond",
    "triangle",
    "arrow",
    "star",
    "cross",
    "heart",
    "crescent",
    "bar",
    "house",
)
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
# In reading order: the index // 3 is the row, the index % 3 is the column.
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "centre",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
# Shapes that a weak vision model easily confuses at 22 pixels.
SIMILAR_SHAPES = (
    frozenset({"circle", "ring", "crescent"}),
    frozenset({"square", "diamond", "house", "bar"}),
    frozenset({"triangle", "arrow", "house"}),
    frozenset({"star", "cross", "arrow", "bar"}),
    frozenset({"heart", "diamond", "crescent"}),
)
OUT_OF_DISTRIBUTION = "out_of_distribution"
SPLITS = ("scorer", "held_out_scorer", "policy", "train", "validation", "held_out", OUT_OF_DISTRIBUTION)
SCORER_SPLITS = ("scorer", "held_out_scorer")
"""Splits for training scorers, where all objects are equally frequent, whatever the theme. A real CLIP is trained on more
varied data than one kind of caption, and a batch in which half of the images show the same stereotypes teaches little."""
MIXTURE_MARK = "+"


@dataclass(frozen=True)
class SceneObject:
    """One object: a shape of SHAPES in a colour of COLOURS at a place of PLACES."""

    shape: str
    colour: str
    place: str


@dataclass(frozen=True)
class Theme:
    """The usual objects of one kind of scene."""

    name: str
    stereotypes: tuple[SceneObject, ...]
    """Objects that are often in its scenes, and that its captions often name even if they are absent."""
    common: tuple[str, ...]
    """Shapes that occur more often than others: hard negatives for yes/no questions."""
    ground: tuple[int, int, int]
    """Background colour, RGB 0..255, which shows the theme of an image."""


@dataclass(frozen=True)
class Scene:
    """The content of one image, with at most one object of each shape and at most one at each place."""

    scene_id: str
    theme: str
    """The theme's name; in the split `out_of_distribution`, two names joined by "+"."""
    objects: tuple[SceneObject, ...]


THEMES = (
    Theme(
        "harbour",
        (
            SceneObject("crescent", "yellow", "top right"),
            SceneObject("triangle", "red", "bottom left"),
            SceneObject("ring", "orange", "right"),
        ),
        ("arrow", "cross", "circle"),
        (194, 220, 240),
    ),
    Theme(
        "garden",
        (
            SceneObject("heart", "purple", "left"),
            SceneObject("circle", "yellow", "top left"),
            SceneObject("house", "red", "bottom right"),
        ),
        ("star", "bar", "diamond"),
        (204, 232, 200),
    ),
    Theme(
        "market",
        (
            SceneObject("square", "green", "bottom"),
            SceneObject("star", "orange", "top"),
            SceneObject("diamond", "blue", "right"),
        ),
        ("heart", "circle", "house"),
        (242, 222, 188),
    ),
    Theme(
        "night",
        (
            SceneObject("star", "yellow", "top left"),
            SceneObject("house", "blue", "bottom"),
            SceneObject("arrow", "green", "right"),
        ),
        ("crescent", "ring", "heart"),
        (214, 202, 240),
    ),
    Theme(
        "workshop",
        (
            SceneObject("bar", "blue", "centre"),
            SceneObject("cross", "red", "top right"),
            SceneObject("arrow", "purple", "bottom left"),
        ),
        ("square", "triangle", "ring"),
        (224, 224, 224),
    ),
)
_THEME_BY_NAME = {theme.name: theme for theme in THEMES}


def themes_of(scene: Scene) -> tuple[Theme, ...]:
    """Return the theme of a scene; two themes if it is out of distribution."""
    return tuple(_THEME_BY_NAME[name] for name in scene.theme.split(MIXTURE_MARK))


def stereotypes_of(scene: Scene) -> tuple[SceneObject, ...]:
    """Return the stereotypes of the scene's theme or themes, one per shape, whether or not they are in the scene."""
    by_shape: dict[str, SceneObject] = {}
    for theme in themes_of(scene):
        for stereotype in theme.stereotypes:
            by_shape.setdefault(stereotype.shape, stereotype)
    return tuple(by_shape.values())


def scene_objects(scene: Scene) -> list[str]:
    """Return the present shapes in the scene's order; CHAIR counts these as objects."""
    return [thing.shape for thing in scene.objects]


def stable_number(*parts: object) -> int:
    """Return a 64-bit hash of the parts, independent of process and of Python's hash seed."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def stable_random(*parts: object) -> random.Random:
    """Return a random generator whose seed is the hash of the parts."""
    return random.Random(stable_number(*parts))


def sample_scene(
    *,
    split: str,
    index: int,
    seed: int,
    stereotype_presence: float = 0.5,
    stereotype_conformity: float = 0.85,
) -> Scene:
    """Return scene number `index` of a split.

    `stereotype_presence`: probability of each stereotype of the theme to be in the scene, 0..1.
    `stereotype_conformity`: probability of such an object to have its usual colour, and likewise its usual place, 0..1.
    Scenes have 2 to 5 objects and one theme; out of distribution, 5 or 6 objects and two themes. In the scorers' splits, the
    theme only sets the background, and no object is usual.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    rng = stable_random("scene", seed, split, index)
    mixed = split == OUT_OF_DISTRIBUTION
    names = sorted(theme.name for theme in rng.sample(THEMES, 2 if mixed else 1))
    size = rng.randint(5, 6) if mixed else rng.randint(2, 5)
    scene = Scene(f"{split}-{index:05d}", MIXTURE_MARK.join(names), ())
    if split in SCORER_SPLITS:
        return replace(scene, objects=_any_objects(rng, size))
    usual = [thing for thing in stereotypes_of(scene) if rng.random() < stereotype_presence]
    rng.shuffle(usual)

    objects: list[SceneObject] = []
    for thing in usual[:size]:
        colour = thing.colour if rng.random() < stereotype_conformity else rng.choice(COLOURS)
        free = [place for place in PLACES if place not in {other.place for other in objects}]
        keeps_place = thing.place in free and rng.random() < stereotype_conformity
        objects.append(SceneObject(thing.shape, colour, thing.place if keeps_place else rng.choice(free)))
    common = {shape for theme in themes_of(scene) for shape in theme.common}
    while len(objects) < size:
        objects.append(_any_object(rng, objects, scene=scene, common=common))
    rng.shuffle(objects)
    return Scene(scene.scene_id, scene.theme, tuple(objects))


def sample_scenes(*, split: str, count: int, seed: int) -> list[Scene]:
    """Return the first `count` scenes of a split."""
    return [sample_scene(split=split, index=index, seed=seed) for index in range(count)]


def _any_objects(rng: random.Random, size: int) -> tuple[SceneObject, ...]:
    """Return random objects, independent of the theme."""
    shapes, places = rng.sample(SHAPES, size), rng.sample(PLACES, size)
    return tuple(
        SceneObject(shape, rng.choice(COLOURS), place) for shape, place in zip(shapes, places, strict=True)
    )


def _any_object(
    rng: random.Random, objects: Sequence[SceneObject], *, scene: Scene, common: set[str]
) -> SceneObject:
    """Return a random object of a new shape at a free place; it is not a stereotype, as those were sampled before."""
    taken = {thing.shape for thing in objects} | {thing.shape for thing in stereotypes_of(scene)}
    shapes = [shape for shape in SHAPES if shape not in taken]
    if not shapes:  # two themes and the present objects can use up all shapes
        shapes = [shape for shape in SHAPES if shape not in {thing.shape for thing in objects}]
    shape = rng.choices(shapes, weights=[2 if shape in common else 1 for shape in shapes])[0]
    places = [place for place in PLACES if place not in {thing.place for thing in objects}]
    return SceneObject(shape, rng.choice(COLOURS), rng.choice(places))
