"""Write a release: a folder with exactly the files for the Hub (see layout.py), completely or not at all.

The files are written in the order in which they depend on each other: data files, identity, plots, card, manifest. This
module sends nothing to the Hub and does not check the release (gates.py does). The date is an argument, so equal inputs give
an equal folder. Memory holds a few hundred images and one shard of candidates, never a whole dataset.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

import csrdata
from csrdata.errors import UserError
from csrdata.publishing.card.dataset import card
from csrdata.publishing.card.figures import figures
from csrdata.publishing.card.plots import draw_plots
from csrdata.publishing.extra import need_hub_extra
from csrdata.publishing.folders import new_folder, room
from csrdata.publishing.origins import CardOrigin
from csrdata.publishing.release.changes import changes
from csrdata.publishing.release.columns import Images
from csrdata.publishing.release.layout import (
    CARD,
    LOCK,
    NAME_EXPECTED,
    PARAMS,
    PROMPTS,
    RESULTS,
    is_iteration_name,
    own_table,
    shard_manifest,
)
from csrdata.publishing.release.manifest import (
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
from csrdata.publishing.release.naming import image_names, rename, same_names
from csrdata.publishing.release.provenance import inputs
from csrdata.publishing.release.results import Results
from csrdata.publishing.release.shards import (
    Sums,
    write_candidates,
    write_pairs,
    write_responses,
    write_unpaired,
)
from csrdata.records import Dropped, Pair, Prompt
from csrdata.storage.dropped import lost_prompts, removed_pairs
from csrdata.storage.dvc_lock import read_lock
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.shard_manifest import check_names
from csrdata.storage.tables import from_table, hash_path, read_json, read_table, write_json, write_table

_ROOT = re.compile(
    r"""(\broot:[ ]*)(?!["']?\.["']?(?:\s|,|\}|$))(?:"[^"\n]*"|'[^'\n]*'|[^\s"'#][^\n#,}]*?(?=[ ]*(?:\n|#|,|\}|$)))"""
)
"""The images root in params.yaml or dvc.lock: no other key has its name."""


def write_release(
    folder: Path,
    *,
    repo_id: str,
    iterations: Sequence[IterationTables],
    images: Images,
    project_root: Path,
    params: Mapping[str, Any],
    params_file: Path,
    lock: Path | None,
    models: Sequence[Model],
    origin: CardOrigin,
    tag: str | None = None,
    date: str | None = None,
    commit: str | None = None,
    previous: Manifest | None = None,
    results: Results | None = None,
    source: Mapping[str, str] | None = None,
    hashes: Mapping[str, str] | None = None,
    places: Mapping[str, str] | None = None,
    gate: Callable[[Path, Collection[str]], object] = lambda *_: None,
) -> Manifest:
    """Write a release of some iterations of a project.

    Args:
        folder: the target: missing, empty, or an older release, which is replaced if it is unchanged.
        repo_id: `OWNER/NAME`, for the code in the card.
        iterations: one or more, in order; they share one table of prompts.
        images: whether rows contain their image's bytes or only its name.
        project_root: the folder that image paths are relative to.
        params: the sections of params.yaml that generated the data; part of the identity.
        params_file: params.yaml itself.
        lock: dvc.lock; None if the project was run without DVC.
        models: the policies and scorers that the data depend on; part of the identity.
        origin: licences and limits of the images' source.
        tag: the version, for the card; not part of the identity.
        date: UTC, YYYY-MM-DD; not part of the identity.
        commit: the project's git commit.
        previous: the manifest of the previous release, for the changelog.
        results: truth of the pairs and effect of training, if they are known; not part of the identity.
        source: MD5 of the inputs of the DAG, by path; None reads them from `lock`.
        hashes: the SHA-256 that each image had when it was sampled, by its path; images without one are not compared.
        places: paths of this machine in `params`, `params_file` and `lock`, and what replaces each in the release.
        gate: called with the finished folder, and the names of the images that were decoded, before it replaces `folder`; if
            it raises, no release is written.

    Raises:
        UserError: a table or an image is missing, an iteration has no pair or an invalid name, `folder` holds something
            else, or the disk is full. Then nothing of the new release remains, and an older one stays.
    """
    need_hub_extra()
    for one in iterations:
        if not is_iteration_name(one.name):
            raise UserError("iteration", got=one.name, expected=NAME_EXPECTED, do="rename it in params.yaml")
    full = {
        "expected": "room for the whole release; nothing was written",
        "do": "make room or choose another disk (--dry-run DIR; TMPDIR for a push), then the same command again",
    }
    with room(folder, **full), new_folder(folder, replaces=_is_unchanged_release) as partial:
        prompts = read_table(iterations[0].prompts, Prompt, made_by="dvc repro sample_prompts")
        pairs = [
            read_table(one.pairs, Pair, made_by=f"dvc repro select_pairs@{one.name}") for one in iterations
        ]
        paired = set().union(*(table["image"] for table in pairs))
        pictures = image_names([*prompts["image"], *sorted(paired)], root=project_root, images=images)
        _check_hashes(pictures, hashes or {})
        sums: dict[Path, str] = {}
        counts = [
            _write_tables(
                partial, one, len(prompts), table, names=pictures, images=images, root=project_root, sums=sums
            )
            for one, table in zip(iterations, pairs, strict=True)
        ]
        write_table(partial / PROMPTS, rename(prompts, pictures))
        if images == "embed":
            _write_unpaired(partial, paired, names=pictures, root=project_root, sums=sums)
        _copy(params_file, partial / PARAMS, places or {})
        if lock is not None:
            _copy(lock, partial / LOCK, places or {})
        if results is not None:
            write_json(partial / RESULTS, asdict(results))
        files = _files(partial, sums)
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
            inputs=_inputs(partial / LOCK if lock is not None else None) if source is None else dict(source),
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
        manifest = replace(manifest, files=_files(partial, sums))
        write_manifest(partial, manifest)
        gate(partial, set(pictures.values()) if images == "embed" else ())
    return manifest


def _inputs(lock: Path | None) -> dict[str, str]:
    return {} if lock is None else inputs(read_lock(lock))


def published_pairs(pairs: Path, *, root: Path, folder: Path) -> str:
    """Return the SHA-256 that a project's table of pairs has in a release; it is written to `folder` to compute it."""
    table = read_table(pairs, Pair, made_by="dvc repro select_pairs")
    write_table(folder / "pairs.parquet", same_names(table, root=root))
    return hash_path(folder / "pairs.parquet")


def tree(folder: Path) -> list[tuple[str, int]]:
    """Return the files of a release, as paths and sizes in bytes, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]


def _write_tables(
    folder: Path,
    one: IterationTables,
    prompts: int,
    pairs: pl.DataFrame,
    *,
    names: dict[str, str],
    images: Images,
    root: Path,
    sums: Sums,
) -> Counts:
    """Write one iteration's tables.

    `prompts`: number of prompts, `names`: image names, by path in the project; `sums`: receives hashes of files.
    """
    name = one.name
    dropped = read_table(one.dropped, Dropped, made_by=f"dvc repro select_pairs@{name}")
    lost, removed = lost_prompts(dropped.lazy(), pairs.lazy()), removed_pairs(dropped)
    if not len(pairs):
        raise UserError(
            str(one.pairs),
            got="no pair",
            expected="1 or more",
            do=f"see why: csrdata stats --iteration {name}",
        )
    candidates = _shards(one.candidates, made_by=f"dvc repro generate_beams@{name}")
    responses = _shards(one.responses, made_by=f"dvc repro score_beams@{name}")
    write_pairs(folder, name, from_table(pairs, Pair), names=names, images=images, root=root, sums=sums)
    counts = Counts(
        name=name,
        prompts=prompts,
        candidates=write_candidates(
            folder, name, candidates, made_by=f"dvc repro generate_beams@{name}", sums=sums
        ),
        responses=write_responses(
            folder, name, responses, made_by=f"dvc repro score_beams@{name}", sums=sums
        ),
        pairs=len(pairs),
        dropped=dict(sorted(lost.collect().group_by("reason").len().iter_rows())),
        removed=removed if any(removed.values()) else None,
        paired=pairs["prompt_id"].n_unique(),
    )
    write_table(folder / own_table(name, "pairs"), rename(pairs, names))
    write_table(folder / own_table(name, "dropped"), dropped)
    for table, source in (("candidates", one.candidates), ("responses", one.responses)):
        made_from = source / "manifest.json"
        if made_from.is_file():
            fingerprint = read_json(made_from, made_by="dvc repro")["fingerprint"]
            write_json(folder / shard_manifest(name, table), {"fingerprint": fingerprint})
    return counts


def _write_unpaired(folder: Path, paired: set[str], *, names: dict[str, str], root: Path, sums: Sums) -> None:
    """Write the images that are in no pair of the release, in the order of the prompts."""
    held = {names[path] for path in paired}
    first: dict[str, str] = {}
    for path, name in names.items():
        if name not in held:
            first.setdefault(name, path)
    write_unpaired(folder, list(first.values()), names=names, root=root, sums=sums)


def _shards(folder: Path, *, made_by: str) -> list[Path]:
    return [folder / name for name in check_names(folder, made_by=made_by).names()]


def _changelog(manifest: Manifest, previous: Manifest | None) -> list[Change]:
    """Return the changelog: the entry of this release, then those of earlier releases."""
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


def _files(folder: Path, sums: Mapping[Path, str]) -> list[File]:
    """Describe every file but the manifest, in the order of their paths; `sums`: hashes that are known."""
    paths = [path for path, _ in tree(folder) if path != MANIFEST]
    return [describe_file(folder, folder / path, sha256=sums.get(folder / path)) for path in paths]


def _is_unchanged_release(folder: Path) -> bool:
    """Return whether a folder contains exactly an unchanged release of this format: every file matches its manifest."""
    try:
        listed = {file.path: file.sha256 for file in read_manifest(folder).files}
    except UserError:
        return False
    present = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    names = {path.relative_to(folder).as_posix() for path in present}
    return names == {*listed, MANIFEST} and all(
        not (folder / path).is_symlink() and hash_path(folder / path) == sha256
        for path, sha256 in listed.items()
    )


def _check_hashes(pictures: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    """Refuse an image that is not the one that was sampled: its name in the release is the hash of what is there now."""
    for path, name in pictures.items():
        known = hashes.get(path)
        if known is not None and Path(name).stem != known:
            raise UserError(
                f"image {path}",
                got="other bytes than were sampled",
                expected=f"those of SHA-256 {known[:12]}…",
                do="put the image back, or sample again: dvc repro -f sample_prompts, then: dvc repro",
            )


def _copy(source: Path, target: Path, places: Mapping[str, str]) -> None:
    """Copy params.yaml or dvc.lock: the images root becomes `.`, where a pull puts images, and paths of this machine go."""
    text = _ROOT.sub(r'\1"."', source.read_bytes().decode())
    for place in sorted(places, key=len, reverse=True):
        whole = rf"(?<![\w./~-]){re.escape(place)}(?![\w./-])"
        text = re.sub(whole, places[place].replace("\\", r"\\"), text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode())
