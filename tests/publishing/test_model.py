"""A policy's folder: one adapter that does what the chain does, and a card that the Hub takes."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, PreTrainedModel

from csrdata import paths
from csrdata.cli import app
from csrdata.errors import UserError
from csrdata.pinned import Pinned, write_pinned
from csrdata.pipeline.project import profile_text
from csrdata.pipeline.publish_policy import write_policy
from csrdata.policy.loading import load_policy, new_chain
from csrdata.policy.training import language_layers
from csrdata.publishing.hub.fetch import Source
from csrdata.publishing.hub.pushing import push_folder
from csrdata.publishing.release.policy import BaseModel, write_model
from csrdata.publishing.release.results import Measured, Results
from csrdata.records import ORACLE, Pair
from csrdata.storage.dvc_lock import dvc_hash, write_stages
from csrdata.storage.tables import hash_path, read_json
from tests.publishing.hub_server import online, serve
from tests.publishing.hub_state import TOKEN
from tests.publishing.project import make_project, pairs_of, rewrite
from tests.publishing.rendered import parts_of
from tests.tiny import FAMILIES

RESULTS = Results(
    pairs={"2": "a" * 64},
    confidence=95,
    splits={
        "held_out": {
            "base": {
                "chair_s": Measured(46.2, 43.2, 49.3, None),
                "recall": Measured(90.1, 89.0, 91.2, None),
                "length": Measured(30.0, 29.0, 31.0, None),
            },
            "2": {
                "chair_s": Measured(52.2, 50.1, 55.0, 0.001),
                "recall": Measured(89.9, 88.7, 91.0, 0.6),
                "length": Measured(25.0, 24.0, 26.0, 0.001),
            },
        }
    },
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with the pairs of two iterations, a tiny base and a policy of two adapters of different ranks."""
    monkeypatch.chdir(make_project(tmp_path))
    previous = next(iter(FAMILIES.values()))(Path("policies/base"))
    for name, rank in (("1", 2), ("2", 4)):
        with new_chain(Path("policies") / name, previous=previous, name=name) as folder:
            model = load_policy(previous).model
            torch.manual_seed(rank)
            config = LoraConfig(r=rank, lora_alpha=10, target_modules=language_layers(model))
            adapted = get_peft_model(model, config)
            for weight in adapted.parameters():
                if weight.requires_grad:
                    torch.nn.init.normal_(weight, std=0.05)
            adapted.save_pretrained(str(folder))
        previous = Path("policies") / name
    return tmp_path


@pytest.fixture
def write(project: Path) -> Callable[..., str]:
    def write(folder: str, *, iteration: str = "2", **other: Any) -> str:
        settings: dict[str, Any] = {
            "repo_id": "me/policy",
            "policy": Path("policies") / iteration,
            "iteration": iteration,
            "base": BaseModel(Path("policies/base")),
            "licence": "apache-2.0",
            "training": {"beta": 0.1},
            "origins": {"csr_search": 90, "judge": 7},
            "results": RESULTS,
            "version": "0.1.0",
            "dataset": Source("me/set", "v1"),
            "tag": "v1",
        }
        return write_model(project / folder, **{**settings, **other})

    return write


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("iteration", ["1", "2"])
def test_the_folder_is_the_policy(write: Callable[..., str], project: Path, iteration: str) -> None:
    """Loaded as the card says, base and adapter have the weights of the chain, and not those of the base."""
    write("out", iteration=iteration)
    base = AutoModelForImageTextToText.from_pretrained(project / "out/base")
    before = {name: tensor.clone() for name, tensor in weights(base).items()}
    merged = weights(PeftModel.from_pretrained(base, str(project / "out")).merge_and_unload())
    wanted = weights(load_policy(Path("policies") / iteration).model)
    assert merged.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(merged[name], before[name]) for name in wanted)


def test_it_goes_to_the_hub_and_comes_back(
    write: Callable[..., str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushed as a model by the same push, fetched byte for byte; the same policy is not pushed twice."""
    write("out")
    online(monkeypatch, project)
    with serve(project / "hub", lfs_from=10_000) as hub:
        send = {"repo_id": "me/policy", "repo_type": "model", "token": TOKEN, "endpoint": hub.url}
        pushed = push_folder(project / "out", message="A policy", tag="v1", **send)  # type: ignore[arg-type]
        assert pushed.url == f"{hub.url}/me/policy/tree/v1"
        settings = {"revision": "v1", "local_dir": project / "back", "endpoint": hub.url}
        snapshot_download("me/policy", ignore_patterns=[".gitattributes"], **settings)
        shutil.rmtree(project / "back/.cache")
        assert hash_path(project / "back") == hash_path(project / "out")
        write("again")
        assert not push_folder(project / "again", message="A policy", **send).committed  # type: ignore[arg-type]


def test_the_card_names_what_it_is_made_of(write: Callable[..., str], project: Path) -> None:
    """Metadata for the Hub; base, dataset and its tag, parameters and figures with their intervals for a reader."""
    identity = write("out", base=BaseModel(Path("policies/base"), "them/base", "a" * 40))
    text = (project / "out/README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(re.split(r"^---$", text, flags=re.MULTILINE)[1])
    assert (metadata["base_model"], metadata["datasets"]) == ("them/base", ["me/set"])
    assert (metadata["license"], metadata["library_name"]) == ("apache-2.0", "peft")
    for part in (
        identity,
        "a" * 40,
        "at `v1`",
        "| `beta` | 0.1 |",
        "46.2 [43.2, 49.3]",
        "### held out",
        "[me/set]",
    ):
        assert part in text
    assert not (project / "out/base").exists()
    assert (
        read_json(project / "out/adapter_config.json", made_by="")["base_model_name_or_path"] == "them/base"
    )


def test_the_identity_is_the_weights(write: Callable[..., str]) -> None:
    """The identity does not depend on the card's words; it does depend on the base."""
    first = write("a")
    assert write("b", results=None, tag="v2", dataset=None) == first
    assert write("c", base=BaseModel(Path("policies/base"), "them/base", "a" * 40)) != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iteration": "base"}, r"policies/base/chain.json: got no such file"),
        ({"base": BaseModel(Path("nowhere"))}, r"nowhere: got no config.json in it"),
        ({"training": {"data": "see /home/ann/x.md"}}, r"got an absolute path"),
    ],
)
def test_what_is_no_policy_is_refused(
    write: Callable[..., str], project: Path, settings: dict[str, Any], message: str
) -> None:
    """One line, and no half folder."""
    with pytest.raises(UserError, match=message):
        write("out", **settings)
    assert not (project / "out").exists()


def test_an_adapter_that_does_not_add_up_is_refused(write: Callable[..., str], project: Path) -> None:
    """An adapter that is not plain LoRA is refused, not silently flattened."""
    path = project / "policies/2/adapters/2/adapter_config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"use_dora": false', '"use_dora": true'), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"got use_dora, expected a plain LoRA adapter"):
        write("out")


def test_a_folder_of_something_else_is_left_alone(write: Callable[..., str], project: Path) -> None:
    """An older folder of a policy is replaced; anything else stays as it is."""
    write("out", iteration="1")
    write("out", iteration="2")
    (project / "mine").mkdir()
    (project / "mine/thesis.txt").touch()
    with pytest.raises(UserError, match=r"mine: got something is there, expected a new or empty folder"):
        write("mine")
    assert (project / "mine/thesis.txt").exists()


def test_the_card_says_what_the_figures_say(write: Callable[..., str], project: Path) -> None:
    """The card says that CHAIR_S rose if it rose, and that an unclear change is unclear; it promises nothing else."""
    write("out")
    text = (project / "out/README.md").read_text(encoding="utf-8")
    assert (
        "- Split held out: CHAIR_S rose (46.2 to 52.2 % of answers), recall did not change clearly (90.1 to 89.9 % of "
        "objects), length fell (30.0 to 25.0 words).\n"
    ) in text
    assert "lowers" not in text
    write("none", results=None)
    text = (project / "none/README.md").read_text(encoding="utf-8")
    assert "No evaluation results were published with this policy." in text
    assert "CHAIR" not in text


def test_text_of_others_adds_no_markup(write: Callable[..., str], project: Path) -> None:
    """A parameter, a split and a base's name are shown, not rendered."""
    evil = "<script>alert(1)</script>\n# [x](javascript:x) | `y`"
    splits = {evil: RESULTS.splits["held_out"]}
    write("out", training={evil: evil}, results=replace(RESULTS, splits=splits))
    write("plain")
    hostile, plain = (parts_of((project / name / "README.md").read_text()) for name in ("out", "plain"))
    assert hostile == plain


def _state(profile: str, **sections: Any) -> None:
    """Write a profile's params.yaml with some sections replaced."""
    raw = yaml.safe_load(profile_text(profile))
    Path("params.yaml").write_text(yaml.safe_dump(raw | sections, sort_keys=False), encoding="utf-8")


def _push(folder: Path, **options: str) -> Any:
    """Write the policy of the second iteration as `csrdata push --model` does; return the licence in its card."""
    write_policy(
        folder, repo_id="me/policy", iteration="2", dataset=None, tag=None, **{"licence": None, **options}
    )
    text = (folder / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(re.split(r"^---$", text, flags=re.MULTILINE)[1])["license"]


def test_a_policy_of_a_hub_base_needs_a_stated_licence(project: Path) -> None:
    """In params.yaml or as an option; that of the dataset, or of drawn images, says nothing about someone's weights."""
    hub_base = yaml.safe_load(profile_text("llava15-7b"))
    pinned = Pinned(id="llava-hf/llava-1.5-7b-hf", revision="a" * 40, files={})
    write_pinned(Path("policies/base/model.json"), pinned)
    source = hub_base["source"]
    for stated, place in (
        ({"source": source | {"origin": source["origin"] | {"licence": "mit"}}}, "params.yaml: source.origin.policy (--l"),
        ({"source": yaml.safe_load(profile_text("smoke"))["source"], "images": {"root": "."}}, "--license: got none"),
    ):  # fmt: skip
        _state("llava15-7b", **stated)
        with pytest.raises(UserError) as caught:
            _push(project / "out")
        assert str(caught.value).startswith(place)
        assert "see the licence of llava-hf/llava-1.5-7b-hf" in str(caught.value)
        assert not (project / "out").exists()
    assert _push(project / "out", licence="llama2") == "llama2"
    stated = {"origin": source["origin"] | {"policy": "other"}}
    _state("llava15-7b", source=source | stated, images={"root": "."})
    assert _push(project / "out") == "other"


def test_a_policy_of_the_microworld_has_its_licence(project: Path) -> None:
    """Csrdata trained the base from nothing, on its own drawings."""
    _state("smoke")
    assert _push(project / "out") == "apache-2.0"


def _told(name: str) -> list[Pair]:
    """Return the pairs of an iteration, of which the truth chose the fifth."""
    return [replace(pair, origin=ORACLE) if n == 4 else pair for n, pair in enumerate(pairs_of(name))]


def _refusal(folder: Path, **options: str) -> str:
    """Return the line with which a policy is refused; no folder is left."""
    with pytest.raises(UserError) as caught:
        _push(folder, **options)
    assert not folder.exists()
    return str(caught.value)


@pytest.mark.parametrize("name", ["1", "2"])
def test_a_policy_of_pairs_that_the_truth_chose_is_refused(project: Path, name: str) -> None:
    """One such pair of its own iteration, or of one before it, is one line; with a licence given it is refused, too."""
    _state("smoke")
    rewrite(project, _told(name), name)
    for options in ({}, {"licence": "mit"}):
        assert _refusal(project / "out", **options) == (
            f"data/select_pairs/{name}/pairs.parquet: row 4: origin: got oracle, expected pairs that were made without the "
            "truth about their images (policy 2 was trained on them). Next: take another select_pairs.order in params.yaml, "
            "then: dvc repro, and push again"
        )


def test_pairs_that_a_policy_was_not_trained_on_do_not_count(project: Path) -> None:
    """A later iteration's, and those of an iteration that is not in its chain of adapters."""
    _state("smoke")
    rewrite(project, _told("2"), "2")
    write_policy(project / "out", repo_id="me/one", iteration="1", dataset=None, tag=None, licence=None)
    rewrite(project, pairs_of("2"), "2")
    rewrite(project, _told("1"), "1")
    shutil.rmtree(project / "policies/2")
    with new_chain(Path("policies/2"), previous=Path("policies/base"), name="2") as folder:
        shutil.copytree(project / "policies/1/adapters/1", folder, dirs_exist_ok=True)
    assert _push(project / "again") == "apache-2.0"


def test_pairs_that_cannot_be_looked_at_are_refused(project: Path) -> None:
    """Without an earlier iteration's table nobody can say what the policy was trained on."""
    _state("smoke")
    paths.pairs("1").unlink()
    assert _refusal(project / "out") == (
        "data/select_pairs/1/pairs.parquet: got no such table, expected a Parquet file. "
        "Next: dvc repro select_pairs@1"
    )


def test_pairs_made_again_after_training_do_not_hide_the_truth(project: Path) -> None:
    """By dvc.lock the policy was trained on other pairs than those that are there now."""
    _state("smoke")
    stages: dict[str, Any] = {}
    for name in ("1", "2"):
        rewrite(project, _told(name), name)
        read, wrote = (
            {"path": str(one), "md5": dvc_hash(one)} for one in (paths.pairs(name), paths.policy(name))
        )
        stages[f"train_dpo@{name}"] = {"cmd": "train", "deps": [read], "outs": [wrote]}
    stages["train_dpo@2"]["deps"].append({"path": str(paths.policy("1"))})
    write_stages(Path("dvc.lock"), stages)
    assert "row 4: origin: got oracle" in _refusal(project / "out")
    for name in ("1", "2"):
        rewrite(project, pairs_of(name), name)
    assert _refusal(project / "out") == (
        "data/select_pairs/1/pairs.parquet: got other content, expected what dvc.lock lists as train_dpo@1's input. "
        "Next: dvc repro"
    )


def test_an_exported_policy_comes_with_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder for one's own use is written; a line says which pairs of its chain the truth chose."""
    _state("smoke")
    for pairs, lines in ((pairs_of("1"), 0), (_told("1"), 1)):
        rewrite(project, pairs, "1")
        folder = f"out{lines}"
        app(["export", "--to", "checkpoint", folder, "--iteration", "2"], standalone_mode=False)
        told = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: the truth")
        ]
        assert len(told) == lines
        assert (project / folder / "config.json").is_file()
    assert "chose pairs (1 of iteration 1; origin oracle): they are for comparison alone" in told[0]
