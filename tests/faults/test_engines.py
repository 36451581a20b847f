"""Random SIGKILLs of workers, drivers, actors and nodes: the harness of `benchmarks/faults.py`, one trial of each victim."""

from pathlib import Path

import pytest

from tests.faults.engines import VICTIMS, cluster, draw, play, whole
from tests.faults.killing import Defect

ON_RAY = [victim for victim in VICTIMS if "Ray" in victim]
HERE = [victim for victim in VICTIMS if victim not in ON_RAY]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return whole(tmp_path_factory.mktemp("engines") / "whole")


@pytest.mark.parametrize("victim", HERE)
def test_a_killed_process_costs_no_finished_shard(
    victim: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The run ends in one line or is killed, and the next one ends in the same bytes."""
    play(draw(0, 0, victims=[victim]), expected, None, tmp_path / "trial")


@pytest.mark.sweep
def test_a_killed_actor_or_node_costs_nothing(expected: dict[str, bytes], tmp_path: Path) -> None:
    """On a cluster of three nodes the run with the fault already ends in the same bytes, unless its driver was killed."""
    with cluster() as nodes:
        for victim in ON_RAY:
            way = play(draw(0, 0, victims=[victim]), expected, nodes, tmp_path / "trial")
            assert way == ("killed" if "driver" in victim else "same bytes")


def test_other_bytes_of_an_engine_are_a_defect(expected: dict[str, bytes], tmp_path: Path) -> None:
    """The harness tells a run that ends in other bytes."""
    wrong = {**expected, "00000.parquet": b"other"}
    with pytest.raises(Defect, match="other bytes"):
        play(draw(0, 1, victims=["the driver"]), wrong, None, tmp_path / "trial")
