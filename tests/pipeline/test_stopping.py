"""`stop_when`: the stage that compares, the marked outputs of what does not run, and impossible limits."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths, pipeline
from csrdata.errors import UserError
from csrdata.params import Params, check_params
from csrdata.pipeline import check_stop, looking, not_run, stopping
from csrdata.pipeline.graph import steps
from csrdata.records import Pair
from csrdata.storage.tables import read_json, read_rows, write_json, write_rows
from tests.pipeline.world import small_params

ALL = {
    "split": "validation",
    "recall_falls": 2.0,
    "objects_fall": 5.0,
    "held_out_falls": 0.5,
    "least_pairs": 3,
}
GOOD = {
    "recall": 90.0,
    "present_per_answer": 4.0,
    "relevance": 40.0,
    "relevance_held_out": 41.0,
    "length": 30.0,
}


def _params(**changed: Any) -> Params:
    return small_params(stop_when=ALL | changed)


def _evaluated(name: str, **changed: float | None) -> None:
    write_json(
        paths.stage_metrics("evaluate_policy", name),
        {"max_new_tokens": 8, "record": {}, "validation": GOOD | changed, "held_out": {}},
    )


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of a base and of two iterations that keep every limit."""
    monkeypatch.chdir(tmp_path)
    for name in (paths.BASE, "1", "2"):
        _evaluated(name)
        write_json(paths.stage_metrics("select_pairs", name), {"kept": 3})
    check_stop.run(_params(), paths.BASE)
    Path("params.yaml").write_text(yaml.safe_dump(_params().model_dump(), sort_keys=False), encoding="utf-8")


def _checked(name: str) -> dict[str, Any]:
    return read_json(paths.stage_metrics("check_stop", name), made_by="")


def _stop_at_1() -> None:
    _evaluated("1", recall=80.0)
    check_stop.run(_params(), "1")


def test_a_policy_that_keeps_the_limits_goes_on() -> None:
    """The file has the four figures, no limit: another limit that holds too gives the same bytes."""
    check_stop.run(_params(), "1")
    before = paths.stage_metrics("check_stop", "1").read_bytes()
    assert _checked("1") == {
        "stopped": None,
        "figures": {name: GOOD[name] for name in GOOD if name != "length"},
    }
    check_stop.run(_params(recall_falls=9.0, least_pairs=None), "1")
    assert paths.stage_metrics("check_stop", "1").read_bytes() == before


def test_the_reason_names_every_limit_that_fired() -> None:
    """Figures and pairs together, with the split of the figures."""
    _evaluated("1", recall=80.0, present_per_answer=3.0)
    write_json(paths.stage_metrics("select_pairs", "1"), {"kept": 1})
    check_stop.run(_params(), "1")
    assert _checked("1")["stopped"] == {
        "iteration": "1",
        "reason": "on validation, recall is 80.0%, 10.0 points under the base's 90.0% (limit 2 points); an answer names "
        "3.00 present objects, 25% fewer than the base's 4.00 (limit 5%); 1 pair, fewer than 3",
    }


def test_scorers_that_part_are_seen_against_the_policy_before() -> None:
    """Iteration 2 is above the base, and its held-out relevance below that of iteration 1."""
    _evaluated("1", relevance=44.0, relevance_held_out=46.0)
    check_stop.run(_params(), "1")
    _evaluated("2", relevance=45.0, relevance_held_out=44.0)
    check_stop.run(_params(), "2")
    assert (_checked("1")["stopped"], _checked("2")["stopped"]["iteration"]) == (None, "2")


def test_a_base_without_the_figure_is_refused_before_any_search() -> None:
    """The stage of the base ends with one line that names split and figure."""
    _evaluated(paths.BASE, recall=None)
    with pytest.raises(UserError) as caught:
        check_stop.run(_params(), paths.BASE)
    assert str(caught.value).startswith(
        "params.yaml: stop_when.split: got validation, expected a split on which recall of the base is measured. "
    )


def test_every_stage_after_it_writes_marked_outputs_and_imports_no_model(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All outputs of the DAG are there, hold the reason and no row, replace those of an earlier run, and no input is missing."""
    _stop_at_1()
    old = paths.candidates("2") / "00000.parquet"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier run", encoding="utf-8")
    (paths.policy("2") / "adapters").mkdir(parents=True)
    (paths.policy("2") / "chain.json").write_text("{}", encoding="utf-8")
    reason = {"stopped": _checked("1")["stopped"]}
    later = [step for step in steps(_params()) if step.node.argument in {"2", "3"}]
    for step in later:
        pipeline.run(step.node.stage, step.node.argument)
        for output in map(Path, (output.path for output in step.node.outputs)):
            files = [output] if output.suffix == ".json" else list(output.glob("*.json"))
            assert [json.loads(file.read_text(encoding="utf-8")) for file in files] == [reason], output
            if output.is_dir():
                tables = {file.name for file in output.iterdir()} - {"stopped.json"}
                is_pairs = output == paths.pairs(str(step.node.argument)).parent
                assert tables == (
                    {"pairs.parquet", "dropped.parquet", "images.parquet"} if is_pairs else set()
                )
        assert all(Path(path).exists() for path in step.node.inputs if f"/{step.node.argument}" in path), (
            step.name
        )
    assert len(later) == 2 * 7
    said = capfd.readouterr().err
    assert (
        said.count("not run, because the loop stopped at iteration 1: on validation, recall is 80.0%") == 14
    )
    assert stopping.ran(_params().iterations) == ("1",)
    assert not stopping.has_pairs("2")
    assert read_rows(paths.pairs("2"), Pair, made_by="") == []
    (found,) = stopping.stopped_loops(_params())
    assert (found.iteration, found.not_run) == ("1", ("2", "3"))
    assert found.words().endswith("(limit 2 points). Not run: 2, 3.")


def test_another_branch_runs() -> None:
    """A stop is for what starts from that policy: an iteration that starts from the base runs."""
    _stop_at_1()
    raw = _params().model_dump()
    raw["iterations"]["3"] = {"previous": "base"}
    params = Params.model_validate(raw)
    assert not_run.why_stopped("generate_beams", "2", params) is not None
    assert not_run.why_stopped("generate_beams", "3", params) is None


def test_without_a_pair_no_policy_is_trained() -> None:
    """Pairs that are too few are trained on, none at all is the end; without the limit it stays an error of training."""
    write_rows(paths.pairs("1"), [], Pair)
    assert not_run.why_stopped("train_dpo", "1", _params()) == ("1", "no pair, fewer than 3")
    assert not_run.why_stopped("train_dpo", "1", _params(least_pairs=None)) is None
    not_run.write_stopped("train_dpo", "1", _params(), ("1", "no pair, fewer than 3"))
    assert not_run.why_stopped("evaluate_policy", "1", _params()) == ("1", "no pair, fewer than 3")
    assert not_run.why_stopped("generate_beams", "2", _params()) == ("1", "no pair, fewer than 3")
    assert not_run.why_stopped("select_pairs", "1", _params()) is None
    write_rows(paths.pairs("1"), [Pair("p", "p.png", "Describe.", "A.", "B.", "other")], Pair)
    assert not_run.why_stopped("train_dpo", "1", _params()) is None


def test_a_folder_of_the_user_is_not_replaced() -> None:
    """A policy's folder without a chain is not csrdata's."""
    paths.policy("2").mkdir(parents=True)
    (paths.policy("2") / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="a folder that holds other things"):
        not_run.write_stopped("train_dpo", "2", _params(), ("1", "why"))
    assert (paths.policy("2") / "notes.txt").is_file()


def test_a_stage_that_runs_again_removes_its_mark() -> None:
    """With another limit the iteration runs: nothing says any more that it did not."""
    not_run.write_stopped("train_dpo", "2", _params(), ("1", "why"))
    not_run.clear("train_dpo", "2")
    assert not paths.policy("2").exists()
    assert not paths.references("2").parent.exists()


def test_naming_an_iteration_that_did_not_run_is_one_line() -> None:
    """Commands say where the loop stopped and which iterations there are; by default they take the last one with pairs."""
    write_rows(paths.pairs("1"), [], Pair)
    not_run.write_stopped("select_pairs", "2", _params(), ("1", "why"))
    not_run.write_stopped("evaluate_policy", "2", _params(), ("1", "why"))
    not_run.write_stopped("train_dpo", "2", _params(), ("1", "why"))
    assert looking.iteration(None) == "1"
    with pytest.raises(UserError) as caught:
        looking.iteration("2")
    assert str(caught.value) == (
        "iteration 2: got an iteration that did not run: the loop stopped at iteration 1 (why), expected one of 1, 3. "
        "Next: name another iteration, or change stop_when in params.yaml, then: dvc repro"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (dict.fromkeys(set(ALL) - {"split"}), "stop_when: got no limit, expected one of recall_falls, "),
        (
            {"split": "train"},
            "stop_when.split: got train, expected a split with descriptions: validation, held_out, ",
        ),
        ({"recall_falls": 100.0}, "stop_when.recall_falls: got 100.0, expected a value less than 100. "),
        (
            {"least_pairs": 5},
            "stop_when.least_pairs: got 5, expected at most 4, the pairs that 4 prompts can give. ",
        ),
        (
            {"recall_fall": 1.0},
            "stop_when.recall_fall: got an unknown key, expected stop_when.recall_falls. ",
        ),
    ],
)
def test_an_impossible_limit_is_refused(changed: dict[str, Any], words: str) -> None:
    """A section without limits, a split nobody describes, a fall of everything, more pairs than prompts give: one line."""
    raw = small_params().model_dump() | {"stop_when": ALL | changed}
    with pytest.raises(UserError) as caught:
        check_params(raw, Path("params.yaml"))
    assert str(caught.value).startswith(f"params.yaml: {words}")


def test_limits_need_what_they_compare() -> None:
    """Without a held-out scorer, or where no truth is known, a limit on either is refused."""
    raw = small_params().model_dump() | {"stop_when": ALL}
    raw["scorers"]["held_out"] = None
    with pytest.raises(UserError, match=r"held_out_falls: got 0.5, expected null: scorers.held_out is null"):
        check_params(raw, Path("params.yaml"))
    raw = small_params().model_dump() | {"stop_when": ALL | {"split": "more"}}
    raw["evaluation_sets"] = {"more": {"kind": "prompts", "count": 3, "seed": 0}}
    with pytest.raises(
        UserError, match=r"recall_falls: got 2.0, expected null: the objects in the images of more"
    ):
        check_params(raw, Path("params.yaml"))
