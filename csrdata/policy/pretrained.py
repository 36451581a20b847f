"""A base policy that somebody else trained: the pointer to it, which of its files count, and what it must have.

`policies/base` then holds `model.json` (a `csrdata.pinned.Pinned`) and no weights. What a policy needs is the same whether
its folder is in the project or not; this module says in one line what a model lacks, before a run takes hours.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.pinned import checked_folder, read_pinned
from csrdata.policy.pixels import limit_pixels
from csrdata.weights import INDEX, PICKLES, read_shapes, weight_files

POINTER = "model.json"
"""In a base policy's folder: the record of a model that is elsewhere."""
WEIGHTS = "model.safetensors"

MADE_BY = "dvc repro -f prepare"
ANOTHER = "set prepare.policy in params.yaml to another model, then: dvc repro"

_PART = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_SMALL = (".json", ".jinja", ".txt", ".model")
"""Configurations, templates and tokenizers; a tokenizer of SentencePiece ends with the last."""
_SUFFIX_OF_INDEX = ".index.json"


def model_folder(base: Path) -> Path:
    """Return the folder of a base policy's files: the base itself, or the one that its pointer names, unchanged.

    Raises:
        UserError: the pointer is malformed, or a file is missing or changed.
    """
    pointer = base / POINTER
    if not pointer.is_file():
        return base
    pinned = read_pinned(pointer, made_by=MADE_BY)
    folder = checked_folder(pinned, place=str(pointer), made_by=MADE_BY)
    for name in sorted(set(files_of_policy([path.name for path in folder.iterdir()])) - set(pinned.files)):
        if pinned.id is None:
            raise UserError(
                f"{pointer}: {name}",
                got=f"a file of {folder} that was not there before",
                expected="the recorded files",
                do=f"move it away; or, to use it: rm {pointer}, then: {MADE_BY}",
            )
    return folder


def files_of_policy(names: Collection[str]) -> list[str]:
    """Return the files that a policy is loaded from, of those at the top of a folder or a repository, sorted.

    Weights as safetensors, in one file or as an index lists them; configurations, templates and tokenizers. No code, no
    pickle, and no second form of the weights.
    """
    if WEIGHTS in names:
        weights = {WEIGHTS}
    else:
        weights = {name for name in names if _PART.fullmatch(name)} | ({f"{WEIGHTS}{INDEX}"} & set(names))
    small = {
        name
        for name in names
        if "/" not in name and name.endswith(_SMALL) and not name.endswith(_SUFFIX_OF_INDEX)
    }
    return sorted(weights | small)


def need_safetensors(names: Collection[str], *, place: str) -> None:
    """Refuse a repository without safetensors before anything of it is downloaded.

    Raises:
        UserError: naming the pickle that it has instead, if it has one.
    """
    if WEIGHTS in names or f"{WEIGHTS}{INDEX}" in names:
        return
    pickles = sorted(name for name in names if Path(name).suffix in PICKLES)
    got = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else f"no {WEIGHTS}"
    raise UserError(place, got=got, expected="weights as safetensors", do=ANOTHER)


def check_pretrained(folder: Path, *, min_pixels: int | None, max_pixels: int | None) -> None:
    """Refuse a model that is no image-text-to-text model, or comes without processor or chat template.

    No weight is read but the headers of its files.

    Raises:
        UserError: naming what is missing and what to change.
    """
    from transformers import AutoConfig, AutoProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    read_shapes(weight_files(folder, WEIGHTS, do=ANOTHER), do=ANOTHER)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config: Any = AutoConfig.from_pretrained(str(folder), **local)
    except Exception as error:  # noqa: BLE001 - a foreign folder raises whatever its reader ran into
        raise _unfit(f"{folder}: config.json", _first_line(error), "a model of transformers") from None
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise _unfit(
            f"{folder}: config.json",
            f"model_type {config.model_type}, which takes no images",
            "an image-text-to-text model of transformers",
        )
    if getattr(config, "quantization_config", None) is not None:
        raise _unfit(f"{folder}: config.json", "quantised weights", "weights in float32, bfloat16 or float16")
    try:
        load: Any = AutoProcessor.from_pretrained  # transformers leaves it untyped
        processor = load(str(folder), **local)
    except Exception as error:  # noqa: BLE001 - the same
        raise _unfit(f"{folder}: processor", _first_line(error), "the model's own processor") from None
    for part in ("image_processor", "tokenizer"):
        if getattr(processor, part, None) is None:
            raise _unfit(
                f"{folder}: processor", f"a {type(processor).__name__} without {part}", "a processor with one"
            )
    if not getattr(processor, "chat_template", None):
        raise UserError(
            f"{folder}: processor",
            got="no chat template",
            expected="the template that the model was trained with",
            do="save it as chat_template.jinja in a copy of the model and name that folder in prepare.policy",
        )
    limit_pixels(processor, min_pixels=min_pixels, max_pixels=max_pixels, place="params.yaml: prepare")


def pixel_limits(base: Path) -> tuple[int | None, int | None]:
    """Return the limits that a base's pointer records, least and most; None where it has none."""
    if not (base / POINTER).is_file():
        return None, None
    pinned = read_pinned(base / POINTER, made_by=MADE_BY)
    return pinned.min_pixels, pinned.max_pixels


def check_index(folder: Path, names: Collection[str]) -> None:
    """Refuse a model whose index lists a file that is not among its recorded ones.

    Raises:
        UserError: naming the file.
    """
    index = folder / f"{WEIGHTS}{INDEX}"
    if WEIGHTS in names or not index.is_file():
        return
    try:
        listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        listed = set()
    missing = sorted(str(name) for name in listed - set(names))
    if missing or not listed:
        got = missing[0] if missing else "a malformed index"
        raise _unfit(str(index), got, "parts called model-00001-of-0000N.safetensors")


def _unfit(place: str, got: str, expected: str) -> UserError:
    return UserError(place, got=got, expected=expected, do=ANOTHER)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
