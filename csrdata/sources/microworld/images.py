"""The image files of the splits that stages read, and the table of their scenes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from PIL import Image

from csrdata.progress import progress
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.world import Scene, SceneObject, sample_scenes
from csrdata.storage.tables import atomic_folder, check_schema, read_parquet, write_table

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
    """Write `images/<scene_id>.png` and `scenes.parquet`; `sizes`: scenes to draw, by split.

    The folder of images replaces that of an earlier run; the table is written last.
    """
    rows = []
    total = sum(sizes.values())
    with (
        atomic_folder(folder / IMAGES_FOLDER, replaces="*.png") as part,
        progress(total=total, title="write images", unit="image") as bar,
    ):
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
    write_table(folder / SCENES_FILE, pl.DataFrame(rows, schema=SCENES_SCHEMA))


def read_table_of_scenes(path: Path, *, made_by: str) -> pl.DataFrame:
    """Read a `scenes.parquet` and check its columns.

    Raises:
        UserError: the file is missing, unreadable or changed, or its columns are not those of `SCENES_SCHEMA`.
    """
    table = read_parquet(path, made_by=made_by)
    check_schema(table, SCENES_SCHEMA, place=str(path), made_by=made_by)
    return table


def read_scenes(path: Path, *, split: str | None = None) -> list[Scene]:
    """Return the scenes of a `scenes.parquet`, of one split or of all, in the table's order.

    Raises:
        UserError: as for `read_table_of_scenes`.
    """
    table = read_table_of_scenes(path, made_by="dvc repro prepare")
    if split is not None:
        table = table.filter(pl.col("split") == split)
    return [
        Scene(row["scene_id"], row["theme"], tuple(SceneObject(**thing) for thing in row["objects"]))
        for row in table.iter_rows(named=True)
    ]
