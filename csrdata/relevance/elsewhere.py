"""A scorer that is elsewhere: by open_clip's name and tag, on the Hub, or in a folder that is recorded file by file.

A record folder (`scorers/search`, say) holds `scorer.json`, a `csrdata.pinned.Pinned`, and for a scorer by name the
`open_clip_config.json` that open_clip has under that name: its repository's own file is not read. Whatever the
configuration comes from, it passes the allow-list of `csrdata.relevance.config`.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.pinned import checked_folder, read_pinned
from csrdata.relevance.config import CONFIG
from csrdata.relevance.open_clip import DO, WEIGHTS, OpenClipScorer, load_open_clip
from csrdata.weights import PICKLES

RECORD = "scorer.json"
MADE_BY = "dvc repro -f prepare"
MEND = "mend params.yaml, then: dvc repro"

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files of a tokenizer, of which the first is needed where the configuration names one."""


@dataclass(frozen=True, slots=True)
class Named:
    """What open_clip has under a name and a tag."""

    repo_id: str
    """The repository of the weights on the Hub."""
    config: dict[str, Any]
    """An `open_clip_config.json`."""


def by_name(name: str, tag: str, *, place: str) -> Named:
    """Return the configuration and the repository that open_clip has under a name and a tag.

    Args:
        name: of an architecture, `ViT-L-14-336-quickgelu`.
        tag: of its weights, `openai`.
        place: the section of params.yaml, for errors.

    Raises:
        UserError: the name or the tag is unknown, the two do not go together, or such weights are not on the Hub.
    """
    from open_clip import list_models, list_pretrained_tags_by_model
    from open_clip.factory import get_model_config
    from open_clip.pretrained import get_pretrained_cfg

    if name not in list_models():
        expected = _nearest(name, list_models(), "a model of open_clip")
        raise UserError(f"{place}.name", got=name, expected=expected, do=MEND)
    tags = list_pretrained_tags_by_model(name)
    if tag not in tags:
        expected = f"one of {', '.join(tags)}" if tags else "another name: it has no weights"
        raise UserError(f"{place}.tag", got=tag, expected=expected, do=MEND)
    model, weights = get_model_config(name), get_pretrained_cfg(name, tag)
    if bool(model.get("quick_gelu", False)) != bool(weights.get("quick_gelu", False)):
        # open_clip only warns here, and then computes with another activation than the weights were trained with.
        other = name.removesuffix("-quickgelu") if model.get("quick_gelu", False) else f"{name}-quickgelu"
        raise UserError(
            f"{place}.name",
            got=f"{name} with the weights {tag}, trained with another activation",
            expected=other,
            do=MEND,
        )
    if "hf_model_name" in model["text_cfg"] or "multimodal_cfg" in model:
        kind = "a text tower of transformers" if "hf_model_name" in model["text_cfg"] else "a caption decoder"
        raise UserError(f"{place}.name", got=f"{name}, which has {kind}", expected="a dual encoder", do=MEND)
    # `OWNER/NAME/`, or `OWNER/NAME/FILE`.
    owner, _, rest = str(weights.get("hf_hub", "")).partition("/")
    if not rest:
        expected = "weights that are on the Hub"
        raise UserError(f"{place}.tag", got=f"{tag}, which is not there", expected=expected, do=MEND)
    keys = ("mean", "std", "interpolation", "resize_mode")
    return Named(
        repo_id=f"{owner}/{rest.partition('/')[0]}",
        config={"model_cfg": model, "preprocess_cfg": {key: weights[key] for key in keys if key in weights}},
    )


def files_of_scorer(names: Collection[str], place: str, *, named: bool) -> Sequence[str]:
    """Return the files that a scorer is loaded from, of those of its repository or folder.

    Args:
        names: all files.
        place: the repository or folder, for errors.
        named: the configuration is open_clip's own.

    Raises:
        UserError: there is no configuration, or there are no weights as safetensors.
    """
    if not named and CONFIG not in names:
        raise UserError(place, got=f"no {CONFIG}", expected="a model of open_clip", do=MEND)
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None:
        pickles = sorted(name for name in names if Path(name).suffix in PICKLES)
        got = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "no weights"
        raise UserError(place, got=got, expected=f"weights as safetensors ({WEIGHTS[0]})", do=MEND)
    wanted = {weights, *TOKENIZER} | (set() if named else {CONFIG})
    return sorted(wanted & set(names))


def open_recorded(folder: Path, *, device: str) -> OpenClipScorer:
    """Load the scorer that a record folder names, if its files are those that were recorded.

    Raises:
        UserError: the record is malformed, a file is missing or changed, or see `load_open_clip`.
    """
    record = folder / RECORD
    if not record.is_file():
        raise UserError(str(folder), got=f"no {RECORD} in it", expected="the record of a scorer", do=DO)
    files = checked_folder(read_pinned(record, made_by=MADE_BY), place=str(record), made_by=MADE_BY)
    config = folder if (folder / CONFIG).is_file() else None
    return load_open_clip(files, config_folder=config, device=device)


def _nearest(name: str, known: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return near[0] if near else otherwise
