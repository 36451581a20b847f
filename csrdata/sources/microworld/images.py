"""The image files of the splits that stages read, and the table of what each of them shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from PIL import Image

from csrdata.progress import progress
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.world import Scene, SceneObject, sample_scenes

SCENES_FILE = "scenes.parquet"
IMAGES_FOLDER = "images"
SCENES_SCHEMA = pl.Schema(
    {
        "scene_id": pl.String(),
        "split": pl.String(),
        "image": pl.String(),
        "theme": pl.String(),
        "objects": pl.List(pl.Struct({"shape": pl.String(), "colour": pl.String(), "place": pl.String()})),
    }
)


def write_scenes(folder: Path, *, sizes: Mapping[str, int], seed: int) -> None:
    """Write `images/<scene_id>.png` and `scenes.parquet`; `sizes` says how many scenes of each split.

    The images replace those of an earlier run as a whole, the table comes last.
    """
    images = folder / IMAGES_FOLDER
    part = folder / f".{IMAGES_FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rows = []
    total = sum(sizes.values())
    with progress(total=total, title="write images", unit="image") as bar:
        for split, count in sizes.items():
            for scene in sample_scenes(split=split, count=count, seed=seed):
                Image.fromarray(draw(scene)).save(part / f"{scene.scene_id}.png")
                rows.append(
                    {
                        "scene_id": scene.scene_id,
                        "split": split,
                        "image": f"{IMAGES_FOLDER}/{scene.scene_id}.png",
                        "theme": scene.theme,
                        "objects": [
                            {"shape": thing.shape, "colour": thing.colour, "place": thing.place}
                            for thing in scene.objects
                        ],
                    }
                )
                bar.update()
    shutil.rmtree(images, ignore_errors=True)
    os.replace(part, images)
    table = folder / f".{SCENES_FILE}.part"
    pl.DataFrame(rows, schema=SCENES_SCHEMA).write_parquet(table)
    os.replace(table, folder / SCENES_FILE)


def read_scenes(path: Path, *, split: str | None = None) -> list[Scene]:
    """The scenes of a `scenes.parquet`, of one split or of all, in the table's order."""
    table = pl.read_parquet(path)
    if split is not None:
        table = table.filter(pl.col("split") == split)
    return [
        Scene(row["scene_id"], row["theme"], tuple(SceneObject(**thing) for thing in row["objects"]))
        for row in table.iter_rows(named=True)
    ]
