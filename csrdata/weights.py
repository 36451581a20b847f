"""Weights on disk: safetensors only, whole, with the names and shapes that a model expects, and finite.

Weight files are untrusted. A pickle can run code when it is read: it is refused by name and never opened. A safetensors file
is data, but it may be damaged, or belong to another model.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrdata.errors import UserError

INDEX = ".index.json"
"""What a file name gains where the weights are in several files: `model.safetensors.index.json`."""

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

BLOCK = 4096
BLOCKS = 16
"""A fingerprint reads this many bytes at this many places of a tensor."""

Shapes = dict[str, tuple[int, ...]]
"""The shape of each tensor, by name."""


def weight_files(folder: Path, name: str, *, do: str) -> list[Path]:
    """Return the safetensors files that hold a model's weights: `name`, or those that its index lists.

    Args:
        folder: the model's.
        name: `model.safetensors`, say.
        do: the error's last words.

    Raises:
        UserError: there are none, there are only pickles, or the index is malformed.
    """
    if (folder / name).is_file():
        return [folder / name]
    if (folder / f"{name}{INDEX}").is_file():
        return _listed(folder / f"{name}{INDEX}", do=do)
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    got = f"{pickles[0]}, a pickle, which can run code when it is read" if pickles else "no such file"
    raise UserError(str(folder / name), got=got, expected="weights as safetensors", do=do)


def read_shapes(files: Sequence[Path], *, do: str) -> Shapes:
    """Return the shapes of all tensors in some files; no values are read.

    Raises:
        UserError: a file is empty, cut, or not in the safetensors format.
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
    found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], *, place: str, do: str
) -> None:
    """Refuse weights whose names or shapes are not the model's.

    Args:
        found, expected: shapes by name.
        place: what holds the weights.
        do: the error's last words.

    Raises:
        UserError: naming the first tensor that is missing, unknown or of another shape.
    """
    for name in sorted({*found, *expected}):
        got, wanted = (_shape(shapes.get(name)) for shapes in (found, expected))
        if got != wanted:
            raise UserError(
                f"{place}: {name}", got=got, expected=f"{wanted}: the weights of this model", do=do
            )


def check_finite(tensors: Iterable[tuple[str, Any]], *, place: str, do: str) -> None:
    """Refuse weights with NaN or infinity in them.

    Args:
        tensors: names and torch tensors.
        place: what holds the weights.
        do: the error's last words.

    Raises:
        UserError: naming the first tensor with such a value.
    """
    import torch

    for name, tensor in tensors:
        # NaN and infinity both reach the extremes; unlike isfinite, this needs no memory.
        if (
            tensor.is_floating_point()
            and tensor.numel()
            and not all(map(torch.isfinite, torch.aminmax(tensor)))
        ):
            raise UserError(f"{place}: {name}", got="NaN or infinity", expected="finite weights", do=do)


def fingerprint(files: Sequence[Path]) -> str:
    """Return a SHA-256 that tells one model's weights from another's, without reading all of them.

    It covers the name, type and shape of each tensor, and its values: all of a small tensor, `BLOCKS` evenly spaced blocks
    of a large one. Training changes values everywhere, so that two models differ in some block; 14 GB of weights take a
    fraction of a second. It tells models apart by accident, not a forgery: who can edit the weights can edit what is
    compared with them. How the tensors are spread over files does not count.

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
    """Return the offset and length of each block that is read of a tensor of `size` bytes.

    Example: _blocks(100) -> [(0, 100)]
    """
    if size <= BLOCK * BLOCKS:
        return [(0, size)]
    return [(index * (size - BLOCK) // (BLOCKS - 1), BLOCK) for index in range(BLOCKS)]


def _tensors(file: Path) -> dict[str, tuple[str, int, int]]:
    """Return each tensor's type and shape as text, and where its bytes begin and end in the file."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header: dict[str, Any] = json.loads(content.read(length))
    header.pop("__metadata__", None)
    return {
        name: (f"{entry['dtype']} {entry['shape']}", *(8 + length + at for at in entry["data_offsets"]))
        for name, entry in header.items()
    }


def _listed(index: Path, *, do: str) -> list[Path]:
    """Return the files that an index lists; all are in its own folder."""
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
                str(index.parent / name), got="no such file", expected="what the index lists", do=do
            )
    return [index.parent / name for name in names]


def _shape(shape: Sequence[int] | None) -> str:
    return "no such tensor" if shape is None else f"shape {list(shape)}"
