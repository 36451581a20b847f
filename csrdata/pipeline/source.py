"""Which source the prompts and images come from, by `source.kind`: the one place that chooses."""

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import AnySource
from csrdata.sources.base import ClaimParser, Source
from csrdata.sources.microworld.source import Microworld


def open_source(settings: AnySource) -> Source:
    """Return the project's source; a new kind is one more case here and one more section in `csrdata.params`."""
    match settings.kind:
        case "microworld":
            return Microworld(paths.SCENES)


def claim_parser(settings: AnySource) -> ClaimParser:
    """Return what parses answers about the source's images.

    Raises:
        UserError: no truth is known of them.
    """
    parser = open_source(settings).claim_parser()
    if parser is None:
        raise UserError(
            "params.yaml: source.kind",
            got=settings.kind,
            expected="a source whose images have known truth",
            do="choose such a source: CHAIR and POPE need it",
        )
    return parser
