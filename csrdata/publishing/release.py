"""A release: a folder that is exactly what goes to the Hub (its layout: layout.py), written whole or not at all.

The order follows from what depends on what: data files, their identity, plots, the card, the manifest. Nothing here
talks to the Hub, nothing is judged here (gates.py does), and a date is given, never looked up: equal inputs give an
equal folder. Memory holds some hundred images and one shard of candidates, never a data set.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import csrdata
from csrdata.errors import UserError
from csrdata.publishing.card import card
from csrdata.publishing.changes import changes
from csrdata.publishing.columns import Images
from csrdata.publishing.disk import room
from csrdata.publishing.extra import need_hub_extra
from csrdata.publishing.figures import figures
from csrdata.publishing.layout import CARD, LOCK, PARAMS, PROMPTS, ReleaseIteration, own_table, shard_manifest
from csrdata.publishing.manifest import (
    MANIFEST,
    Change,
    Counts,
    File,
    Manifest,
    Model,
    describe_file,
    identity,
    read_manifest,
    write_manifest,
)
from csrdata.publishing.origins import Origin
from csrdata.publishing.plots import draw_plots
from csrdata.publishing.provenance import inputs, read_lock
from csrdata.publishing.results import RESULTS, Results
from csrdata.publishing.shards import write_candidates, write_pairs, write_responses
from csrdata.records import Dropped, Pair, Prompt
from csrdata.shard_manifest import check_names
from csrdata.tables import atomic_folder, from_table, read_table, write_json


def write_release(
    folder: Path,
    *,
    repo_id: str,
    iterations: Sequence[ReleaseIteration],
    images: Images,
    project_root: Path,
    params: Mapping[str, Any],
    params_file: Path,
    lock: Path | None,
    models: Sequence[Model],
    origin: Origin,
    tag: str | None = None,
    date: str | None = None,
    commit: str | None = None,
    previous: Manifest | None = None,
    results: Results | None = None,
) -> Manifest:
    """Write a release of some iterations of a project.

    Args:
        folder: takes the release; it must be empty, missing, or an older release, which is replaced.
        repo_id: `OWNER/NAME`, for the card's lines of code.
        iterations: one or more, in order; they share their table of prompts.
        images: whether rows hold their image's bytes or only its path.
        project_root: the folder that image paths are relative to.
        params: the sections of params.yaml that generated the data; part of the identity.
        params_file: params.yaml itself.
        lock: dvc.lock; None where the project was run without DVC.
        models: the policies and scorers behind the data; part of the identity.
        origin: licences and limits of the images' source.
        tag: the version, for the card; no part of the identity.
        date: UTC, YYYY-MM-DD; no part of the identity.
        commit: the project's git commit.
        previous: the manifest of the release before this one, for the changelog.
        results: truth of the pairs and effect of training, where they are known; no part of the identity.

    Raises:
        UserError: a table or an image is missing, an iteration has no pair, the folder is something else, or the disk is
            full; nothing of the release is left then, and an older one stays.
    """
    need_hub_extra()
    _check_target(folder)
    full = {
        "expected": "room for the whole release; nothing was written",
        "do": "make room or choose another disk (--dry-run DIR; TMPDIR for a push), then the same command again",
    }
    with room(folder, **full), atomic_folder(folder, replaces=MANIFEST) as partial:
        counts = [_write_tables(partial, one, images=images, root=project_root) for one in iterations]
        _copy(iterations[0].prompts, partial / PROMPTS)
        _copy(params_file, partial / PARAMS)
        if lock is not None:
            _copy(lock, partial / LOCK)
        if results is not None:
            write_json(partial / RESULTS, asdict(results))
        files = _files(partial)
        names = [one.name for one in iterations]
        manifest = Manifest(
            identity=identity(files, params=params, models=models),
            repo_id=repo_id,
            tag=tag,
            date=date,
            images=images,
            iterations=counts,
            params=dict(params),
            models=list(models),
            inputs={} if lock is None else inputs(read_lock(lock)),
            csrdata=csrdata.__version__,
            commit=commit,
            changelog=[],
            files=files,
        )
        manifest = replace(manifest, changelog=_changelog(manifest, previous))
        found = figures(partial, names)
        plots = draw_plots(partial, found, counts)
        text = card(manifest, origin=origin, figures=found, plots=plots, results=results)
        (partial / CARD).write_text(text, encoding="utf-8")
        manifest = replace(manifest, files=_files(partial))
        write_manifest(partial, manifest)
    return manifest


def tree(folder: Path) -> list[tuple[str, int]]:
    """Return what a release holds, as it would go: paths and bytes, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]


def _write_tables(folder: Path, one: ReleaseIteration, *, images: Images, root: Path) -> Counts:
    """Write one iteration's tables."""
    name = one.name
    made_by = f"dvc repro select_pairs@{name}"
    prompts = read_table(one.prompts, Prompt, made_by="dvc repro sample_prompts")
    pairs = read_table(one.pairs, Pair, made_by=made_by)
    dropped = read_table(one.dropped, Dropped, made_by=made_by)
    if not len(pairs):
        raise UserError(
            str(one.pairs),
            got="no pair",
            expected="1 or more",
            do=f"see why: csrdata stats --iteration {name}",
        )
    candidates = _shards(one.candidates, made_by=f"dvc repro generate_beams@{name}")
    responses = _shards(one.responses, made_by=f"dvc repro score_beams@{name}")
    write_pairs(
        folder, name, from_table(pairs, Pair), images=images, root=root, made_by="dvc repro build_seed"
    )
    counts = Counts(
        name=name,
        prompts=len(prompts),
        candidates=write_candidates(folder, name, candidates, made_by=f"dvc repro generate_beams@{name}"),
        responses=write_responses(folder, name, responses, made_by=f"dvc repro score_beams@{name}"),
        pairs=len(pairs),
        dropped=dict(sorted(dropped.group_by("reason").len().iter_rows())),
    )
    _copy(one.pairs, folder / own_table(name, "pairs"))
    _copy(one.dropped, folder / own_table(name, "dropped"))
    for table, source in (("candidates", one.candidates), ("responses", one.responses)):
        if (source / "manifest.json").is_file():
            _copy(source / "manifest.json", folder / shard_manifest(name, table))
    return counts


def _shards(folder: Path, *, made_by: str) -> list[Path]:
    return [folder / name for name in check_names(folder, made_by=made_by).names()]


def _changelog(manifest: Manifest, previous: Manifest | None) -> list[Change]:
    """Return the changelog: this release's entry before those of the releases before it."""
    if previous is not None and previous.identity == manifest.identity:
        return previous.changelog
    found = (
        ["the first release"]
        if previous is None
        else changes(
            iterations=(previous.iterations, manifest.iterations),
            params=(previous.params, manifest.params),
            models=(previous.models, manifest.models),
            images=(previous.images, manifest.images),
        )
    )
    entry = Change(manifest.tag, manifest.date, manifest.identity, found)
    return [entry, *(previous.changelog if previous else [])]


def _files(folder: Path) -> list[File]:
    """Describe every file but the manifest, in the order of their paths."""
    return [describe_file(folder, folder / path) for path, _ in tree(folder) if path != MANIFEST]


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but a release."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if folder.is_dir() and (folder / MANIFEST).is_file():
        read_manifest(folder)
        return
    raise UserError(
        str(folder),
        got="something that is no release",
        expected="an empty or a new folder",
        do="name another folder",
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
