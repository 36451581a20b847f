"""Which scorer gives relevance, by `scorers.*.kind`: the one place that chooses."""

from pathlib import Path
from typing import TYPE_CHECKING

from csrdata.params import AnyScorer

if TYPE_CHECKING:
    from csrdata.relevance.base import Scorer


def scorer_folder(settings: AnyScorer) -> Path:
    """Return the folder that holds a scorer: what a result depends on."""
    return Path(settings.folder)


def open_scorer(settings: AnyScorer, *, device: str) -> "Scorer":
    """Load a scorer; a new kind is one more case here and one more section in `csrdata.params`."""
    from csrdata.relevance.open_clip import load_open_clip

    match settings.kind:
        case "open_clip":
            return load_open_clip(scorer_folder(settings), device=device)
