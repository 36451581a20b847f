"""An export for a trainer that reads one flat JSON object per line."""

from typing import Any

from csrdata.publishing.export.formats import Format
from csrdata.records import Pair


def plain_row(pair: Pair, image: str) -> dict[str, Any]:
    """Return a row of texts; `image` is relative to the export's folder."""
    return {
        "id": pair.prompt_id,
        "image": image,
        "prompt": pair.prompt.strip(),
        "chosen": pair.chosen.strip(),
        "rejected": pair.rejected.strip(),
    }


PLAIN = Format("pairs.jsonl", plain_row, reserved=("<image>",), usage="cat {file}")
