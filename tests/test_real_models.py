"""The way of a user with LLaVA-1.5: the wheel in a new environment, `csrdata init`, two iterations, `push --dry-run`.

The profile is the shipped one. What the test changes is printed: sizes, places, and the models, which are the real classes at
576 image tokens, but narrow, random, and taught a few answers.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.evaluation_sets.coco_files import CAPTIONS, OBJECTS, file_name, write_coco
from tests.families import llava, unlike_pictures
from tests.imports import ROOT
from tests.relevance.test_open_clip import save_tiny_clip
from tests.teaching import TEXTS, teach

TRAIN = 6
"""Prompts with an image each."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds csrdata's wheel, over the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "new", with_pip=False)
    python = folder / "new/bin/python"
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--python", str(python), str(wheel)], check=True
    )  # fmt: skip
    (site,) = (folder / "new/lib").glob("python*/site-packages")
    # A path file of a path file is not read: the editable csrdata of this environment stays out of the new one.
    (site / "packages.pth").write_text(f"{Path(pl.__file__).parents[1]}\n", encoding="utf-8")
    return python


def _run(python: Path, folder: Path, *words: str) -> str:
    """Run csrdata from the wheel in a folder; a failure fails the test with its words."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}},
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [str(python), "-m", "csrdata", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO-shaped images and annotations, LLaVA-shaped prompts, a narrow LLaVA of 576 image tokens, and two small scorers."""
    root = tmp_path_factory.mktemp("data")
    write_coco(root)
    names = [f"COCO_train2014_{number:012d}.jpg" for number in range(TRAIN)]
    for name, path in zip(
        names, unlike_pictures(root / "drawn", [(160, 120), (90, 200)] * (TRAIN // 2)), strict=True
    ):
        (root / "train2014").mkdir(exist_ok=True)
        path.rename(root / "train2014" / name)
    for file, prompts in (("detail_23k.json", TEXTS[:2]), ("complex_reasoning_77k.json", TEXTS[2:])):
        rows = [
            {
                "id": f"{file}-{number}",
                "image": name.removeprefix("COCO_train2014_"),
                "conversations": [
                    {"from": "human", "value": f"{prompts[number % 2]}\n<image>"},
                    {"from": "gpt", "value": "A long answer."},
                ],
            }
            for number, name in enumerate(names)
        ]
        (root / file).write_text(json.dumps(rows), encoding="utf-8")
    for strategy in ("random", "popular", "adversarial"):
        lines = [
            {"question_id": 2 * number + yes, "image": file_name(image), "text": f"Is there a {'person' if yes else 'zebra'} in the image?", "label": "yes" if yes else "no"}
            for number, image in enumerate(sorted(OBJECTS))
            for yes in (0, 1)
            if "person" in OBJECTS[image]
        ]  # fmt: skip
        (root / f"{strategy}.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    teach(llava(root / "llava", size=336), steps=40)
    for seed, role in enumerate(("search", "held_out")):
        (root / role).mkdir()
        save_tiny_clip(root / role, seed=seed)
    return root


def _changes(data: Path) -> dict[str, Any]:
    """Return what the test changes of the profile, by dotted key."""
    return {
        "compute.threads": 1,
        "compute.device": "cpu",
        "images.root": str(data),
        "source.files": [str(data / "detail_23k.json"), str(data / "complex_reasoning_77k.json")],
        "prepare.policy": {"folder": str(data / "llava")},
        "scorers.search": {"kind": "open_clip", "folder": str(data / "search")},
        "scorers.held_out": {"kind": "open_clip", "folder": str(data / "held_out")},
        "sample_prompts.prompts": TRAIN,
        "evaluation_sets.chair.instances": [str(data / "instances.json")],
        "evaluation_sets.chair.captions": [str(data / "captions.json")],
        "evaluation_sets.chair.images": len(CAPTIONS),
        **{f"evaluation_sets.pope_{name}.file": str(data / f"{name}.json") for name in ("random", "popular", "adversarial")},
        "generate_beams.max_sentence_tokens": 24,
        "generate_beams.max_response_tokens": 48,
        "generate_beams.max_sentences": 3,
        "evaluate_policy.max_new_tokens": 24,
        "summarize.resamples": 100,
        "iterations": {"1": {"previous": "base"}, "2": {"previous": "1"}},
    }  # fmt: skip


def _set(params: dict[str, Any], key: str, value: object) -> None:
    *above, last = key.split(".")
    section: Any = params
    for part in above:
        section = section[part]
    assert last in section, f"{key} is no key of the profile"
    section[last] = value


@pytest.fixture(scope="module")
def project(python: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile's project after all its stages."""
    empty = tmp_path_factory.mktemp("empty")
    _run(python, empty, "init", "my-csr", "--profile", "llava15-7b")
    folder = empty / "my-csr"
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in _changes(data).items():
        _set(params, key, value)
        sys.stdout.write(f"{key}: {value}\n")
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    # It writes dvc.yaml for the edited file, takes two prompts the whole way, and finds nothing that would fail.
    findings = _run(python, folder, "check")
    assert "shared prefix" in findings
    assert not (folder / "data").exists()
    _run(python, folder, "run", "--all")
    return folder


@pytest.mark.timeout(900)
def test_two_iterations_train_on_pairs(project: Path) -> None:
    """Every sampled prompt is a pair or dropped with a reason; both iterations trained in bfloat16 and were evaluated."""
    summary = json.loads((project / "metrics/summary.json").read_text(encoding="utf-8"))
    assert summary["iterations"] == ["base", "1", "2"]
    for entry in summary["pairs"].values():
        assert entry["kept"] + sum(entry["dropped"].values()) == TRAIN
        assert entry["kept"] > 0
    assert set(summary["splits"]) == {"chair", "pope_random", "pope_popular", "pope_adversarial"}
    figures: Mapping[str, Any] = summary["splits"]["chair"]["2"]
    assert {"chair_s", "recall", "length", "relevance", "relevance_held_out", "loglik_base"} <= set(figures)
    assert {"pope_accuracy", "pope_keyword_accuracy", "pope_strict_accuracy"} <= set(
        summary["splits"]["pope_random"]["2"]
    )


def test_the_images_take_576_tokens(project: Path) -> None:
    """The policy sees what LLaVA-1.5 sees of an image: 24 x 24 patches."""
    from csrdata.policy.loading import load_policy
    from csrdata.policy.prompting import encode, render_prompt
    from tests.tiny import picture

    root = Path(
        yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["prepare"]["policy"]["folder"]
    )
    policy = load_policy(root)
    rows = encode(policy.processor, [picture(0)], [render_prompt(policy.processor, "Describe it.")])
    assert int((rows["input_ids"] == policy.model.config.image_token_id).sum()) == 576


def test_nothing_is_left_to_run_and_models_stay_where_they_are(
    python: Path, project: Path, data: Path
) -> None:
    """Neither `run --all` nor DVC has anything to do a second time, and no weights of the base are in the project."""
    assert _run(python, project, "run", "--all", "--dry-run") == ""
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"],
        cwd=project,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout.strip() == "Data and pipelines are up to date."
    weights = [path for path in project.rglob("*.safetensors") if "adapters" not in path.parts]
    assert weights == []
    assert sorted(path.name for path in (project / "policies/base").iterdir()) == [
        "model.json",
        "sha256.json",
    ]


def test_the_release_asks_for_licences_and_is_written_with_them(
    python: Path, project: Path, tmp_path: Path
) -> None:
    """Without licences `push` refuses and names the keys; with them the release is whole, and its card claims nothing else."""
    with pytest.raises(AssertionError, match=r"source\.origin"):
        _run(python, project, "push", "me/my-csr", "--tag", "v1.0.0", "--dry-run", str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    words = (
        "--license",
        "cc-by-4.0",
        "--image-license",
        "drawings of a test",
        "--output-license",
        "as the test says",
    )
    _run(
        python,
        project,
        "push",
        "me/my-csr",
        "--tag",
        "v1.0.0",
        "--dry-run",
        str(tmp_path / "release"),
        *words,
    )
    card = (tmp_path / "release/README.md").read_text(encoding="utf-8")
    assert "drawings of a test" in card
    assert "microworld" not in card
    assert "Apache" not in card


def test_stats_and_show_work(python: Path, project: Path) -> None:
    """The commands that look at pairs work on a project without known truth about its prompts."""
    assert json.loads(_run(python, project, "stats", "--json"))["iteration"] == "2"
    prompt = pl.read_parquet(project / "data/select_pairs/1/pairs.parquet")["prompt_id"][0]
    assert _run(python, project, "show", prompt, "--iteration", "1")
