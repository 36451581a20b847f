"""Preference pairs as rows for two viewers, Argilla and FiftyOne, in which people look at pairs and judge them again.

A viewer shows a pair that continues an answer as it is: the beginning is a separate field.

The formats follow the source of the public loaders. Argilla: `Dataset.from_disk` of the SDK 2.8.0
(`datasets/_io/_disk.py`, `records/_io/_json.py`, `_models/_settings`); settings and records of a test export were read
with that SDK, but no server has taken them: not loaded here. FiftyOne: `FiftyOneDatasetImporter` of 1.22
(`utils/data/importers.py`), which passes a folder whose metadata state no version to the importer of plain samples:
not loaded here.
"""

from collections.abc import Mapping
from typing import Any

from csrdata.records import Pair

ARGILLA_IMAGE = 5_000_000
"""Bytes of an image that Argilla advises as a limit (its page about records), in base64 as they are stored."""
ARGILLA_IMAGES = 10_000
"""Images of a dataset, from the same page."""
QUESTION = "preference"


def argilla_row(pair: Pair, image: str) -> dict[str, Any]:
    """Return a record with its image as a data URI: `from_disk` would look up a path from the current folder.

    The chosen side is a suggestion, so that a person's answer can be compared with it.

    Example: `{"id": "train-00007-0", "fields": {"image": "data:image/png;base64,...", "prompt": "Describe.", ...},
    "suggestions": {"preference": {"value": "chosen", ...}}, ...}`
    """
    return {
        "id": f"{pair.prompt_id}-{pair.number}",
        "fields": {
            "image": image,
            "prompt": pair.prompt.strip(),
            "context": pair.context.strip(),
            "chosen": pair.chosen.strip(),
            "rejected": pair.rejected.strip(),
        },
        "metadata": {"prompt_id": pair.prompt_id, "number": pair.number, "origin": pair.origin},
        "suggestions": {QUESTION: {"value": "chosen", "score": None, "agent": "csrdata"}},
        "responses": {},
        "vectors": {},
    }


def argilla_details(row: dict[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with more metadata; ids of several iterations begin with the iteration."""
    known = {name: value for name, value in details.items() if value is not None}
    start = f"{known['iteration']}-" if "iteration" in known else ""
    return row | {"id": f"{start}{row['id']}", "metadata": row["metadata"] | known}


def argilla_files(name: str, _file: str) -> dict[str, Any]:
    """Return the files that describe the dataset to Argilla, by their names."""
    fields = [("image", "image", True), ("prompt", "text", True)]
    fields += [(one, "text", False) for one in ("context", "chosen", "rejected")]
    options = {"chosen": "chosen", "rejected": "rejected", "neither": "neither"}
    return {
        ".argilla/dataset.json": {"name": name, "allow_extra_metadata": True},
        ".argilla/settings.json": {
            "guidelines": "Which of the two answers fits the image better?",
            "fields": [
                {"name": one, "title": one, "required": needed, "settings": {"type": kind}}
                for one, kind, needed in fields
            ],
            "questions": [
                {
                    "name": QUESTION,
                    "title": "Which answer fits the image better?",
                    "required": True,
                    "settings": {
                        "type": "label_selection",
                        "options": [{"value": value, "text": text} for value, text in options.items()],
                        "visible_options": None,
                    },
                }
            ],
            "vectors": [],
            "metadata": [],
            "allow_extra_metadata": True,
        },
    }


def fiftyone_row(pair: Pair, image: str) -> dict[str, Any]:
    """Return a sample; its path is relative to the folder, and its tag is the pair's origin.

    Example: `{"filepath": "images/7.png", "tags": ["csr_search"], "prompt_id": "train-00007", "number": 0, ...}`
    """
    return {
        "filepath": image,
        "tags": [pair.origin],
        "prompt_id": pair.prompt_id,
        "number": pair.number,
        "prompt": pair.prompt.strip(),
        "context": pair.context.strip(),
        "chosen": pair.chosen.strip(),
        "rejected": pair.rejected.strip(),
    }


def fiftyone_details(row: dict[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sample with more fields; one without a value is left out, because a field has one type."""
    return row | {name: value for name, value in details.items() if value is not None}


def fiftyone_files(name: str, _file: str) -> dict[str, Any]:
    """Return the file that describes the dataset to FiftyOne, by its name."""
    return {"metadata.json": {"media_type": "image", "info": {"name": name, "made_by": "csrdata export"}}}
