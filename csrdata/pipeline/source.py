"""Open the source that `source.kind` names; no other module depends on the kind."""

from csrdata import paths
from csrdata.params import AnySource
from csrdata.sources.base import Source
from csrdata.sources.microworld.source import Microworld


def open_source(settings: AnySource) -> Source:
    """Return the project's source. A new kind needs a case here and a section in `csrdata.params`."""
    match settings.kind:
        case "microworld":
            return Microworld(paths.SCENES)
