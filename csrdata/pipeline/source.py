"""Which source the images come from, by `prepare.kind`: the one place that chooses."""

from csrdata.evaluation.claims import ClaimParser


def reader(kind: str) -> ClaimParser:
    """Return what reads the answers about a source's images."""
    from csrdata.sources.microworld.claim_parser import MicroworldClaimParser

    return {"microworld": MicroworldClaimParser}[kind]()
