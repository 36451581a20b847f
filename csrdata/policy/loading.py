"""A policy on disk: a base model, alone or with the chain of adapters trained on it.

A *model folder* is what transformers saves. A *chain folder* holds `chain.json` and every adapter since the base, so that
one folder says all about a policy; the base itself is named, not copied. A base may be a *pointer folder*: its files are on
the Hub or in another folder (`csrdata.policy.pretrained`).

In float32 adapters are merged, one after the other. In bfloat16 and float16 they stay on top of the base
(`csrdata.policy.stacked`): a small update that is merged and rounded can vanish, and no float32 copy of the base is needed.
So they do on a base of 4 bits.
Nothing here knows a model family by name.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from csrdata.policy.adapter import RERUN, merge, read_updates
from csrdata.policy.pixels import limit_pixels
from csrdata.policy.pretrained import POINTER, model_folder, pixel_limits
from csrdata.policy.prompting import render_prompt
from csrdata.policy.stacked import stack, stacked_layers
from csrdata.storage.disk import write_sums
from csrdata.storage.tables import atomic_folder, hash_path, read_json, write_json
from csrdata.weights import check_finite, fingerprint, read_shapes, weight_files

CHAIN = "chain.json"
"""The file that marks a chain folder: `{"base": "policies/base", "adapters": ["adapters/1"], "fingerprints": {...}}`.

`fingerprints` has an entry for `base` and for each adapter: an adapter is only valid on the weights it was trained on.
"""

WEIGHTS = "model.safetensors"

BASE = "base"
"""The base's key among the fingerprints."""

Dtype = Literal["float32", "bfloat16", "float16"]
Numbers = Literal[Dtype, "nf4"]
"""What a policy computes in; `nf4`: 4-bit weights, bfloat16 otherwise (`csrdata.policy.quantized`)."""


@dataclass(frozen=True)
class Policy:
    """A vision-language model, ready to answer, and the folder that it was loaded from."""

    model: PreTrainedModel
    """In evaluation mode, a plain transformers model: adapters are merged into it, or part of its linear layers."""
    processor: ProcessorMixin
    folder: Path
    wordings: Mapping[str, str] = field(default_factory=dict)
    """Rendered prompts by their instruction, as stored at sampling; what is not in it is rendered when it is asked."""

    def prompt(self, text: str) -> str:
        """Return an instruction as the model's prompt, as stored at sampling or else rendered now."""
        return self.wordings.get(text) or render_prompt(self.processor, text)

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
    """Fingerprints of the base's weights and of each adapter, by name; empty for a model folder."""


def load_processor(folder: Path) -> ProcessorMixin:
    """Load a policy's processor alone, without its weights, with the limits of image sizes that its base's pointer records.

    Raises:
        UserError: see `load_policy`; or the processor has no such limits.
    """
    return _load_processor(read_chain(folder))


def load_policy(
    folder: Path,
    *,
    device: str = "cpu",
    dtype: Numbers = "float32",
    wordings: Mapping[str, str] | None = None,
) -> Policy:
    """Load a policy from a model folder or a chain folder.

    Args:
        folder: the policy. In a chain folder, `chain.json` names the base relative to the working directory, which is the
            project's root.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: the numbers to compute in. The weights are held in them once, and in no others. `nf4` needs the extra
            `quantized`.
        wordings: rendered prompts by their instruction, as stored at sampling.

    Raises:
        UserError: the folder, the base or an adapter is missing, damaged or not finite, or the base or an adapter is not
            the one that the chain was trained with. Code in a folder never runs.
    """
    chain = read_chain(folder)
    model = load_base(folder, chain, dtype=torch.bfloat16 if dtype == "nf4" else getattr(torch, dtype))
    processor = _load_processor(chain)
    if dtype == "float32":
        for adapter in chain.adapters:
            model = merge(model, adapter)
    elif chain.adapters:
        updates = [read_updates(model, adapter) for adapter in chain.adapters]
        stack(model, updates, place=str(folder), do=RERUN)
    if dtype == "nf4":
        from csrdata.policy.quantized import quantize

        quantize(model, device=device)
    placed: Any = model  # transformers' `to` is mistyped
    model = placed.to(device=device).eval()
    if chain.adapters:
        check_finite(
            (*model.state_dict().items(), *model.named_buffers()), place=f"{folder} as {dtype}", do=RERUN
        )
    return Policy(model=model, processor=processor, folder=folder, wordings=wordings or {})


def load_base(folder: Path, chain: Chain, *, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Return the base of a policy, once it and the adapters are known to belong together; "auto": in its own numbers."""
    _check_base(chain.model)
    _check_fingerprints(folder, chain)
    return _load_model(chain.model, dtype=dtype)


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
        return replace(policy, folder=base)
    device, dtype = policy.device, policy.model.dtype
    is_quantized = any(tensor.dtype == torch.uint8 for tensor in policy.model.parameters())
    for tensor in (*policy.model.parameters(), *policy.model.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    name: Any = "nf4" if is_quantized else str(dtype).removeprefix("torch.")
    return load_policy(base, device=str(device), dtype=name, wordings=policy.wordings)


def _load_processor(chain: Chain) -> ProcessorMixin:
    processor: ProcessorMixin = _from_pretrained(AutoProcessor, chain.model)
    least, most = pixel_limits(chain.base)
    limit_pixels(processor, min_pixels=least, max_pixels=most, place=str(chain.base / POINTER))
    return processor


def read_chain(folder: Path) -> Chain:
    """Return a policy's base and adapters; a model folder is a chain without adapters.

    Raises:
        UserError: the folder is neither a model folder nor a chain folder, `chain.json` is malformed, or the base is
            missing.
    """
    if (folder / CHAIN).is_file():
        raw = read_json(folder / CHAIN, made_by=RERUN)
        if not _is_chain(raw):
            expected = 'a "base" folder and a list of "adapters"'
            raise UserError(str(folder / CHAIN), got=raw, expected=expected, do=RERUN)
        base, adapters = Path(raw["base"]), tuple(folder / name for name in raw["adapters"])
        fingerprints, place = raw.get("fingerprints", {}), f"{folder / CHAIN}: base {raw['base']}"
    else:
        base, adapters, fingerprints, place = folder, (), {}, str(folder)
    model = model_folder(base)
    if not (model / "config.json").is_file():
        got = "no config.json in it" if model.is_dir() else "no such folder"
        raise UserError(place, got=got, expected="a policy: a model folder or a chain of adapters", do=RERUN)
    return Chain(base=base, model=model, adapters=adapters, fingerprints=fingerprints)


@contextmanager
def new_chain(folder: Path, *, previous: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder for a new adapter, then write the new policy; after an error write nothing.

    The new policy holds a copy of every adapter of the previous policy, the new one as `adapters/NAME`, and the fingerprints
    of all adapters and of the base.

    Args:
        folder: the new policy's folder, for example `policies/2`.
        previous: folder of the policy that training starts from: a model folder or a chain folder.
        name: name of the new adapter: the iteration that trains it.
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
    """Make the bytes of a saved adapter reproducible: remove the model card, name the base by its path in the project."""
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "base_model_name_or_path": base})


def _is_chain(raw: Any) -> bool:
    """Return whether the content of chain.json is well-formed and every adapter is inside the chain folder."""
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("base"), str)
        or not isinstance(raw.get("adapters"), list)
    ):
        return False
    fingerprints = raw.get("fingerprints", {})
    if not isinstance(fingerprints, dict) or not all(
        isinstance(value, str) for value in fingerprints.values()
    ):
        return False
    return all(
        isinstance(name, str)
        and not PurePosixPath(name).is_absolute()
        and ".." not in PurePosixPath(name).parts
        for name in raw["adapters"]
    )


def _check_base(base: Path) -> None:
    """Validate that a model folder is self-contained and its weight files are complete.

    A configuration can name another weight file, or an attention implementation that transformers would download and run.
    An adapter in the folder would be loaded without a check. Code in the folder (`auto_map`) needs no check here:
    transformers ignores it because `trust_remote_code` is False.

    Raises:
        UserError: naming the file or key.
    """
    if (base / "adapter_config.json").exists():
        expected = "a model folder without an adapter: adapters are part of a chain"
        raise UserError(str(base), got="adapter_config.json", expected=expected, do=RERUN)
    config = read_json(base / "config.json", made_by=RERUN)
    for where, key, value in _keys(config):
        is_remote = key.lstrip("_").endswith("_implementation") and not _is_plain(value)
        if is_remote or (key == "transformers_weights" and value is not None):
            expected = f"weights in {WEIGHTS}, and the name of an implementation in transformers"
            raise UserError(f"{base / 'config.json'}: {where}", got=repr(value), expected=expected, do=RERUN)
    read_shapes(weight_files(base, WEIGHTS, do=RERUN), do=RERUN)


def _keys(value: object, path: str = "") -> Iterator[tuple[str, str, object]]:
    """Yield the dotted name, the last key and the value of every entry of a configuration, nested ones included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}", key, inner
            yield from _keys(inner, f"{path}{key}.")


def _is_plain(value: object) -> bool:
    """Return whether a value names an implementation in transformers (`sdpa`), for the model or for each of its parts."""
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    return value is None or (isinstance(value, str) and re.fullmatch(r"\w*", value) is not None)


def _check_fingerprints(folder: Path, chain: Chain) -> None:
    """Raise if a chain's base or adapters are not those it was trained with."""
    if not chain.adapters:
        return
    expected = {adapter.relative_to(folder).as_posix(): adapter for adapter in chain.adapters}
    for name, adapter in expected.items():
        if not adapter.is_dir():
            raise UserError(str(adapter), got="no adapter_config.json", expected="a PEFT adapter", do=RERUN)
        _compare(folder, chain, name, hash_path(adapter), got=f"another adapter in {adapter}")
    _compare(folder, chain, BASE, _fingerprint(chain.model), got=f"other weights in {chain.base}")


def _compare(folder: Path, chain: Chain, name: str, now: str, *, got: str) -> None:
    place = f"{folder / CHAIN}: {name}"
    if name not in chain.fingerprints:
        raise UserError(place, got="no fingerprint", expected="the fingerprint from training", do=RERUN)
    if chain.fingerprints[name] != now:
        raise UserError(place, got=got, expected="what this policy was trained with", do=RERUN)


def _fingerprint(base: Path) -> str:
    return fingerprint(weight_files(base, WEIGHTS, do=RERUN))


def _load_model(base: Path, *, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load a model folder; every weight of the model comes from it, and every weight in it is used."""
    model, report = _from_pretrained(
        AutoModelForImageTextToText,
        base,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that the report lists them, and the error below names one
    )
    kind = type(model).__name__
    for name in sorted(report["missing_keys"]):
        raise UserError(f"{base}: {name}", got="no such tensor", expected=f"the weights of {kind}", do=RERUN)
    for name in sorted(report["unexpected_keys"]):
        raise UserError(
            f"{base}: {name}",
            got=f"a tensor that {kind} lacks",
            expected="only the weights of this model",
            do=RERUN,
        )
    for name, got, wanted in sorted(report["mismatched_keys"]):
        raise UserError(
            f"{base}: {name}",
            got=f"shape {list(got)}",
            expected=f"{list(wanted)}, as config.json says",
            do=RERUN,
        )
    for error in report["error_msgs"]:
        raise UserError(str(base), got=error, expected=f"the weights of {kind}", do=RERUN)
    place = (
        str(base) if dtype in (torch.float32, "auto") else f"{base} as {str(dtype).removeprefix('torch.')}"
    )
    check_finite(model.state_dict().items(), place=place, do=RERUN)
    return model  # type: ignore[no-any-return]


def _from_pretrained(auto: Any, folder: Path, **options: object) -> Any:
    """Load the model or the processor from a folder, without network access and without running code from the folder."""
    try:
        with _quiet():
            return auto.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
    except ImportError as error:
        raise UserError(
            f"{folder}: {auto.__name__.removeprefix('Auto')}",
            got=_first_line(error),
            expected="the packages that its classes import",
            do="install the package that is named: pip install 'csrdata[all]', or pip install PACKAGE",
        ) from None
    except Exception as error:  # noqa: BLE001 - loading an untrusted folder can raise any error
        part = auto.__name__.removeprefix("Auto")
        raise UserError(
            f"{folder}: {part}",
            got=_first_line(error),
            expected="an image-text-to-text model of transformers",
            do=RERUN,
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' table of mismatched tensors: the error names the first of them."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
