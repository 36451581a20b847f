"""Open the scorer that `scorers.*.kind` names; no other module depends on the kind."""

from pathlib import Path
from typing import TYPE_CHECKING

from csrdata.params import AnyScorer, Scorers, SingleScorer

if TYPE_CHECKING:
    from csrdata.relevance.base import Scorer

Role = str
"""`search` guides the search; `held_out` judges it; any other name is one of `scorers.others`."""

BY_FOLDER = ("open_clip", "detector")
"""Kinds of scorer that are a folder."""


def scorer_roles(settings: Scorers) -> list[Role]:
    """Return the roles of all scorers that a project has."""
    return ["search", *(["held_out"] if settings.held_out else []), *settings.others]


def scorer_of(settings: Scorers, role: Role) -> AnyScorer | None:
    """Return the scorer of a role; None for a held-out scorer that there is not."""
    match role:
        case "search":
            return settings.search
        case "held_out":
            return settings.held_out
    return settings.others[role]


def scorer_folder(settings: AnyScorer, *, role: Role) -> Path:
    """Return the folder that says what a scorer is: what a result depends on.

    A scorer by folder is there itself. Of any other kind `prepare` writes the record to `scorers/ROLE`.
    """
    return Path(settings.folder) if settings.kind in BY_FOLDER else record_folder(role)


def record_folder(role: Role, member: int | None = None) -> Path:
    """Return where the record of a scorer is, or that of one member of an ensemble."""
    folder = Path("scorers") / role
    return folder if member is None else folder / str(member)


def open_scorer(settings: AnyScorer, *, role: Role, device: str, at: Path | None = None) -> "Scorer":
    """Load a scorer; a new kind is one more case here and in `_open_one`, and one more section in `csrdata.params`.

    Args:
        settings: which scorer.
        role: what it is for.
        device: a torch device.
        at: the folder of its record, if it is not `scorers/ROLE`.

    Raises:
        UserError: it is missing, is not what `prepare` recorded, or cannot be read.
    """
    from csrdata.relevance.elsewhere import open_recorded
    from csrdata.relevance.ensemble import Ensemble

    record = at or record_folder(role)
    if settings.kind == "ensemble":
        return Ensemble(
            [
                (member.weight, open_recorded(record / str(number), device=device))
                for number, member in enumerate(settings.members)
            ]
        )
    return _open_one(settings, record, device=device)


def _open_one(settings: SingleScorer, record: Path, *, device: str) -> "Scorer":
    from csrdata.relevance.elsewhere import open_recorded
    from csrdata.relevance.open_clip import load_open_clip

    match settings.kind:
        case "open_clip":
            return load_open_clip(settings.folder, device=device)
        case "open_clip_name" | "open_clip_hub":
            return open_recorded(record, device=device)
