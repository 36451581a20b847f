"""Wiring of `prepare`: parameters in; images, scorers and the base policy out, trained here or resolved.

Only this module depends on `prepare.kind`.
"""

from typing import Any

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, MicroworldModels, MicroworldSource, Params, PretrainedModels
from csrdata.pipeline.runtime import machine, set_up_process
from csrdata.pipeline.scorers import scorer_folder
from csrdata.storage.tables import write_json


def run(params: Params) -> None:
    """Train the models or resolve them. A model that an interrupted run completed is kept.

    Raises:
        UserError: the kinds of source, models and scorers do not go together, or a model cannot be used.
    """
    set_up_process(params.compute)
    if params.prepare.kind == "microworld":
        found = _microworld(params, params.prepare)
    else:
        found = {"resolved": _pretrained(params, params.prepare)}
    if params.source.kind == "microworld":
        from csrdata.sources.microworld.world import WORLD_VERSION

        found["world"] = WORLD_VERSION
    write_json(paths.PREPARE_METRICS, {**found, "machine": machine(params.compute)})


def _microworld(params: Params, models: MicroworldModels) -> dict[str, Any]:
    """Draw the microworld and train its models; return their metrics."""
    from csrdata.sources.microworld.prepare import build

    source, search, held_out = params.source, params.scorers.search, params.scorers.held_out
    if not isinstance(source, MicroworldSource):
        raise UserError(
            f"{FILE}: prepare.kind",
            got="microworld",
            expected=f"another kind for a source of kind {source.kind}: the microworld's models know its drawings alone",
            do=f"fix {FILE}, then: dvc repro",
        )
    if search.kind != "open_clip":
        raise UserError(
            f"{FILE}: scorers.search.kind",
            got=search.kind,
            expected="open_clip, as prepare.kind is microworld: its scorer is trained into a folder",
            do=f"fix {FILE}, then: dvc repro",
        )
    is_trained = held_out is not None and held_out.kind == "open_clip"
    found: dict[str, Any] = dict(
        build(
            scenes=paths.SCENES,
            policy=paths.policy(paths.BASE),
            scorer=scorer_folder(search, role="search"),
            held_out_scorer=scorer_folder(held_out, role="held_out") if held_out and is_trained else None,
            sizes=_sizes(source),
            scene_seed=source.seed,
            **models.model_dump(exclude={"kind"}),
        )
    )
    if held_out is not None and not is_trained:
        from csrdata.pipeline.pinning import pin_scorer

        pin_scorer(held_out, role="held_out")
    return found


def _pretrained(params: Params, models: PretrainedModels) -> dict[str, Any]:
    """Resolve the policy and the scorers; return what was resolved, by model: bytes, files, and where they are."""
    from csrdata.pipeline.pinning import pin_policy, pin_scorer

    if params.source.kind == "microworld":
        from csrdata.sources.microworld.images import write_scenes

        write_scenes(paths.SCENES, sizes=_sizes(params.source), seed=params.source.seed)
    found = {"policy": [pin_policy(models)], "scorer": pin_scorer(params.scorers.search, role="search")}
    if params.scorers.held_out is not None:
        found["held_out_scorer"] = pin_scorer(params.scorers.held_out, role="held_out")
    return {
        model: [
            {
                "name": one.id or one.folder,
                "revision": one.revision,
                "bytes": one.bytes,
                "files": len(one.files),
            }
            for one in records
        ]
        for model, records in found.items()
        if records
    }


def _sizes(source: MicroworldSource) -> dict[str, int]:
    """Return the images to draw, by split."""
    return {
        "train": source.train_images,
        "validation": source.validation_images,
        "held_out": source.held_out_images,
        "out_of_distribution": source.out_of_distribution_images,
    }
