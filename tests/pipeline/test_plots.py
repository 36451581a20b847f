"""Plots: what `dvc plots show` draws of a summary, by the templates in .dvc/plots."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.evaluation.analyses import attention, cases, likelihood, released, relevance
from csrdata.evaluation.analyses.likelihood import Likelihoods, likelihood_rows
from csrdata.evaluation.analyses.spread import spread
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.plots import Table, curve_rows, figure_rows, plot_tables, reward_rows
from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.summary import (
    BiasSummary,
    CurvePoint,
    EqualRecall,
    PairSummary,
    PolicySummary,
    Summary,
    read_summary,
)
from csrdata.pipeline.plots import write_plots
from csrdata.publishing.release.provenance import check_outs
from csrdata.records import ImageAttention
from csrdata.storage.dvc_lock import read_lock
from tests.imports import ROOT

NAMES = ["base", "warm-up", "a, b", "1.0"]
"""Free names, in an order that is not the alphabet's."""
SPLITS = ["validation", "held_out"]
AGAINST_NUMBERS = {"recall_curve", "image_attention_by_token"}
"""Plots whose x axis is a number, with a colour per policy."""


def _summary() -> Summary:
    """A summary in which a value is 10 times its policy's position, its interval 1 wide; "a, b" has no CHAIR_S, no reward.

    Each policy has a curve of two points on each split; the second one has no CHAIR_S.
    """
    known = {name: Figure(10.0 * i, 10.0 * i - 1, 10.0 * i, None) for i, name in enumerate(NAMES)}
    splits = {
        split: {
            name: PolicySummary(
                {figure: known[name] for figure in FIGURES if (name, figure) != ("a, b", "chair_s")}, None
            )
            for name in reversed(NAMES)
        }
        for split in SPLITS
    }
    pairs = {}
    for name in reversed(NAMES[1:]):
        reward = None if name == "a, b" else 0.5
        pairs[name] = PairSummary(1, 1, {}, reward, reward, reward, reward, None)
    points = (CurvePoint(-0.5, 90.0, 40.0), CurvePoint(0.0, 80.0, None))
    curves = {name: BiasSummary(0.0, 0.0, 0.0, 0, None, dict.fromkeys(SPLITS, points)) for name in NAMES}
    return Summary(
        tuple(NAMES),
        splits,
        pairs,
        training={},
        prepared=None,
        equal_recall=EqualRecall("validation", curves),
    )


def _analyses() -> dict[str, Table]:
    """Tables of the analyses; "a, b" has no pair."""
    some = {"warm-up": [1.0], "a, b": [], "1.0": [3.0, 5.0]}
    relevances = [
        {"iteration": name, "answer": side, "scorer": scorer, **spread(values)}
        for name, values in some.items()
        for side in ("chosen", "rejected")
        for scorer in ("search", "held_out")
    ]
    rewards = [
        {"iteration": name, "answer": side, "scorer": "search", "count": 0, "reward": None}
        for name in some
        for side in ("chosen", "rejected")
    ]
    likely = likelihood_rows({name: [Likelihoods("judge", -3.0, -4.0, 2, 3)] for name in some})
    attentions = {
        name: [
            ImageAttention("q", of, position, 0.25)
            for of in ("own", "of_base")[: 1 + (name != "base")]
            for position in (0, 1)
        ]
        for name in NAMES
    }
    return {
        attention.NAME: Table(attention.COLUMNS, attention.attention_rows(attentions)),
        attention.BY_TOKEN: Table(attention.TOKEN_COLUMNS, attention.token_rows(attentions)),
        relevance.NAME: Table(relevance.COLUMNS, relevances),
        released.NAME: Table(released.COLUMNS, rewards),
        likelihood.NAME: Table(likelihood.COLUMNS, likely),
        cases.NAME: Table(cases.COLUMNS, []),
    }


def test_rows_follow_the_pipeline() -> None:
    """The base first, then the iterations as params.yaml has them, whatever their names; splits by name."""
    rows = figure_rows(_summary(), "recall")
    assert [(row["iteration"], row["split"]) for row in rows] == [
        (name, split) for name in NAMES for split in sorted(SPLITS)
    ]
    assert rows[-1] == {"iteration": "1.0", "split": "validation", "value": 30.0, "low": 29.0, "high": 30.0}


def test_rewards_have_their_answer_and_scorer() -> None:
    """Four rewards for each iteration that has pairs; the base has none."""
    rows = reward_rows(_summary())
    assert list(dict.fromkeys(row["iteration"] for row in rows)) == NAMES[1:]
    assert [(row["answer"], row["scorer"]) for row in rows[:4]] == [
        ("chosen", "search"),
        ("rejected", "search"),
        ("chosen", "held_out"),
        ("rejected", "held_out"),
    ]


def test_curves_have_a_row_for_each_bias() -> None:
    """Recall and CHAIR_S of every policy on every split, the biases in order; without curves there is no table."""
    found = _summary().equal_recall
    assert found is not None
    rows = curve_rows(found, NAMES)
    assert [(row["iteration"], row["split"], row["bias"]) for row in rows] == [
        (name, split, bias) for name in NAMES for split in sorted(SPLITS) for bias in (-0.5, 0.0)
    ]
    assert (rows[0]["recall"], rows[0]["chair_s"]) == (90.0, 40.0)
    assert "recall_curve" not in plot_tables(replace(_summary(), equal_recall=None))


def test_the_record_has_the_plots_of_its_summary(tmp_path: Path) -> None:
    """The shipped run's plots are those of its summary.json and the analyses; dvc.lock has the hash of both."""
    write_plots(read_summary(ROOT / paths.SUMMARY), {}, folder=tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_bytes() for path in (ROOT / paths.PLOTS).iterdir()}
    assert {name: shipped.get(name) for name in written} == written
    assert set(shipped) - set(written) <= {f"{name}.csv" for name in _analyses()}
    lock = ROOT / "dvc.lock"
    check_outs(read_lock(lock), ["plots", "metrics/summary.json"], root=ROOT, lock=lock)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The Vega-Lite specifications that DVC fills in for a project with the summary above, by the CSV's path."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}, sort_keys=False), encoding="utf-8")
    write_plots(_summary(), _analyses(), folder=folder / paths.PLOTS)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert "errors" not in shown
    found = {}
    for path, plot in shown["data"].items():
        assert "<DVC_METRIC" not in json.dumps(plot)
        found[path] = plot[0]["content"]
    return found


def test_every_plot_is_drawn(drawn: dict[str, Any]) -> None:
    """DVC draws each plot of dvc.yaml from all rows of its file, with a title and a unit on the axis."""
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    assert list(drawn) == [path for plot in plots for path in plot]
    for path, spec in drawn.items():
        others = {"pair_rewards": 12, "recall_curve": 16, "pair_relevance": 12, "pair_rewards_released": 6}
        others |= {"pair_likelihood": 12, "image_attention_by_token": 14}
        rows = others.get(Path(path).stem, 8)
        assert len(spec["data"]["values"]) == rows
        assert spec["title"]["text"]
        assert spec["spec"]["encoding"]["y"]["title"] not in {"", "value", "reward"}


def test_iterations_are_names_in_their_order(drawn: dict[str, Any]) -> None:
    """The axis has one tick per iteration and keeps the order of the rows."""
    for path, spec in drawn.items():
        if Path(path).stem in AGAINST_NUMBERS:
            continue
        axis = spec["spec"]["encoding"]["x"]
        assert (axis["field"], axis["type"], axis["sort"]) == ("iteration", "ordinal", None)
        names = [row["iteration"] for row in spec["data"]["values"]]
        assert list(dict.fromkeys(names)) == (NAMES[1:] if "pair_" in path else NAMES)


def test_splits_differ_in_colour_and_have_intervals(drawn: dict[str, Any]) -> None:
    """Each split has a colour; a bar goes from low to high, and is left out where there is none."""
    for path, spec in drawn.items():
        if "pair_" in path or Path(path).stem in AGAINST_NUMBERS:
            continue
        assert spec["spec"]["encoding"]["color"]["field"] == "split"
        assert {row["split"] for row in spec["data"]["values"]} == set(SPLITS)
        (bar,) = (layer for layer in spec["spec"]["layer"] if layer["mark"]["type"] == "rule")
        assert (bar["encoding"]["y"]["field"], bar["encoding"]["y2"]["field"]) == ("low", "high")
        assert bar["transform"] == [{"filter": "datum.low !== null && datum.high !== null"}]


def test_a_missing_value_is_not_drawn_as_zero(drawn: dict[str, Any]) -> None:
    """DVC hands every cell over as text, a missing one as an empty text: the template turns it into null, not 0."""
    for path, name, fields in (
        ("plots/chair_s.csv", "value", {"value", "low", "high"}),
        ("plots/pair_rewards.csv", "reward", {"reward"}),
    ):
        spec = drawn[path]
        assert [row[name] for row in spec["data"]["values"] if row["iteration"] == "a, b"].count("") > 0
        turned = {step["as"]: step["calculate"] for step in spec["transform"]}
        assert turned == {
            field: f"datum['{field}'] === '' ? null : toNumber(datum['{field}'])" for field in fields
        }


def test_rewards_differ_in_colour_and_dash(drawn: dict[str, Any]) -> None:
    """Chosen and rejected differ in colour, the scorers in dash."""
    for name in ("pair_rewards", "pair_rewards_released", "pair_relevance"):
        encoding = drawn[f"plots/{name}.csv"]["spec"]["encoding"]
        assert (encoding["color"]["field"], encoding["strokeDash"]["field"]) == ("answer", "scorer")


def test_likelihoods_differ_in_colour_and_shape(drawn: dict[str, Any]) -> None:
    """Chosen and rejected differ in colour, the origins in shape; a panel per token and one per answer."""
    spec = drawn["plots/pair_likelihood.csv"]
    encoding = spec["spec"]["encoding"]
    assert (encoding["color"]["field"], encoding["shape"]["field"]) == ("answer", "origin")
    assert spec["facet"]["row"]["field"] == "measure"
    assert {step["as"] for step in spec["transform"]} == {"mean", "p25", "p75"}


def test_hallucination_is_drawn_against_recall(drawn: dict[str, Any]) -> None:
    """A line per policy in the order of the biases, a panel per split; a missing value is null, a bias is a number."""
    spec = drawn["plots/recall_curve.csv"]
    encoding = spec["spec"]["encoding"]
    assert (encoding["x"]["field"], encoding["y"]["field"]) == ("recall", "chair_s")
    assert (encoding["color"]["field"], encoding["order"]["field"]) == ("iteration", "bias")
    assert spec["facet"]["row"]["field"] == "split"
    assert {step["as"] for step in spec["transform"]} == {"recall", "chair_s", "bias"}
    assert [row["chair_s"] for row in spec["data"]["values"]].count("") == 8


def test_attention_is_drawn_along_the_answer(drawn: dict[str, Any]) -> None:
    """A line per policy over the tokens, a panel for own answers and one for the base's."""
    spec = drawn["plots/image_attention_by_token.csv"]
    encoding = spec["spec"]["encoding"]
    assert (encoding["x"]["field"], encoding["y"]["field"]) == ("token", "mean")
    assert (encoding["color"]["field"], encoding["order"]["field"]) == ("iteration", "token")
    assert spec["facet"]["row"]["field"] == "answers"
    assert {step["as"] for step in spec["transform"]} == {"token", "mean"}
