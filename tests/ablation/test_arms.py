"""Arms: every one is valid where it applies, differs from the profile only where it says, and errors are one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata.ablation.arms import (
    FILE,
    MOST_TRIALS,
    SEEDED,
    Arm,
    Group,
    apply,
    checked,
    differences,
    project_text,
    read_arms,
    seeding,
    settings,
    shown,
    text_of,
)
from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.pipeline.dag import Form, dvc_yaml
from csrdata.pipeline.project import profile_path, profiles
from csrdata.strict_yaml import read_yaml

ARMS = read_arms()
RAW = read_yaml(profile_path("microworld"))
REAL = read_yaml(profile_path("llava15-7b"))
OF_THE_MICROWORLD = {
    "another-eye",
    "ensemble",
    "weaker-eye-100",
    "weaker-eye-50",
    "weaker-eye-25",
    "weaker-eye-12",
}
"""Arms with a scorer that `prepare` trains in the microworld."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the arms file, to edit."""
    path = tmp_path / "arms.yaml"
    path.write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def _edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ARMS.by_name)
def test_an_arm_fits_the_microworld(name: str) -> None:
    """Every arm gives valid parameters, a DAG, and the number of iterations that it states (at least one)."""
    arm = ARMS.named(name)
    params = checked(RAW, settings(arm, RAW), place=name)
    assert len(params.iterations) == max(1, arm.iterations)
    assert dvc_yaml(params, Form.PROJECT)


@pytest.mark.parametrize("name", [name for name in ARMS.by_name if name not in OF_THE_MICROWORLD])
def test_an_arm_fits_real_models(name: str) -> None:
    """Every arm that needs no scorer of the microworld fits LLaVA-1.5, and brings no value tuned elsewhere."""
    arm = ARMS.named(name)
    params = checked(REAL, settings(arm, REAL), place=name)
    assert params.train_dpo.learning_rate == REAL["train_dpo"]["learning_rate"]


@pytest.mark.parametrize("profile", profiles())
def test_the_text_keeps_what_does_not_change(profile: str) -> None:
    """Without a change a profile is written as it was, byte for byte: comments, order and layout."""
    text = profile_path(profile).read_text(encoding="utf-8")
    assert text_of(text, {}) == text


@pytest.mark.parametrize("name", ARMS.by_name)
def test_an_arm_differs_where_it_says(name: str, tmp_path: Path) -> None:
    """The written file has the arm's values at its keys, and every other value of the profile."""
    arm, path = ARMS.named(name), tmp_path / "params.yaml"
    text = profile_path("microworld").read_text(encoding="utf-8")
    path.write_text(project_text(text, RAW, arm), encoding="utf-8")
    load_params(path)
    found, wanted = read_yaml(path), settings(arm, RAW)
    assert found == apply(RAW, wanted, place="")
    changed = {key.split(".")[0] for key in wanted}
    assert {key: value for key, value in found.items() if key not in changed} == {
        key: value for key, value in RAW.items() if key not in changed
    }
    assert set(differences(arm, RAW)) <= {
        key for section in wanted for key in differences(arm, RAW) if key.startswith(section)
    }


def _changes(arm: Arm, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an arm changes, without the number of its iterations."""
    return {key: both for key, both in differences(arm, raw).items() if key != "iterations"}


def test_the_comparisons_are_what_their_names_say() -> None:
    """One addition is off at a time; `paper` has none of those of whole answers; `official` keeps one best and two worst."""
    assert _changes(ARMS.named("shipped"), RAW) == {}
    assert _changes(ARMS.named("no-anchor"), RAW) == {
        "train_dpo.sft_weight": (30.0, 0.0),
        "train_dpo.learning_rate": (0.001, 0.0001),  # tuned
    }
    assert _changes(ARMS.named("no-ends"), RAW) == {"select_pairs.ends": ("stop", "none")}
    assert _changes(ARMS.named("four-ends"), RAW) == {"select_pairs.ends_per_prompt": (1, None)}
    groups = apply(RAW, settings(ARMS.named("groups"), RAW), place="")
    assert groups["generate_beams"]["proposal"] == {"kind": "groups", "groups": 5, "diversity_penalty": 3.0}
    assert set(_changes(ARMS.named("groups"), RAW)) == {
        "generate_beams.proposal",
        "select_pairs.ends_per_prompt",
    }
    assert _changes(ARMS.named("penalty-0.5"), groups) == {
        "generate_beams.proposal.diversity_penalty": (3.0, 0.5)
    }
    noisy = _changes(ARMS.named("noise-10"), groups)
    assert {key.partition(".")[0] for key in noisy} == {"scorers"}
    answers = apply(RAW, settings(ARMS.named("answers"), RAW), place="")
    paper = _changes(ARMS.named("paper"), answers)
    for name in ("answers-no-anchor", "answers-any-length", "sentence-ranking"):
        assert _changes(ARMS.named(name), answers).items() <= paper.items()
    assert _changes(ARMS.named("best-of-n"), answers) == {
        "select_pairs.margin": (0.1, 0.0),
        "select_pairs.max_length_gap": (0.2, 1.0),
        "train_dpo.dpo_weight": (1.0, 0.0),
        "train_dpo.sft_weight": (3.0, 1.0),
    }
    official = checked(RAW, settings(ARMS.named("official"), RAW), place="").generate_beams
    assert (official.keep_best, official.keep_worst) == (1, 2)
    assert (official.guidance.kind, official.guidance.scale) == ("likelihood", "mean_log")


@pytest.mark.parametrize("name", ["official", "paper"])
def test_the_paper_and_its_code_are_as_in_their_profiles(name: str) -> None:
    """Search, scores and pairs are those of the profile for LLaVA-1.5, but for sizes; so is the loss, but for its optimizer."""
    profile = read_yaml(profile_path("official-llava15-7b" if name == "official" else "llava15-7b"))
    arm = apply(RAW, settings(ARMS.named(name), RAW), place="")
    sizes = {"prompts_per_shard", "prompts_at_once", "max_sentences"}
    scale = {"scale"} if name == "paper" else set()
    for section in ("generate_beams", "score_beams", "select_pairs"):
        for key, value in arm[section].items():
            wanted = profile[section][key]
            if isinstance(value, dict):
                kept = {one: both for one, both in value.items() if one not in scale}
                assert kept == {one: both for one, both in wanted.items() if one not in scale}
            elif key not in sizes | scale:
                assert value == wanted, f"{section}.{key}"
    for key in ("loss", "dpo_weight", "beta", "sft_weight", "epochs", "margin"):
        assert arm["train_dpo"][key] == profile["train_dpo"][key], key


def test_an_arm_that_extends_another_has_its_changes() -> None:
    """What it does not change itself comes from the other; a section that it replaces is replaced as a whole."""
    paper, ranks = (apply(RAW, settings(ARMS.named(name), RAW), place="") for name in ("paper", "paper-rank"))
    assert ranks["generate_beams"]["guidance"].pop("scale") == "rank"
    assert paper["generate_beams"]["guidance"].pop("scale") == "zscore"
    assert (ranks["score_beams"].pop("scale"), paper["score_beams"].pop("scale")) == ("rank", "zscore")
    assert ranks | {"iterations": {}} == paper | {"iterations": {}}
    assert ARMS.named("paper-rank").tuned == ARMS.named("paper").tuned != {}


def test_a_seed_goes_through_the_loop_and_not_into_the_images() -> None:
    """Models, prompts, sampling and training get the seed; the images and the bootstrap keep theirs."""
    raw = apply(RAW, settings(ARMS.named("mixed"), RAW), place="")
    after = apply(raw, seeding(raw, 7), place="")
    assert {section: after[section].get("seed") for section in after if isinstance(after[section], dict)} == {
        section: 7 if section in SEEDED and "seed" in raw[section] else raw[section].get("seed")
        for section in raw
        if isinstance(raw[section], dict)
    }
    assert [part["seed"] for part in after["select_pairs"]["parts"]] == [7, 7]
    assert (after["source"]["seed"], after["summarize"]["seed"]) == (0, 0)
    sampled = apply(RAW, settings(ARMS.named("sampled"), RAW), place="")
    assert seeding(sampled, 7)["generate_beams.proposal.seed"] == 7


def test_tuned_values_are_for_the_models_that_they_were_tuned_on() -> None:
    """A tuned value changes the microworld's profile and no profile of real models."""
    arm = Arm("a", "About.", Group.MUST, 3, {"train_dpo.epochs": 2}, {"train_dpo.learning_rate": 1e-3})
    assert settings(arm, RAW) == {"train_dpo.epochs": 2, "train_dpo.learning_rate": 1e-3}
    assert settings(arm, REAL) == {"train_dpo.epochs": 2}


def test_the_tuning_rule_is_bounded(file: Path) -> None:
    """At most eight settings, the same for every arm; a larger grid is refused."""
    assert 1 < len(ARMS.tuning.trials()) <= MOST_TRIALS
    text = yaml.safe_dump({"train_dpo.learning_rate": [1e-4] * 3, "train_dpo.epochs": [1, 2, 3]})
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    raw["tuning"]["grid"] = yaml.safe_load(text)
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(UserError, match=r"tuning\.grid: got 9 settings, expected at most 8"):
        read_arms(file)


def test_a_wrong_key_is_one_line(file: Path) -> None:
    """An unknown key of params.yaml or of the file, a value out of range, an unknown arm: place, value, nearest key."""
    arm = read_arms(_edit(file, "train_dpo.sft_weight: 0.0}", "train_dpo.sft_wieght: 0.0}")).named(
        "no-anchor"
    )
    with pytest.raises(
        UserError,
        match=r"^arm no-anchor: train_dpo\.sft_wieght: got an unknown key, expected train_dpo\.sft_weight\. Next: csrdata arms$",
    ):
        checked(RAW, settings(arm, RAW), place="arm no-anchor")
    arm = Arm("a", "About.", Group.MUST, 3, {"train_dpo.dpo_weight": -1.0}, {})
    with pytest.raises(
        UserError,
        match=r"^arm a: train_dpo\.dpo_weight: got -1\.0, expected a value greater than or equal to 0\.",
    ):
        project_text(profile_path("microworld").read_text(encoding="utf-8"), RAW, arm)
    with pytest.raises(UserError, match=r"^arm: got no-ancor, expected no-anchor\. Next: csrdata arms$"):
        ARMS.named("no-ancor")
    with pytest.raises(
        UserError, match=r"arms\.yaml: arms\.base\.abuot: got an unknown key, expected arms\.base\.about"
    ):
        read_arms(_edit(file, "    about: The base", "    abuot: The base"))


def test_an_arm_extends_one_before_it(file: Path) -> None:
    """A circle of arms cannot be written."""
    with pytest.raises(
        UserError, match=r"arms\.paper-rank\.extends: got official, expected an arm that is listed before"
    ):
        read_arms(_edit(file, "    extends: paper\n", "    extends: official\n"))


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "null"), (True, "true"), (1, "1"), (0.0, "0.0"), ({"kind": "judged"}, "judged"), ({"1": {"previous": "base"}}, "1"), ({}, "none"), ({"a": {}}, "a")],
)  # fmt: skip
def test_a_value_is_shown_in_a_word(value: object, words: str) -> None:
    """A section by its kind, iterations by their number, all else as YAML has it."""
    assert shown(value) == words
