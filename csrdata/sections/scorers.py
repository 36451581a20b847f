"""The scorers that a project has, and the folders that say what they are.

A scorer is a folder itself, or `prepare` writes a record of it to `scorers/ROLE`; a result depends on one or the other.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from csrdata.sections.models import (
    AnyScorer,
    DetectorScorer,
    EnsembleScorer,
    JudgeScorer,
    NoisyScorer,
    OpenClipScorer,
    Scorers,
    SelfCheckScorer,
)

Role = str
"""`search` guides the search; `held_out` judges it; any other name is one of `scorers.others`."""


BY_FOLDER = OpenClipScorer | NoisyScorer | DetectorScorer | JudgeScorer
"""The kinds that are a folder themselves."""


def scorer_roles(settings: Scorers) -> list[Role]:
    """Return the roles of all scorers that a project has."""
    return ["search", *(["held_out"] if settings.held_out else []), *settings.others]


def scorer_of(settings: Scorers, role: Role) -> AnyScorer:
    """Return the scorer of a role that the project has."""
    match role:
        case "search":
            return settings.search
        case "held_out" if settings.held_out is not None:
            return settings.held_out
    return settings.others[role]


def own_folder(settings: AnyScorer) -> Path | None:
    """Return the folder of a scorer that is one; None for any other kind."""
    return Path(settings.folder) if isinstance(settings, BY_FOLDER) else None


def has_record(settings: AnyScorer) -> bool:
    """Return whether `prepare` records what the scorer is: it is no folder of the project, and no policy."""
    return own_folder(settings) is None and not isinstance(settings, SelfCheckScorer)


def scorer_folder(settings: AnyScorer, *, role: Role) -> Path | None:
    """Return the folder that says what a scorer is: what a result depends on.

    A scorer by folder is there itself. Of a self-check it is None: its policy says what it is. Of any other kind `prepare`
    writes the record to `scorers/ROLE`.
    """
    return record_folder(role) if has_record(settings) else own_folder(settings)


def record_folder(role: Role, member: int | None = None) -> Path:
    """Return where the record of a scorer is, or that of one member of an ensemble."""
    folder = Path("scorers") / role
    return folder if member is None else folder / str(member)


def scorer_place(role: Role) -> str:
    """Return the key of a scorer in params.yaml. Example: "detector" -> `scorers.others.detector`."""
    return f"scorers.{role}" if role in {"search", "held_out"} else f"scorers.others.{role}"


def problem_of(settings: Scorers) -> tuple[str, str, str] | None:
    """Return the key, the value and what is expected of a folder that a record would take the place of; None if all is well.

    `prepare` writes records to `scorers/ROLE`. A scorer that is a folder there would be replaced by the record of another.
    """
    records = {
        record_folder(role): scorer_place(role)
        for role in scorer_roles(settings)
        if has_record(scorer_of(settings, role))
    }
    for key, folder in _folders(settings):
        own = Path(os.path.normpath(folder))
        for record, place in records.items():
            if own.is_relative_to(record) or record.is_relative_to(own):
                return key, folder, f"another folder than {record}, where the record of {place} goes"
    return None


def _folders(settings: Scorers) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of every folder of a scorer, or of a member of an ensemble."""
    for role in scorer_roles(settings):
        scorer, place = scorer_of(settings, role), scorer_place(role)
        if isinstance(scorer, BY_FOLDER):
            yield f"{place}.folder", scorer.folder
        elif isinstance(scorer, EnsembleScorer):
            for number, member in enumerate(scorer.members):
                if isinstance(member.scorer, OpenClipScorer):
                    yield f"{place}.members.{number}.scorer.folder", member.scorer.folder
