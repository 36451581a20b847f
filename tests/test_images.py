"""Images: every mode becomes the RGB that a viewer shows, and a file that is untrusted does no harm."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csrdata.errors import UserError
from csrdata.images import MAX_PIXELS, ImageRoot, decode_image, describe_image, image_extension, load_image
from tests.tiny import picture

DO = "dvc repro"
RAMP = np.linspace(0, 65_535, 4096).reshape(64, 64)
"""16-bit grey from black to white: its mean in 8 bits is 127.5."""


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def decode(content: bytes) -> Image.Image:
    return decode_image(content, place="prompt p", do=DO)


def refusal(content: bytes) -> str:
    """Return the one line that refuses some bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            decode(content)
        with pytest.raises(UserError):
            image_extension(content, place="prompt p", do=DO)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [*((mode, kind) for mode in ("RGB", "L", "P", "1") for kind in ("PNG", "TIFF")), ("CMYK", "TIFF"), ("CMYK", "JPEG")],
)  # fmt: skip
def test_plain_modes_are_read_as_pillow_reads_them(mode: str, kind: str) -> None:
    """An opaque image of 8 bits or fewer gives Pillow's own conversion, byte for byte."""
    content = encoded(picture(0).convert(mode), kind)
    assert decode(content).tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_changes_nothing(mode: str) -> None:
    """An alpha channel without a transparent pixel leaves the colours as they are."""
    image = picture(0).convert("RGB" if mode == "RGBA" else "L")
    with_alpha = image.copy()
    with_alpha.putalpha(255)
    assert decode(encoded(with_alpha)).tobytes() == image.convert("RGB").tobytes()


def test_transparent_pixels_are_over_white() -> None:
    """A transparent pixel is white whatever its stored colour, a half transparent one is half white, in all modes."""
    clear, half = Image.new("RGBA", (2, 2), (0, 0, 0, 0)), Image.new("LA", (2, 2), (0, 128))
    assert decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(half)).getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        image = decode(encoded(palette, kind, transparency=0))
        assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


@pytest.mark.parametrize(
    ("kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "int32")]
)
def test_16_bit_grey_is_scaled(kind: str, dtype: str) -> None:
    """A ramp from black to white reads with mean 127.5 and both ends, not as white."""
    values = np.asarray(decode(encoded(Image.fromarray(RAMP.astype(dtype)), kind)))
    assert (values.min(), values.max()) == (0, 255)
    assert values.mean() == pytest.approx(127.5, abs=0.1)


def test_float_pixels() -> None:
    """Floats in 0..1 are scaled; others, and whole numbers beyond 16 bits, have no known white and are refused."""
    ramp = Image.fromarray((RAMP / 65_535).astype(np.float32))
    assert np.asarray(decode(encoded(ramp, "TIFF"))).mean() == pytest.approx(127.5, abs=0.1)
    for values in (RAMP, RAMP * np.nan):
        tiff = encoded(Image.fromarray(values.astype(np.float32)), "TIFF")
        with pytest.raises(UserError, match=r"prompt p: got float pixels outside 0..1, expected a PNG"):
            decode(tiff)
    tiff = encoded(Image.fromarray((RAMP * 1000).astype(np.int32)), "TIFF")
    with pytest.raises(UserError, match=r"got integer pixels outside 0..65535"):
        decode(tiff)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    """Of several frames the first is read."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(content).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_photograph_is_upright(kind: str) -> None:
    """EXIF orientation is applied: 6 means that the top is at the right."""
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = image.getexif()
    exif[0x0112] = 6
    turned = decode(encoded(image, kind, exif=exif))
    assert turned.size == (16, 32)
    assert (turned.getpixel((8, 4))[0] > 250, turned.getpixel((8, 28))[0] < 5) == (True, True)  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("MPO", "jpg"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
    ],
)
def test_the_extension_is_the_contents(kind: str, extension: str) -> None:
    """The format is read from the bytes; MPO counts as JPEG."""
    options = {"save_all": True, "append_images": [picture(1)]} if kind == "MPO" else {}
    assert image_extension(encoded(picture(0), kind, **options), place="image", do=DO) == extension


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "ICO", "JPEG2000", "TGA"])
def test_other_formats_are_not_opened(kind: str) -> None:
    """Only listed decoders run: none starts Ghostscript."""
    assert "got another format or a damaged header, expected a PNG, JPEG, WebP, GIF, BMP or TIFF" in refusal(
        encoded(picture(0), kind)
    )


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """Above the limit it is an error of one line, also where Pillow only warns; long and narrow images are fine."""
    assert f"got 10000 x 10000 pixels, expected at most {MAX_PIXELS:,} pixels" in refusal(
        bomb(10_000, 10_000)
    )
    assert "got Image size (2500000000 pixels), expected at most" in refusal(bomb(50_000, 50_000))
    for size in ((20_000, 30), (700, 3), (3, 700), (1, 1)):
        assert decode(encoded(Image.new("RGB", size))).size == size


def test_damaged_content() -> None:
    """Empty, cut and garbled files are one line each; a text is no image."""
    assert "prompt p: got an empty file, expected a PNG" in refusal(b"")
    assert "got another format or a damaged header" in refusal(b"no image")
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        content = encoded(picture(0), kind)
        for size in (1, 20, len(content) // 2):
            assert refusal(content[:size]).endswith(f"Next: {DO}")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_flipped_bytes_raise_nothing_but_user_errors(kind: str) -> None:
    """Whatever a decoder raises for a damaged file, the caller gets an image or a one-line error."""
    content = bytearray(encoded(picture(0), kind))
    for position in range(0, min(len(content), 400), 3):
        damaged = (
            bytes(content[:position]) + bytes([content[position] ^ 0xFF]) + bytes(content[position + 1 :])
        )
        try:
            assert decode(damaged).mode == "RGB"
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with `images/0.png` in it, and `secret.png` next to it."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    picture(0).save(root / "images/0.png")
    picture(1).save(tmp_path / "secret.png")
    return root


def test_a_file_inside_the_root(root: Path) -> None:
    """A plain path and a link within the root are read, also where the root is reached through a link."""
    (root / "link.png").symlink_to("images/0.png")
    (root.parent / "door").symlink_to(root)
    for place in (root, root.parent / "door"):
        for path in ("images/0.png", "link.png"):
            assert load_image(path, root=place, place="prompt p").tobytes() == picture(0).tobytes()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{outside}", "a path relative to the root"),
        ("../secret.png", "got ../secret.png, expected a path relative to the root"),
        ("images/../../secret.png", "without `..`"),
        ("images\\0.png", "with forward slashes"),
        ("C:/secret.png", "got C:/secret.png, expected a path relative to the root"),
        ("images/0.png\0.jpg", r"got 'images/0.png\x00.jpg', expected a path relative to the root"),
        ("", "expected a path relative to the root"),
        ("images/\ud800.png", "expected a valid path"),
        ("a" * 5000, "got File name too long, expected a valid path"),
        ("out.png", "got a link that leads out of the root, expected a file inside "),
        ("folder/secret.png", "got a link that leads out of the root"),
        ("circle", "expected a valid path"),
        ("images", "got a folder or a device, expected an image"),
        ("pipe", "got a folder or a device, expected an image"),
        ("none.png", "prompt p-1: image none.png: got no such file, expected an image. Next: put the image there"),
        ("images/0.png/1.png", "got Not a directory"),
        ("empty.png", "image empty.png: got an empty file, expected a PNG"),
        ("line\nbreak.png", r"image 'line\nbreak.png': got no such file"),
    ],
)  # fmt: skip
def test_paths_stay_inside_the_root(root: Path, path: str, words: str) -> None:
    """A path or link out of the root, or an impossible path, is refused in one short line."""
    (root / "out.png").symlink_to("../secret.png")
    (root / "folder").symlink_to("..")
    (root / "circle").symlink_to("circle")
    (root / "empty.png").write_bytes(b"")
    os.mkfifo(root / "pipe")
    with pytest.raises(UserError) as caught:
        load_image(path.format(outside=root.parent / "secret.png"), root=root, place="prompt p-1")
    line = str(caught.value)
    assert words in line
    assert line.isprintable()
    assert len(line) < 700


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_description_is_of_the_upright_image(tmp_path: Path, suffix: str) -> None:
    """Width and height are those of the image that is loaded, whatever the camera's orientation says."""
    turned = Image.new("RGB", (30, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / f"a.{suffix}", exif=exif)
    found = describe_image(f"a.{suffix}", root=tmp_path, place="prompt p")
    assert (
        (found.width, found.height)
        == load_image(f"a.{suffix}", root=tmp_path, place="prompt p").size
        == (20, 30)
    )
    assert found.bytes == (tmp_path / f"a.{suffix}").stat().st_size


def test_an_image_that_has_changed_is_refused(tmp_path: Path) -> None:
    """With its hash known, an image is the one that was sampled, or one line says which is not and what to run."""
    picture(0).save(tmp_path / "a.png")
    known = {"a.png": describe_image("a.png", root=tmp_path, place="prompt p")}
    root = ImageRoot(tmp_path, known)
    assert load_image("a.png", root=root, place="prompt p").tobytes() == picture(0).tobytes()
    picture(1).save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        load_image("a.png", root=root, place="prompt p")
    assert str(caught.value) == (
        f"prompt p: image a.png: got other bytes than were sampled, expected those of SHA-256 "
        f"{known['a.png'].sha256[:12]}…. Next: put the image back, or sample again: dvc repro -f sample_prompts"
    )
    picture(0).save(tmp_path / "b.png")
    with pytest.raises(
        UserError, match=r"^prompt p: image b.png: got an image that was not sampled, expected"
    ):
        load_image("b.png", root=root, place="prompt p")


def test_a_description_of_a_large_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many bytes is not read into memory."""
    picture(0).save(tmp_path / "a.png")
    monkeypatch.setattr("csrdata.images.MAX_BYTES", 10)
    with pytest.raises(
        UserError, match=r"^prompt p: image a.png: got [\d,]+ bytes, expected at most 10 bytes"
    ):
        describe_image("a.png", root=tmp_path, place="prompt p")
