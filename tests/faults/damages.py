"""What can happen to a file, and what keeps a folder from being written."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import save_file

Damage = Callable[[Path], None]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """Eight bytes in the middle are inverted."""
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start : start + 8] = bytes(255 - byte for byte in content[start : start + 8])
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    """A sound file of the same format with something else in it."""
    if path.suffix == ".parquet":
        pl.DataFrame({"foreign": [1, 2]}).write_parquet(path)
    elif path.suffix == ".safetensors":
        save_file({"foreign": np.zeros(4, np.float32)}, path)
    elif path.suffix == ".png":
        path.write_text("not an image")
        Image.new("1", (1, 1)).save(path, "TIFF")
        truncated(path)
    else:
        path.write_text('{"foreign": "x"}')


def deleted(path: Path) -> None:
    path.unlink()


def swapped(path: Path) -> None:
    """The next file of the same format in its folder, and this one, exchange their names."""
    other = min(other for other in path.parent.glob(f"*{path.suffix}") if other != path)
    spare = path.with_name("spare")
    path.rename(spare)
    other.rename(path)
    spare.rename(other)


DAMAGES: tuple[Damage, ...] = (truncated, flipped, empty, foreign, swapped, deleted)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Keep everyone from writing in a folder: by its mode, and for root, who is above modes, by its immutable flag."""
    mode = folder.stat().st_mode
    if os.geteuid() != 0:
        folder.chmod(0o555)
        undo = lambda: folder.chmod(mode)  # noqa: E731 - the two ways back, side by side
    elif (
        shutil.which("chattr")
        and not subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode
    ):
        undo = lambda: subprocess.run(["chattr", "-i", folder], check=True)  # noqa: E731 - the same
    else:
        pytest.skip("root may write anywhere, and this file system has no immutable flag")
    try:
        yield
    finally:
        undo()
