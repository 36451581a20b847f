"""docs/inspection.md says what every key of the JSON is."""

import dataclasses

import pytest

from csrdata.evaluation.scorer_cards import ScorerCard
from csrdata.inspection.cost import PairCost, SearchCost
from csrdata.inspection.gate import Checked
from csrdata.inspection.pair_bias import Disagreement, LengthBias, OriginFigures, ScorerAgreement, Variety
from csrdata.inspection.stats import (
    Counts,
    DepthFigures,
    Distribution,
    Distributions,
    PairFigures,
    ResponseFigures,
    Stats,
)
from csrdata.inspection.sweep import Setting, SweepRow
from csrdata.search.curation import COLUMNS
from tests.imports import ROOT

PAGE = (ROOT / "docs/inspection.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "record",
    [
        *(
            Stats,
            Counts,
            Distributions,
            Distribution,
            ResponseFigures,
            PairFigures,
            LengthBias,
            ScorerAgreement,
        ),
        *(Disagreement, Variety, OriginFigures, DepthFigures, SearchCost, PairCost),
        *(Setting, SweepRow, Checked, ScorerCard),
    ],
)
def test_every_key_is_documented(record: type) -> None:
    """Each field of what `--json` prints is named on the page."""
    names = [field.name for field in dataclasses.fields(record)]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_column_of_a_condition_is_documented() -> None:
    """Each column that a condition may name is on the page, those of the rejected side by the chosen one's."""
    assert [name for name in COLUMNS if f"`{name.replace('rejected_', 'chosen_')}`" not in PAGE] == []
