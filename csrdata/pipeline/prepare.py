"""Wiring of `prepare`: parameters in; images, scorers and the base policy out, trained here or resolved.

Only this module depends on `prepare.kind`.
"""

from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, Params
from csrdata.pipeline.runtime import machine, set_up_process
from csrdata.pipeline.scorers import trained_scorers
from csrdata.sections.models import MicroworldModels, PretrainedModels
from csrdata.sections.scorers import scorer_roles
from csrdata.sections.sources import MicroworldSource
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
    """Draw the microworld and train its models; return their metrics. Scorers that are not trained here are recorded."""
    from csrdata.sources.microworld.prepare import build

    source = params.source
    if not isinstance(source, MicroworldSource):
        raise UserError(
            f"{FILE}: prepare.kind",
            got="microworld",
            expected=f"another kind for a source of kind {source.kind}: the microworld's models know its drawings alone",
            do=f"fix {FILE}, then: dvc repro",
        )
    trained = trained_scorers(params)
    folders = {role: Path(folder) for role, folder in trained.folders.items()}
    found: dict[str, Any] = dict(
        build(
            scenes=paths.SCENES,
            policy=paths.policy(paths.BASE),
            scorer=trained.tower,
            held_out_scorer=folders.get("held_out") if "held_out" not in trained.detectors else None,
            detectors={
                role: (folders[role], "held_out_scorer" if role == "held_out" else "scorer")
                for role in trained.detectors
            },
            sizes=_sizes(source),
            scene_seed=source.seed,
            **models.model_dump(exclude={"kind"}),
        )
    )
    others = [role for role in scorer_roles(params.scorers) if role not in folders]
    if others:
        from csrdata.pipeline.pinning import pin_scorer

        for role in others:
            pin_scorer(params, role)
    return found


def _pretrained(params: Params, models: PretrainedModels) -> dict[str, Any]:
    """Resolve the policy and the scorers; return what was resolved, by model: bytes, files, and where they are."""
    from csrdata.pipeline.pinning import pin_policy, pin_scorer

    if params.source.kind == "microworld":
        from csrdata.sources.microworld.images import write_scenes

        write_scenes(paths.SCENES, sizes=_sizes(params.source), seed=params.source.seed)
    names = {"search": "scorer"}
    found = {"policy": [pin_policy(models)]}
    for role in scorer_roles(params.scorers):
        found[names.get(role, f"{role}_scorer")] = pin_scorer(params, role)
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
