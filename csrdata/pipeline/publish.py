"""Wiring of a release, for `csrdata push`: parameters, tables and models in, a checked folder for the Hub out.

It is not a stage of the DAG.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, Params, load_params
from csrdata.pipeline.chosen_by_truth import check_policy
from csrdata.pipeline.inputs import images_folder, need_exclusion
from csrdata.pipeline.pulled import DAG, changed_since, read_pulled
from csrdata.pipeline.results import find_results
from csrdata.pipeline.stated import known_origin, stated_origin
from csrdata.pipeline.stopping import has_pairs, need_ran
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.hub.pushing import published_manifest
from csrdata.publishing.origins import origin
from csrdata.publishing.release.columns import parse_images
from csrdata.publishing.release.gates import check
from csrdata.publishing.release.layout import LOCK as KEPT_LOCK
from csrdata.publishing.release.manifest import (
    MANIFEST,
    Manifest,
    Model,
    describe_model,
    parse_manifest,
    read_manifest,
)
from csrdata.publishing.release.provenance import check_run, commit
from csrdata.publishing.release.writing import write_release
from csrdata.records import ImageFile, Prompt
from csrdata.sections.scorers import scorer_folder, scorer_of
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import read_rows

LOCK = Path("dvc.lock")
REPRO = "dvc repro"


def release(
    folder: Path,
    *,
    repo_id: str,
    tag: str | None,
    names: Sequence[str] | None,
    images: str,
    licence: str | None,
    image_licence: str | None,
    output_licence: str | None = None,
    hub_may_be_away: bool,
) -> Manifest:
    """Write a release of this project to a folder and return its manifest; if a check fails, the folder does not appear.

    Args:
        folder: where to write the release.
        repo_id: `OWNER/NAME`.
        tag: the version, for the card.
        names: the iterations; None or an empty list means all that have pairs.
        images: `embed` or `reference`.
        licence, image_licence, output_licence: see `csrdata.publishing.origins.origin`.
        hub_may_be_away: continue if the published version cannot be read; the card's changelog then starts again.

    Raises:
        UserError: an argument is invalid, the project differs from its dvc.lock, something is missing, a policy that wrote
            pairs was trained on pairs that the truth chose, the Hub did not answer, the disk is full, or a check fails.
    """
    params = load_params()
    _refuse_imported(params)
    kept = parse_images(images)
    source = origin(
        params.source.kind,
        known_origin(params),
        stated=stated_origin(params),
        licence=licence,
        images=image_licence,
        outputs=output_licence,
    )
    iterations = [project_tables(name) for name in _made(params, names)]
    lock = LOCK if LOCK.is_file() else None
    if lock is not None:
        folders = [
            (one.prompts.parent, one.candidates, one.responses, one.pairs.parent) for one in iterations
        ]
        outs = [out.as_posix() for group in folders for out in group]
        check_run(lock, outs, params=params.model_dump(), root=Path())
    sampled, origins = _sampled_images(), _pulled_manifest()
    wrote = [params.iterations[one.name].previous for one in iterations]
    if origins is None:
        # A pulled project has neither the list of what is excluded nor the policies; they were checked before its push.
        _check_excluded(params, iterations, sampled)
        for name in wrote:
            check_policy(name)
    places = _places(params)
    models = {
        "base policy": paths.policy(paths.BASE),
        **{f"policy {name}": paths.policy(name) for name in wrote if name != paths.BASE},
        **_scorers(params),
    }
    if origins is not None:
        lock = Path(KEPT_LOCK) if Path(KEPT_LOCK).is_file() else None
    return write_release(
        folder,
        repo_id=repo_id,
        iterations=iterations,
        images=kept,
        project_root=images_folder(params),
        params={
            **_without(places, generating(params, [one.name for one in iterations])),
            "images": {"root": "."},
        },
        params_file=FILE,
        lock=lock,
        models=[_describe(role, at, origins) for role, at in models.items()],
        origin=source,
        tag=tag,
        date=datetime.now(UTC).date().isoformat(),
        commit=commit(Path()) if origins is None else origins.commit,
        previous=_published(repo_id, may_fail=hub_may_be_away),
        results=find_results(params, [one.name for one in iterations]),
        source=None if origins is None else origins.inputs,
        hashes={file.image: file.sha256 for file in sampled},
        places=places,
        gate=lambda partial, decoded: check(partial, secrets=_tokens(), decoded=decoded),
    )


def _refuse_imported(params: Params) -> None:
    """Refuse pairs that others made: they have a place and a licence already.

    Raises:
        UserError: the pairs are imported.
    """
    if params.select_pairs.kind == "imported":
        raise UserError(
            "params.yaml: select_pairs.kind",
            got="imported",
            expected="pairs that this project made; those of others have their own place, card and licence",
            do="publish the policy that was trained on them: csrdata push OWNER/NAME --model",
        )


def _scorers(params: Params) -> dict[str, Path]:
    """Return the folders of the scorers behind the rewards; a self-check has none: its policy is among the models."""
    roles = {"search scorer": "search"}
    if params.scorers.held_out is not None:
        roles["held-out scorer"] = "held_out"
    if params.score_beams.signal in params.scorers.others:
        roles["scorer of the reward"] = params.score_beams.signal
    folders = {
        name: scorer_folder(scorer_of(params.scorers, role), role=role) for name, role in roles.items()
    }
    return {name: folder for name, folder in folders.items() if folder is not None}


def _sampled_images() -> list[ImageFile]:
    """Return the images of the prompts as they were sampled; a pulled project has no such table."""
    if not paths.IMAGES.is_file():
        return []
    return read_rows(paths.IMAGES, ImageFile, made_by="dvc repro -f sample_prompts")


def _check_excluded(
    params: Params, iterations: Sequence[IterationTables], sampled: Sequence[ImageFile]
) -> None:
    """Refuse a release with something that `source.exclude` names: the pairs are older than the file.

    Raises:
        UserError: a prompt's id or the hash of its image is excluded.
    """
    exclusion = need_exclusion(params)
    hashes = {file.image: file.sha256 for file in sampled}
    for prompt in read_rows(iterations[0].prompts, Prompt, made_by="dvc repro sample_prompts"):
        if exclusion.covers(prompt.prompt_id, hashes.get(prompt.image, "")):
            raise UserError(
                f"prompt {prompt.prompt_id}",
                got=f"image {prompt.image}, which params.yaml: source.exclude names",
                expected="pairs that were made without it",
                do="dvc repro (or the stages from sample_prompts on), then the same command again",
            )


def _places(params: Params) -> dict[str, str]:
    """Return the paths of this machine in params.yaml that no release may show, each with its replacement.

    The images root becomes `.` wherever it is, because a pull puts images inside the project; see `write_release`.
    """
    found: dict[str, str] = {}
    # Only what names files: a prompt may begin with a slash.
    sections = (params.source, params.prepare, params.scorers, *params.evaluation_sets.values())
    waiting: list[object] = [section.model_dump() for section in sections]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and "\n" not in value:
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts or value.startswith("~/"):
                found.setdefault(value, path.name or ".")
    return found


def _without(places: dict[str, str], value: Any) -> Any:
    """Return params with the paths of this machine replaced."""
    if isinstance(value, dict):
        return {key: _without(places, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without(places, one) for one in value]
    return places.get(value, value) if isinstance(value, str) else value


def _pulled_manifest() -> Manifest | None:
    """Return the manifest of the release that this project was pulled from; None if it was not pulled.

    If a pulled file was changed, the commit ends in "+changes".
    """
    pulled = None if DAG.exists() else read_pulled(Path())
    if pulled is None:
        return None
    manifest = read_manifest(Path())
    if manifest.commit and not manifest.commit.endswith("+changes") and changed_since(Path(), pulled):
        return replace(manifest, commit=f"{manifest.commit}+changes")
    return manifest


def _describe(role: str, folder: Path, origins: Manifest | None) -> Model:
    """Describe a model from its folder. A pulled project has no models: the description in its release is used."""
    known = next((model for model in origins.models if model.role == role), None) if origins else None
    return known or describe_model(role, folder, made_by=REPRO)


def _tokens() -> list[str]:
    from huggingface_hub import get_token

    token = get_token()
    return [token] if token else []


def generating(params: Params, names: Sequence[str]) -> dict[str, Any]:
    """Return the sections of params.yaml that the pairs of some iterations depend on.

    Left out are evaluation, the limits of the loop, later iterations, and training if every iteration starts from the base.
    """
    chain = list(names)
    for name in chain:  # the loop appends to the list
        previous = params.iterations[name].previous
        if previous in params.iterations and previous not in chain:
            chain.append(previous)
    sections = params.model_dump(exclude={"evaluate_policy", "evaluation_sets", "stop_when", "summarize"})
    sections["iterations"] = {name: one for name, one in sections["iterations"].items() if name in chain}
    if all(one["previous"] == paths.BASE for one in sections["iterations"].values()):
        del sections["train_dpo"]
    return sections


def _made(params: Params, names: Sequence[str] | None) -> list[str]:
    """Return the requested iterations in the order of params.yaml; by default all that have pairs."""
    known = list(params.iterations)
    for name in names or []:
        if name not in known:
            expected = f"one of {', '.join(known)} ({FILE})"
            raise UserError("--iteration", got=name, expected=expected, do="csrdata push --help")
        if not has_pairs(name):
            need_ran(name)
    made = [name for name in known if (name in names if names else has_pairs(name))]
    if not made:
        raise UserError(
            "pairs", got="none in this project", expected="pairs of at least one iteration", do=REPRO
        )
    return made


def _published(repo_id: str, *, may_fail: bool) -> Manifest | None:
    """Return the manifest of the published version; None without one, or if `may_fail` and it cannot be read."""
    try:
        found = published_manifest(repo_id)
        return (
            None if found is None else parse_manifest(found, place=f"hub {repo_id}: {MANIFEST}", older=True)
        )
    except UserError as error:
        if not may_fail:
            raise
        sys.stderr.write(f"the card's changelog starts anew: {error}\n")
        return None
