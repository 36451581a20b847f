"""Open the way to propose that `generate_beams.proposal.kind` names; no other module depends on the kind."""

from typing import TYPE_CHECKING

from csrdata.sections.method import AnyProposal, GenerateBeams

if TYPE_CHECKING:
    from csrdata.policy.proposing import Proposing


def open_proposing(settings: AnyProposal) -> "Proposing":
    """Return the way to propose candidates. A new kind needs a case here and a section in `csrdata.sections`."""
    from csrdata.policy.proposing import DiverseGroups, SampledAnswers, SampledSentences

    match settings.kind:
        case "groups":
            return DiverseGroups(settings.groups, settings.diversity_penalty)
        case "sample":
            return SampledSentences(settings.count, settings.temperature, settings.seed)
        case "answers":
            return SampledAnswers(settings.count, settings.temperature, settings.seed)
        case (
            "served"
        ):  # where no server is asked: `csrdata check`, and answers of the search to evaluation questions
            return SampledSentences(settings.count, settings.temperature, settings.seed)


def live_answers(settings: GenerateBeams) -> int:
    """Return the most live answers of a prompt: sampled answers are all continued."""
    if settings.proposal.kind == "answers":
        return settings.proposal.count
    return settings.keep_best + settings.keep_worst
