"""A LoRA adapter on disk: checked, then merged into a model.

Adapter files are untrusted. The configuration is checked against an allow-list before PEFT reads it, because PEFT can import
modules that a configuration names and can change the base's weights while loading. PEFT only warns about tensors that do not
fit. Here the tensors of the file must match those of the model's LoRA layers exactly.
"""

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.storage.tables import read_json
from csrdata.weights import check_finite, check_shapes, read_shapes, weight_files

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

RERUN = "dvc repro"

Names = str | list[str]
Rank = Annotated[int, Field(ge=1, le=2**14)]
Alpha = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class AutoMapping(_Strict):
    """The class of the adapted model. PEFT can import its module, so only modules of transformers are allowed."""

    base_model_class: str
    parent_library: Annotated[str, Field(pattern=r"^transformers\.models\.[\w.]+$")]


class AdapterConfig(_Strict):
    """The keys of `adapter_config.json` that may have a value: the options of a plain LoRA."""

    peft_type: Literal["LORA"]
    r: Rank
    lora_alpha: Alpha
    target_modules: Names
    task_type: Literal["CAUSAL_LM"] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    use_rslora: bool = False
    bias: Literal["none"] = "none"
    exclude_modules: Names | None = None
    rank_pattern: dict[str, Rank] = {}
    alpha_pattern: dict[str, Alpha] = {}
    layers_to_transform: int | list[int] | None = None
    layers_pattern: Names | None = None
    init_lora_weights: bool = True
    """Always true: other values change the base's weights."""
    auto_mapping: AutoMapping | None = None
    inference_mode: bool = True
    base_model_name_or_path: str | None = None
    """Not used: `chain.json` names the base."""
    revision: str | None = None
    peft_version: str | None = None
    megatron_core: Literal["megatron.core"] = "megatron.core"
    """Only the default: PEFT would import another module."""
    qalora_group_size: int = 16
    """No effect, because `use_qalora` must be empty."""


EMPTY: tuple[object, ...] = (None, False, {}, [], "")
"""The values allowed for any other key. PEFT writes all of its options; an empty value turns an option off."""


def merge(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Merge a LoRA adapter into a model, in the model's dtype, and return a plain transformers model.

    Args:
        model: changed in place.
        adapter: a folder with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        UserError: the adapter is missing, damaged, not finite or not a plain LoRA, or its tensors do not match the model.
    """
    from peft import PeftModel, get_peft_model_state_dict

    check_config(adapter)
    files = weight_files(adapter, WEIGHTS, do=RERUN)
    shapes = read_shapes(files, do=RERUN)
    for file in files:
        check_finite(load_file(file).items(), place=str(adapter), do=RERUN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tensors that do not fit: `check_shapes` refuses them
            stacked = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        expected = "an adapter of this model"
        raise UserError(str(adapter), got=_first_line(error), expected=expected, do=RERUN) from None
    state: dict[str, Any] = get_peft_model_state_dict(stacked, save_embedding_layers=False)
    expected_shapes = {name: tuple(value.shape) for name, value in state.items()}
    check_shapes(shapes, expected_shapes, place=str(adapter), do=RERUN)
    merged: PreTrainedModel = stacked.merge_and_unload()
    if hasattr(merged, "peft_config"):
        # Merging leaves this attribute; TRL and PEFT would conclude that the model still has an adapter.
        del merged.peft_config
    return merged


def check_config(adapter: Path) -> None:
    """Validate that an adapter's configuration is that of a plain LoRA.

    Raises:
        UserError: the configuration is missing or malformed, or a key has a value that is not allowed (the first is named).
    """
    path = adapter / CONFIG
    if not path.is_file():
        raise UserError(str(adapter), got=f"no {CONFIG}", expected="a PEFT adapter", do=RERUN)
    raw = read_json(path, made_by=RERUN)
    if not isinstance(raw, dict):
        raise UserError(str(path), got=raw, expected="a JSON object", do=RERUN)
    known = AdapterConfig.model_fields
    used = {key: value for key, value in raw.items() if key in known or not _is_empty(value)}
    try:
        AdapterConfig.model_validate(used)
    except ValidationError as error:
        # Report a wrong `peft_type` first: it explains the other unknown options.
        kinds = {"peft_type": 0}
        first = min(error.errors(), key=lambda item: kinds.get(str(item["loc"][0]), 1))
        key = str(first["loc"][0])
        got = "no such key" if key not in raw else repr(raw[key])
        expected = f"a plain LoRA adapter ({first['msg'].lower()})"
        if first["type"] == "extra_forbidden":
            expected = "a plain LoRA adapter, without this option"
        raise UserError(f"{path}: {key}", got=got, expected=expected, do=RERUN) from None


def _is_empty(value: object) -> bool:
    return any(type(value) is type(empty) and value == empty for empty in EMPTY)


def _first_line(error: Exception) -> str:
    """Return an error's type and first informative line. torch puts a heading above its list of mismatches."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    informative = lines[1] if lines[0].startswith("Error(s) in loading") and len(lines) > 1 else lines[0]
    return f"{type(error).__name__}: {informative}"
