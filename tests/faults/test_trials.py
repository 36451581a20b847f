"""Random faults: the harness of `benchmarks/faults.py`, one trial of each kind; `make test-all` plays more, in every stage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.killing import Defect, Killer
from tests.faults.stages import STAGES
from tests.faults.trials import KINDS, Ground, draw, play, survey

QUICK = [stage for stage in STAGES if stage.stage in ("score_beams", "select_pairs")]
"""They load no model."""
TWO = "two runs at once"
ALONE = [kind for kind in KINDS if kind != TWO]
FIXED = ("killed at a moment", "killed, and what it was writing is torn", "the disk is full")
"""What `make test` plays."""


@pytest.fixture(scope="module")
def other() -> Iterator[Killer]:
    with Killer() as one:
        yield one


@pytest.fixture(scope="module")
def ground(
    finished_project: Path, whole: dict[str, str], killer: Killer, tmp_path_factory: pytest.TempPathFactory
) -> Ground:
    return survey(finished_project, whole, killer, tmp_path_factory.mktemp("survey"), stages=QUICK)


@pytest.mark.parametrize(
    "kind", [kind if kind in FIXED else pytest.param(kind, marks=pytest.mark.sweep) for kind in ALONE]
)
def test_a_trial_of_each_kind(kind: str, ground: Ground, killer: Killer, tmp_path: Path) -> None:
    """It ends in the same bytes or one line, and the next run in the same bytes."""
    play(draw(0, 0, kinds=[kind], stages=QUICK), ground, [killer], tmp_path / "trial")


@pytest.mark.sweep
def test_two_runs_at_once(ground: Ground, killer: Killer, other: Killer, tmp_path: Path) -> None:
    """One of them ends in the same bytes, the other one as well or in one line."""
    play(draw(0, 0, kinds=[TWO], stages=QUICK), ground, [killer, other], tmp_path / "trial")


def test_the_same_number_is_the_same_trial() -> None:
    """A defect is found again by its seed and number."""
    one, again, another = draw(3, 7), draw(3, 7), draw(3, 8)
    assert (one.kind, one.stage) == (again.kind, again.stage)
    assert one.parts.random() == again.parts.random() != another.parts.random()


def test_other_bytes_are_a_defect(ground: Ground, killer: Killer, tmp_path: Path) -> None:
    """The harness tells a run that ends in other bytes."""
    wrong = Ground(ground.project, {**ground.whole, QUICK[0].outputs[0]: "0"}, ground.changes, ground.seconds)
    with pytest.raises(Defect, match=r"other bytes in|neither old nor new"):
        play(
            draw(0, 0, kinds=["the clock jumps"], stages=QUICK[:1]),
            wrong,
            [killer],
            tmp_path / "trial",
        )


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(4))
def test_trials_in_every_stage(
    seed: int, ground: Ground, killer: Killer, other: Killer, tmp_path: Path
) -> None:
    """Forty trials of a seed."""
    everywhere = survey(ground.project, ground.whole, killer, tmp_path)
    for number in range(40):
        play(draw(seed, number), everywhere, [killer, other], tmp_path / f"trial-{number}")
