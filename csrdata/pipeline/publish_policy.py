"""Wiring of `csrdata push --model`: params, a policy and its figures in, a folder for the Hub out. No stage."""

import tempfile
from pathlib import Path

import csrdata
from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.table import markdown
from csrdata.params import load_params
from csrdata.publishing.fetch import Source
from csrdata.publishing.hub import published_manifest
from csrdata.publishing.layout import own_table
from csrdata.publishing.manifest import MANIFEST, parse_manifest
from csrdata.publishing.model import BaseModel, write_model
from csrdata.publishing.origins import origin
from csrdata.publishing.release import published_pairs
from csrdata.tables import read_json


def write_policy(
    folder: Path,
    *,
    repo_id: str,
    iteration: str,
    dataset: Source | None,
    tag: str | None,
    licence: str | None,
) -> str:
    """Write the folder of the policy that an iteration trained, and return its identity.

    Args:
        folder: see `publishing.model.write_model`, as for the others.
        licence: by default the one that is known of the project's source.

    Raises:
        UserError: the data set does not hold the very pairs of this iteration, the policy or its figures are not there, or
            the licence is neither known nor said.
    """
    params = load_params()
    if dataset is not None:
        _check_pairs(dataset, iteration)
    summary = read_json(paths.SUMMARY, made_by="dvc repro summarize")
    shown = {"0", iteration}
    narrowed = {
        "splits": {
            split: {name: entry for name, entry in entries.items() if name in shown}
            for split, entries in summary["splits"].items()
        },
        "pairs": {name: entry for name, entry in summary["pairs"].items() if name in shown},
    }
    return write_model(
        folder,
        repo_id=repo_id,
        policy=paths.policy(iteration),
        iteration=iteration,
        base=BaseModel(paths.policy(paths.BASE)),
        licence=origin(params.build_seed.kind, licence=licence).licence,
        training=params.train_dpo.model_dump(),
        results=markdown(narrowed, confidence=params.summarize.confidence),
        version=csrdata.__version__,
        dataset=dataset,
        tag=tag,
    )


def _check_pairs(dataset: Source, iteration: str) -> None:
    """Hold what the card will claim: the published pairs are those that this project trained on."""
    found = published_manifest(dataset.repo_id, revision=dataset.revision)
    place = f"{dataset}: {MANIFEST}"
    files = [] if found is None else parse_manifest(found, place=place).files
    published = next((file.sha256 for file in files if file.path == own_table(iteration, "pairs")), None)
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        ours = published_pairs(paths.pairs(iteration), root=Path(), folder=Path(scratch))
    if published != ours:
        raise UserError(
            "--dataset",
            got=f"{dataset}, with " + ("other pairs" if published else "no pairs of this iteration"),
            expected=f"the pairs of iteration {iteration}",
            do=f"csrdata push {dataset.repo_id} --tag NEW_TAG, then name that tag",
        )
