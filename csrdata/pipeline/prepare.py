"""Wiring of `prepare`: nothing in; images, two scorers and the base policy out."""

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.runtime import set_up_process
from csrdata.storage.tables import write_json


def run(params: Params) -> None:
    """Draw the microworld and train its models; a model that a killed run had finished is kept."""
    set_up_process(params.compute)
    from csrdata.sources.microworld.prepare import build

    settings = params.prepare
    metrics = build(
        scenes=paths.SCENES,
        policy=paths.policy(paths.BASE),
        scorer=paths.SCORER,
        held_out_scorer=paths.HELD_OUT_SCORER,
        sizes={
            "train": settings.train_images,
            "validation": settings.validation_images,
            "held_out": settings.held_out_images,
            "out_of_distribution": settings.out_of_distribution_images,
        },
        **settings.model_dump(
            exclude={
                "kind",
                "train_images",
                "validation_images",
                "held_out_images",
                "out_of_distribution_images",
            }
        ),
    )
    write_json(paths.PREPARE_METRICS, metrics)
