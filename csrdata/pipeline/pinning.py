"""What `prepare` does about models that somebody else trained: resolve, check, record; nothing of them is copied."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pinned import Pinned, checked_folder, facts, read_pinned, write_pinned
from csrdata.pipeline.scorers import open_scorer, trained_scorers
from csrdata.publishing.hub.models import Select, pin
from csrdata.sections.models import EnsembleScorer, HubModel, PretrainedModels, SingleScorer
from csrdata.sections.scorers import Role, record_folder, scorer_of, scorer_place
from csrdata.storage.disk import SUMS, atomic_folder, write_json, write_sums

WEIGHTS = "weights.json"
"""In the record folder of an ensemble: the members' weights, in order."""
MEND = "mend params.yaml, then: dvc repro"


def pin_policy(settings: PretrainedModels, *, at: Path | None = None) -> Pinned:
    """Write `policies/base/model.json`, and return what it records.

    Args:
        settings: which model.
        at: the folder to write to instead of `policies/base`, whose earlier record still counts.

    Raises:
        UserError: the model is missing or changed, or cannot be a policy; an earlier record stays as it is then.
    """
    from csrdata.policy.pretrained import (
        MADE_BY,
        POINTER,
        check_index,
        check_pretrained,
        files_of_policy,
        need_safetensors,
    )

    record, where = paths.policy(paths.BASE) / POINTER, settings.policy
    known = _known(record)

    def select(names: Collection[str], place: str) -> list[str]:
        need_safetensors(names, place=place)
        return files_of_policy(names)

    if isinstance(where, HubModel):
        found = pin(where.id, where.revision, select, key="prepare.policy", known=known)
    else:
        found = _pin_folder(Path(where.folder), select, key="prepare.policy.folder", known=known)
    limits = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    found = found.model_copy(update=limits)
    folder = checked_folder(found, place=str(record), made_by=MADE_BY)
    check_index(folder, found.files)
    check_pretrained(folder, **limits)
    with atomic_folder(at or record.parent, replaces=SUMS) as partial_folder:
        write_pinned(partial_folder / POINTER, found)
        write_sums(partial_folder)
    return found


def pin_scorer(params: Params, role: Role, *, at: Path | None = None) -> list[Pinned]:
    """Write the record of a scorer that is elsewhere, load it once, and return what was recorded.

    A scorer by folder needs no record, unless it is a member of an ensemble: the folder is the dependency. A self-check has
    no model.

    Args:
        params: the project's.
        role: one of its scorers.
        at: the folder to write to instead of `scorers/ROLE`, whose earlier record still counts.

    Raises:
        UserError: the scorer is missing, changed or not a scorer.
    """
    settings, folder = scorer_of(params.scorers, role), at or record_folder(role)
    match settings.kind:
        case "ensemble":
            return _pin_members(settings, folder, role=role, trained=_trained_here(params))
        case "self_check":
            return []
        case "open_clip" | "noisy" | "detector" | "judge":
            open_scorer(params, role, device="cpu", policy=paths.BASE)
            return []
        case "open_clip_name" | "open_clip_hub":
            with atomic_folder(folder, replaces=SUMS) as partial_folder:
                key, known = scorer_place(role), record_folder(role)
                found = _pin_one(settings, partial_folder, key=key, known=known)
                write_sums(partial_folder)
            return [found]


def _trained_here(params: Params) -> set[Path]:
    """Return the folders of the scorers that `prepare` trains: other settings train another scorer into the same folder."""
    return set(trained_scorers(params).folders.values()) if params.prepare.kind == "microworld" else set()


def _pin_members(
    settings: EnsembleScorer, folder: Path, *, role: Role, trained: Collection[Path]
) -> list[Pinned]:
    """Write the record of an ensemble: its members' records and weights, all that a result depends on.

    An earlier record says what the files of a member are to be, unless the member is one of `trained`.
    """
    found: list[Pinned] = []
    with atomic_folder(folder, replaces=SUMS) as partial_folder:
        for number, member in enumerate(settings.members):
            key = f"{scorer_place(role)}.members.{number}.scorer"
            own = member.scorer.kind == "open_clip" and Path(member.scorer.folder) in trained
            known, at = record_folder(role, number), partial_folder / str(number)
            found.append(_pin_one(member.scorer, at, key=key, known=known, anew=own))
        write_json(partial_folder / WEIGHTS, [member.weight for member in settings.members])
        write_sums(partial_folder)
    return found


def _pin_one(settings: SingleScorer, folder: Path, *, key: str, known: Path, anew: bool = False) -> Pinned:
    """Write the record of one scorer into a folder; `anew`, whatever the earlier one in `known` says."""
    from csrdata.relevance.config import CONFIG
    from csrdata.relevance.elsewhere import MADE_BY, RECORD, by_name, files_of_scorer, open_recorded

    named = by_name(settings.name, settings.tag, place=key) if settings.kind == "open_clip_name" else None
    select = partial(files_of_scorer, named=named is not None)
    earlier = None if anew else _known(known / RECORD)
    match settings.kind:
        case "open_clip":
            found = _pin_folder(Path(settings.folder), select, key=f"{key}.folder", known=earlier)
        case "open_clip_hub":
            found = pin(settings.id, settings.revision, select, key=key, known=earlier)
        case "open_clip_name":
            found = pin(named.repo_id if named else "", None, select, key=key, known=earlier)
    checked_folder(found, place=str(known / RECORD), made_by=MADE_BY)
    folder.mkdir(exist_ok=True)
    write_pinned(folder / RECORD, found)
    if named is not None:
        write_json(folder / CONFIG, named.config)
    open_recorded(folder, device="cpu")
    return found


def _pin_folder(folder: Path, select: Select, *, key: str, known: Pinned | None) -> Pinned:
    """Return the record of a folder's files: the earlier one, if it is of this folder."""
    if not folder.is_dir():
        raise UserError(f"params.yaml: {key}", got=str(folder), expected="a folder that is there", do=MEND)
    if known is not None and known.folder == folder.as_posix():
        return known
    names = select([path.name for path in folder.iterdir() if path.is_file()], str(folder))
    return Pinned(folder=folder.as_posix(), files=facts(folder, names))


def _known(record: Path) -> Pinned | None:
    """Return an earlier record; one that cannot be read is made again."""
    try:
        return read_pinned(record, made_by="dvc repro prepare")
    except UserError:
        return None
