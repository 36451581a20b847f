"""Wiring of `prepare`: parameters in; images, two scorers and the base policy out.

Only this module depends on `prepare.kind`.
"""

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, MicroworldSource, Params
from csrdata.pipeline.runtime import machine, set_up_process
from csrdata.pipeline.scorers import scorer_folder
from csrdata.storage.tables import write_json


def run(params: Params) -> None:
    """Draw the microworld and train its models. A model that an interrupted run completed is kept."""
    set_up_process(params.compute)
    from csrdata.sources.microworld.prepare import build

    source = params.source
    if not isinstance(source, MicroworldSource):
        raise UserError(
            f"{FILE}: prepare.kind",
            got="microworld",
            expected=f"another kind for a source of kind {source.kind}: the microworld's models know its drawings alone",
            do=f"fix {FILE}, then: dvc repro",
        )
    metrics = build(
        scenes=paths.SCENES,
        policy=paths.policy(paths.BASE),
        scorer=scorer_folder(params.scorers.search),
        held_out_scorer=scorer_folder(params.scorers.held_out),
        sizes={
            "train": source.train_images,
            "validation": source.validation_images,
            "held_out": source.held_out_images,
            "out_of_distribution": source.out_of_distribution_images,
        },
        scene_seed=source.seed,
        **params.prepare.model_dump(exclude={"kind"}),
    )
    write_json(paths.PREPARE_METRICS, {**metrics, "machine": machine(params.compute)})
