"""The allow-list of keys, types and values for a scorer's `open_clip_config.json`.

The file comes with the weights and is untrusted. open_clip uses its values for a tokenizer that can run code from the
folder, a regular expression, file paths and downloads. Only what is listed here reaches a library. The fields are those that
open_clip 3.3 reads for a dual encoder, except those that name another model (`hf_model_name`), a file (`bpe_path`) or a
random choice (`reduction_mask`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csrdata.errors import UserError

CONFIG = "open_clip_config.json"

# Bounds far above any real model: the model is built before its weights are compared with the configuration.
Size = Annotated[int, Field(ge=1, le=2**16)]
Vocabulary = Annotated[int, Field(ge=1, le=2**21)]
Layers = Annotated[int, Field(ge=1, le=1000)]
TokenId = Annotated[int, Field(ge=0, le=2**21)]
Ratio = Annotated[float, Field(gt=0, le=64)]
Share = Annotated[float, Field(ge=0, lt=1)]
Scale = Annotated[float, Field(gt=0)]
TimmName = Annotated[str, Field(pattern=r"^\w+(\.\w+)?$", max_length=100)]
"""The name of an architecture, without a colon: timm treats a name with a colon as the address of a model."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ActivationKeywords(_Section):
    """`act_kwargs`: arguments of GELU."""

    approximate: Literal["none", "tanh"] = "none"


class NormKeywords(_Section):
    """`norm_kwargs`: arguments of LayerNorm."""

    eps: Scale = 1e-5


class TokenizerKeywords(_Section):
    """`tokenizer_kwargs`: arguments of the tokenizer."""

    clean: Literal["canonicalize", "lower", "whitespace"] | None = None
    strip_sep_token: bool = False


class _Tower(_Section):
    """Fields of both towers."""

    width: Size = 768
    mlp_ratio: Ratio = 4.0
    ls_init_value: Scale | None = None
    final_ln_after_pool: bool = False
    output_tokens: Literal[False] = False
    act_kwargs: ActivationKeywords | None = None
    norm_kwargs: NormKeywords | None = None
    block_type: Literal["default", "custom"] | None = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


class VisionTower(_Tower):
    """`vision_cfg`: open_clip's vision transformer or ResNet, or an architecture of timm."""

    image_size: Size | tuple[Size, Size] = 224
    layers: Layers | tuple[Layers, Layers, Layers, Layers] = 12
    head_width: Size = 64
    patch_size: Size | None = 16
    patch_dropout: Share = 0.0
    attentional_pool: bool = False
    attn_pooler_queries: Size = 256
    attn_pooler_heads: Size = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    pool_type: Literal["tok", "avg", "none"] = "tok"
    timm_model_name: TimmName | None = None
    timm_model_pretrained: bool = False
    timm_pool: Literal["abs_attn", "rot_attn", "avg", "avgmax", "max", "map", "token", ""] = "avg"
    timm_proj: Literal["linear", "mlp", "none", ""] | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: Share = 0.0
    timm_drop_path: Share | None = None


class TextTower(_Tower):
    """`text_cfg`: open_clip's text transformer and its tokenizer."""

    context_length: Size = 77
    vocab_size: Vocabulary = 49408
    hf_tokenizer_name: str | None = None
    """If set, the tokenizer is the `tokenizer.json` in the scorer's folder; the name itself is not used."""
    tokenizer_mode: Literal["clips"] | None = None
    tokenizer_kwargs: TokenizerKeywords | None = None
    heads: Size = 8
    layers: Layers = 12
    embed_cls: bool = False
    pad_id: TokenId = 0
    eos_id: TokenId = 2
    no_causal_mask: bool = False
    pool_type: Literal["argmax", "eos", "first", "last"] = "argmax"
    proj_bias: bool = False
    proj_type: Literal["linear", "none"] = "linear"


class Model(_Section):
    """`model_cfg`: the arguments of open_clip's `CLIP` or `CustomTextCLIP`."""

    embed_dim: Size
    vision_cfg: VisionTower
    text_cfg: TextTower
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False


class Preprocessing(_Section):
    """`preprocess_cfg`: the preprocessing of images."""

    size: Size | tuple[Size, Size] | None = None
    """Not used: the size is that of the vision tower."""
    mode: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] | None = None
    std: tuple[Scale, Scale, Scale] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0


class ScorerConfig(_Section):
    """The content of `open_clip_config.json`."""

    model_cfg: Model
    preprocess_cfg: Preprocessing = Preprocessing()

    def model_arguments(self) -> dict[str, Any]:
        """Return the arguments of `CLIP`: only those in the file, and for timm no download of weights."""
        arguments = self.model_cfg.model_dump(exclude_unset=True, exclude={"custom_text"})
        if self.model_cfg.vision_cfg.timm_model_name:
            arguments["vision_cfg"]["timm_model_pretrained"] = False
        return arguments


def read_config(folder: Path, *, do: str) -> ScorerConfig:
    """Read a scorer's configuration and validate it against the allow-list.

    Raises:
        UserError: the file is missing or not JSON, or a key is unknown, missing or has a value that is not allowed.
    """
    path = folder / CONFIG
    try:
        content = path.read_bytes()
    except OSError:
        expected = "an open_clip scorer"
        raise UserError(str(folder), got=f"no {CONFIG} in it", expected=expected, do=do) from None
    try:
        return ScorerConfig.model_validate_json(content)
    except ValidationError as error:
        raise _explain(error, path, do=do) from None


def _explain(error: ValidationError, path: Path, *, do: str) -> UserError:
    """Return a one-line error for the first validation error; unknown keys come first."""
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    place = ": ".join([str(path), *([".".join(_keys(first["loc"]))] if first["loc"] else [])])
    if first["type"] == "extra_forbidden":
        allowed: Mapping[str, object] = _fields(first["loc"][:-1])
        expected = f"no other key than {', '.join(sorted(allowed))}"
        return UserError(place, got=f"an unknown key with {first['input']!r}", expected=expected, do=do)
    if first["type"] == "missing":
        return UserError(place, got="no such key", expected="a value", do=do)
    if first["type"] == "json_invalid":
        return UserError(place, got=first["msg"], expected="JSON", do=do)
    expected = first["msg"].replace("Input should be", "a value").replace("a value a valid", "a valid")
    return UserError(place, got=repr(first["input"]), expected=expected, do=do)


def _keys(where: tuple[str | int, ...]) -> list[str]:
    """Return the keys that lead to an error, without the union members that pydantic adds."""
    return [str(part) for part in where if isinstance(part, int) or part.isidentifier()]


def _fields(where: tuple[str | int, ...]) -> Mapping[str, object]:
    """Return the fields of the section to which these keys lead."""
    section: type[BaseModel] = ScorerConfig
    for part in where:
        if isinstance(part, str) and part in SECTIONS:
            section = SECTIONS[part]
    return section.model_fields


SECTIONS: dict[str, type[BaseModel]] = {
    "model_cfg": Model,
    "vision_cfg": VisionTower,
    "text_cfg": TextTower,
    "preprocess_cfg": Preprocessing,
    "tokenizer_kwargs": TokenizerKeywords,
    "act_kwargs": ActivationKeywords,
    "norm_kwargs": NormKeywords,
}
