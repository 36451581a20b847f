"""Which source the images come from, by `build_seed.kind`: the one place that chooses."""

from csrdata.evaluation.claims import Reader


def reader(kind: str) -> Reader:
    """Return what reads the answers about a source's images."""
    from csrdata.sources.microworld.reader import MicroworldReader

    return {"microworld": MicroworldReader}[kind]()
