"""Wiring of `measure_signals`."""

from csrdata.params import Params


def run(params: Params, name: str) -> None:
    """Run it."""
    raise NotImplementedError
