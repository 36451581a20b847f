"""The base's curve: what a bias on end-of-sequence alone does, next to what an arm does."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.ablation.arms import Arms, read_arms
from csrdata.ablation.base_curve import base_at_recalls, base_curves, chair_s_at, mean_points, with_base
from csrdata.ablation.by_seed import PRIMARY
from csrdata.ablation.cell import Cell
from csrdata.ablation.comparing import Pooled
from csrdata.ablation.page import markdown
from csrdata.ablation.picture import arms_picture, scorer_picture
from csrdata.ablation.scorer_curve import Point
from csrdata.ablation.table import Table, build
from tests.ablation.made import counts, result

FILE = """\
tuning: {grid: {train_dpo.learning_rate: [0.0001]}, recall_loss: 2.0}
quick: {arms: [base], changes: {}}
arms:
  base: {about: Base., group: must, iterations: 0, changes: {}}
  shipped: {about: Shipped., group: must, iterations: 1, changes: {}}
  try: {about: Try., group: exploratory, iterations: 1, changes: {}}
"""
BAD, GOOD = (1,) * 20, (0,) * 20
CURVE = [
    {"bias": 1.0, "chair_s": 20.0, "recall": 40.0},
    {"bias": -1.0, "chair_s": 90.0, "recall": 80.0},
    {"bias": 0.0, "chair_s": 60.0, "recall": 60.0},
]
"""By bias, recall falls from 80 to 60 to 40, CHAIR_S from 90 to 60 to 20."""


@pytest.fixture
def arms(tmp_path: Path) -> Arms:
    path = tmp_path / "arms.yaml"
    path.write_text(FILE, encoding="utf-8")
    return read_arms(path)


def _table(arms: Arms, *more: str) -> Table:
    """Return base and shipped with two seeds; each names one of two objects, so that its recall is 50."""
    metrics = {"base": {"reason": None, "curves": {"held_out": CURVE}}}
    return build(
        arms,
        [
            *(
                replace(result("base", seed, {"base": BAD}, iterations=0), match_recall=metrics)
                for seed in (0, 1)
            ),
            *(result("shipped", seed, {"1": GOOD}) for seed in (0, 1)),
            *(result(name, 0, {"1": GOOD}) for name in more),
        ],
    )


@pytest.mark.parametrize(
    ("recall", "chair_s"),
    [(80.0, 90.0), (70.0, 75.0), (60.0, 60.0), (50.0, 40.0), (81.0, None), (None, None)],
)
def test_the_base_at_a_recall_is_on_the_line_between_two_points(
    recall: float | None, chair_s: float | None
) -> None:
    """Nothing is extrapolated."""
    points = sorted(CURVE, key=lambda point: point["bias"])
    assert chair_s_at(points, recall) == (None if chair_s is None else pytest.approx(chair_s))


def test_a_curve_without_a_figure_gives_nothing() -> None:
    """A split whose images have no objects has no recall."""
    assert chair_s_at([{"bias": 0.0, "chair_s": 1.0, "recall": None}], 50.0) is None
    assert chair_s_at([], 50.0) is None
    assert mean_points({0: [{"bias": 0.0, "chair_s": 1.0, "recall": None}]}, ("recall",)) == {}


def test_every_arm_stands_beside_the_base_at_its_recall(arms: Arms) -> None:
    """Shipped has a recall of 50, where an end bias alone gives the base a CHAIR_S of 40."""
    table = _table(arms)
    curves = base_curves(table, "held_out")
    assert {seed: [one["bias"] for one in points] for seed, points in curves.items()} == {
        0: [-1.0, 0.0, 1.0],
        1: [-1.0, 0.0, 1.0],
    }
    (shipped,) = [row for row in table.rows if row.title == "shipped"]
    assert base_at_recalls(shipped, curves, "held_out") == pytest.approx(40.0)
    assert base_at_recalls(shipped, {0: curves[0]}, "held_out") is None  # the other seed has no curve
    (line,) = [
        line for line in markdown(table, arms).splitlines() if line.startswith("| shipped | 0, 1 | 1 | - |")
    ]
    assert line.endswith("| 40.0 | 0.0 / 0.0 |")
    found = with_base(table)
    assert found["shipped"]["held_out/base_chair_s_at_this_recall"] == {
        "value": 40.0, "low": None, "high": None, "seeds": [], "p_vs_base": None, "p_vs_shipped": None
    }  # fmt: skip
    assert found.keys() == table.as_json().keys()


def test_the_picture_has_every_arm_and_the_curve(arms: Arms) -> None:
    """One panel; the base's curve; each arm at its recall and CHAIR_S, with its name in a tooltip."""
    drawn = arms_picture(_table(arms, "try"), ["held_out"])
    assert drawn.count("<polyline") == 1
    for name, chair in (("base", "100.0"), ("shipped", "0.0"), ("try", "0.0")):
        assert f"<title>{name}: CHAIR_S {chair}, recall 50.0</title>" in drawn
    assert "held out" in drawn


def test_an_arm_far_from_the_others_is_named_and_does_not_shrink_them(arms: Arms) -> None:
    """One that falls silent has no recall: the picture has the range of the base's curve, from 40 on."""
    table = _table(arms, "try")
    silent = replace(result("try", 0, {"1": GOOD}), counts={"1": {"held_out": counts(GOOD, named=0)}})
    results = [*(one for row in table.rows for one in row.results.values() if row.title != "try"), silent]
    drawn = arms_picture(build(arms, results), ["held_out"])
    assert "not shown, with less recall: try" in drawn
    assert "<title>try" not in drawn
    assert "not shown" not in arms_picture(table, ["held_out"])


def test_names_under_a_panel_are_broken_into_lines(tmp_path: Path) -> None:
    """Many arms that fall silent: no line is wider than the panel, names stay whole, and the picture has room for all."""
    names = [f"arm-with-a-long-name-{number}" for number in range(5)]
    entries = "".join(
        f"  {name}: {{about: Silent., group: exploratory, iterations: 1, changes: {{}}}}\n" for name in names
    )
    path = tmp_path / "arms.yaml"
    path.write_text(FILE + entries, encoding="utf-8")
    arms = read_arms(path)
    table = _table(arms, "try")
    silent = [
        replace(result(name, 0, {"1": GOOD}), counts={"1": {"held_out": counts(GOOD, named=0)}})
        for name in names
    ]
    kept = [one for row in table.rows for one in row.results.values()]
    drawn = arms_picture(build(arms, [*kept, *silent]), ["held_out"])
    height = float(drawn.partition("viewBox=")[2].split()[3].strip('"'))
    lines = re.findall(r'y="([0-9.]+)"[^>]*>([^<]*arm-with-a-long-name[^<]*)<', drawn)
    assert len(lines) > 1
    assert " ".join(text for _, text in lines) == f"not shown, with less recall: {', '.join(names)}"
    assert all(len(text) <= 56 and float(y) < height for y, text in lines)


def test_a_picture_of_nothing_is_a_picture(arms: Arms) -> None:
    """Before any arm has run there is no panel, and no error."""
    drawn = arms_picture(build(arms, []), ["held_out"])
    assert drawn.endswith("</svg>\n")
    assert "<circle cx" in drawn  # the legend


def test_the_picture_of_scorers_has_every_point_by_accuracy_and_gain() -> None:
    """A panel for each split with two points or more; the points are joined in their order, on both sides of no gain."""
    cell = Cell(Pooled(0.0, None, None, (0.0,)), None, None)
    points = [
        Point(arm, accuracy, None, {PRIMARY: cell}, gain)
        for arm, accuracy, gain in (("a", 90.0, 20.0), ("b", 60.0, -10.0))
    ]
    drawn = scorer_picture({"held_out": points, "other": points[:1]})
    assert drawn.count("<polyline") == 1
    assert "<title>a: gain 20.0, accuracy 90.0</title>" in drawn
    assert "<title>b: gain -10.0, accuracy 60.0</title>" in drawn
    assert "held out" in drawn
    assert "other" not in drawn
