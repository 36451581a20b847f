"""`prepare` of a policy and scorers of others: resolved once, recorded with hashes, required from then on, never copied."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from csrdata import paths, pinned
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pinned import hash_once
from csrdata.pipeline import prepare
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.publish_policy import _base as published_base
from csrdata.pipeline.scorers import open_scorer
from csrdata.policy.loading import load_policy, new_chain
from csrdata.policy.pixels import limit_pixels
from csrdata.relevance.grid_detector import GridNetwork
from csrdata.sections.scorers import scorer_folder
from csrdata.sources.microworld.detector_training import detector_config
from csrdata.storage.tables import hash_path, read_json
from tests.pipeline.world import SIZES, small_params
from tests.policy.test_loading import write_adapter
from tests.publishing.hub_server import serve
from tests.publishing.hub_state import Fault, Hub
from tests.publishing.model_repos import go_offline, upload, use_hub
from tests.relevance.test_open_clip import save_tiny_clip
from tests.tiny import tiny_llava

ID = "them/tiny-llava"
RECORD = Path("policies/base/model.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA in a folder outside every project."""
    return tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP in a folder outside every project."""
    folder = tmp_path_factory.mktemp("models") / "clip"
    folder.mkdir()
    save_tiny_clip(folder)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, and an empty project as the present folder."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve(tmp_path / "hub", lfs_from=10_000) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def settings(
    clip: Path, *, policy: dict[str, Any], scorers: dict[str, Any] | None = None, **limits: Any
) -> Params:
    """Return parameters with a policy of others and one scorer."""
    raw = small_params().model_dump()
    source = {f"{split}_images": count for split, count in SIZES.items()}
    raw["source"] |= source
    raw["prepare"] = {"kind": "pretrained", "policy": policy, "min_pixels": None, "max_pixels": None} | limits
    alone = {"search": {"kind": "open_clip", "folder": str(clip)}, "held_out": None}
    raw["scorers"] = {"others": {}} | (scorers or alone)
    return Params.model_validate(raw)


def refusal(params: Params) -> str:
    """Return the one line with which `prepare` refuses."""
    with pytest.raises(UserError) as caught:
        prepare.run(params)
    line = str(caught.value)
    assert "\n" not in line
    assert not list(Path("policies").glob("*.partial"))
    return line


@pytest.mark.parametrize("revision", [None, "main", "v1", "COMMIT"])
def test_a_revision_is_resolved_once(hub: Hub, model: Path, clip: Path, revision: str | None) -> None:
    """Branch, tag and commit become 40 digits with the files' hashes; a branch that moves on changes nothing."""
    commit = upload(hub, ID, model, tag="v1")
    asked = commit if revision == "COMMIT" else revision
    params = settings(clip, policy={"id": ID, "revision": asked})
    prepare.run(params)
    record = read_json(RECORD, made_by="")
    assert (record["id"], record["revision"]) == (ID, commit)
    for name, facts in record["files"].items():
        assert facts == {"bytes": (model / name).stat().st_size, "sha256": hash_path(model / name)}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(record["files"])
    assert sorted(path.name for path in RECORD.parent.iterdir()) == ["model.json", "sha256.json"]
    before = RECORD.read_bytes()
    hub.commit(hub.repo(ID, "model"), "new weights", {"model.safetensors": hub.store(b"other")})
    hub.requests.clear()
    prepare.run(params)
    assert RECORD.read_bytes() == before
    assert hub.requests == []
    policy = load_policy(need_policy("base"))
    own = load_policy(model).model.state_dict()
    assert all((value == own[name]).all() for name, value in policy.model.state_dict().items())
    resolved = read_json(paths.PREPARE_METRICS, made_by="")["resolved"]
    assert resolved["policy"][0]["name"] == ID


def test_everything_may_be_in_the_cache(
    hub: Hub, model: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With HF_HUB_OFFLINE the cache is asked alone; a model that it lacks is named with the command that brings it."""
    upload(hub, ID, model)
    params = settings(clip, policy={"id": ID, "revision": None})
    prepare.run(params)
    before = RECORD.read_bytes()
    shutil.rmtree("policies")
    go_offline(monkeypatch)
    hub.requests.clear()
    prepare.run(params)
    assert (RECORD.read_bytes(), hub.requests) == (before, [])
    line = refusal(settings(clip, policy={"id": "them/other", "revision": "v2"}))
    assert line == (
        "params.yaml: prepare.policy: got them/other at v2, which the cache lacks, expected a model in the cache, as "
        "HF_HUB_OFFLINE is set. Next: HF_HUB_OFFLINE=0 hf download them/other --revision v2"
    )


def test_recorded_files_are_required(hub: Hub, model: Path, clip: Path, tmp_path: Path) -> None:
    """A changed file, a missing one and a new one are one line each, in every stage that loads the policy."""
    folder = shutil.copytree(model, tmp_path / "mine")
    prepare.run(settings(clip, policy={"folder": str(folder)}))
    template = folder / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text.replace("USER", "user").replace("upper", "lower"))
    with pytest.raises(
        UserError, match=r"model.json: chat_template.jinja: got other bytes of the same length"
    ):
        load_policy(need_policy("base"))
    template.write_text(text)
    (folder / "config.json").rename(folder / "config.old")
    with pytest.raises(
        UserError, match=r"model.json: config.json: got no such file in .* Next: put the file"
    ):
        load_policy(need_policy("base"))
    (folder / "config.old").rename(folder / "config.json")
    (folder / "chat_template.json").write_text("{}")
    with pytest.raises(UserError, match=r"chat_template.json: got a file of .* that was not there before"):
        load_policy(need_policy("base"))
    (folder / "chat_template.json").unlink()
    load_policy(need_policy("base"))


def test_a_cache_that_lost_a_file_names_the_download(
    hub: Hub, model: Path, clip: Path, tmp_path: Path
) -> None:
    """Another machine with the record alone is told how to get the files; `prepare` brings them itself."""
    commit = upload(hub, ID, model)
    params = settings(clip, policy={"id": ID, "revision": None})
    prepare.run(params)
    shutil.rmtree(tmp_path / "home/hub")
    hub.commit(hub.repo(ID, "model"), "new weights", {"model.safetensors": hub.store(b"other")})
    with pytest.raises(UserError, match=f"Next: hf download {ID} --revision {commit}"):
        load_policy(need_policy("base"))
    prepare.run(params)
    load_policy(need_policy("base"))
    assert read_json(RECORD, made_by="")["revision"] == commit


def test_another_base_is_another_policy(hub: Hub, model: Path, clip: Path, tmp_path: Path) -> None:
    """A chain names the pointer as its base, and is refused on another model."""
    upload(hub, ID, model)
    prepare.run(settings(clip, policy={"id": ID, "revision": None}))
    with new_chain(Path("policies/1"), previous=Path("policies/base"), name="1") as adapter:
        write_adapter(load_policy(Path("policies/base")).model, adapter, seed=1)
    assert read_json(Path("policies/1/chain.json"), made_by="")["base"] == "policies/base"
    load_policy(Path("policies/1"))
    prepare.run(settings(clip, policy={"folder": str(tiny_llava(tmp_path / "other", seed=5))}))
    with pytest.raises(UserError, match=r"chain.json: base: got other weights in policies/base"):
        load_policy(Path("policies/1"))


def _drop(*names: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return edit


def _text_only(folder: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _without_processor(folder: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)


def _code(folder: Path) -> None:
    config = read_json(folder / "config.json", made_by="")
    mine = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}
    (folder / "config.json").write_text(json.dumps({**config, **mine}))
    (folder / "code.py").write_text("raise SystemExit('it ran')")


def _quantised(folder: Path) -> None:
    config = read_json(folder / "config.json", made_by="")
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "awq"}})
    )


@pytest.mark.parametrize(
    "case",
    [
        (_text_only, "config.json: got model_type llama, which takes no images"),
        (
            _drop("chat_template.jinja"),
            "processor: got no chat template, expected the template that the model",
        ),
        (_without_processor, "processor: got"),
        (_pickled, "got only pytorch_model.bin, a pickle, which can run code when it is read"),
        (_drop("config.json"), "config.json: got"),
        (_drop("model.safetensors"), "got no model.safetensors, expected weights as safetensors"),
        (_code, "config.json: got"),
        (_quantised, "config.json: got quantised weights"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(
    hub: Hub, model: Path, clip: Path, tmp_path: Path, case: tuple[Callable[[Path], None], str]
) -> None:
    """One line with the next command, from the Hub and from a folder, and no record is left."""
    edit, words = case
    folder = shutil.copytree(model, tmp_path / "bad")
    edit(folder)
    upload(hub, ID, folder)
    for policy in ({"id": ID, "revision": None}, {"folder": str(folder)}):
        line = refusal(settings(clip, policy=policy))
        assert words in line
        assert "Next: s" in line  # "set ..." or "save ..."
        assert not RECORD.exists()


@pytest.mark.parametrize(
    "case",
    [
        (
            {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
            None,
            "expected access to a gated model. Next: accept its terms on its page, hf auth login",
        ),
        (
            {"status": 401},
            None,
            "expected a model that exists, and a token that may read it. Next: check the name",
        ),
        (
            None,
            "v9",
            "got 404 Invalid rev id: v9, expected a branch, tag or commit of the model. Next: name another",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: Hub, model: Path, clip: Path, case: tuple[dict[str, Any] | None, str | None, str]
) -> None:
    """A gated model, a private one and a revision that is missing say what to do."""
    fault, revision, words = case
    upload(hub, ID, model)
    if fault is not None:
        hub.faults.append(Fault("GET", "/api/models", times=9, **fault))
    assert words in refusal(settings(clip, policy={"id": ID, "revision": revision}))


def test_limits_of_image_sizes_need_a_processor_that_has_them(hub: Hub, model: Path, clip: Path) -> None:
    """LLaVA's images have one size."""
    line = refusal(settings(clip, policy={"folder": str(model)}, max_pixels=10_000))
    assert line.startswith(
        "params.yaml: prepare: got min_pixels None, max_pixels 10000, expected null for both: CLIPImageProcessor"
    )


def test_scorers_are_recorded_too(hub: Hub, model: Path, clip: Path, tmp_path: Path) -> None:
    """A scorer of the Hub and an ensemble are folders that a result depends on; each is loaded as it was recorded."""
    upload(hub, "them/clip", clip, tag="v1")
    one = {"kind": "open_clip_hub", "id": "them/clip", "revision": "v1"}
    both = [
        {"weight": 2.0, "scorer": one},
        {"weight": 1.0, "scorer": {"kind": "open_clip", "folder": str(clip)}},
    ]
    scorers = {"search": one, "held_out": {"kind": "ensemble", "members": both}}
    params = settings(clip, policy={"folder": str(model)}, scorers=scorers)
    prepare.run(params)
    assert sorted(path.as_posix() for path in Path("scorers").rglob("*.json")) == [
        "scorers/held_out/0/scorer.json",
        "scorers/held_out/1/scorer.json",
        "scorers/held_out/sha256.json",
        "scorers/held_out/weights.json",
        "scorers/search/scorer.json",
        "scorers/search/sha256.json",
    ]
    held_out = params.scorers.held_out
    assert held_out is not None
    wanted = open_scorer(settings(clip, policy={"folder": "x"}), "search", device="cpu", policy="base")
    for role in ("search", "held_out"):
        found = open_scorer(params, role, device="cpu", policy="base")
        scores = found.open([]).repetition(["a dog"], [["a cat"]])
        assert scores == pytest.approx(wanted.open([]).repetition(["a dog"], [["a cat"]]))
    assert scorer_folder(held_out, role="held_out") == Path("scorers/held_out")
    weights = next((tmp_path / "home/hub/models--them--clip").rglob("open_clip_model.safetensors")).resolve()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        UserError, match=r"scorers/search/scorer.json: open_clip_model.safetensors: got other bytes"
    ):
        open_scorer(params, "search", device="cpu", policy="base")


def test_other_signals_are_recorded_too(hub: Hub, model: Path, clip: Path, tmp_path: Path) -> None:
    """Each of `scorers.others` is recorded under its name or loaded once, the base as a judge too; a self-check is neither."""
    upload(hub, "them/clip", clip)
    spots = tmp_path / "spots"
    spots.mkdir()
    save_file(GridNetwork(detector_config()).state_dict(), spots / "detector.safetensors")
    (spots / "detector.json").write_text(detector_config().model_dump_json(), encoding="utf-8")
    scorers = {
        "search": {"kind": "self_check"},
        "held_out": None,
        "others": {
            "big": {"kind": "open_clip_hub", "id": "them/clip", "revision": None},
            "spots": {"kind": "detector", "folder": str(spots)},
            "judge": {"kind": "judge", "folder": "policies/base", "question": None},
        },
    }
    prepare.run(settings(clip, policy={"folder": str(model)}, scorers=scorers))
    assert sorted(path.as_posix() for path in Path("scorers").rglob("*.json")) == [
        "scorers/big/scorer.json",
        "scorers/big/sha256.json",
    ]
    assert set(read_json(paths.PREPARE_METRICS, made_by="")["resolved"]) == {"policy", "big_scorer"}
    (spots / "detector.json").write_text("{}", encoding="utf-8")
    line = refusal(settings(clip, policy={"folder": str(model)}, scorers=scorers))
    assert line == f"{spots}/detector.json: kind: got no such key, expected a value. Next: dvc repro prepare"


def test_a_large_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is remembered for this user, until the file changes, even where size and time of change are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pinned, "LARGE", 10)
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 20)
    first = hash_once(file)
    assert first == hash_path(file)
    with monkeypatch.context() as patch:
        patch.setattr(pinned.hashlib, "file_digest", None)
        assert hash_once(file) == first
    stat = file.stat()
    file.write_bytes(b"b" * 20)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert hash_once(file) == hash_path(file) != first
    (tmp_path / "cache/csrdata/sha256.json").write_text("[")
    assert hash_once(file) == hash_path(file)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"folder": "x", "files": {"../y": {"bytes": 1, "sha256": "0" * 64}}}, "a relative path inside"),
        ({"id": "a/b", "revision": "main", "files": {}}, "revision: got main"),
        ({"id": "a/b", "files": {}}, "got id, expected either id and revision, or folder"),
        ({"folder": "x", "files": {}, "trust_remote_code": True}, "trust_remote_code: got an unknown key"),
    ],
)
def test_a_record_of_others_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: dict[str, Any], words: str
) -> None:
    """A record leads to no file outside a model's folder, names a commit, and says nothing else."""
    monkeypatch.chdir(tmp_path)
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text(json.dumps(record))
    with pytest.raises(UserError, match=words):
        load_policy(Path("policies/base"))


def test_a_policy_on_a_base_of_the_hub_is_published_alone(
    hub: Hub, model: Path, clip: Path, tmp_path: Path
) -> None:
    """The manifest names id and commit, and no weight of the base goes along; a base in a folder goes with its files."""
    commit = upload(hub, ID, model)
    prepare.run(settings(clip, policy={"id": ID, "revision": None}))
    base = published_base()
    assert (base.repo_id, base.revision) == (ID, commit)
    folder = shutil.copytree(model, tmp_path / "mine")
    (folder / "notes.txt").write_text("not the model's")
    (folder / "photo.png").write_text("nor this")
    prepare.run(settings(clip, policy={"folder": str(folder)}))
    base = published_base()
    assert (base.folder, base.repo_id) == (folder, None)
    assert base.files is not None
    assert "model.safetensors" in base.files
    assert "photo.png" not in base.files


def test_limits_of_image_sizes_are_set(tmp_path: Path) -> None:
    """Qwen-VL's and GLM-4V's "edges" count pixels: fewer of them are fewer image tokens."""
    from transformers import Glm4vImageProcessor, Qwen2VLImageProcessor

    picture = Image.new("RGB", (800, 600))
    for kind in (Qwen2VLImageProcessor, Glm4vImageProcessor):
        processor = SimpleNamespace(image_processor=kind())
        before = processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"].shape[0]
        limit_pixels(processor, min_pixels=None, max_pixels=112 * 112 * 4, place="params.yaml: prepare")
        after = processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"].shape[0]
        assert 0 < after * 14 * 14 <= 112 * 112 * 4 < before * 14 * 14
    with pytest.raises(
        UserError,
        match="got min_pixels 100000, max_pixels 50176, expected min_pixels of 1 or more, and at most max_pixels",
    ):
        limit_pixels(processor, min_pixels=100_000, max_pixels=None, place="params.yaml: prepare")
