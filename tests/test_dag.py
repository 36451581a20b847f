"""dvc.yaml against the code: names, code dependencies and parameters agree, so that no stale result is served."""

import ast
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.params import Params, load_params
from csrdata.pipeline import STAGES, Needs
from csrdata.pipeline.dag import Form, dependencies, dvc_yaml
from csrdata.pipeline.graph import KEY, PREVIOUS, Node, nodes
from tests.imports import ROOT
from tests.pipeline.ways import KINDS, ORACLES, WAYS, with_way

DAG: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
BODIES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DAG["stages"].items()}
PARAMS = load_params(ROOT / "params.yaml")
PROFILES = [ROOT / "params.yaml", *sorted((ROOT / "csrdata/profiles").glob("*.yaml"))]


def _script(dvc_stage: str) -> str:
    """Map a stage of dvc.yaml to the stage of the code: `evaluate_base` is `evaluate_policy` of the base."""
    of_base = {
        "attend_base": "measure_attention",
        "check_base": "check_stop",
        "evaluate_base": "evaluate_policy",
        "match_base": "match_recall",
    }
    return of_base.get(dvc_stage, dvc_stage)


WIRING = {"select_pairs": ("select_pairs", "sentence_pairs")}
"""The modules that read a stage's parameters, where there is one more for the shipped way to make pairs."""


def _sections(stage: str) -> set[str]:
    """Return the parameters that a stage's wiring reads: `params.X`, and of the scorers which one."""
    modules = WIRING.get(stage, (stage,))
    trees = [ast.parse((ROOT / f"csrdata/pipeline/{one}.py").read_text(encoding="utf-8")) for one in modules]
    read = {ast.unparse(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keys = {re.split(r"[.\[]", text)[1] for text in read if text.startswith("params.")}
    scorers = {text.removeprefix("params.") for text in read if re.fullmatch(r"params\.scorers\.\w+", text)}
    return (keys - {"scorers"}) | (scorers if len(scorers) == 1 else {"scorers"} & keys)


def test_one_name_everywhere() -> None:
    """A stage, its script, its wiring and its section of params.yaml share one name."""
    only_with_their_settings = {"judge_answers", "check_stop"}
    assert {_script(name) for name in BODIES} == set(STAGES) - only_with_their_settings
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == set(STAGES)
    without_section = {"check_stop", "judge_answers", "measure_signals", "report"}
    assert set(Params.model_fields) == set(STAGES) - without_section | {
        "compute",
        "engine",
        "evaluation_sets",
        "images",
        "iterations",
        "scorers",
        "source",
        "stop_when",
    }
    assert all((ROOT / f"csrdata/pipeline/{stage}.py").is_file() for stage in STAGES)


@pytest.mark.parametrize("name", BODIES)
def test_a_stage_calls_its_script(name: str) -> None:
    """The command is the stage's script, with the iteration (or the base) where it needs one."""
    argument = {Needs.NOTHING: "", Needs.ITERATION: " ${key}", Needs.POLICY: " ${key}"}[STAGES[_script(name)]]
    if name in {"attend_base", "evaluate_base", "match_base"}:
        argument = " base"
    assert BODIES[name]["cmd"] == f"python stages/{_script(name)}.py{argument}"
    assert ("foreach" in DAG["stages"][name]) == (argument == " ${key}")


@pytest.mark.parametrize("name", BODIES)
def test_code_dependencies_are_the_imports(name: str) -> None:
    """A stage depends on exactly the modules that its result comes from, no stale result is served. Else: `make dag`."""
    assert [dep for dep in BODIES[name]["deps"] if dep.startswith("csrdata/")] == dependencies(
        _script(name), PARAMS
    )


def test_dvc_yaml_is_what_make_dag_writes() -> None:
    """The file is the one that the DAG and the imports give. Else: `make dag`."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert dvc_yaml(PARAMS, Form.REPOSITORY) == text


@pytest.mark.parametrize("name", BODIES)
def test_parameters_are_what_the_wiring_reads(name: str) -> None:
    """A stage is keyed on the sections it reads; `iterations` only where appending one must re-run it anyway.

    How many workers make a result never changes it: no stage is keyed on `engine`. Where the images are decides what is
    sampled; from then on their hashes say what they are, and a folder may move.
    """
    free = {"engine"} if _script(name) in {"summarize", "report"} else {"engine", "iterations"}
    free |= set() if _script(name) == "sample_prompts" else {"images"}
    expected = _sections(_script(name)) - free
    if _script(name) == "sample_prompts":  # `images_folder(params)` reads it
        expected |= {"images"}
    assert set(BODIES[name]["params"]) == expected


def test_an_output_has_one_maker_and_an_input_has_one() -> None:
    """Every data dependency is an output of an earlier stage."""
    made: set[str] = set()
    for body in BODIES.values():
        for out in chain(body.get("outs", []), body.get("metrics", [])):
            made.add(out if isinstance(out, str) else next(iter(out)))
    for name, body in BODIES.items():
        for dep in body["deps"]:
            generic = dep.replace("${item.previous}", "${key}")
            inside = any(
                generic == out or generic.startswith(f"{out}/") or out.startswith(f"{generic}/")
                for out in made
            )
            assert dep.startswith("csrdata/") or inside, f"{name}: {dep}"


def test_answers_of_the_search_depend_on_its_parameters() -> None:
    """Best of N: another way to search or to score answers again, and no bias is set on answers that are not greedy."""
    raw = PARAMS.model_dump()
    raw["evaluate_policy"]["decoding"], raw["match_recall"] = "search", None
    searching = Params.model_validate(raw)
    for name in ("evaluate_base", "evaluate_policy"):
        (greedy,) = [node for node in nodes(PARAMS) if node.name == name]
        (search,) = [node for node in nodes(searching) if node.name == name]
        assert set(search.params) - set(greedy.params) == {"generate_beams", "score_beams"}
        assert search.inputs == greedy.inputs
    names = {node.name for node in nodes(PARAMS)} - {node.name for node in nodes(searching)}
    assert names == {"match_base", "match_recall"}
    plots = [yaml.safe_load(dvc_yaml(params, Form.PROJECT))["plots"] for params in (PARAMS, searching)]
    drawn, less = ({path for plot in own for path in plot} for own in plots)
    assert drawn - less == {"plots/chair_s_at_recall.csv", "plots/recall_curve.csv"}


def test_without_limits_the_dag_has_nothing_of_them() -> None:
    """`stop_when` adds its stage, one input to the first stage of an iteration, and one to the summary; nothing trains again."""
    raw = PARAMS.model_dump()
    raw["stop_when"] = {"split": "validation", "recall_falls": 2.0, "least_pairs": 10}
    raw["stop_when"] |= {"objects_fall": None, "held_out_falls": None}
    plain = {node.name: node for node in nodes(PARAMS)}
    limited = {node.name: node for node in nodes(Params.model_validate(raw))}
    assert set(limited) - set(plain) == {"check_base", "check_stop"}
    more = {
        name: set(limited[name].inputs) - set(node.inputs)
        for name, node in plain.items()
        if node != limited[name]
    }
    assert more == {
        "generate_beams": {"metrics/check_stop/${item.previous}.json"},
        "summarize": {"metrics/check_stop"},
    }
    for name in ("check_base", "check_stop"):
        assert set(limited[name].params) == _sections("check_stop") - {"iterations"}
    for form in Form:
        stages = yaml.safe_load(dvc_yaml(Params.model_validate(raw), form))["stages"]
        assert all(
            len(set(one["deps"])) == len(one["deps"])
            for one in (stages["check_base"], stages["check_stop"]["do"])
        )


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_profiles_are_complete_and_valid(path: Path) -> None:
    """Every profile loads, and gives a DAG in both forms; a profile of real models has no key of the microworld."""
    params = load_params(path)
    assert all(dvc_yaml(params, form) for form in Form)
    if params.source.kind != "microworld":
        assert "stereotype" not in path.read_text(encoding="utf-8")
        assert params.compute.dtype == "bfloat16"
        assert params.train_dpo.gradient_checkpointing


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_every_parameter_has_its_comment(path: Path) -> None:
    """Each key has its unit, range and source; iterations speak for themselves, smoke.yaml refers to params.yaml."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# "), "the first line says what a profile is for"
    if path.stem == "smoke":
        return
    plain = ('"', "prompt:", "folder: val2014", "strategy: popular", "strategy: adversarial", "tag: webli")
    kinds = ("kind: pope", "kind: coco_chair", "kind: prompts", "seed: 0")
    bare = [
        line
        for line in lines
        if ": " in line.strip() and "#" not in line and not line.strip().startswith((*plain, *kinds))
    ]
    assert bare == []


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_profiles_pin_nothing_that_was_not_read(path: Path) -> None:
    """No profile states a commit or a processor's number: `prepare` resolves the one and the processor has the other."""
    params = load_params(path)
    if params.prepare.kind == "pretrained":
        assert getattr(params.prepare.policy, "revision", None) is None
        assert params.prepare.min_pixels is params.prepare.max_pixels is None


def _behind_a_policy(params: Params) -> list[Node]:
    """Return the stages that a trained policy comes from, without the two that draw and sample: these write the truth."""
    waiting, found = ["train_dpo"], dict[str, Node]()
    stages = {node.name: node for node in nodes(params)}
    while waiting:
        name = waiting.pop()
        if name in found or name in {"prepare", "sample_prompts"}:
            continue
        found[name] = stages[name]
        for path in (one.replace(PREVIOUS, KEY) for one in stages[name].inputs):
            waiting += [
                node.name
                for node in stages.values()
                for out in node.outputs
                if f"{path}/".startswith(f"{out.path}/") or f"{out.path}/".startswith(f"{path}/")
            ]
    return list(found.values())


SECRET = ("truth.parquet", "scenes.parquet", "questions", "data/sample_prompts/", "data/prepare/")
OPEN_TO_ALL = {str(path) for path in (paths.PROMPTS, paths.WORDINGS, paths.IMAGES)}
KNOWING = {"csrdata/pipeline/oracle.py", "csrdata/pipeline/truth.py", "csrdata/evaluation/claims.py"}
"""The modules that read the truth."""


def _secrets(params: Params) -> set[str]:
    """Return what the stages behind a policy read of truth and questions: files, parameters and code."""
    found: set[str] = set()
    for node in _behind_a_policy(params):
        code = dependencies(node.stage, params)
        read = {path for path in node.inputs if f"{path}/".startswith(SECRET) or "questions" in path}
        found |= read - OPEN_TO_ALL
        found |= {"evaluation_sets"} & set(node.params)
        found |= KNOWING & set(code)
        found |= {path for path in code if "paths.TRUTH" in (ROOT / path).read_text(encoding="utf-8")}
    return found


def test_every_kind_of_pairs_is_looked_at() -> None:
    """The ways below are of every kind, and of those with an order also an oracle's."""
    assert {way["kind"] for way in WAYS.values()} == KINDS
    assert {way["kind"] for way in ORACLES.values()} == {"answers", "sentences"}
    stages = {
        name: {node.name for node in _behind_a_policy(with_way(PARAMS, way))} for name, way in WAYS.items()
    }
    search = {"generate_beams", "measure_signals", "score_beams"}
    assert stages.pop("imported") == {"select_pairs", "train_dpo"}
    assert stages.pop("judged") == {*search, "judge_answers", "select_pairs", "train_dpo"}
    assert all(found == {*search, "select_pairs", "train_dpo"} for found in stages.values())


@pytest.mark.parametrize("name", WAYS)
def test_no_stage_that_makes_pairs_reads_the_truth(name: str) -> None:
    """Whatever the way to make pairs, the stages behind a policy read neither the truth nor the questions."""
    assert _secrets(with_way(PARAMS, WAYS[name])) == set()


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_is_the_exception(name: str) -> None:
    """It reads the truth, and the test above would see it."""
    assert {str(paths.TRUTH), "evaluation_sets", *KNOWING} <= _secrets(with_way(PARAMS, ORACLES[name]))


def _select_pairs(**settings: object) -> Node:
    """Return the stage `select_pairs` of the shipped parameters with another section."""
    raw = PARAMS.model_dump()
    raw["select_pairs"] = settings
    return next(node for node in nodes(Params.model_validate(raw)) if node.name == "select_pairs")


def test_an_oracle_reads_the_truth_and_nothing_else_does() -> None:
    """Only pairs ordered by truth depend on it, also as a part of mixed pairs; sentences depend on the reward's settings."""
    answers = {
        "kind": "answers",
        "order": "reward",
        "margin": 0.1,
        "max_length_gap": 1.0,
        "length_balance": None,
        "per_prompt": 1,
        "seed": 0,
    }
    sentences = {
        "kind": "sentences",
        "order": "reward",
        "min_gap": 1.0,
        "chosen_share": 1.0,
        "rejected_share": 0.5,
        "repetition_threshold": None,
        "per_prompt": 1,
        "ends": "none",
        "end_gap": 1.0,
        "seed": 0,
    }
    truth = str(paths.TRUTH)
    for ordered in (answers | {"order": "random"}, answers, sentences):
        assert truth not in _select_pairs(**ordered).inputs
        oracle = ordered | {"order": "truth"}
        for section in (oracle, {"kind": "mixed", "parts": [answers, oracle]}):
            assert truth in _select_pairs(**section).inputs
            assert {"source", "evaluation_sets"} < set(_select_pairs(**section).params)
    assert _select_pairs(**answers).params == ("select_pairs",)
    assert set(_select_pairs(**sentences).params) == {"score_beams", "select_pairs"}
    for profile in PROFILES:
        shipped = next(node for node in nodes(load_params(profile)) if node.name == "select_pairs")
        assert truth not in shipped.inputs
