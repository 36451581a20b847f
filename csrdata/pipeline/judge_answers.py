"""Wiring of `judge_answers`."""

from csrdata.params import Params


def run(params: Params, name: str) -> None:
    """Run it."""
    raise NotImplementedError
