"""Wiring of `csrdata push --model`: parameters, a policy and its figures in, a folder for the Hub out.

It is not a stage of the DAG.
"""

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import csrdata
from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.summary import BASE
from csrdata.params import Params, load_params
from csrdata.pinned import read_pinned
from csrdata.pipeline.chosen_by_truth import check_policy
from csrdata.pipeline.inputs import images_folder
from csrdata.pipeline.results import LOCK, find_results
from csrdata.pipeline.stated import known_origin, stated_origin
from csrdata.pipeline.stopping import need_ran
from csrdata.policy.pretrained import MADE_BY, POINTER, model_folder
from csrdata.publishing.hub.fetch import Source
from csrdata.publishing.hub.pushing import published_manifest
from csrdata.publishing.origins import model_licence
from csrdata.publishing.release.layout import own_table
from csrdata.publishing.release.manifest import MANIFEST, parse_manifest
from csrdata.publishing.release.policy import BaseModel, write_model
from csrdata.publishing.release.provenance import check_run
from csrdata.publishing.release.results import Results
from csrdata.publishing.release.writing import published_pairs
from csrdata.records import Pair
from csrdata.storage.tables import read_rows


def write_policy(
    folder: Path,
    *,
    repo_id: str,
    iteration: str,
    dataset: Source | None,
    tag: str | None,
    licence: str | None,
) -> str:
    """Write a folder with the policy that an iteration trained, and return its identity.

    Args:
        folder, repo_id, iteration, dataset, tag: see `csrdata.publishing.release.policy.write_model`.
        licence: the policy's licence, by its name on the Hub; by default the one that params.yaml states, or that of the
            microworld for a base that csrdata trained on it.

    Raises:
        UserError: the dataset does not hold the pairs of this iteration; the policy is missing or differs from dvc.lock;
            it was trained on pairs that the truth chose, in this iteration or one before it; or the licence is neither
            known nor given.
    """
    params = load_params()
    need_ran(iteration)
    base = _base()
    own = model_licence(
        known_origin(params), stated=stated_origin(params), licence=licence, base=base.repo_id
    )
    if LOCK.is_file():
        trained = paths.policy(iteration).as_posix()
        check_run(LOCK, [trained], params=params.model_dump(), root=Path())
    check_policy(iteration)
    if dataset is not None:
        _check_pairs(params, dataset, iteration)
    return write_model(
        folder,
        repo_id=repo_id,
        policy=paths.policy(iteration),
        iteration=iteration,
        base=base,
        licence=own,
        training=params.train_dpo.model_dump(),
        origins=_origins(iteration),
        results=_of_policy(find_results(params, [iteration]), iteration),
        version=csrdata.__version__,
        dataset=dataset,
        tag=tag,
    )


def _base() -> BaseModel:
    """Return the base: of the Hub by id and commit, or the folder whose files go along."""
    folder = paths.policy(paths.BASE)
    if not (folder / POINTER).is_file():
        return BaseModel(folder)
    pinned = read_pinned(folder / POINTER, made_by=MADE_BY)
    if pinned.id is not None:
        return BaseModel(folder, pinned.id, pinned.revision)
    return BaseModel(model_folder(folder), files=tuple(sorted(pinned.files)))


def _origins(iteration: str) -> dict[str, int]:
    """Return the numbers of an iteration's pairs, by their origin."""
    pairs = read_rows(paths.pairs(iteration), Pair, made_by=f"dvc repro select_pairs@{iteration}")
    return dict(sorted(Counter(pair.origin for pair in pairs).items()))


def _of_policy(results: Results | None, iteration: str) -> Results | None:
    """Keep the figures of the base and of one policy."""
    if results is None:
        return None
    splits = {
        split: {name: figures for name, figures in policies.items() if name in {BASE, iteration}}
        for split, policies in results.splits.items()
    }
    return replace(results, splits=splits)


def _check_pairs(params: Params, dataset: Source, iteration: str) -> None:
    """Raise if the published pairs are not those that this project trained on: the card will claim that they are."""
    found = published_manifest(dataset.repo_id, revision=dataset.revision)
    place = f"{dataset}: {MANIFEST}"
    files = [] if found is None else parse_manifest(found, place=place).files
    published = next((file.sha256 for file in files if file.path == own_table(iteration, "pairs")), None)
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        ours = published_pairs(paths.pairs(iteration), root=images_folder(params), folder=Path(scratch))
    if published != ours:
        raise UserError(
            "--dataset",
            got=f"{dataset}, with " + ("other pairs" if published else "no pairs of this iteration"),
            expected=f"the pairs of iteration {iteration}",
            do=f"csrdata push {dataset.repo_id} --tag NEW_TAG, then pass that tag to --dataset",
        )
