"""What is known or stated about licences in a project, for the cards of what it publishes."""

from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.publishing.origins import StatedOrigin
from csrdata.sections.models import MicroworldModels
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.base import Origin


def known_origin(params: Params) -> Origin | None:
    """Return what csrdata knows about the project's images and policies; None if the user must state it.

    It knows the licences of a policy and of its answers only where it trained the base itself, and not on pairs of others.
    """
    if params.select_pairs.kind == "imported":
        return None
    return open_source(params.source).origin if isinstance(params.prepare, MicroworldModels) else None


def stated_origin(params: Params) -> StatedOrigin | None:
    """Return what params.yaml says about licences; None for a source that has no such section."""
    if isinstance(params.source, MicroworldSource):
        return None
    return StatedOrigin(**params.source.origin.model_dump())
