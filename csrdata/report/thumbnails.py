"""Thumbnails of a report's images: JPEG, at most 256 pixels wide and high, encoded again: no foreign byte is kept."""

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from csrdata.errors import UserError
from csrdata.images import ImageRoot, load_image

SIZE = 256
"""Pixels of the longer side; a smaller image keeps its size."""
QUALITY = 75
"""A photograph takes about a quarter more bytes than as WebP of quality 78, and a fifteenth of the time to encode."""
SMALL_QUALITY = 90
"""Of an image that was not made smaller, such as a drawing of a few pixels, which also keeps the colours of each."""
_AT_ONCE = 64


def thumbnails(images: Sequence[str], *, root: Path | ImageRoot) -> Iterator[tuple[str, bytes | UserError]]:
    """Yield each image's thumbnail, in order, or the error that says why it is missing.

    Args:
        images: paths, relative to `root`.
        root: as for `load_image`.
    """

    def make(image: str) -> bytes | UserError:
        try:
            return thumbnail(load_image(image, root=root, place="report"))
        except UserError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, len(images), _AT_ONCE):
            some = images[begin : begin + _AT_ONCE]
            yield from zip(some, pool.map(make, some), strict=True)


def thumbnail(image: Image.Image) -> bytes:
    """Return an image as a small JPEG file, without metadata."""
    small = max(image.size) <= SIZE
    quality, subsampling = (SMALL_QUALITY, "4:4:4") if small else (QUALITY, "4:2:0")
    # Halved by a box filter as often as possible, then by another filter: half the time of one filter for all.
    image.thumbnail((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=1.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality, subsampling=subsampling)
    return content.getvalue()
