"""Wiring of `match_recall`."""

from csrdata.params import Params


def run(params: Params, name: str) -> None:
    """Run it."""
    raise NotImplementedError
