"""The table: what is compared with what, what is marked, what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.ablation.arms import Arms, Group, read_arms
from csrdata.ablation.collecting import outdated, params_hash
from csrdata.ablation.page import markdown
from csrdata.ablation.picture import scorer_picture
from csrdata.ablation.projects import Run, open_campaign
from csrdata.ablation.result import Result
from csrdata.ablation.scorer_curve import break_even, scorer_curve
from csrdata.ablation.table import build
from csrdata.ablation.tuning import Figures, Trial, Tuned
from csrdata.ablation.uncounted import complete_seeds
from csrdata.errors import UserError
from csrdata.evaluation.intervals import Figure
from tests.ablation.made import MACHINE, curve, result

FILE = """\
tuning: {grid: {train_dpo.learning_rate: [0.0001, 0.0005]}, recall_loss: 2.0}
quick: {arms: [base], changes: {}}
weaker_scorers: {recipe: shipped, arms: [try, eye]}
arms:
  base: {about: Base., group: must, iterations: 0, changes: {}}
  shipped: {about: Shipped., group: must, iterations: 3, changes: {}}
  off: {about: Off., group: must, iterations: 3, changes: {}}
  try: {about: Try., group: exploratory, iterations: 1, changes: {}}
  eye: {about: Another base., group: exploratory, iterations: 1, changes: {}}
"""
BAD, GOOD = (1,) * 20, (0,) * 20
HALF = (0, 1) * 10
OFF = "Off., group: must, iterations: 3, changes: {train_dpo.sft_weight: 0.0}"


@pytest.fixture
def arms(tmp_path: Path) -> Arms:
    path = tmp_path / "arms.yaml"
    path.write_text(FILE, encoding="utf-8")
    return read_arms(path)


def test_an_arm_is_compared_with_base_and_shipped(arms: Arms) -> None:
    """The base's mistakes are gone in shipped and in the arm: both differ from the base, and not from each other."""
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("shipped", 0, {"1": HALF, "3": GOOD}, iterations=3),
        result("off", 0, {"1": HALF, "3": GOOD}, iterations=3),
    ]
    found = build(arms, results).as_json()
    assert list(found) == ["base", "shipped", "off"]
    cell = found["off"]["held_out/chair_s"]
    assert (cell["value"], cell["low"], cell["high"], cell["seeds"]) == (0.0, 0.0, 0.0, [0.0])
    assert cell["p_vs_base"] < 0.01
    assert cell["p_vs_shipped"] == 1.0
    assert found["shipped"]["held_out/chair_s"]["p_vs_shipped"] is None
    assert found["base"]["held_out/chair_s"]["p_vs_base"] is None
    assert found["base"]["held_out/chair_s"]["value"] == 100.0


def test_all_tests_of_a_table_are_corrected_together(arms: Arms) -> None:
    """With one more arm the same differences have larger p-values."""
    both = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("shipped", 0, {"3": HALF}, iterations=3),
    ]
    few = build(arms, both).as_json()["shipped"]["held_out/chair_s"]["p_vs_base"]
    more = [*both, result("off", 0, {"3": HALF}, iterations=3)]
    many = build(arms, more).as_json()["shipped"]["held_out/chair_s"]["p_vs_base"]
    assert many == pytest.approx(
        3 * few, rel=1e-3
    )  # 5 tests; then 5 more against the base, and 5 against shipped


def test_an_exploratory_arm_is_compared_after_as_many_iterations(arms: Arms) -> None:
    """One iteration is held against one iteration of shipped, and the table has the row of that."""
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("shipped", 0, {"1": HALF, "3": GOOD}, iterations=3),
        result("try", 0, {"1": HALF}),
    ]
    table = build(arms, results)
    assert table.as_json()["try"]["held_out/chair_s"]["p_vs_shipped"] == 1.0
    text = markdown(table, arms)
    section = text.partition("### held out, exploratory")[2].partition("###")[0]
    rows = [line.split(" | ")[:3] for line in section.splitlines() if line.startswith("| ")]
    assert rows[2:] == [["| base", "0", "0"], ["| shipped", "0", "1"], ["| try", "0", "1"]]


def test_an_arm_with_another_base_is_compared_with_its_own(arms: Arms) -> None:
    """Its own base's counts take the place of the profile's."""
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("eye", 0, {"base": GOOD, "1": GOOD}),
    ]
    assert build(arms, results).as_json()["eye"]["held_out/chair_s"]["p_vs_base"] == 1.0


def test_the_first_figure_is_at_the_bases_recall(arms: Arms) -> None:
    """The base is at its own recall; an arm that names half as much and twice as much is taken halfway between its biases.

    The base names 1 of 2 objects. Shipped names none of them at a bias of 0, without mistakes, and both at -1, with a mistake
    in every answer: halfway its recall is the base's, and half of its answers are false.
    """
    found = curve({-1.0: BAD, 0.0: GOOD}, {-1.0: 2, 0.0: 0})
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("shipped", 0, {"3": GOOD}, curves={"3": found}, iterations=3),
    ]
    cells = build(arms, results).as_json()
    assert cells["base"]["held_out/chair_s_at_recall"]["value"] == 100.0
    cell = cells["shipped"]["held_out/chair_s_at_recall"]
    assert (cell["value"], cell["low"], cell["high"]) == (50.0, 50.0, 50.0)
    assert cell["p_vs_base"] < 0.05
    assert cells["shipped"]["held_out/chair_s"]["value"] == 0.0


def test_an_arm_whose_recall_no_bias_reaches_has_no_such_figure(arms: Arms) -> None:
    """Nothing is extrapolated, and the page gives the reason."""
    short = result(
        "shipped",
        0,
        {"3": GOOD},
        curves={"3": curve({-1.0: GOOD, 0.0: GOOD}, {-1.0: 0, 0.0: 0})},
        iterations=3,
    )
    short = replace(short, match_recall={"3": {"bias": None, "reason": "outside the curve"}})
    table = build(arms, [result("base", 0, {"base": BAD}, iterations=0), short])
    assert "held_out/chair_s_at_recall" not in table.as_json()["shipped"]
    text = markdown(table, arms)
    assert "| shipped | 0 | 3 | - | 0.0 [0.0, 0.0] b |" in text
    assert "no CHAIR_S at the base's recall: shipped/0 outside the curve" in text


def test_a_seed_whose_recall_no_bias_reaches_takes_the_value_from_its_arm(arms: Arms) -> None:
    """The mean of the other seeds would be that of a selection; their values are shown, and there is no test."""
    results = [
        *(result("base", seed, {"base": BAD}, iterations=0) for seed in (0, 1)),
        at_recall(result("shipped", 0, {"3": HALF}, iterations=3)),
        result("shipped", 1, {"3": GOOD}, iterations=3),
    ]
    table = build(arms, results)
    assert table.as_json()["shipped"]["held_out/chair_s_at_recall"] == {
        "value": None, "low": None, "high": None, "seeds": [50.0, None], "p_vs_base": None, "p_vs_shipped": None
    }  # fmt: skip
    assert table.as_json()["shipped"]["held_out/chair_s"]["seeds"] == [50.0, 0.0]
    (line,) = [
        line for line in markdown(table, arms).splitlines() if line.startswith("| shipped | 0, 1 | 3 | - |")
    ]
    assert line.endswith("| 50.0 / - |")


def test_an_arm_that_some_seeds_have_is_compared_with_those(arms: Arms) -> None:
    """Off has it with seed 0 alone: there it is at 50, shipped at 0, the base at 100. Seed 1 takes no part."""
    results = [
        *(result("base", seed, {"base": BAD}, iterations=0) for seed in (0, 1)),
        *(at_recall(result("shipped", seed, {"3": GOOD}, iterations=3)) for seed in (0, 1)),
        at_recall(result("off", 0, {"3": HALF}, iterations=3)),
        result("off", 1, {"3": BAD}, iterations=3),
    ]
    table = build(arms, results)
    (found,) = table.some_seeds["held_out"]
    assert (found.name, found.seeds, found.shipped, found.base) == ("off", (0,), 0.0, 100.0)
    assert (found.cell.figure.value, found.cell.figure.seeds) == (50.0, (50.0,))
    assert found.cell.p_vs_base is not None
    assert found.cell.p_vs_base < 0.01
    text = markdown(table, arms).partition("CHAIR_S at the base's recall where some seeds have none")[2]
    (line,) = [line for line in text.splitlines() if line.startswith("| off | 0 | 50.0 [")]
    assert line.endswith("] b s | 0.0 | 100.0 |")
    assert not build(arms, results[:4]).some_seeds["held_out"]


def test_the_bases_own_curve_is_shown(arms: Arms) -> None:
    """What a bias alone does: the mean over seeds at each bias, for each split."""
    points = [{"bias": -1.0, "chair_s": 80.0, "recall": 90.0, "length": 30.0, "present_per_answer": 2.0}]
    results = [
        replace(
            result("base", seed, {"base": BAD}, iterations=0),
            match_recall={
                "base": {"reason": None, "curves": {"held_out": [points[0] | {"chair_s": chair_s}]}}
            },
        )
        for seed, chair_s in ((0, 80.0), (1, 70.0))
    ]
    text = markdown(build(arms, results), arms)
    assert (
        "| -1 | 75.0 | 90.0 | 2.00 | 30.0 |" in text.partition("the base with a bias on end-of-sequence")[2]
    )


def test_a_page_shows_figures_with_marks(arms: Arms) -> None:
    """Value, interval, b and s where significant, the value of each seed, cost, machine, and the rule of tuning."""
    results = [
        *(result("base", seed, {"base": BAD}, iterations=0) for seed in (0, 1, 2)),
        *(result("shipped", seed, {"3": GOOD}, iterations=3) for seed in (0, 1, 2)),
        *(result("off", seed, {"3": HALF if seed else BAD}, iterations=3) for seed in (0, 1, 2)),
    ]
    text = markdown(build(arms, results), arms)
    assert (
        "| shipped | 0, 1, 2 | 3 | - | 0.0 [0.0, 0.0] b | 50.0 [50.0, 50.0] | 1.00 [1.00, 1.00] | 8.0 [8.0, 8.0] | - | 0.0 / 0.0 / 0.0 |"
        in text
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| off | 0, 1, 2 | 3 | - | 66.7 [")]
    assert line.endswith("| 100.0 / 50.0 / 50.0 |")
    assert "] b s |" in line
    assert "| off | 50 | 90.0 | 95.0 | 0.67 |" in text  # 100 seconds for 3 * 50 pairs
    assert "`train_dpo.learning_rate` of 0.0001, 0.0005" in text
    assert "at most\n2 points below the base's; without such a run, the highest recall." in text
    assert "a processor (AVX2), 2 threads, torch 2.0; csrdata abc" in text


def test_figures_that_are_not_counted_come_from_the_summaries(arms: Arms) -> None:
    """The mean over seeds; the run's own interval with one seed; no test. A figure nobody has is no column."""
    one = {"well_formed": Figure(98.0, 97.0, 99.0, None)}
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        *(
            replace(result("off", seed, {"3": HALF}, iterations=3), figures={"3": {"held_out": figures}})
            for seed, figures in ((0, one), (1, one | {"pope_accuracy": Figure(90.0, 80.0, 95.0, None)}))
        ),
        replace(result("try", 0, {"1": HALF}), figures={"1": {"held_out": one}}),
    ]
    table = build(arms, results)
    cells = table.as_json()
    none = {"p_vs_base": None, "p_vs_shipped": None}
    assert cells["off"]["held_out/well_formed"] == none | {
        "value": 98.0, "low": None, "high": None, "seeds": [98.0, 98.0]
    }  # fmt: skip
    assert cells["off"]["held_out/pope_accuracy"]["seeds"] == [None, 90.0]
    assert cells["off"]["held_out/pope_accuracy"]["value"] == 90.0
    assert cells["try"]["held_out/well_formed"] == none | {
        "value": 98.0, "low": 97.0, "high": 99.0, "seeds": [98.0]
    }  # fmt: skip
    text = markdown(table, arms)
    assert "| arm | seeds | iterations | well-formed sentences | POPE accuracy, seed 1 |" in text
    assert "| off | 0, 1 | 3 | 98.0 | 90.0 |" in text
    assert "POPE accuracy, popular objects" not in text


def test_figures_that_are_not_counted_are_of_the_same_seeds_for_all_arms(arms: Arms) -> None:
    """The base lacks one with seed 0: the others leave out theirs, which would be compared with another base."""

    def having(name: str, seed: int, value: float | None) -> Result:
        one = result(name, seed, {"3": HALF}, iterations=0 if name == "base" else 3)
        known = {} if value is None else {"pope_accuracy": Figure(value, None, None, None)}
        return replace(one, figures={one.last: {"held_out": known}})

    results = [
        having("base", 0, None),
        having("base", 1, 80.0),
        having("shipped", 0, 99.0),
        having("shipped", 1, 90.0),
        having("off", 1, 85.0),
    ]
    table = build(arms, results)
    cells = table.as_json()
    assert [cells[name]["held_out/pope_accuracy"]["value"] for name in ("base", "shipped", "off")] == [
        80,
        90,
        85,
    ]
    assert cells["shipped"]["held_out/pope_accuracy"]["seeds"] == [None, 90.0]
    assert "| arm | seeds | iterations | POPE accuracy, seed 1 |" in markdown(table, arms)


@pytest.mark.parametrize(
    ("has", "seeds"),
    [
        ([{0: True, 1: True}, {1: True}], {0, 1}),
        ([{0: False, 1: True}, {0: True, 1: True}, {2: True}], {1, 2}),
        ([{0: False, 1: False}, {0: True, 1: True}], {0, 1}),
        ([{0: False}], set()),
    ],
)
def test_complete_seeds(has: list[dict[int, bool]], seeds: set[int]) -> None:
    """An arm that never has it takes no seed from the others; one that lacks it with one seed does."""
    assert complete_seeds(has) == seeds


def test_verdicts_of_a_policy_are_shown(arms: Arms) -> None:
    """How often it agrees with itself and with the truth, by iteration; arms without verdicts have no row."""
    judging = {"judged": 400, "agreed": 75.0, "compared": 200, "accuracy": 60.0}
    one = result("try", 2, {"1": HALF})
    judged = replace(one, pairs={"1": one.pairs["1"] | {"judging": judging}})
    text = markdown(build(arms, [result("off", 0, {"3": GOOD}, iterations=3), judged]), arms)
    section = text.partition("verdicts on its own answers")[2].partition("###")[0]
    assert [line for line in section.splitlines() if line.startswith("| ")][2:] == [
        "| try | 2 | 1 | 400 | 75.0 | 60.0 | 200 |"
    ]
    assert "verdicts on its own" not in markdown(build(arms, [one]), arms)


def test_pairs_before_training_are_shown_by_origin(arms: Arms) -> None:
    """Means over the seeds that all arms have them with; a result from before they were kept has no row."""
    one, other = (result("off", seed, {"3": GOOD}, iterations=3) for seed in (0, 1))
    quiet = {"csr_search": {"pairs": 30, "chosen": -0.6, "rejected": -0.7, "chosen_preferred": 25.0}}
    changed = other.pairs["1"] | {"likelihood": quiet, "chosen_reward": 1.5, "rejected_reward": -3.0}
    older = {
        key: value
        for key, value in one.pairs["1"].items()
        if key not in {"likelihood", "false"} and "_reward" not in key
    }
    results = [
        one,
        replace(other, pairs=dict(other.pairs) | {"1": changed}),
        replace(result("off", 2, {"3": GOOD}, iterations=3), pairs={"1": older}),
        replace(result("try", 2, {"1": GOOD}), pairs={"1": older}),
    ]
    text = markdown(build(arms, results), arms)
    section = text.partition("first iteration's pairs, before training")[2].partition("###")[0]
    assert [line for line in section.splitlines() if line.startswith("| ")][2:] == [
        "| off | 0, 1 | `csr_search` | 40 | -0.500 | -0.600 | 50.0 | 10.0 | 60.0 | 1.00 | -2.50 |"
    ]
    text = markdown(build(arms, [*results, result("shipped", 2, {"3": GOOD}, iterations=3)]), arms)
    assert "| shipped | 2 | `csr_search` |" not in text


def test_report_cards_are_those_of_shipped_and_of_arms_with_a_signal_of_their_own(tmp_path: Path) -> None:
    """Other arms have the same signals. Results from before cards were kept have no row."""
    path = tmp_path / "arms.yaml"
    changed = "Try., group: exploratory, iterations: 1, changes: {scorers.others: {one: {kind: self_check}}}"
    path.write_text(
        FILE.replace("Try., group: exploratory, iterations: 1, changes: {}", changed), encoding="utf-8"
    )
    arms = read_arms(path)
    results = [
        result("shipped", 0, {"3": GOOD}, iterations=3),
        replace(result("shipped", 1, {"3": GOOD}, iterations=3), cards={}),
        result("off", 0, {"3": GOOD}, iterations=3),
        result("try", 2, {"1": GOOD}),
    ]
    text = markdown(build(arms, results), arms)
    section = text.partition("how well each signal knows the truth")[2].partition("###")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        f"| {name} | {seed} | `search` | 93.0 | 96.0 | 0.20 | 10.000 |"
        for name, seed in (("shipped", 0), ("try", 2))
    ]


def test_what_is_missing_is_listed(arms: Arms) -> None:
    """Seeds without a result, and results that are not comparable, each with the reason."""
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        result("off", 1, {"3": HALF}, iterations=3, questions="other"),
        result("gone", 0, {"1": HALF}),
    ]
    text = markdown(build(arms, results), arms)
    assert (
        "missing: base/1, base/2, shipped/0, shipped/1, shipped/2, off/0, off/1, off/2, try/2, eye/2" in text
    )
    assert "left out: gone/0: no such arm" in text
    assert "left out: off/1: other questions, truth or rules than base/0" in text


def test_one_seed_of_an_exploratory_arm_is_enough(arms: Arms) -> None:
    """Whichever it is; a main arm needs all of its seeds."""
    results = [result("base", 0, {"base": BAD}, iterations=0), result("try", 0, {"1": GOOD})]
    text = markdown(build(arms, results), arms)
    missing = "missing: base/1, base/2, shipped/0, shipped/1, shipped/2, off/0, off/1, off/2, eye/2"
    assert missing in text.splitlines()
    assert "### held out, exploratory arms, seed 0\n" in text
    text = markdown(build(arms, [*results, result("eye", 2, {"1": GOOD})]), arms)
    assert "### held out, exploratory arms, seed 2 (some with seed 0)\n" in text


def test_a_quick_table_misses_only_what_quick_runs_make(arms: Arms) -> None:
    """Its arms have one seed."""
    few = replace(arms, by_name={name: arms.named(name) for name in ("base", "shipped")})
    table = build(few, [result("base", 0, {"base": BAD}, iterations=0)], seeds=(0,))
    assert "missing: shipped/0\n" in markdown(table, few)


def test_without_results_the_page_says_what_is_missing(arms: Arms) -> None:
    """No result is no error."""
    table = build(arms, [])
    assert table.as_json() == {}
    assert "missing: base/0" in markdown(table, arms)


def test_what_was_tuned_is_shown(arms: Arms) -> None:
    """A row for each arm, with what every setting gave and which was chosen."""
    slow, fast = ({"train_dpo.learning_rate": rate} for rate in (1e-4, 5e-4))
    tuned = {"off": Tuned((Trial(slow, Figures(30.0, 90.0)), Trial(fast, Figures(5.0, 60.0))), slow)}
    tuned["try"] = Tuned((Trial(fast, Figures(4.0, 90.0)),), fast)
    text = markdown(build(arms, []), arms, tuned=tuned)
    assert (
        "| CHAIR_S / recall on validation images | learning_rate 0.0001 | learning_rate 0.0005 | chosen |"
        in text
    )
    assert "| `off` | 30.0 / 90.0 | 5.0 / 60.0 | learning_rate 0.0001 |" in text
    assert "| `try` | - | 4.0 / 90.0 | learning_rate 0.0005 |" in text


def test_an_exploratory_arm_is_beside_base_and_shipped_of_its_seed(arms: Arms) -> None:
    """Arms with other seeds have other references, and are not points of the same curve."""
    results = [
        *(result("base", seed, {"base": BAD if seed else HALF}, iterations=0) for seed in (0, 2)),
        *(at_recall(result("shipped", seed, {"1": HALF if seed else GOOD})) for seed in (0, 2)),
        accurate(at_recall(result("try", 2, {"1": HALF})), 75.0),
        accurate(at_recall(result("eye", 0, {"1": HALF})), 75.0),
    ]
    table = build(arms, results)
    section = markdown(table, arms).partition("### held out, exploratory")[2].partition("###")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [(row[0], *row[1:3], row[4].partition(" ")[0]) for row in rows[2:]] == [
        ("| base", "0", "0", "50.0"),
        ("| shipped", "0", "1", "0.0"),
        ("| base", "2", "0", "100.0"),
        ("| shipped", "2", "1", "50.0"),
        ("| try", "2", "1", "50.0"),
        ("| eye", "0", "1", "50.0"),
    ]
    assert [(one.arm, one.gain) for one in scorer_curve(table, arms.weaker_scorers, "held_out")] == [
        ("shipped", 50.0),
        ("try", 50.0),
    ]


def test_a_result_of_another_machine_than_its_base_is_left_out(arms: Arms) -> None:
    """It started from other models. One that has its own base's counts is compared with that one."""
    other = MACHINE | {"processor": "another"}
    results = [
        result("base", 0, {"base": BAD}, iterations=0),
        replace(result("off", 0, {"3": GOOD}, iterations=3), machine=other),
        replace(result("eye", 0, {"base": GOOD, "1": GOOD}), machine=other),
        replace(result("try", 2, {"1": GOOD}), machine=other),
    ]
    table = build(arms, results)
    assert list(table.as_json()) == ["base", "try", "eye"]
    why = "left out: off/0: trained on another, AVX2, 2.0, and base/0 on a processor, AVX2, 2.0: other models"
    assert why in markdown(table, arms)


def test_results_of_other_settings_are_left_out(tmp_path: Path) -> None:
    """They are of another arm than today's. Each is named with the keys; results of another profile are not judged."""
    path = tmp_path / "arms.yaml"
    path.write_text(FILE.replace("Off., group: must, iterations: 3, changes: {}", OFF), encoding="utf-8")
    arms = read_arms(path)
    campaign = open_campaign(arms, top=tmp_path, results=tmp_path, profile="microworld")
    params, _ = campaign.params(Run(arms.named("off"), 0))
    today = {"changes": {"train_dpo.sft_weight": 0.0}, "params_sha256": params_hash(params)}
    results = [
        result("off", 0, {"3": GOOD}, iterations=3, **today),
        result("off", 1, {"3": GOOD}, iterations=3, **today | {"changes": {"train_dpo.sft_weight": 1.0}}),
        result("shipped", 0, {"3": GOOD}, iterations=3, **today | {"changes": {}}),
        result("try", 0, {"1": GOOD}, profile="other.yaml"),
        result("gone", 0, {"1": GOOD}),
    ]
    found = outdated(campaign, results)
    assert found == {("off", 1): "train_dpo.sft_weight", ("shipped", 0): "the profile"}
    table = build(arms, results, outdated=found)
    assert [row.found for row in table.rows] == [(), (), (0,), (0,), ()]
    text = markdown(table, arms)
    for name, what in (("off/1", "train_dpo.sft_weight"), ("shipped/0", "the profile")):
        assert f"left out: {name}: made with other settings than the arm has today ({what})" in text
    assert "missing: base/0, base/1, base/2, shipped/0, " in text


def test_the_gain_of_an_iteration_is_shown_against_the_accuracy_of_the_scorer(arms: Arms) -> None:
    """The base is at 50. With accuracies of 95, 75 and 55 arms are at 0, 50 and 100: an iteration does harm under 75."""
    results = [
        result("base", 0, {"base": HALF}, iterations=0),
        at_recall(result("shipped", 0, {"1": GOOD})),
        accurate(at_recall(result("try", 0, {"1": HALF})), 75.0),
        accurate(at_recall(result("eye", 0, {"1": BAD})), 55.0),
    ]
    points = scorer_curve(build(arms, results), arms.weaker_scorers, "held_out")
    assert [(one.arm, one.accuracy, one.gain) for one in points] == [
        ("shipped", 95.0, 50.0),
        ("try", 75.0, 0.0),
        ("eye", 55.0, -50.0),
    ]
    assert break_even(points) == 75.0
    assert break_even([points[0], points[2]]) == 75.0
    assert break_even(points[:2]) is None
    text = markdown(build(arms, results), arms)
    assert (
        "| eye | 55.0 | 90.0 | 100.0 [100.0, 100.0] b s | -50.0 | 100.0 [100.0, 100.0] b s | 50.0 [50.0, 50.0] |"
        in text
    )
    assert "Under 75.0% an iteration does harm (linear between the points)." in text


def test_the_curve_starts_at_the_recipe_whose_scorer_is_changed(tmp_path: Path) -> None:
    """It is next to base and shipped in the table, after as many iterations. An arm that the file lacks is refused."""
    path = tmp_path / "arms.yaml"
    path.write_text(FILE.replace("recipe: shipped", "recipe: off"), encoding="utf-8")
    arms = read_arms(path)
    results = [
        result("base", 0, {"base": HALF}, iterations=0),
        at_recall(result("shipped", 0, {"1": BAD})),
        at_recall(result("off", 0, {"1": GOOD})),
        accurate(at_recall(result("try", 0, {"1": HALF})), 75.0),
    ]
    table = build(arms, results)
    assert [(one.title, one.iterations) for one in table.references[Group.EXPLORATORY]] == [
        ("base", 0),
        ("off", 1),
        ("shipped", 1),
    ]
    points = scorer_curve(table, arms.weaker_scorers, "held_out")
    assert [(one.arm, one.gain) for one in points] == [("off", 50.0), ("try", 0.0)]
    path.write_text(FILE.replace("recipe: shipped", "recipe: none"), encoding="utf-8")
    with pytest.raises(UserError, match=r"arms\.none"):
        read_arms(path)


def test_a_scorer_after_which_the_policy_falls_silent_does_harm(arms: Arms) -> None:
    """No bias gives it the base's recall: it has no gain, and is named; the others alone do not say that all is well."""
    results = [
        result("base", 0, {"base": HALF}, iterations=0),
        at_recall(result("shipped", 0, {"1": GOOD})),
        accurate(at_recall(result("try", 0, {"1": GOOD})), 75.0),
        replace(
            accurate(result("eye", 0, {"1": GOOD}), 55.0),
            match_recall={"1": {"bias": None, "reason": "outside the curve"}},
        ),
    ]
    table = build(arms, results)
    points = scorer_curve(table, arms.weaker_scorers, "held_out")
    assert [(one.arm, one.gain) for one in points] == [("shipped", 50.0), ("try", 50.0), ("eye", None)]
    text = markdown(table, arms)
    assert "| eye | 55.0 | 90.0 | - | - | 0.0 [0.0, 0.0] b |" in text
    assert "An iteration does harm with eye: no bias gives the base's recall back." in text
    assert "No scorer did harm" not in text
    assert "<title>eye" not in scorer_picture({"held_out": points})


def test_harm_by_every_scorer_is_not_called_harmless(arms: Arms) -> None:
    """No point of the curve is above the base: there is no accuracy to name."""
    results = [
        result("base", 0, {"base": HALF}, iterations=0),
        at_recall(result("shipped", 0, {"1": BAD})),
        accurate(at_recall(result("try", 0, {"1": BAD})), 75.0),
    ]
    text = markdown(build(arms, results), arms)
    assert "No scorer did harm" not in text
    assert "The accuracy does not say where harm begins." in text


def test_without_another_scorer_there_is_no_curve(arms: Arms) -> None:
    """One point is no curve."""
    results = [
        result("base", 0, {"base": HALF}, iterations=0),
        at_recall(result("shipped", 0, {"1": GOOD})),
        result("try", 0, {"1": HALF}),
    ]
    assert "against the accuracy" not in markdown(build(arms, results), arms)


def at_recall(one: Result) -> Result:
    """Give the last policy a curve on which its figure at the base's recall is its plain one."""
    false = one.counts[one.last]["held_out"].false
    return replace(one, curves={one.last: curve({-1.0: false, 0.0: false}, {-1.0: 1, 0.0: 1})})


def accurate(one: Result, share: float) -> Result:
    """Set how often R_I prefers the truer answer."""
    return replace(one, pairs={"1": one.pairs["1"] | {"relevance_prefers_truer": share}})
