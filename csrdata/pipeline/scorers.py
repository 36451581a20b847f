"""Open the scorer that `scorers.*.kind` names; no other module depends on the kind.

Each case imports its own modules: `csrdata.pipeline.code` follows the cases of the kinds in use, so that the stages of a
project depend only on the code of that project's scorers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrdata.params import Params
from csrdata.sections.models import (
    AnyScorer,
    DetectorScorer,
    EnsembleScorer,
    JudgeScorer,
    OpenClipScorer,
    Scorers,
    SelfCheckScorer,
    SingleScorer,
)
from csrdata.sections.scorers import Role, record_folder, scorer_of, scorer_roles

if TYPE_CHECKING:
    from csrdata.relevance.base import Scorer


def asks_the_policy(settings: Scorers, role: Role) -> bool:
    """Return whether a scorer asks a policy of the project, so that its values depend on one."""
    return isinstance(scorer_of(settings, role), SelfCheckScorer)


def asks_questions(settings: Scorers, role: Role) -> bool:
    """Return whether a scorer asks a vision-language model about each sentence, which costs far more than a cosine."""
    return isinstance(scorer_of(settings, role), SelfCheckScorer | JudgeScorer)


def embeds_texts(settings: Scorers, role: Role) -> bool:
    """Return whether a scorer reads texts up to a limit of tokens, as CLIP does."""
    return not isinstance(scorer_of(settings, role), DetectorScorer | SelfCheckScorer | JudgeScorer)


TOWER = Path("scorers/tower")
"""The CLIP whose vision tower the microworld's policy has, where no scorer of the project is that CLIP."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Which scorers `prepare` trains in the microworld."""

    folders: Mapping[Role, Path]
    """Where each goes, by role."""
    detectors: tuple[Role, ...]
    """Those that are detectors; the others are CLIPs."""
    tower: Path
    """The folder of the CLIP whose tower is the policy's: a scorer's, or `TOWER`."""


def trained_scorers(params: Params) -> Trained:
    """Return which scorers `prepare` trains in the microworld: two CLIPs, and every detector.

    The first of `search` and `others` that is a CLIP by folder is the one whose tower the policy has; the other one is
    `held_out`. Any further CLIP by folder is the user's own.
    """
    folders: dict[Role, Path] = {}
    detectors: list[Role] = []
    tower: Path | None = None
    for role in scorer_roles(params.scorers):
        settings = scorer_of(params.scorers, role)
        if isinstance(settings, DetectorScorer):
            detectors.append(role)
            folders[role] = Path(settings.folder)
        elif isinstance(settings, OpenClipScorer):
            own = Path(settings.folder)
            if role != "held_out" and tower is None:
                tower = own
            if role == "held_out" or own == tower:
                folders[role] = own
    return Trained(folders, tuple(detectors), tower or TOWER)


def kinds_of_scorers(settings: Scorers) -> set[str]:
    """Return the kinds of a project's scorers and of their members."""
    return {kind for role in scorer_roles(settings) for kind in _kinds(scorer_of(settings, role))}


def _kinds(settings: AnyScorer) -> Iterator[str]:
    yield settings.kind
    if isinstance(settings, EnsembleScorer):
        for member in settings.members:
            yield member.scorer.kind


def open_scorer(
    params: Params,
    role: Role,
    *,
    device: str,
    policy: Callable[[], Any] | str,
    at: Path | None = None,
) -> "Scorer":
    """Load a scorer; a new kind is one more case here or in `_open_one`, and one more section in `csrdata.sections`.

    Args:
        params: the project's.
        role: one of `scorer_roles`.
        device: a torch device.
        policy: the policy that a self-check asks: its name, or what returns it (a `csrdata.policy.loading.Policy`). It is
            loaded when it is first asked. The type is not imported: `prepare` does not depend on how policies are loaded.
        at: the folder of the scorer's record, if it is not `scorers/ROLE`.

    Raises:
        UserError: it is missing, is not what `prepare` recorded, or cannot be read.
    """
    settings, record = scorer_of(params.scorers, role), at or record_folder(role)
    match settings.kind:
        case "ensemble":
            from csrdata.relevance.elsewhere import open_recorded
            from csrdata.relevance.ensemble import Ensemble

            return Ensemble(
                [
                    (member.weight, open_recorded(record / str(number), device=device))
                    for number, member in enumerate(settings.members)
                ]
            )
        case "noisy":
            from csrdata.relevance.noisy import Noisy
            from csrdata.relevance.open_clip import load_open_clip

            return Noisy(load_open_clip(settings.folder, device=device), settings.deviation, settings.seed)
        case "detector":
            from csrdata.relevance.detector import load_detector

            return load_detector(Path(settings.folder), device=device)
        case "self_check":
            from csrdata.pipeline.self_check import open_self_check

            return open_self_check(params, policy, device=device)
        case "judge":
            from csrdata.pipeline.self_check import open_judge

            return open_judge(params, settings, device=device)
        case _:
            return _open_one(settings, record, device=device)


def _open_one(settings: SingleScorer, record: Path, *, device: str) -> "Scorer":
    match settings.kind:
        case "open_clip":
            from csrdata.relevance.open_clip import load_open_clip

            return load_open_clip(settings.folder, device=device)
        case "open_clip_name" | "open_clip_hub":
            from csrdata.relevance.elsewhere import open_recorded

            return open_recorded(record, device=device)
