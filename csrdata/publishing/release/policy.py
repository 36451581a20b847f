"""Write a policy as a folder for the Hub: a LoRA adapter that PEFT loads in one line, and its card.

The policy of iteration T is a base and a chain of T adapters, which are merged into it one after the other. Their updates
add up, so the chain equals, up to rounding, one adapter whose rank is the sum of their ranks. This adapter is published, and
the manifest lists the hashes of the adapters that it combines. A base from the Hub is named with its revision; a local base
is published in the folder `base/`. `hub.pushing.push_folder` sends the folder.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from csrdata.errors import UserError
from csrdata.evaluation import summary
from csrdata.publishing.card.markdown import Markdown, code, escape, fenced, render, table
from csrdata.publishing.card.method import method
from csrdata.publishing.card.pairs import origins as table_of_origins
from csrdata.publishing.folders import new_folder
from csrdata.publishing.hub.fetch import Source
from csrdata.publishing.release.layout import CARD
from csrdata.publishing.release.leaks import find_leak
from csrdata.publishing.release.manifest import FORMAT, MANIFEST
from csrdata.publishing.release.results import Results, caption, sentences, tables
from csrdata.storage.tables import hash_path, read_json, write_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "base"
"""The folder of a base policy that is published with the adapter."""

VOCABULARIES = {"tokenizer.json", "vocab.json", "added_tokens.json"}

OPTIONAL = (
    "use_dora",
    "modules_to_save",
    "alpha_pattern",
    "rank_pattern",
    "lora_bias",
    "trainable_token_indices",
)
"""PEFT settings of adapters that are not plain LoRA, and cannot be combined by addition."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The model that the adapter changes."""

    folder: Path
    """Its path on this machine."""
    repo_id: str | None = None
    """`OWNER/NAME` on the Hub; None for a local model."""
    revision: str | None = None
    """Its commit on the Hub."""
    files: tuple[str, ...] | None = None
    """The files of the folder that are the model; None: all."""


def write_model(
    folder: Path,
    *,
    repo_id: str,
    policy: Path,
    iteration: str,
    base: BaseModel,
    licence: str,
    training: Mapping[str, Any],
    origins: Mapping[str, int],
    results: Results | None,
    version: str,
    dataset: Source | None = None,
    tag: str | None = None,
) -> str:
    """Write the folder of a policy, completely or not at all, and return its identity, 64 hex digits.

    Args:
        folder: missing, empty, or an older folder of a policy, which is replaced.
        repo_id: `OWNER/NAME` on the Hub, named in the card.
        policy: a chain folder, `policies/T`.
        iteration: T.
        base: the model that the adapter changes.
        licence: of the adapter (and of a base in the folder), by its name on the Hub.
        training: the parameters of its training, for the card.
        origins: numbers of the pairs of iteration T, by their `origin`; empty if they are not known.
        results: the figures of the base and of this policy; None if it was not evaluated.
        version: of csrdata.
        dataset: the published pairs that it was trained on.
        tag: the version, for the code in the card.

    Raises:
        UserError: the policy is not a chain of plain LoRA adapters, the base is missing, or the card contains a path or a
            token.
    """
    adapters = _adapters(policy)
    if base.repo_id is None and not (base.folder / "config.json").is_file():
        raise UserError(
            str(base.folder), got="no config.json in it", expected="the base", do="dvc repro prepare"
        )
    with new_folder(folder, replaces=_is_unchanged) as partial:
        combine(adapters, partial, base=base.repo_id or BASE)
        if base.repo_id is None:
            _copy_base(base, partial / BASE)
        files = {
            path.relative_to(partial).as_posix(): path
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        }
        listed = [
            {"path": name, "bytes": path.stat().st_size, "sha256": hash_path(path)}
            for name, path in files.items()
        ]
        made_of = {"files": listed, "base": [base.repo_id, base.revision]}
        identity = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        manifest = {
            "format": FORMAT,
            "kind": "model",
            "identity": identity,
            "iteration": iteration,
            "base": {"hub_id": base.repo_id, "revision": base.revision},
            "adapters": {adapter.name: hash_path(adapter) for adapter in adapters},
            "dataset": None if dataset is None else str(dataset),
            "training": dict(training),
            "pairs": dict(origins),
            "csrdata": version,
            "files": listed,
        }
        write_json(partial / MANIFEST, manifest)
        text = _card(
            manifest, repo_id=repo_id, tag=tag, licence=licence, results=results, dataset=dataset, base=base
        )
        (partial / CARD).write_text(text, encoding="utf-8")
        _check_texts(partial)
    return identity


def _copy_base(base: BaseModel, folder: Path) -> None:
    if base.files is None:
        shutil.copytree(base.folder, folder)
        return
    for name in base.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.folder / name, folder / name)


def _is_unchanged(folder: Path) -> bool:
    """Return whether a folder contains a policy that csrdata wrote, unchanged, and no other file."""
    try:
        raw = read_json(folder / MANIFEST, made_by="csrdata push --model")
        listed = {str(file["path"]): str(file["sha256"]) for file in raw["files"]}
    except (UserError, ValueError, KeyError, TypeError):
        return False
    present = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    names = {path.relative_to(folder).as_posix() for path in present if not path.is_symlink()}
    return (
        len(names) == len(present)
        and names == {*listed, CARD, MANIFEST}
        and all(hash_path(folder / path) == sha256 for path, sha256 in listed.items())
    )


def _check_texts(folder: Path) -> None:
    """Refuse leaks in the card and the configurations; vocabularies are skipped, as their entries can look like leaks."""
    for path in sorted([folder / CARD, *folder.rglob("*.json")]):
        leak = None if path.name in VOCABULARIES else find_leak(path.read_text(encoding="utf-8"))
        if leak is not None:
            place = f"{path.relative_to(folder).as_posix()}: line {leak.line}"
            raise UserError(
                place, got=leak.what, expected="no path and no token", do="remove it from its source"
            )


def combine(adapters: Sequence[Path], folder: Path, *, base: str) -> None:
    """Write one adapter that is equivalent to merging several adapters one after the other.

    With scales s = alpha / r (or alpha / sqrt(r) for rsLoRA), the updates s1 B1 A1 + s2 B2 A2 equal
    [s1 B1, s2 B2] [A1; A2]: rank r1 + r2, scale 1.

    Raises:
        UserError: an adapter is not plain LoRA, or the adapters change different layers.
    """
    configs = [read_json(adapter / CONFIG, made_by="dvc repro") for adapter in adapters]
    for adapter, config in zip(adapters, configs, strict=True):
        extra = [key for key in OPTIONAL if config.get(key)]
        if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or extra:
            got = ", ".join(extra) or f"{config.get('peft_type')} with bias {config.get('bias')}"
            raise UserError(str(adapter / CONFIG), got=got, expected="a plain LoRA adapter", do="dvc repro")
    if len(adapters) == 1:
        shutil.copyfile(adapters[0] / WEIGHTS, folder / WEIGHTS)
        write_json(folder / CONFIG, {**configs[0], "base_model_name_or_path": base})
        return
    import torch
    from safetensors.torch import load_file, save_file

    parts = [load_file(adapter / WEIGHTS) for adapter in adapters]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise UserError(
            str(folder), got="adapters of different layers", expected="one set of layers", do="dvc repro"
        )
    combined = {}
    for name in parts[0]:
        if ".lora_A." in name:
            combined[name] = torch.cat([part[name] for part in parts], dim=0)
        else:
            scaled = [_scale(config) * part[name] for config, part in zip(configs, parts, strict=True)]
            combined[name] = torch.cat(scaled, dim=1)
    save_file(
        {name: tensor.contiguous() for name, tensor in combined.items()}, folder / WEIGHTS, {"format": "pt"}
    )
    rank = sum(config["r"] for config in configs)
    own = {"r": rank, "lora_alpha": rank, "use_rslora": False, "base_model_name_or_path": base}
    write_json(folder / CONFIG, {**configs[0], **own})


def _scale(config: Mapping[str, Any]) -> float:
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _adapters(policy: Path) -> list[Path]:
    """Return a chain's adapters, in order."""
    made_by = "dvc repro"
    names = read_json(policy / "chain.json", made_by=made_by).get("adapters", [])
    adapters = [policy / name for name in names]
    if not adapters or not all((adapter / CONFIG).is_file() for adapter in adapters):
        raise UserError(str(policy), got="no adapters", expected="a policy that was trained", do=made_by)
    return adapters


def _card(
    manifest: Mapping[str, Any],
    *,
    repo_id: str,
    tag: str | None,
    licence: str,
    results: Results | None,
    dataset: Source | None,
    base: BaseModel,
) -> str:
    metadata = {
        "license": licence,
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        **({"base_model": base.repo_id, "base_model_relation": "adapter"} if base.repo_id else {}),
        **({"datasets": [dataset.repo_id]} if dataset else {}),
        "tags": ["lora", "dpo", "preference-optimization", "vision-language", "csr", "csrdata"],
    }
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip()
    training = manifest["training"]
    chain = ", ".join(
        f"{code(name)} (SHA-256 {code(sha[:12])})" for name, sha in manifest["adapters"].items()
    )
    return render(
        "model.md.jinja",
        metadata=Markdown(head),
        name=repo_id.partition("/")[2],
        manifest=manifest,
        method=method(training),
        base=_named_base(base),
        pairs=_named_pairs(dataset),
        origins=table_of_origins({"pairs": manifest["pairs"]}),
        chain=Markdown(chain),
        identity=code(manifest["identity"]),
        loading=_loading(repo_id, tag, base),
        parameters=table(("parameter", "value"), [(code(key), value) for key, value in training.items()]),
        results=_results(results, manifest["iteration"]),
    )


def _named_base(base: BaseModel) -> Markdown:
    if base.repo_id is None:
        return Markdown(f"in the folder `{BASE}/` of this repository")
    at = f" at revision {code(base.revision)}" if base.revision else ""
    return Markdown(f"[{escape(base.repo_id)}](https://huggingface.co/{escape(base.repo_id)}){at}")


def _named_pairs(dataset: Source | None) -> Markdown:
    if dataset is None:
        return Markdown("no published dataset was named")
    at = f"https://huggingface.co/datasets/{dataset.repo_id}"
    return Markdown(f"[{escape(dataset.repo_id)}]({at}) at {code(dataset.revision)}")


def _results(results: Results | None, iteration: str) -> dict[str, Any] | None:
    if results is None or not results.splits:
        return None
    return {
        "sentences": sentences(results, iteration),
        "tables": tables(results, (summary.BASE, iteration)),
        "caption": caption(results),
    }


def _loading(repo_id: str, tag: str | None, base: BaseModel) -> Markdown:
    name = json.dumps(repo_id)
    at = f", revision={json.dumps(tag)}" if tag else ""
    if base.repo_id:
        model = json.dumps(base.repo_id) + (
            f", revision={json.dumps(base.revision)}" if base.revision else ""
        )
        imports = []
        lines = [
            f"base = AutoModelForImageTextToText.from_pretrained({model})",
            f"model = PeftModel.from_pretrained(base, {name}{at})",
        ]
    else:
        imports = ["from huggingface_hub import snapshot_download"]
        lines = [
            f"folder = snapshot_download({name}{at})",
            f'base = AutoModelForImageTextToText.from_pretrained(f"{{folder}}/{BASE}")',
            "model = PeftModel.from_pretrained(base, folder)",
        ]
    start = [
        *imports,
        "from peft import PeftModel",
        "from transformers import AutoModelForImageTextToText",
        "",
    ]
    return fenced("\n".join([*start, *lines]), "python")
