"""The prompts without a pair, from rows that are about prompts and rows that are about pairs which curation took out."""

from pathlib import Path

import polars as pl
import pytest

from csrdata.errors import UserError
from csrdata.records import Dropped, DropReason, Pair
from csrdata.storage.dropped import NAMED, lost_prompts, removed_pairs
from csrdata.storage.tables import from_table, read_rows, to_table, write_rows

LABEL, WHERE, GAP = DropReason.LABEL, DropReason.WHERE, DropReason.LENGTH_GAP
PAIRS = pl.LazyFrame({"prompt_id": ["a", "a", "c"]})


def _lost(*rows: Dropped) -> list[Dropped]:
    return from_table(lost_prompts(to_table(rows, Dropped).lazy(), PAIRS).collect(), Dropped)


def test_only_prompts_without_a_pair_are_lost() -> None:
    """A prompt that keeps a pair is not lost; one that loses all has one row, with the reason of its first pair."""
    rows = [
        Dropped("a", LABEL, "pair 1 is labelled bad"),
        Dropped("b", WHERE, "pair 0: not true: number > 5"),
        Dropped("b", LABEL, "pair 1 is labelled bad"),
        Dropped("d", GAP, "gap 12 words"),
    ]
    assert _lost(*rows) == [
        Dropped("b", WHERE, "pair 0: not true: number > 5; pair 1 is labelled bad"),
        Dropped("d", GAP, "gap 12 words"),
    ]
    assert removed_pairs(to_table(rows, Dropped)) == {"label": 2, "where": 1}


def test_a_table_without_curation_is_as_it_was() -> None:
    """Without rows of curation, every row is a lost prompt, whatever else the table says."""
    rows = [Dropped("a", GAP, ""), Dropped("b", GAP, "")]
    assert _lost(*rows) == rows
    assert _lost() == []


def test_a_detail_names_some_of_many_pairs() -> None:
    """The detail of a prompt that lost very many pairs has a bounded length."""
    (lost,) = _lost(*(Dropped("b", LABEL, f"pair {number}") for number in range(500)))
    assert lost.detail == "; ".join(f"pair {number}" for number in range(NAMED))


@pytest.mark.parametrize(
    "rows",
    [
        [Dropped("a", GAP, "one"), Dropped("a", GAP, "two")],
        [Dropped("a", LABEL, "pair 0"), Dropped("a", GAP, "two")],
        [Dropped("a", LABEL, "pair 0"), Dropped("a", LABEL, "pair 0")],
    ],
    ids=["two reasons", "a pair and a prompt", "one pair twice"],
)
def test_a_prompt_has_one_row_or_rows_of_pairs(tmp_path: Path, rows: list[Dropped]) -> None:
    """A file whose prompt has two reasons for no pair, or one pair twice, is refused in one line."""
    write_rows(tmp_path / "dropped.parquet", rows, Dropped)
    with pytest.raises(UserError, match="row 1: column prompt_id") as caught:
        read_rows(tmp_path / "dropped.parquet", Dropped, made_by="dvc repro select_pairs@1")
    assert "one row for each prompt_id, or one for each pair that curation took out" in str(caught.value)


def test_rows_of_several_pairs_are_read(tmp_path: Path) -> None:
    """A prompt may have one row for each pair that curation took out of it."""
    rows = [Dropped("a", LABEL, "pair 0 is labelled bad"), Dropped("a", LABEL, "pair 2 is labelled bad")]
    write_rows(tmp_path / "dropped.parquet", rows, Dropped)
    assert read_rows(tmp_path / "dropped.parquet", Dropped, made_by="") == rows


def test_the_table_of_pairs_may_be_whole() -> None:
    """The pairs may be a table of `Pair` rows."""
    pair = Pair("a", "i", "p", "x", "y", "mine")
    row = Dropped("a", LABEL, "pair 1 is labelled bad")
    lost = lost_prompts(to_table([row], Dropped).lazy(), to_table([pair], Pair).lazy())
    assert not len(lost.collect())
