"""Wiring of `select_pairs.curation`: labels and a condition in, outcomes without the pairs that they remove."""

from collections.abc import Callable, Sequence
from pathlib import Path

from csrdata.params import FILE
from csrdata.search.curation import Label, curate, parse_condition
from csrdata.search.pairs import Outcome
from csrdata.sections.method import Curation
from csrdata.storage.labels import read_labels

Curate = Callable[[Sequence[Outcome]], tuple[list[Outcome], dict[str, int]]]
"""Return the outcomes of some prompts without the pairs that are taken out, and their number by reason."""


def curation(settings: Curation | None, *, name: str) -> Curate:
    """Return what takes pairs out of the outcomes of iteration `name`.

    Raises:
        UserError: the labels cannot be read, or the expression is invalid.
    """
    if settings is None:
        return lambda outcomes: (list(outcomes), {})
    place = f"{FILE}: select_pairs.curation"
    where = settings.where and parse_condition(
        settings.where, place=f"{place}.where", do="csrdata curate --where EXPR"
    )
    labels = {} if settings.labels is None else read_labels(Path(settings.labels), iteration=name)
    dropping = [Label(one) for one in settings.drop_labels]
    return lambda outcomes: curate(outcomes, labels=labels, drop_labels=dropping, where=where or None)
