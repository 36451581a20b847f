"""When the loop stops: each limit fires just behind its value, on the figures it is about, and a missing figure stops it."""

from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.evaluation.stop_rules import figures_of, reasons_to_stop
from csrdata.evaluation.summary import StoppedLoop, Summary, read_summary
from csrdata.storage.disk import write_json

BASE = {"recall": 90.0, "present_per_answer": 4.0, "relevance": 40.0, "relevance_held_out": 41.0}
NONE = {"recall_falls": None, "objects_fall": None, "held_out_falls": None}


@pytest.mark.parametrize(
    ("limit", "holds", "fires", "words"),
    [
        (
            {"recall_falls": 2.0},
            {"recall": 88.0},
            {"recall": 87.5},
            "recall is 87.5%, 2.5 points under the base's 90.0% (limit 2 points)",
        ),
        (
            {"objects_fall": 10.0},
            {"present_per_answer": 3.6},
            {"present_per_answer": 3.5},
            "an answer names 3.50 present objects, 12% fewer than the base's 4.00 (limit 10%)",
        ),
        (
            {"held_out_falls": 0.5},
            {"relevance": 45.0, "relevance_held_out": 40.5},
            {"relevance": 45.0, "relevance_held_out": 40.25},
            "relevance rose by 5.00 by the search's scorer and fell by 0.75 by the held-out scorer against the policy "
            "before it (limit 0.5)",
        ),
    ],
)
def test_a_limit_fires_behind_its_value(
    limit: dict[str, float], holds: dict[str, float], fires: dict[str, float], words: str
) -> None:
    """At the limit the loop goes on; behind it the reason names figure, change and limit; without it any value is allowed."""
    assert reasons_to_stop(BASE, BASE, BASE | holds, **NONE | limit) == []
    assert reasons_to_stop(BASE, BASE, BASE | fires, **NONE | limit) == [words]
    assert reasons_to_stop(BASE, BASE, BASE | fires, **NONE) == []


def test_relevance_that_falls_by_both_scorers_is_no_hacking() -> None:
    """The limit is about scorers that part: both falling, or the held-out one alone rising, goes on."""
    limit = NONE | {"held_out_falls": 0.0}
    for own in (
        {"relevance": 39.0, "relevance_held_out": 30.0},
        {"relevance": 45.0, "relevance_held_out": 42.0},
    ):
        assert reasons_to_stop(BASE, BASE, BASE | own, **limit) == []


def test_relevance_is_compared_with_the_policy_before() -> None:
    """A policy above the base stops the loop, if the held-out scorer thinks less of it than of the policy before."""
    previous = BASE | {"relevance": 44.0, "relevance_held_out": 45.0}
    own = BASE | {"relevance": 46.0, "relevance_held_out": 43.0}
    assert reasons_to_stop(BASE, BASE, own, **NONE | {"held_out_falls": 0.5}) == []
    assert len(reasons_to_stop(BASE, previous, own, **NONE | {"held_out_falls": 0.5})) == 1


def test_a_figure_that_cannot_be_measured_stops_the_loop() -> None:
    """A policy whose answers are empty has no relevance: that is no reason to go on."""
    limits = NONE | {"held_out_falls": 0.5}
    assert figures_of(**limits) == ("relevance", "relevance_held_out")
    own = BASE | {"relevance": None}
    assert reasons_to_stop(BASE, BASE, own, **limits) == ["relevance could not be measured"]


def test_the_summary_keeps_where_the_loop_stopped(tmp_path: Path) -> None:
    """Written and read back it is the same; a summary of a loop that did not stop has no such key."""
    stopped = StoppedLoop("1", "recall is 80.0%", ("2", "3"))
    summary = Summary(("base", "1"), splits={}, pairs={}, training={}, prepared=None, stopped=(stopped,))
    write_json(tmp_path / "summary.json", summary.as_json())
    assert read_summary(tmp_path / "summary.json") == summary
    assert "stopped" not in replace(summary, stopped=()).as_json()
    assert stopped.words() == "The loop stopped at iteration 1: recall is 80.0%. Not run: 2, 3."
