"""A policy on disk: a base model, or a base model and the chain of adapters that training put on it.

A *model folder* is what transformers saves. A *chain folder* holds `chain.json` and every adapter since the base, so that
one folder says all about a policy; the base itself is named, not copied. Adapters are merged in float32, one after the
other, and only then cast: a small update merged in bfloat16 can round away. Nothing here knows a model family by name.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from csrdata.disk import write_sums
from csrdata.errors import UserError
from csrdata.tables import atomic_folder, read_json, write_json

CHAIN = "chain.json"
"""What makes a folder a chain: `{"base": "policies/base", "adapters": ["adapters/1", "adapters/2"]}`."""

AGAIN = "dvc repro"

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Policy:
    """A vision-language model, ready to answer, and the folder it came from."""

    model: PreTrainedModel
    """In evaluation mode, a plain transformers model: adapters are merged into it."""
    processor: ProcessorMixin
    folder: Path

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        processor: Any = self.processor
        tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        return tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device


@dataclass(frozen=True)
class Chain:
    """The base model's folder and the adapters to merge into it, in order."""

    base: Path
    adapters: tuple[Path, ...]


def load_policy(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> Policy:
    """Load a policy from a model folder or a chain folder.

    Args:
        folder: a chain's base is looked up as `chain.json` names it, relative to the project's root.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: the numbers to compute in; adapters are merged in float32 whatever it is.

    Raises:
        UserError: the folder, the chain's base or one of its adapters is none, or does not load.
    """
    chain = read_chain(folder)
    number: torch.dtype = getattr(torch, dtype)
    processor = _from_pretrained(AutoProcessor, chain.base)
    model = _from_pretrained(
        AutoModelForImageTextToText, chain.base, dtype=torch.float32 if chain.adapters else number
    )
    for adapter in chain.adapters:
        model = merge(model, adapter)
    model = model.to(device=device, dtype=number).eval()
    return Policy(model=model, processor=processor, folder=folder)


def merge(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Merge a LoRA adapter into a model, in the model's own numbers, and leave no trace of PEFT on it.

    Raises:
        UserError: the adapter is missing or does not fit the model.
    """
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise UserError(str(adapter), got="no adapter_config.json", expected="a PEFT adapter", do=AGAIN)
    try:
        stacked = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(
            str(adapter), got=_first_line(error), expected="an adapter of this model", do=AGAIN
        ) from None
    merged: PreTrainedModel = stacked.merge_and_unload()
    if hasattr(merged, "peft_config"):
        # Left behind by merging; TRL and PEFT would take the model for one that still carries an adapter.
        del merged.peft_config
    return merged


def read_chain(folder: Path) -> Chain:
    """Return a policy's base and adapters; a model folder is a chain without adapters.

    Raises:
        UserError: the folder is neither, or its base is missing.
    """
    if (folder / CHAIN).is_file():
        raw = read_json(folder / CHAIN, made_by=AGAIN)
        if not _is_chain(raw):
            expected = 'a "base" folder and a list of "adapters"'
            raise UserError(str(folder / CHAIN), got=raw, expected=expected, do=AGAIN)
        chain = Chain(base=Path(raw["base"]), adapters=tuple(folder / name for name in raw["adapters"]))
        place = f"{folder / CHAIN}: base {raw['base']}"
    else:
        chain = Chain(base=folder, adapters=())
        place = str(folder)
    if not (chain.base / "config.json").is_file():
        got = "no config.json in it" if chain.base.is_dir() else "no such folder"
        raise UserError(place, got=got, expected="a policy: a model folder or a chain of adapters", do=AGAIN)
    return chain


@contextmanager
def new_chain(folder: Path, *, previous: Path, name: str) -> Iterator[Path]:
    """Give an empty folder for a new adapter; on success a policy's folder takes shape around it, else nothing does.

    The policy holds every adapter of the policy before it, and the new one as `adapters/NAME`.

    Args:
        folder: of the new policy: `policies/2`, say.
        previous: of the policy that training started from, a model folder or a chain folder.
        name: of the new adapter: the iteration that trains it.
    """
    before = read_chain(previous)
    base = before.base.as_posix()
    names = [f"adapters/{adapter.name}" for adapter in before.adapters]
    with atomic_folder(folder, replaces=CHAIN) as partial:
        for adapter in before.adapters:
            shutil.copytree(adapter, partial / "adapters" / adapter.name)
        new = partial / "adapters" / name
        new.mkdir(parents=True)
        yield new
        _tidy(new, base=base)
        write_json(partial / CHAIN, {"base": base, "adapters": [*names, f"adapters/{name}"]})
        write_sums(partial)


def _tidy(folder: Path, *, base: str) -> None:
    """Make a saved adapter's bytes depend on its training alone: no model card, the base by its name in the project."""
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "base_model_name_or_path": base})


def _is_chain(raw: Any) -> bool:
    """Say whether chain.json has the right form; adapters lie inside the chain's own folder."""
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("base"), str)
        or not isinstance(raw.get("adapters"), list)
    ):
        return False
    return all(
        isinstance(name, str)
        and not PurePosixPath(name).is_absolute()
        and ".." not in PurePosixPath(name).parts
        for name in raw["adapters"]
    )


def _from_pretrained(auto: Any, folder: Path, **options: object) -> Any:
    """Load a part of a model folder; only from the disk, and never code from it."""
    try:
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        part = auto.__name__.removeprefix("Auto")
        raise UserError(
            f"{folder}: {part}",
            got=_first_line(error),
            expected="an image-text-to-text model of transformers",
            do=AGAIN,
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
