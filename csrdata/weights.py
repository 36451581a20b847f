"""Validation of weight files: safetensors only, complete, finite, with the tensor names and shapes that a model expects.

Weight files are untrusted. A pickle can run code when it is read, so it is refused by its file name and never opened. A
safetensors file contains only data, but it can be damaged or belong to another model.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrdata.errors import UserError

INDEX = ".index.json"
"""Suffix of the index file if the weights are in several files: `model.safetensors.index.json`."""

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

BLOCK = 4096
BLOCKS = 16
"""A fingerprint reads up to `BLOCKS` blocks of `BLOCK` bytes from each tensor."""

Shapes = dict[str, tuple[int, ...]]
"""The shape of each tensor, by name."""


def weight_files(folder: Path, name: str, *, do: str) -> list[Path]:
    """Return the safetensors files of a model's weights: the file `name`, or those that its index lists.

    Args:
        folder: the model's folder.
        name: file name, for example `model.safetensors`.
        do: the next command, for the error.

    Raises:
        UserError: there is no safetensors file, a file is missing, or the index is malformed.
    """
    if (folder / name).is_file():
        return [folder / name]
    if (folder / f"{name}{INDEX}").is_file():
        return _listed(folder / f"{name}{INDEX}", do=do)
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    got = f"{pickles[0]}, a pickle, which can run code when it is read" if pickles else "no such file"
    raise UserError(str(folder / name), got=got, expected="weights as safetensors", do=do)


def read_shapes(files: Sequence[Path], *, do: str) -> Shapes:
    """Return the shapes of all tensors in the files, without reading values.

    Raises:
        UserError: a file is missing, empty, cut, or not in the safetensors format.
    """
    from safetensors import SafetensorError, safe_open

    shapes: Shapes = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                names = weights.keys()
                shapes.update({name: tuple(weights.get_slice(name).get_shape()) for name in names})
        except (SafetensorError, OSError) as error:
            got = str(error) if file.is_file() and file.stat().st_size else "an empty or missing file"
            raise UserError(str(file), got=got, expected="a whole safetensors file", do=do) from None
    return shapes


def check_shapes(
    actual: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], *, place: str, do: str
) -> None:
    """Validate that the tensors of a file have the names and shapes that the model expects.

    Args:
        actual: shapes in the file, by name.
        expected: shapes in the model, by name.
        place: the folder of the weights, for the error.
        do: the next command, for the error.

    Raises:
        UserError: naming the first tensor that is missing, unknown or of another shape.
    """
    for name in sorted({*actual, *expected}):
        got, wanted = (_shape(shapes.get(name)) for shapes in (actual, expected))
        if got != wanted:
            raise UserError(
                f"{place}: {name}", got=got, expected=f"{wanted}: the weights of this model", do=do
            )


def check_finite(tensors: Iterable[tuple[str, Any]], *, place: str, do: str) -> None:
    """Validate that weights contain neither NaN nor infinity.

    Args:
        tensors: names and torch tensors.
        place: the folder of the weights, for the error.
        do: the next command, for the error.

    Raises:
        UserError: naming the first tensor with such a value.
    """
    import torch

    for name, tensor in tensors:
        # NaN and infinity always appear in the minimum or maximum; unlike `isfinite` on all values, this needs no memory.
        if (
            tensor.is_floating_point()
            and tensor.numel()
            and not all(map(torch.isfinite, torch.aminmax(tensor)))
        ):
            raise UserError(f"{place}: {name}", got="NaN or infinity", expected="finite weights", do=do)


def fingerprint(files: Sequence[Path]) -> str:
    """Return a SHA-256 that identifies a model's weights, without reading all of them.

    It covers the name, type and shape of each tensor, and its values: all values of a small tensor, `BLOCKS` evenly spaced
    blocks of a large one. Training changes values everywhere, so the blocks of two models differ. 14 GB of weights take a
    fraction of a second. The fingerprint detects mistakes, not forgery: a person who can edit the weights can also edit the
    stored fingerprint. The distribution of tensors over files has no effect.

    Args:
        files: valid safetensors files, as `weight_files` returns them.
    """
    tensors = {name: (file, *place) for file in files for name, place in _tensors(file).items()}
    digest = hashlib.sha256()
    for name, (file, kind, start, end) in sorted(tensors.items()):
        digest.update(json.dumps([name, kind, end - start]).encode())
        with file.open("rb") as content:
            for offset, size in _blocks(end - start):
                content.seek(start + offset)
                digest.update(content.read(size))
    return digest.hexdigest()


def _blocks(size: int) -> list[tuple[int, int]]:
    """Return the offset and length of each block to read from a tensor of `size` bytes.

    Example: _blocks(100) -> [(0, 100)]
    """
    if size <= BLOCK * BLOCKS:
        return [(0, size)]
    return [(index * (size - BLOCK) // (BLOCKS - 1), BLOCK) for index in range(BLOCKS)]


def _tensors(file: Path) -> dict[str, tuple[str, int, int]]:
    """Return for each tensor its type and shape as text, and the start and end of its bytes in the file."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header: dict[str, Any] = json.loads(content.read(length))
    header.pop("__metadata__", None)
    return {
        name: (f"{entry['dtype']} {entry['shape']}", *(8 + length + at for at in entry["data_offsets"]))
        for name, entry in header.items()
    }


def _listed(index: Path, *, do: str) -> list[Path]:
    """Return the files that an index lists; all must be in the index's folder."""
    expected = 'a "weight_map" from tensors to safetensors files in the same folder'
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        good = all(name.endswith(".safetensors") and Path(name).name == name for name in names)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        names, good = [], False
    if not names or not good:
        raise UserError(str(index), got=names or "a malformed index", expected=expected, do=do)
    for name in names:
        if not (index.parent / name).is_file():
            raise UserError(
                str(index.parent / name), got="no such file", expected="a file that the index lists", do=do
            )
    return [index.parent / name for name in names]


def _shape(shape: Sequence[int] | None) -> str:
    return "no such tensor" if shape is None else f"shape {list(shape)}"
