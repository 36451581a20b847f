"""Draw a scene: 66 x 66 pixels, a grainy background in the theme's colour, and shapes of one size.

Each of the nine places is a square of 22 x 22 pixels, which is one patch of the models.

The mask of each shape is drawn once, enlarged, and scaled down. An image is then a few small blends in numpy, so tens of
thousands of images take seconds. Grain and tints are derived from a hash of the scene.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from csrdata.sources.microworld.world import PLACES, Scene, stable_number, themes_of

IMAGE_SIZE = 66
"""Side of an image, pixels: three places of 22."""
PAINT = {
    "red": (214, 40, 40),
    "green": (36, 150, 60),
    "blue": (40, 80, 214),
    "yellow": (240, 214, 30),
    "purple": (150, 50, 180),
    "orange": (244, 130, 20),
}
_CENTRES = (11, 33, 55)
_RADIUS = 10
_OVERSIZE = 8


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Return the scene's image: [66, 66, 3], RGB 0..255. The same scene always gives the same bytes."""
    rng = np.random.default_rng(stable_number("draw", scene.scene_id, scene.theme, scene.objects))
    image = _ground(scene, rng)
    for thing in scene.objects:
        row, column = divmod(PLACES.index(thing.place), 3)
        tint = rng.integers(0, 25, size=3)
        mask = _mask(thing.shape, _RADIUS)
        half = mask.shape[0] // 2
        top, left = _CENTRES[row] - half, _CENTRES[column] - half
        window = image[top : top + 2 * half, left : left + 2 * half]
        paint = np.asarray(PAINT[thing.colour], dtype=np.float32) + np.asarray(tint, dtype=np.float32) - 12
        window += mask * (paint - window)
    return np.asarray(np.clip(image, 0, 255), dtype=np.uint8)


def draw_all(scenes: list[Scene]) -> NDArray[np.uint8]:
    """Return the images of N scenes: [N, 66, 66, 3], RGB 0..255."""
    images = np.empty((len(scenes), IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for row, scene in enumerate(scenes):
        images[row] = draw(scene)
    return images


def _ground(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the background, [66, 66, 3]; a mixture of themes has one horizontal band per theme."""
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.float32)
    themes = themes_of(scene)
    band = IMAGE_SIZE // len(themes)
    for number, theme in enumerate(themes):
        image[number * band : (number + 1) * band] = theme.ground
    image += rng.integers(-5, 6, size=3)
    image += rng.integers(-4, 5, size=(IMAGE_SIZE, IMAGE_SIZE, 1), dtype=np.int8)
    return image


@cache
def _mask(shape: str, radius: int) -> NDArray[np.float32]:
    """Return the share of each pixel that a shape covers, 0..1: [side, side, 1] with side = 2 * (radius + 1)."""
    side = 2 * (radius + 1)
    large = Image.new("L", (side * _OVERSIZE, side * _OVERSIZE))
    pen = ImageDraw.Draw(large)
    middle, reach = side * _OVERSIZE / 2, radius * _OVERSIZE

    def disc(x: float, y: float, r: float, fill: int = 255) -> None:
        cx, cy = middle + x * reach, middle + y * reach
        pen.ellipse((cx - r * reach, cy - r * reach, cx + r * reach, cy + r * reach), fill=fill)

    def polygon(points: list[tuple[float, float]]) -> None:
        pen.polygon([(middle + x * reach, middle + y * reach) for x, y in points], fill=255)

    if shape == "circle":
        disc(0, 0, 0.9)
    elif shape == "ring":
        disc(0, 0, 1)
        disc(0, 0, 0.55, fill=0)
    elif shape == "crescent":
        disc(0, 0, 1)
        disc(0.45, -0.1, 0.8, fill=0)
    elif shape == "heart":
        disc(-0.45, -0.35, 0.5)
        disc(0.45, -0.35, 0.5)
        polygon([(-0.9, -0.15), (0.9, -0.15), (0, 0.95)])
    else:
        polygon(_outline(shape))
    small = large.resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)[:, :, None] / np.float32(255)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a polygon, x to the right and y down, each -1..1."""
    if shape == "star":
        return [_on_circle(36 * corner, 1 if corner % 2 == 0 else 0.42) for corner in range(10)]
    thin = 0.32
    outlines: dict[str, list[tuple[float, float]]] = {
        "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "bar": [(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)],
        "diamond": [(0, -1), (0.75, 0), (0, 1), (-0.75, 0)],
        "triangle": [(0, -0.95), (0.95, 0.8), (-0.95, 0.8)],
        "arrow": [(1, 0), (0.1, -0.9), (0.1, -thin), (-1, -thin), (-1, thin), (0.1, thin), (0.1, 0.9)],
        "cross": [
            *[(-thin, -1), (thin, -1), (thin, -thin), (1, -thin), (1, thin), (thin, thin)],
            *[(thin, 1), (-thin, 1), (-thin, thin), (-1, thin), (-1, -thin), (-thin, -thin)],
        ],
        "house": [(0, -1), (1, -0.15), (0.7, -0.15), (0.7, 0.9), (-0.7, 0.9), (-0.7, -0.15), (-1, -0.15)],
    }
    return outlines[shape]


def _on_circle(degrees: float, radius: float) -> tuple[float, float]:
    """Return the point (x, y) at an angle clockwise from the top."""
    return (radius * math.sin(math.radians(degrees)), -radius * math.cos(math.radians(degrees)))
