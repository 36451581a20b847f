"""The sample of a stream of rows: seeded, in proportion to the kinds, stable when the source or the sample grows."""

from collections import Counter

import pytest

from csrdata.errors import UserError
from csrdata.sources.rows import Row
from csrdata.sources.sampling import sample


def rows(sizes: dict[str, int]) -> list[Row]:
    """Return rows `kind-number`."""
    return [
        Row(f"{kind}-{number:03d}", kind, "a.jpg", "Describe.", f"t: row {number}")
        for kind, size in sizes.items()
        for number in range(size)
    ]


def ids(found: list[Row]) -> list[str]:
    return [row.row_id for row in found]


def test_kinds_are_in_proportion() -> None:
    """Of kinds with 60, 30 and 10 rows, a sample of 20 has 12, 6 and 2."""
    found = sample(rows({"a": 60, "b": 30, "c": 10}), count=20, seed=0)
    assert Counter(row.kind for row in found) == {"a": 12, "b": 6, "c": 2}
    assert ids(found) == sorted(ids(found))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_larger_sample_keeps_the_smaller_one(seed: int) -> None:
    """Each count adds one row to the sample before it and takes none away, whatever the kinds' sizes."""
    source = rows({"a": 41, "b": 13, "c": 3})
    before: set[str] = set()
    for count in range(1, 58):
        now = set(ids(sample(source, count=count, seed=seed)))
        assert len(now) == count
        assert before < now
        before = now


def test_order_has_no_say_and_the_seed_has() -> None:
    """The same rows in another order give the same sample; another seed gives another."""
    source = rows({"a": 50, "b": 50})
    assert sample(source, count=20, seed=0) == sample(source[::-1], count=20, seed=0)
    assert ids(sample(source, count=20, seed=0)) != ids(sample(source, count=20, seed=1))


def test_a_source_that_grows_changes_little() -> None:
    """A source that is a tenth larger replaces at most that share of the sample, by new rows alone."""
    small, large = rows({"a": 200}), rows({"a": 220})
    before, after = set(ids(sample(small, count=50, seed=0))), set(ids(sample(large, count=50, seed=0)))
    assert after - before <= set(ids(large)) - set(ids(small))
    assert len(after - before) <= 12


def test_too_few_rows_and_an_id_used_twice_are_one_line() -> None:
    """The error says how many there are, or which row repeats an id."""
    with pytest.raises(
        UserError,
        match=r"^params.yaml: sample_prompts.prompts: got 4, expected at most the 3 prompts of the source",
    ):
        sample(rows({"a": 3}), count=4, seed=0)
    with pytest.raises(UserError, match=r"^t: row 1: id: got a-001, expected an id that is used once\."):
        sample([*rows({"a": 3}), rows({"a": 2})[1]], count=1, seed=0)


def test_there_are_not_a_million_kinds() -> None:
    """Memory grows with the kinds: a column of free text is refused as one of kinds."""
    source = [Row(str(number), str(number), "a.jpg", "x", f"t: row {number}") for number in range(1001)]
    with pytest.raises(
        UserError, match=r"^t: row 1000: kind: got 1000, expected at most 1,000 kinds of prompt"
    ):
        sample(source, count=1, seed=0)
