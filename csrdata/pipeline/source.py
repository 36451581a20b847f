"""Open the source that `source.kind` names; no other module depends on the kind."""

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import AnySource
from csrdata.sources.base import ClaimParser, Source
from csrdata.sources.microworld.source import Microworld


def open_source(settings: AnySource) -> Source:
    """Return the project's source. A new kind needs a case here and a section in `csrdata.params`."""
    match settings.kind:
        case "microworld":
            return Microworld(paths.SCENES)


def claim_parser(settings: AnySource) -> ClaimParser:
    """Return the parser of claims about the source's images.

    Raises:
        UserError: the source has no known truth.
    """
    parser = open_source(settings).claim_parser()
    if parser is None:
        raise UserError(
            "params.yaml: source.kind",
            got=settings.kind,
            expected="a source whose images have known truth",
            do="choose another source.kind: CHAIR and POPE need known truth",
        )
    return parser
