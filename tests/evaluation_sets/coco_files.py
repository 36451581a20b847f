"""COCO-shaped files for tests: a few drawn images, their objects by name, and captions that people could have written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrdata.evaluation_sets.coco_chair import CocoChair
from csrdata.evaluation_sets.synonyms import COCO
from tests.tiny import picture

CATEGORIES = {name: number for number, name in enumerate(COCO, start=1)}

OBJECTS: Mapping[int, tuple[str, ...]] = {
    9: ("person", "dog"),
    25: ("cat", "couch"),
    30: ("person", "frisbee", "dog"),
    34: (),
    36: ("bus", "car", "person"),
}
CAPTIONS: Mapping[int, tuple[str, ...]] = {
    9: ("A man walks his dog.", "Someone near a park bench."),
    25: ("A kitten on a sofa.",),
    30: ("A dog catches a frisbee.",),
    34: ("A hot dog on a plate.", "Lunch on the table."),
    36: ("A double-decker bus in traffic.",),
}


def file_name(image: int) -> str:
    return f"COCO_val2014_{image:012d}.jpg"


def instances(objects: Mapping[int, tuple[str, ...]] = OBJECTS) -> dict[str, Any]:
    """Return the object of an instances file, outlines and all."""
    annotations = [
        {
            "id": 10 * image + place,
            "image_id": image,
            "category_id": CATEGORIES[name],
            "segmentation": [[1.0, 2.0, 3.0, 4.0]],
            "bbox": [0, 0, 4, 4],
            "iscrowd": 0,
        }
        for image, names in objects.items()
        for place, name in enumerate(names)
    ]
    return {
        "info": {"year": 2014},
        "images": [{"id": image, "file_name": file_name(image), "width": 28} for image in objects],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
    }


def captions(texts: Mapping[int, tuple[str, ...]] = CAPTIONS) -> dict[str, Any]:
    """Return the object of a captions file."""
    return {
        "images": [{"id": image, "file_name": file_name(image)} for image in texts],
        "annotations": [
            {"id": 100 * image + place, "image_id": image, "caption": text}
            for image, own in texts.items()
            for place, text in enumerate(own)
        ],
    }


def write_coco(folder: Path) -> Path:
    """Write `instances.json`, `captions.json` and the images in `val2014/` below a folder, and return the folder."""
    (folder / "val2014").mkdir(parents=True)
    for image in OBJECTS:
        picture(image).save(folder / "val2014" / file_name(image))
    (folder / "instances.json").write_text(json.dumps(instances()), encoding="utf-8")
    (folder / "captions.json").write_text(json.dumps(captions()), encoding="utf-8")
    return folder


def chair_set(folder: Path, *, images: int = 5, seed: int = 0, synonyms: Path | None = None) -> CocoChair:
    """Return a CHAIR set over the files of `write_coco`."""
    return CocoChair(
        "chair",
        "val2014",
        (folder / "instances.json",),
        (folder / "captions.json",),
        synonyms,
        images,
        seed,
        "Describe this image in detail.",
    )
