"""dvc.yaml against the code: names, code dependencies and parameters agree, so that no stale result is served."""

import ast
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata.params import Params, load_params
from csrdata.pipeline import STAGES, Needs
from csrdata.pipeline.dag import Form, dependencies, dvc_yaml
from tests.imports import ROOT

DAG: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
BODIES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DAG["stages"].items()}
PARAMS = load_params(ROOT / "params.yaml")
PROFILES = [ROOT / "params.yaml", *sorted((ROOT / "csrdata/profiles").glob("*.yaml"))]


def _script(dvc_stage: str) -> str:
    """Map a stage of dvc.yaml to the stage of the code: `evaluate_base` is `evaluate_policy` of the base."""
    return "evaluate_policy" if dvc_stage == "evaluate_base" else dvc_stage


def _sections(stage: str) -> set[str]:
    """Return the parameters that a stage's wiring reads: `params.X`, and of the scorers which one."""
    tree = ast.parse((ROOT / f"csrdata/pipeline/{stage}.py").read_text(encoding="utf-8"))
    read = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keys = {re.split(r"[.\[]", text)[1] for text in read if text.startswith("params.")}
    scorers = {text.removeprefix("params.") for text in read if re.fullmatch(r"params\.scorers\.\w+", text)}
    return (keys - {"scorers"}) | (scorers if len(scorers) == 1 else {"scorers"} & keys)


def test_one_name_everywhere() -> None:
    """A stage, its script, its wiring and its section of params.yaml share one name."""
    assert {_script(name) for name in BODIES} == set(STAGES)
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == set(STAGES)
    assert set(Params.model_fields) == set(STAGES) | {
        "compute",
        "engine",
        "evaluation_sets",
        "images",
        "iterations",
        "scorers",
        "source",
    }
    assert all((ROOT / f"csrdata/pipeline/{stage}.py").is_file() for stage in STAGES)


@pytest.mark.parametrize("name", BODIES)
def test_a_stage_calls_its_script(name: str) -> None:
    """The command is the stage's script, with the iteration (or the base) where it needs one."""
    argument = {Needs.NOTHING: "", Needs.ITERATION: " ${key}", Needs.POLICY: " ${key}"}[STAGES[_script(name)]]
    if name == "evaluate_base":
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
    free = {"engine"} if _script(name) == "summarize" else {"engine", "iterations"}
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


@pytest.mark.parametrize(
    "name", ["generate_beams", "measure_signals", "score_beams", "select_pairs", "train_dpo"]
)
def test_no_stage_that_makes_pairs_reads_the_truth(name: str) -> None:
    """Stages that make pairs read neither the truth nor the questions."""
    secret = ("truth.parquet", "scenes.parquet", "questions", "data/sample_prompts/", "data/prepare/")
    open_to_all = {
        "data/sample_prompts/prompts.parquet",
        "data/sample_prompts/wordings.parquet",
        "data/sample_prompts/images.parquet",
    }
    read = [dep for dep in BODIES[name]["deps"] if f"{dep}/".startswith(secret) or "questions" in dep]
    assert set(read) <= open_to_all
    assert "data/sample_prompts" not in BODIES[name]["deps"]
    assert "data/prepare" not in BODIES[name]["deps"]
