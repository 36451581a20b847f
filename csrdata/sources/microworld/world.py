"""The microworld's scenes: a few coloured shapes at the places of a 3x3 grid, with a theme.

A theme plays the part of bias in a large model's training data: it makes some objects *usual* (its stereotypes, each with a
usual colour and place), so a policy that relies on text names them without looking. This file defines only scenes;
`drawing`, `language` and `parsing` draw, describe and parse them.

The randomness of a scene comes from a stable hash of (seed, split, index). The n-th scene of a split is therefore always the
same, whatever the order, number or process in which scenes are sampled.

No two splits share a set of objects, whatever their seeds: `split_of` assigns every set to one split by a stable hash. A
scene whose set is another split's is sampled again with the same theme and number of objects, so that both have the same
distribution in every split. A scene that shows only usual objects, as they usually are, is sampled again too. There are
few such sets, and each is so frequent that the one split that owns it would differ from all others.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
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
WORLD_VERSION = 2
"""Raised when the same seed gives other scenes, questions or truth: figures of two versions are not comparable.

In version 1, splits had sets of objects in common."""
OUT_OF_DISTRIBUTION = "out_of_distribution"
TEST = "test"
"""Images that no stage of the pipeline sees: `csrdata.pipeline.final` draws them."""
SPLITS = (
    "scorer",
    "held_out_scorer",
    "policy",
    "train",
    "validation",
    "held_out",
    OUT_OF_DISTRIBUTION,
    TEST,
)
"""Every split owns an equal share of all sets of objects; the order and the number of splits decide which."""
SCORER_SPLITS = ("scorer", "held_out_scorer")
"""Splits to train scorers on, where all objects are equally frequent, whatever the theme. A real CLIP is trained on more
varied data than one kind of caption, and a batch in which half of the images show the same stereotypes teaches little."""
STEREOTYPE_PRESENCE = 0.5
"""Probability of each stereotype of the theme to be in a draw of objects, 0..1."""
STEREOTYPE_CONFORMITY = 0.85
"""Probability of such an object to have its usual colour, and likewise its usual place, 0..1."""
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


def sample_scene(*, split: str, index: int, seed: int) -> Scene:
    """Return scene number `index` of a split.

    Scenes have 2 to 5 objects and one theme; out of distribution, 5 or 6 objects and two themes. In the scorers' splits, the
    theme only sets the background, and no object is usual. Theme and number of objects are drawn once; the objects are
    drawn until their set belongs to the split and not all of them are as usual.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    rng = stable_random("scene", seed, split, index)
    mixed = split == OUT_OF_DISTRIBUTION
    names = sorted(theme.name for theme in rng.sample(THEMES, 2 if mixed else 1))
    size = rng.randint(5, 6) if mixed else rng.randint(2, 5)
    empty = Scene(f"{split}-{index:05d}", MIXTURE_MARK.join(names), ())
    stereotypes = stereotypes_of(empty)
    common = {shape for theme in themes_of(empty) for shape in theme.common}
    while True:
        objects = (
            _any_objects(rng, size)
            if split in SCORER_SPLITS
            else _themed_objects(rng, size, stereotypes=stereotypes, common=common)
        )
        if split_of(objects) == split and not set(stereotypes).issuperset(objects):
            return replace(empty, objects=objects)


def split_of(objects: Iterable[SceneObject]) -> str:
    """Return the split that owns a set of objects; their order does not matter."""
    words = sorted(f"{thing.shape}/{thing.colour}/{thing.place}" for thing in objects)
    return SPLITS[stable_number("split", *words) % len(SPLITS)]


def sample_scenes(*, split: str, count: int, seed: int) -> list[Scene]:
    """Return the first `count` scenes of a split."""
    return [sample_scene(split=split, index=index, seed=seed) for index in range(count)]


def _themed_objects(
    rng: random.Random, size: int, *, stereotypes: Sequence[SceneObject], common: set[str]
) -> tuple[SceneObject, ...]:
    """Return random objects of a theme: some of its stereotypes, then others, the common shapes twice as often."""
    usual = [thing for thing in stereotypes if rng.random() < STEREOTYPE_PRESENCE]
    rng.shuffle(usual)
    objects: list[SceneObject] = []
    for thing in usual[:size]:
        colour = thing.colour if rng.random() < STEREOTYPE_CONFORMITY else rng.choice(COLOURS)
        free = _free_places(objects)
        keeps_place = thing.place in free and rng.random() < STEREOTYPE_CONFORMITY
        objects.append(SceneObject(thing.shape, colour, thing.place if keeps_place else rng.choice(free)))
    while len(objects) < size:
        objects.append(_any_object(rng, objects, stereotypes=stereotypes, common=common))
    rng.shuffle(objects)
    return tuple(objects)


def _any_objects(rng: random.Random, size: int) -> tuple[SceneObject, ...]:
    """Return random objects, independent of the theme."""
    shapes, places = rng.sample(SHAPES, size), rng.sample(PLACES, size)
    return tuple(
        SceneObject(shape, rng.choice(COLOURS), place) for shape, place in zip(shapes, places, strict=True)
    )


def _any_object(
    rng: random.Random,
    objects: Sequence[SceneObject],
    *,
    stereotypes: Sequence[SceneObject],
    common: set[str],
) -> SceneObject:
    """Return a random object of a new shape at a free place; it is not a stereotype, as those were sampled before."""
    taken = {thing.shape for thing in objects} | {thing.shape for thing in stereotypes}
    shapes = [shape for shape in SHAPES if shape not in taken]
    if not shapes:  # two themes and the present objects can use up all shapes
        present = {thing.shape for thing in objects}
        shapes = [shape for shape in SHAPES if shape not in present]
    shape = rng.choices(shapes, weights=[2 if shape in common else 1 for shape in shapes])[0]
    return SceneObject(shape, rng.choice(COLOURS), rng.choice(_free_places(objects)))


def _free_places(objects: Iterable[SceneObject]) -> list[str]:
    taken = {thing.place for thing in objects}
    return [place for place in PLACES if place not in taken]
