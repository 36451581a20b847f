"""Open the scorer that `scorers.*.kind` names; no other module depends on the kind."""

from pathlib import Path
from typing import TYPE_CHECKING

from csrdata.params import AnyScorer

if TYPE_CHECKING:
    from csrdata.relevance.base import Scorer


def scorer_folder(settings: AnyScorer) -> Path:
    """Return the folder of a scorer: the files that a result depends on."""
    return Path(settings.folder)


def open_scorer(settings: AnyScorer, *, device: str) -> "Scorer":
    """Load a scorer. A new kind needs a case here and a section in `csrdata.params`."""
    from csrdata.relevance.open_clip import load_open_clip

    match settings.kind:
        case "open_clip":
            return load_open_clip(scorer_folder(settings), device=device)
