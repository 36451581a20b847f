"""The file of a result: it comes back as it was written, stays small, and is refused when it is damaged."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.ablation.arms import read_arms
from csrdata.ablation.counts import Counts
from csrdata.ablation.curves import EndCurve
from csrdata.ablation.result import cpu_seconds_a_pair, read_result, write_result
from csrdata.errors import UserError
from csrdata.evaluation.intervals import Figure
from tests.ablation.made import curve, result
from tests.imports import ROOT

CURVE = curve({0.0: (0, 1, 1), 0.5: (0, 0, 1)}, {0.0: 2, 0.5: 1})
ONE = result("no-anchor", 2, {"1": (0, 1, 1)}, curves={"1": CURVE})


def test_a_result_comes_back(tmp_path: Path) -> None:
    """What is read is what was written."""
    write_result(tmp_path / "2.json", ONE)
    assert read_result(tmp_path / "2.json") == ONE


def test_a_result_of_the_shipped_size_is_small(tmp_path: Path) -> None:
    """2,000 images, two policies with 17 biases each, all figures of four policies: less than 100 kB."""
    sizes = {"validation": 500, "held_out": 1000, "out_of_distribution": 500}
    rng = random.Random(0)

    def column(size: int, most: int) -> tuple[int, ...]:
        return tuple(rng.randint(0, most) for _ in range(size))

    counted = {
        split: Counts(
            (1,) * size, column(size, 1), column(size, 3), column(size, 12), column(size, 6), column(size, 6), column(size, 60)
        )
        for split, size in sizes.items()
    }  # fmt: skip
    biases = tuple(-4 + 0.5 * step for step in range(17))
    at_each = EndCurve(
        "validation",
        biases,
        {split: tuple(column(size, 1) for _ in biases) for split, size in sizes.items()},
        tuple(column(500, 6) for _ in biases),
    )
    figures = {f"figure_{number}": Figure(12.345678, 10.123456, 14.567891, None) for number in range(14)}
    whole = replace(
        ONE,
        figures={name: dict.fromkeys(sizes, figures) for name in ("base", "1", "2", "3")},
        counts=dict.fromkeys(("1", "3"), counted),
        curves=dict.fromkeys(("1", "3"), at_each),
    )
    write_result(tmp_path / "0.json", whole)
    assert (tmp_path / "0.json").stat().st_size < 100_000


def test_the_cost_is_of_making_pairs() -> None:
    """Search to selection, over the pairs of all iterations; not the base model, not training. No pairs, no cost."""
    assert cpu_seconds_a_pair(ONE) == (90.0 + 10.0) / 50
    assert cpu_seconds_a_pair(replace(ONE, pairs={})) is None
    assert cpu_seconds_a_pair(replace(ONE, cpu_seconds={})) is None


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("origin", "seed"), "0", r"origin\.seed: got 0, expected a whole number"),
        (("counts", "1", "held_out", "words"), "8,x,8", r"counts\.1\.held_out\.words: got 8,x,8"),
        (
            ("figures", "1", "held_out", "chair_s"),
            [1.0],
            r"chair_s: got \[1\.0\], expected value, low and high",
        ),
        (
            ("curves", "1", "named"),
            ["3*2"],
            r"curves\.1\.named: got 1 columns, expected a column for each bias",
        ),
        (("cpu_seconds", "prepare"), None, r"cpu_seconds\.prepare: got None, expected a number"),
        (("added",), 1, "added: got an unknown key"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, keys: tuple[str, ...], value: object, words: str) -> None:
    """The error names the file, the key and the command that makes the file."""
    path = tmp_path / "0.json"
    write_result(path, ONE)
    raw = json.loads(path.read_text(encoding="utf-8"))
    inside = raw
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(UserError, match=words) as error:
        read_result(path)
    assert str(error.value).endswith("Next: python -m csrdata.ablation run")


def test_results_in_the_repository_are_small_and_readable() -> None:
    """Every committed result is of an arm that exists, is in its place, and has less than 100 kB."""
    for path in (ROOT / "metrics/ablation").glob("*/[0-9]*.json"):
        found = read_result(path)
        assert path.stat().st_size < 100_000, path
        assert (found.origin.arm, str(found.origin.seed)) == (path.parent.name, path.stem)
        assert found.origin.arm in read_arms().by_name
        assert not found.origin.quick
