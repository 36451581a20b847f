"""A LoRA adapter on disk: checked, then merged into a model or read as updates of its layers.

An adapter may come from a stranger. Its configuration passes an allow-list before PEFT sees it: PEFT can import modules that
a configuration names, and can change the base's weights as it loads. PEFT also drops what does not fit with a warning; here
every tensor of the file must have its place, and every place its tensor.
"""

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.policy.stacked import Update
from csrdata.storage.tables import read_json
from csrdata.weights import check_finite, check_shapes, read_shapes, weight_files

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

AGAIN = "dvc repro"

Names = str | list[str]
Rank = Annotated[int, Field(ge=1, le=2**14)]
Alpha = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class AutoMapping(_Strict):
    """The class of the model that was adapted; PEFT's automatic loading imports the module, so it is one of transformers."""

    base_model_class: str
    parent_library: Annotated[str, Field(pattern=r"^transformers\.models\.[\w.]+$")]


class AdapterConfig(_Strict):
    """The keys of an `adapter_config.json` that may have a value: those of a plain LoRA."""

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
    """Other values change the base's weights."""
    auto_mapping: AutoMapping | None = None
    inference_mode: bool = True
    base_model_name_or_path: str | None = None
    """Not followed: the chain names the base."""
    revision: str | None = None
    peft_version: str | None = None
    megatron_core: Literal["megatron.core"] = "megatron.core"
    """A module that PEFT would import."""
    qalora_group_size: int = 16
    """Without effect: `use_qalora` must be empty."""


EMPTY: tuple[object, ...] = (None, False, {}, [], "")
"""What any other key may be: PEFT writes every option that it has, and an empty one asks for nothing."""


def merge(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Merge a LoRA adapter into a model, in the model's own numbers, and leave no trace of PEFT on it.

    Raises:
        UserError: the adapter is missing, damaged, not finite, no plain LoRA, or does not fit the model in every tensor.
    """
    return _without_peft(_open(model, adapter).merge_and_unload())


def read_updates(model: PreTrainedModel, adapter: Path) -> dict[str, Update]:
    """Return what a LoRA adapter adds to each layer of a model, which stays as it is; see `merge`.

    Raises:
        UserError: as for `merge`, or the adapter changes something else than linear layers.
    """
    from peft.tuners.lora import LoraLayer

    opened = _open(model, adapter)
    updates = {}
    for name, layer in opened.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            if not layer.lora_A:
                expected = "adapters of linear layers"
                raise UserError(f"{adapter}: {name}", got=type(layer).__name__, expected=expected, do=AGAIN)
            down: Any = layer.lora_A["default"]
            up: Any = layer.lora_B["default"]
            updates[name] = Update(
                down.weight.detach().float(), up.weight.detach().float(), float(layer.scaling["default"])
            )
    _without_peft(opened.unload())
    return updates


def _open(model: PreTrainedModel, adapter: Path) -> Any:
    """Put an adapter on a model by PEFT, after it has passed every check."""
    from peft import PeftModel, get_peft_model_state_dict

    check_config(adapter)
    files = weight_files(adapter, WEIGHTS, do=AGAIN)
    found = read_shapes(files, do=AGAIN)
    for file in files:
        check_finite(load_file(file).items(), place=str(adapter), do=AGAIN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tensors without a place: they are refused below
            stacked = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        expected = "an adapter of this model"
        raise UserError(str(adapter), got=_first_line(error), expected=expected, do=AGAIN) from None
    state: dict[str, Any] = get_peft_model_state_dict(stacked, save_embedding_layers=False)
    fitting = {name: tuple(value.shape) for name, value in state.items()}
    check_shapes(found, fitting, place=str(adapter), do=AGAIN)
    return stacked


def _without_peft(model: PreTrainedModel) -> PreTrainedModel:
    if hasattr(model, "peft_config"):
        # Left behind by merging; TRL and PEFT would take the model for one that still carries an adapter.
        del model.peft_config
    return model


def check_config(adapter: Path) -> None:
    """Refuse an adapter whose configuration is not that of a plain LoRA.

    Raises:
        UserError: naming the first key with a value that is not allowed.
    """
    path = adapter / CONFIG
    if not path.is_file():
        raise UserError(str(adapter), got=f"no {CONFIG}", expected="a PEFT adapter", do=AGAIN)
    raw = read_json(path, made_by=AGAIN)
    if not isinstance(raw, dict):
        raise UserError(str(path), got=raw, expected="an object", do=AGAIN)
    known = AdapterConfig.model_fields
    used = {key: value for key, value in raw.items() if key in known or not _is_empty(value)}
    try:
        AdapterConfig.model_validate(used)
    except ValidationError as error:
        # First what the adapter says that it is; an option of another kind follows from it.
        kinds = {"peft_type": 0}
        first = min(error.errors(), key=lambda item: kinds.get(str(item["loc"][0]), 1))
        key = str(first["loc"][0])
        got = "no such key" if key not in raw else repr(raw[key])
        expected = f"a plain LoRA adapter ({first['msg'].lower()})"
        if first["type"] == "extra_forbidden":
            expected = "a plain LoRA adapter, without this option"
        raise UserError(f"{path}: {key}", got=got, expected=expected, do=AGAIN) from None


def _is_empty(value: object) -> bool:
    return any(type(value) is type(empty) and value == empty for empty in EMPTY)


def _first_line(error: Exception) -> str:
    """Return an error's first line that says something: torch opens a list of mismatches with a line of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    telling = lines[1] if lines[0].startswith("Error(s) in loading") and len(lines) > 1 else lines[0]
    return f"{type(error).__name__}: {telling}"
