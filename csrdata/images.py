"""Loading of images: the only module that opens image files. It returns RGB images.

Image files and their paths are untrusted. A path is relative to a root folder and must stay inside it. An `ImageRoot` also
knows the hash of each image: `load_image` refuses an image that has changed since it was sampled. Only the decoders of
the formats in `EXTENSIONS` run, and only on images of at most `MAX_PIXELS` pixels. Colour profiles are ignored, as in the
image processors of transformers and open_clip.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from csrdata.errors import UserError
from csrdata.records import ImageFile

EXTENSIONS = {
    "BMP": "bmp",
    "GIF": "gif",
    "JPEG": "jpg",
    "MPO": "jpg",  # a JPEG file with a second picture after the first, from some cameras; only the first is read
    "PNG": "png",
    "TIFF": "tiff",
    "WEBP": "webp",
}
"""The allowed formats (Pillow's names) and their file extensions. No decoder of these formats starts a program."""

MAX_PIXELS = 89_478_485
"""Largest width * height; Pillow warns above the same number."""

_ORIENTATION = 0x0112
_TURNED = range(5, 9)
"""Values of EXIF's orientation that exchange width and height."""

KINDS = "a PNG, JPEG, WebP, GIF, BMP or TIFF image"
MAX_BYTES = 100_000_000
"""Of an image file that is sampled; a pull refuses a larger one too."""

REPLACE = "put the image there or leave the prompt out, then: dvc repro"
SAMPLE_AGAIN = "put the image back, or sample again: dvc repro -f sample_prompts"


class BadImage(UserError):
    """The content of an image file cannot be used; the file is there, and its path is a good one."""


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """A folder of images, and what each image in use must be."""

    folder: Path
    files: Mapping[str, ImageFile]
    """By path, relative to the folder."""

    def hashes(self) -> list[str]:
        """Return the SHA-256 of each image, in the order of `files`."""
        return [file.sha256 for file in self.files.values()]


def load_image(path: str, *, root: Path | ImageRoot, place: str, do: str = REPLACE) -> Image.Image:
    """Load an image file as RGB, rotated as its EXIF orientation says; of an animation, the first frame.

    Args:
        path: relative to `root`, with forward slashes.
        root: the folder that must contain the file. A symbolic link is allowed if its target is inside the folder. An
            `ImageRoot` also says which bytes the file must have.
        place: the record that refers to the image (`prompt p-1`), with which the error begins.
        do: the next command, for the error.

    Raises:
        UserError: the path is not relative or leaves the root, the file is missing or unreadable, its bytes are not those
            that were sampled, or `decode_image` raises.
    """
    place = f"{place}: image {_shown(path)}"
    folder, known = (root, None) if isinstance(root, Path) else (root.folder, root.files.get(path))
    do = do if isinstance(root, Path) else SAMPLE_AGAIN
    file = _inside(path, root=folder, place=place, do=do)
    try:
        with file.open("rb") as content:
            if isinstance(root, Path):
                return _decode(content, place=place, do=do)
            return _decode(_verified(content, known, place=place, do=do), place=place, do=do)
    except OSError as error:  # errors of the decoder are already UserErrors
        raise UserError(place, got=_reason(error), expected="a readable file", do=do) from None


def describe_image(path: str, *, root: Path, place: str, do: str = REPLACE) -> ImageFile:
    """Read an image file to its end; return its hash, its size, and width and height when upright.

    Args:
        path, root, place, do: see `load_image`.

    Raises:
        UserError: `load_image` would refuse the file, or it has more than `MAX_BYTES` bytes.
    """
    place = f"{place}: image {_shown(path)}"
    file = _inside(path, root=root, place=place, do=do)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            got, expected = f"{size:,} bytes", f"at most {MAX_BYTES:,} bytes"
            raise UserError(place, got=got, expected=expected, do=do)
        content = file.read_bytes()
    except OSError as error:
        raise UserError(place, got=_reason(error), expected="a readable file", do=do) from None
    width, height = _upright_size(content, place=place, do=do)
    return ImageFile(path, hashlib.sha256(content).hexdigest(), len(content), width, height)


def decode_image(content: bytes, *, place: str, do: str) -> Image.Image:
    """Decode an image as RGB, rotated as its EXIF orientation says; of an animation, the first frame.

    16-bit grey is scaled to 8 bits; float pixels must be in 0..1. Transparent images are drawn on white, as web pages and
    viewers do: the colour stored in transparent pixels, often black, is not meant to be visible.

    Args:
        content: the bytes of the whole file.
        place, do: the beginning of the error, and its next command.

    Raises:
        UserError: the content is empty, damaged or of another format, has more than `MAX_PIXELS` pixels, or has float or
            integer pixels outside the allowed range.
    """
    return _decode(io.BytesIO(content), place=place, do=do)


def image_extension(content: bytes, *, place: str, do: str) -> str:
    """Return the file extension of an image's format, without the dot: `png`, `jpg`, `webp`, `gif`, `bmp` or `tiff`.

    The whole content is decoded, so that a damaged file raises.

    Raises:
        UserError: as for `decode_image`, except that the range of pixels is not checked.
    """
    with _opened(io.BytesIO(content), place=place, do=do) as image:
        image.draft(None, (1, 1))  # decode a JPEG at a small size: faster, and all of it is still read
        image.load()
        return EXTENSIONS[str(image.format)]


def _inside(path: str, *, root: Path, place: str, do: str) -> Path:
    """Return the file of a relative path, symbolic links resolved; raise UserError if it is not a file in the root."""
    if (
        not path
        or PurePosixPath(path).is_absolute()
        or ".." in PurePosixPath(path).parts
        or re.match(r"[A-Za-z]:|.*[\\\0]", path, flags=re.DOTALL)
    ):
        expected = "a path relative to the root, with forward slashes and without `..`"
        raise UserError(place, got=_shown(path), expected=expected, do=do)
    try:
        file = (root / path).resolve(strict=True)
        inside, regular = file.is_relative_to(root.resolve()), file.is_file()
    except FileNotFoundError:
        raise UserError(place, got="no such file", expected="an image", do=do) from None
    except (OSError, RuntimeError, ValueError) as error:  # name too long, loop of links, lone surrogate
        raise UserError(place, got=_reason(error), expected="a valid path", do=do) from None
    if not inside:
        expected = f"a file inside {root.resolve()}"
        raise UserError(place, got="a link that leads out of the root", expected=expected, do=do)
    if not regular:
        raise UserError(place, got="a folder or a device", expected="an image", do=do)
    return file


def _verified(content: IO[bytes], known: ImageFile | None, *, place: str, do: str) -> IO[bytes]:
    """Return the bytes of an image file; refuse them if they are not those that were sampled."""
    if known is None:
        raise UserError(place, got="an image that was not sampled", expected="a sampled image", do=do)
    found = content.read(known.bytes + 1)
    if len(found) != known.bytes or hashlib.sha256(found).hexdigest() != known.sha256:
        expected = f"those of SHA-256 {known.sha256[:12]}…"
        raise UserError(place, got="other bytes than were sampled", expected=expected, do=do)
    return io.BytesIO(found)


def _upright_size(content: bytes, *, place: str, do: str) -> tuple[int, int]:
    """Return width and height; a JPEG is decoded small, which reads all of it and takes a fraction of the time."""
    with _opened(io.BytesIO(content), place=place, do=do) as image:
        if image.format not in {"JPEG", "MPO"}:
            return _rgb(ImageOps.exif_transpose(image)).size
        width, height = image.size
        image.draft(None, (1, 1))
        image.load()
        return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def _decode(content: IO[bytes], *, place: str, do: str) -> Image.Image:
    with _opened(content, place=place, do=do) as image:
        return _rgb(ImageOps.exif_transpose(image))


@contextmanager
def _opened(content: IO[bytes], *, place: str, do: str) -> Iterator[Image.Image]:
    """Open an image for decoding; turn any error of the decoder into a UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # damaged metadata does not matter, and `_check_size` refuses a large image
            with Image.open(content, formats=[name for name in EXTENSIONS if name != "MPO"]) as image:
                _check_size(image)
                yield image
    except Image.DecompressionBombError as error:
        got = str(error).partition(" exceeds")[0]  # the rest of the message is about Pillow's limit
        raise BadImage(place, got=got, expected=f"at most {MAX_PIXELS:,} pixels", do=do) from None
    except UnidentifiedImageError:
        content.seek(0)
        got = "another format or a damaged header" if content.read(1) else "an empty file"
        raise BadImage(place, got=got, expected=KINDS, do=do) from None
    except Exception as error:  # noqa: BLE001 - damaged content can raise any error
        raise BadImage(place, got=_reason(error), expected=f"{KINDS} that decodes", do=do) from None


def _check_size(image: Image.Image) -> None:
    """Raise for a large image before it is decoded: Pillow only warns up to twice its limit."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


def _rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB, 8 bits per channel."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError("float pixels outside 0..1")
        return _grey(np.rint(values * 255))
    if image.mode.startswith(
        "I"
    ):  # Pillow reads some 16-bit files as 32-bit `I`; for larger values the maximum is unknown
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("integer pixels outside 0..65535")
        return _grey((values.astype(np.uint32) + 128) // 257)
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    return image.convert("RGB")


def _grey(values: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _reason(error: Exception) -> str:
    """Return the reason why a file cannot be read, without its path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


def _shown(path: str, limit: int = 120) -> str:
    """Return a path for an error message: at most `limit` characters, escaped if it has unprintable ones."""
    text = path if path.isprintable() else ascii(path)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
