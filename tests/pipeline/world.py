"""A project in a new folder: a few microworld scenes and small parameters, as `prepare` would leave them."""

from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.params import Params, load_params
from csrdata.sources.microworld.images import write_scenes
from tests.tiny import tiny_llava

SIZES = {"train": 6, "validation": 3, "held_out": 4, "out_of_distribution": 3}
PARAMS = Path(__file__).parents[2] / "params.yaml"


def small_params(**sections: dict[str, Any]) -> Params:
    """Return the shipped parameters with a few keys changed: `small_params(sample_prompts={"prompts": 4})`.

    `match_recall` and `measure_attention` are null unless they are among the sections: their stages run a model.
    """
    raw = load_params(PARAMS).model_dump() | {"match_recall": None, "measure_attention": None}
    changed = {"compute": {"threads": 1}, "sample_prompts": {"prompts": 4}, "summarize": {"resamples": 200}}
    for section, keys in [*changed.items(), *sections.items()]:
        raw[section] = {**(raw[section] or {}), **keys}
    return Params.model_validate(raw)


def draw_world() -> None:
    """Draw the scenes into the present folder, and save an untrained base policy."""
    write_scenes(paths.SCENES, sizes=SIZES, seed=0)
    tiny_llava(paths.policy(paths.BASE))


def real_params(images: Path, *, exclude: str | None = None, count: int = 4, **source: Any) -> Params:
    """Return small parameters of a project whose source is a folder of images, or what `source` says."""
    raw = small_params().model_dump()
    stated = {"images": None, "licence": None, "outputs": None, "policy": None}
    kind = source or {"kind": "folder", "folder": ".", "prompts": ["Describe the photo."]}
    raw |= {"images": {"root": str(images)}, "source": {**kind, "exclude": exclude, "origin": stated}}
    raw["sample_prompts"] = {"prompts": count, "seed": 0}
    return Params.model_validate(raw)
