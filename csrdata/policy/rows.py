"""Pairs -> the rows that training's collator reads. An image is loaded only when its row is."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from csrdata.images import ImageRoot, load_image
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import completion_text
from csrdata.policy.sides import side_of
from csrdata.records import Pair


def columns_of(policy: Policy, pairs: Sequence[Pair], *, sides: Sequence[str]) -> dict[str, list[Any]]:
    """Return the pairs as columns of plain values; `images` are paths."""
    columns: dict[str, list[Any]] = {
        "prompt": [policy.prompt(pair.prompt) for pair in pairs],
        "context": [pair.context for pair in pairs],
        "images": [[pair.image] for pair in pairs],
        "prompt_id": [pair.prompt_id for pair in pairs],
    }
    for name in sides:
        columns[name] = [
            completion_text(policy.processor, side.text, end=side.end, complete=side.complete)
            for side in (side_of(pair, name) for pair in pairs)
        ]
    return columns


def dataset_of(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    root: Path | ImageRoot,
    sides: Sequence[str],
    numbers: Mapping[str, Sequence[float]] | None = None,
) -> Dataset:
    """Return the pairs as rows in the collator's columns.

    Args:
        policy: renders prompts and ends.
        pairs: N pairs.
        root: the folder that image paths are relative to.
        sides: the answers that the loss reads.
        numbers: further columns of N numbers each; see `csrdata.policy.sides.NUMBERS`.
    """
    columns = {**columns_of(policy, pairs, sides=sides), **(numbers or {})}
    return Dataset.from_dict(columns).with_transform(_image_loader(root))


def _image_loader(root: Path | ImageRoot) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    """Return a function that replaces the image paths of rows by images, loaded as generation loads them."""

    def read(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        named = zip(rows["images"], rows["prompt_id"], strict=True)
        return {
            **rows,
            "images": [
                [load_image(path, root=root, place=f"prompt {name}") for path in paths]
                for paths, name in named
            ],
        }

    return read
