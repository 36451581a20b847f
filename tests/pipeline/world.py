"""A project in a new folder: a few microworld scenes and small parameters, as `prepare` would leave them."""

from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.params import Params, load_params
from csrdata.sources.microworld.images import write_scenes
from tests.relevance.test_open_clip import save_tiny_clip
from tests.tiny import tiny_llava

SIZES = {"train": 6, "validation": 3, "held_out": 4, "out_of_distribution": 3}
SMALL_SEARCH: dict[str, Any] = {
    "proposal": {"kind": "groups", "groups": 4, "diversity_penalty": 2.0},
    "keep_best": 2,
    "keep_worst": 1,
    "max_sentence_tokens": 20,
    "max_response_tokens": 60,
    "max_sentences": 3,
    "prompts_at_once": 2,
}
"""Keys of `generate_beams`, for a tiny policy that was taught to answer."""
PLAIN_FIGURES = {
    "chair_s",
    "chair_i",
    "recall",
    "length",
    "present_per_answer",
    "attribute_errors",
    "repetition",
    "well_formed",
    "loglik_base",
    "relevance",
    "relevance_held_out",
    "pope_accuracy",
    "pope_f1",
    "pope_yes_rate",
}
"""What every split has in a summary of the microworld; POPE by kind of question and figures at equal recall are more."""
PARAMS = Path(__file__).parents[2] / "params.yaml"


ANSWERS: dict[str, Any] = {
    "kind": "answers",
    "order": "reward",
    "margin": 0.1,
    "max_length_gap": 0.2,
    "length_balance": None,
    "per_prompt": 1,
    "seed": 0,
    "curation": None,
}
"""Pairs of whole answers. To a scorer without training there is no evidence for a sentence."""


def small_params(**sections: dict[str, Any]) -> Params:
    """Return the shipped parameters with a few keys changed: `small_params(sample_prompts={"prompts": 4})`.

    Pairs are of whole answers.

    `match_recall` and `measure_attention` are null unless they are among the sections: their stages run a model.
    """
    raw = load_params(PARAMS).model_dump()
    raw |= {"match_recall": None, "measure_attention": None, "select_pairs": ANSWERS}
    changed = {"compute": {"threads": 1}, "sample_prompts": {"prompts": 4}, "summarize": {"resamples": 200}}
    for section, keys in [*changed.items(), *sections.items()]:
        raw[section] = {**(raw[section] or {}), **keys}
    return Params.model_validate(raw)


def draw_world() -> None:
    """Draw the scenes into the present folder, and save an untrained base policy."""
    write_scenes(paths.SCENES, sizes=SIZES, seed=0)
    tiny_llava(paths.policy(paths.BASE))


def save_tiny_scorers() -> None:
    """Save two untrained CLIPs into the present folder: the search's scorer and the held-out one."""
    for folder in (Path("scorers/search"), Path("scorers/held_out")):
        folder.mkdir(parents=True)
        save_tiny_clip(folder)


def real_params(images: Path, *, exclude: str | None = None, count: int = 4, **source: Any) -> Params:
    """Return small parameters of a project whose source is a folder of images, or what `source` says."""
    raw = small_params().model_dump()
    stated = {"images": None, "licence": None, "outputs": None, "policy": None}
    kind = source or {"kind": "folder", "folder": ".", "prompts": ["Describe the photo."]}
    raw |= {"images": {"root": str(images)}, "source": {**kind, "exclude": exclude, "origin": stated}}
    raw["sample_prompts"] = {"prompts": count, "seed": 0}
    return Params.model_validate(raw)
