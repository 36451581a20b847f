"""Which tables an argument names: an iteration of this project, of a git revision, or of a published dataset."""

import os
import tempfile
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.summary import read_world
from csrdata.inspection.diff import Version, read_version
from csrdata.inspection.revisions import bring
from csrdata.params import FILE, load_params
from csrdata.pipeline.results import world_of_project
from csrdata.pipeline.stopping import has_pairs, need_ran
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.hub.fetch import parse_source
from csrdata.publishing.hub.remote import fetch_iteration, fetch_pairs, fetched_world
from csrdata.records import Response, Sentence
from csrdata.storage.iteration_tables import LoadedIteration
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import to_table
from csrdata.text import printable


def iteration(name: str | None) -> str:
    """Return the name of an iteration; by default the last one that has pairs, or else the last one.

    Raises:
        UserError: params.yaml has no iteration of this name, or the loop stopped before it.
    """
    names = list(load_params().iterations)
    if name is not None and name not in names:
        raise UserError(
            "--iteration", got=name, expected=f"one of {', '.join(names)} ({FILE})", do="csrdata stats"
        )
    if name is not None and not has_pairs(name):
        need_ran(name)
    made = [one for one in names if has_pairs(one)]
    return name or (made or names)[-1]


def images_root() -> Path:
    """Return the folder that the project's image paths are relative to; outside a project, the current folder."""
    return Path(load_params().images.root) if FILE.is_file() else Path()


def drawn_image(path: str, *, place: str, to_terminal: bool) -> str:
    """Return an image as sequences for this terminal; its path where the terminal takes no image or the output is a file.

    Args:
        path: of the image, relative to the images root.
        place: what the image is of, for errors.
        to_terminal: whether the output is a terminal.

    Raises:
        UserError: the terminal takes images, and the file is missing or not an image.
    """
    from csrdata.images import load_image
    from csrdata.inspection.terminal_image import escapes, protocol_of

    protocol = protocol_of(os.environ) if to_terminal else None
    if protocol is None:
        return printable(images_root() / path)
    return escapes(load_image(path, root=images_root(), place=place), protocol)


def read_project(name: str | None, *, texts: bool = True) -> LoadedIteration:
    """Read the tables of an iteration of this project, by default the last one that has pairs.

    Imported pairs have no search: its tables are empty, and the prompts are those of the pairs.

    Args:
        name: the iteration; None means the last one.
        texts: see `IterationTables.load`.
    """
    tables = project_tables(iteration(name))
    if load_params().select_pairs.kind != "imported":
        return tables.load(texts=texts)
    pairs = tables.read_pairs()
    return LoadedIteration(
        tables.name,
        prompts=pairs.select("prompt_id", "image", text="prompt").unique("prompt_id").sort("prompt_id"),
        candidates=to_table([], Sentence),
        responses=to_table([], Response),
        pairs=pairs,
        dropped=tables.read_dropped(),
    )


def read_hub(word: str, name: str | None) -> LoadedIteration:
    """Read the tables of an iteration of a published dataset.

    Args:
        word: `hf://datasets/OWNER/NAME@TAG`.
        name: the iteration; None means the last one.
    """
    source = parse_source(word)
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        return fetch_iteration(source, name, scratch=Path(scratch)).load(texts=False)


def version_of(word: str, scratch: Path) -> Version:
    """Read one side of a comparison.

    Args:
        word: `T` (an iteration of this project), `REV:T` (the same at a git revision) or
            `hf://datasets/OWNER/NAME@TAG[:T]`.
        scratch: a new folder for tables that have to be fetched.

    Raises:
        UserError: `word` is malformed, what it names does not exist, or a table is damaged.
    """
    pairs, dropped = scratch / "pairs.parquet", scratch / "dropped.parquet"
    if word.startswith("hf://"):
        tagged, _, name = word.partition("@")[2].partition(":")
        source = parse_source(f"{word.partition('@')[0]}@{tagged}")
        scratch.mkdir()
        found = fetch_pairs(source, name or None, scratch=scratch)
        return read_version(
            f"{source}, iteration {found.name}",
            pairs=found.pairs,
            dropped=found.dropped,
            made_by=f"csrdata stats {source}",
            world=fetched_world(scratch),
        )
    revision, _, name = word.rpartition(":")
    if revision:
        prepared = scratch / "prepare.json"
        bring(
            revision,
            {paths.pairs(name): pairs, paths.dropped(name): dropped},
            optional={paths.PREPARE_METRICS: prepared},
        )
        label, made_by = (
            f"revision {revision}, iteration {name}",
            f"dvc repro select_pairs@{name} at {revision}",
        )
        world = read_world(open_json(prepared, made_by=made_by)) if prepared.is_file() else None
    else:
        names = list(load_params().iterations)
        if name not in names:
            raise UserError(
                "a version",
                got=word,
                expected=f"one of {', '.join(names)} ({FILE}), REV:T or hf://datasets/OWNER/NAME@TAG",
                do="csrdata diff --help",
            )
        pairs, dropped = paths.pairs(name), paths.dropped(name)
        if not has_pairs(name):
            need_ran(name)
        label, made_by = f"iteration {name}", f"dvc repro select_pairs@{name}"
        world = world_of_project()
    return read_version(label, pairs=pairs, dropped=dropped, made_by=made_by, world=world)
