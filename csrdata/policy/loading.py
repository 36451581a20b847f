"""A policy on disk: a base model, or a base model and the chain of adapters that training put on it.

A *model folder* is what transformers saves. A *chain folder* holds `chain.json` and every adapter since the base, so that
one folder says all about a policy; the base itself is named, not copied. A base may be a *pointer folder*: its files are on
the Hub or in another folder (`csrdata.policy.pretrained`).

In float32 adapters are merged, one after the other. In bfloat16 and float16 they stay on top of the base
(`csrdata.policy.stacked`): a small update that is merged and rounded can vanish, and no float32 copy of the base is needed.
Nothing here knows a model family by name.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
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
from transformers.utils import logging as transformers_logging

from csrdata.errors import UserError
from csrdata.policy.adapter import AGAIN, merge, read_updates
from csrdata.policy.pretrained import model_folder, pixel_limits, set_pixels
from csrdata.policy.stacked import stack, stacked_layers
from csrdata.storage.disk import write_sums
from csrdata.storage.tables import atomic_folder, hash_path, read_json, write_json
from csrdata.weights import check_finite, fingerprint, read_shapes, weight_files

CHAIN = "chain.json"
"""What makes a folder a chain: `{"base": "policies/base", "adapters": ["adapters/1"], "fingerprints": {...}}`.

`fingerprints` has one for `base` and one for each adapter: what an adapter was trained on is part of what it is.
"""

WEIGHTS = "model.safetensors"

BASE = "base"
"""The base's key among the fingerprints."""

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Policy:
    """A vision-language model, ready to answer, and the folder it came from."""

    model: PreTrainedModel
    """In evaluation mode, a plain transformers model: adapters are merged into it, or part of its linear layers."""
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
    """The base model's folder and the adapters on it, in order."""

    base: Path
    """In the project: a model folder or a pointer folder."""
    model: Path
    """The folder of the base's files."""
    adapters: tuple[Path, ...]
    fingerprints: Mapping[str, str]
    """Of the base's weights and of each adapter, by name; none for a model folder."""


def load_policy(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> Policy:
    """Load a policy from a model folder or a chain folder.

    Args:
        folder: a chain's base is looked up as `chain.json` names it, relative to the project's root.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: the numbers to compute in. The weights are held in them once, and in no others.

    Raises:
        UserError: the folder, the chain's base or one of its adapters is missing, damaged, not finite, or does not belong
            to the others; code from a folder never runs.
    """
    chain = read_chain(folder)
    model = load_base(folder, chain, dtype=getattr(torch, dtype))
    processor = load_processor(chain)
    if dtype == "float32":
        for adapter in chain.adapters:
            model = merge(model, adapter)
    elif chain.adapters:
        updates = [read_updates(model, adapter) for adapter in chain.adapters]
        stack(model, updates, place=str(folder), do=AGAIN)
    placed: Any = model  # transformers' `to` is mistyped
    model = placed.to(device=device).eval()
    if chain.adapters:
        check_finite(
            (*model.state_dict().items(), *model.named_buffers()), place=f"{folder} as {dtype}", do=AGAIN
        )
    return Policy(model=model, processor=processor, folder=folder)


def load_base(folder: Path, chain: Chain, *, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Return the base of a policy, once it and the adapters are known to belong together; "auto": in its own numbers."""
    _check_base(chain.model)
    _check_fingerprints(folder, chain)
    return _load_model(chain.model, dtype=dtype)


def load_processor(chain: Chain) -> ProcessorMixin:
    """Return a policy's processor, with the limits of image sizes that its base's pointer records.

    Raises:
        UserError: it cannot be loaded, or has no such limits.
    """
    processor: ProcessorMixin = _from_pretrained(AutoProcessor, chain.model)
    least, most = pixel_limits(chain.base)
    set_pixels(processor, min_pixels=least, max_pixels=most)
    return processor


def base_in_place_of(policy: Policy, base: Path) -> Policy:
    """Return the base policy in a policy's place: the two are never in memory together.

    Adapters on top of this base are switched off. Otherwise, as where they are merged, the policy's weights are dropped and
    the base's are loaded. Either way the policy given must not be used afterwards.

    Raises:
        UserError: see `load_policy`.
    """
    if policy.folder == base:
        return policy
    layers = stacked_layers(policy.model)
    if layers and read_chain(policy.folder).base == base:
        for layer in layers:
            layer.on = False
        return Policy(model=policy.model, processor=policy.processor, folder=base)
    device, dtype = policy.device, policy.model.dtype
    for tensor in (*policy.model.parameters(), *policy.model.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    name: Any = str(dtype).removeprefix("torch.")
    return load_policy(base, device=str(device), dtype=name)


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
        base, adapters = Path(raw["base"]), tuple(folder / name for name in raw["adapters"])
        fingerprints, place = raw.get("fingerprints", {}), f"{folder / CHAIN}: base {raw['base']}"
    else:
        base, adapters, fingerprints, place = folder, (), {}, str(folder)
    model = model_folder(base)
    if not (model / "config.json").is_file():
        got = "no config.json in it" if model.is_dir() else "no such folder"
        raise UserError(place, got=got, expected="a policy: a model folder or a chain of adapters", do=AGAIN)
    return Chain(base=base, model=model, adapters=adapters, fingerprints=fingerprints)


@contextmanager
def new_chain(folder: Path, *, previous: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder for a new adapter; on success write the policy around it, on an error write nothing.

    The policy holds every adapter of the policy before it, the new one as `adapters/NAME`, and the fingerprints of all of
    them and of the base.

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
        names.append(f"adapters/{name}")
        prints = {adapter: hash_path(partial / adapter) for adapter in names}
        prints[BASE] = _fingerprint(before.model)
        write_json(partial / CHAIN, {"base": base, "adapters": names, "fingerprints": prints})
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
    prints = raw.get("fingerprints", {})
    if not isinstance(prints, dict) or not all(isinstance(value, str) for value in prints.values()):
        return False
    return all(
        isinstance(name, str)
        and not PurePosixPath(name).is_absolute()
        and ".." not in PurePosixPath(name).parts
        for name in raw["adapters"]
    )


def _check_base(base: Path) -> None:
    """Refuse a model folder that would send transformers elsewhere, or whose weights are not whole.

    A configuration can name another file of weights, and an attention that is downloaded and run; an adapter next to it
    would be merged unseen. Code that a folder brings (`auto_map`) is ignored by transformers where it is not trusted.
    """
    if (base / "adapter_config.json").exists():
        expected = "a model without an adapter in its folder: adapters are part of a chain"
        raise UserError(str(base), got="adapter_config.json", expected=expected, do=AGAIN)
    config = read_json(base / "config.json", made_by=AGAIN)
    for where, key, value in _keys(config):
        is_remote = key.lstrip("_").endswith("_implementation") and not _is_plain(value)
        if is_remote or (key == "transformers_weights" and value is not None):
            expected = f"weights in {WEIGHTS}, and the name of an implementation in transformers"
            raise UserError(f"{base / 'config.json'}: {where}", got=repr(value), expected=expected, do=AGAIN)
    read_shapes(weight_files(base, WEIGHTS, do=AGAIN), do=AGAIN)


def _keys(value: object, path: str = "") -> Iterator[tuple[str, str, object]]:
    """Yield the dotted name, the last key and the value of everything in a configuration."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}", key, inner
            yield from _keys(inner, f"{path}{key}.")


def _is_plain(value: object) -> bool:
    """Say whether a value names an implementation in transformers (`sdpa`), for the model or for each of its parts."""
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    return value is None or (isinstance(value, str) and re.fullmatch(r"\w*", value) is not None)


def _check_fingerprints(folder: Path, chain: Chain) -> None:
    """Refuse a chain whose base or adapters are not those that it was trained with."""
    if not chain.adapters:
        return
    expected = {adapter.relative_to(folder).as_posix(): adapter for adapter in chain.adapters}
    for name, adapter in expected.items():
        if not adapter.is_dir():
            raise UserError(str(adapter), got="no adapter_config.json", expected="a PEFT adapter", do=AGAIN)
        _compare(folder, chain, name, hash_path(adapter), got=f"another adapter in {adapter}")
    _compare(folder, chain, BASE, _fingerprint(chain.model), got=f"other weights in {chain.base}")


def _compare(folder: Path, chain: Chain, name: str, now: str, *, got: str) -> None:
    place = f"{folder / CHAIN}: {name}"
    if name not in chain.fingerprints:
        raise UserError(place, got="no fingerprint", expected="the one of what it was trained with", do=AGAIN)
    if chain.fingerprints[name] != now:
        raise UserError(place, got=got, expected="what this policy was trained with", do=AGAIN)


def _fingerprint(base: Path) -> str:
    return fingerprint(weight_files(base, WEIGHTS, do=AGAIN))


def _load_model(base: Path, *, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load a model folder; every weight of the model comes from it, and every weight in it is used."""
    model, report = _from_pretrained(
        AutoModelForImageTextToText,
        base,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported, and refused here with the tensor's name
    )
    kind = type(model).__name__
    for name in sorted(report["missing_keys"]):
        raise UserError(f"{base}: {name}", got="no such tensor", expected=f"the weights of {kind}", do=AGAIN)
    for name in sorted(report["unexpected_keys"]):
        raise UserError(
            f"{base}: {name}", got=f"a tensor that {kind} lacks", expected="its weights", do=AGAIN
        )
    for name, got, wanted in sorted(report["mismatched_keys"]):
        raise UserError(
            f"{base}: {name}",
            got=f"shape {list(got)}",
            expected=f"{list(wanted)}, as config.json says",
            do=AGAIN,
        )
    for error in report["error_msgs"]:
        raise UserError(str(base), got=error, expected=f"the weights of {kind}", do=AGAIN)
    check_finite(model.state_dict().items(), place=str(base), do=AGAIN)
    return model  # type: ignore[no-any-return]


def _from_pretrained(auto: Any, folder: Path, **options: object) -> Any:
    """Load a part of a model folder; only from the disk, and never code from it."""
    try:
        with _quiet():
            return auto.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # noqa: BLE001 - a foreign folder raises whatever its reader ran into
        part = auto.__name__.removeprefix("Auto")
        raise UserError(
            f"{folder}: {part}",
            got=_first_line(error),
            expected="an image-text-to-text model of transformers",
            do=AGAIN,
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a table of tensors that do not fit: the first of them is refused by name."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
