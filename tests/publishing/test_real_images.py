"""A release of a user's own images, which are outside the project: what is stated, what is hidden, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from csrdata import paths
from csrdata.errors import UserError
from csrdata.images import describe_image
from csrdata.params import load_params
from csrdata.pipeline.publish import release
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.release.restore import restore
from csrdata.records import ImageFile
from csrdata.storage.tables import read_rows, write_json, write_rows
from tests.publishing.project import PROMPTS, make_project

SAID = {
    "images": "COCO 2014, CC BY 4.0",
    "licence": "cc-by-4.0",
    "outputs": "the terms of Llama 2",
    "policy": "llama2",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project with its images in a folder by themselves and a source of LLaVA's files; no Hub to ask."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    root = make_project(tmp_path / "project")
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.move(root / "data/images", photos / "data/images")
    write_json(root / paths.policy("base") / "config.json", {"architectures": ["TinyLlava"]})
    write_json(root / paths.policy("1") / "chain.json", {"base": "policies/base", "adapters": ["adapters/1"]})
    for scorer in (Path("scorers/search"), Path("scorers/held_out")):
        write_json(root / scorer / "open_clip_config.json", {"name": scorer.name})
    images = [describe_image(prompt.image, root=photos, place="test") for prompt in PROMPTS]
    write_rows(root / paths.IMAGES, images, ImageFile)
    monkeypatch.chdir(root)
    state(tmp_path, origin=SAID)
    return tmp_path


def state(folder: Path, *, origin: dict[str, Any], exclude: str | None = None) -> None:
    """Write the params of a source of real images."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["images"]["root"] = str(folder / "photos")
    params["source"] = {
        "kind": "llava",
        "files": [str(folder / "llava/detail_23k.json"), "data/more.json"],
        "folder": ".",
        "exclude": exclude,
        "origin": origin,
    }
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def publish(folder: Path, **options: str) -> str:
    """Write a release of the first iteration; return its card."""
    stated: dict[str, Any] = {"licence": None, "image_licence": None} | options
    release(folder, repo_id="me/set", tag="v1", names=["1"], images="embed", hub_may_be_away=True, **stated)
    return (folder / "README.md").read_text(encoding="utf-8")


def refused(folder: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        publish(folder, **options)
    assert not folder.exists()
    return str(caught.value)


def test_a_release_says_what_params_say_and_hides_the_machine(project: Path) -> None:
    """The card has the stated licences; no text of the release names a folder of this machine; the images come back."""
    text = publish(project / "out")
    assert all(SAID[part] in text for part in ("images", "licence", "outputs"))
    assert "drawings" not in text
    for file in [
        *(project / "out").rglob("*.yaml"),
        *(project / "out").rglob("*.md"),
        *(project / "out").rglob("*.json"),
    ]:
        assert str(project) not in file.read_text(encoding="utf-8"), file.name
    params = load_params(project / "out/provenance/params.yaml")
    assert params.images.root == "."
    assert params.source.model_dump()["files"] == ["detail_23k.json", "data/more.json"]
    back = project / "back"
    restore(project / "out", [project_tables("1", root=back)], images_root=back)
    assert len(list((back / "data/images").iterdir())) == len(PROMPTS)


def test_what_nobody_said_is_refused(project: Path) -> None:
    """Without licences there is no card; an option says what params.yaml does not."""
    state(project, origin={"images": "COCO 2014", "licence": None, "outputs": "Llama 2", "policy": None})
    assert refused(project / "out").startswith(
        "params.yaml: source.origin.licence (--license): got null, expected"
    )
    assert "COCO 2014" in publish(project / "out", licence="cc-by-4.0")


def test_another_image_is_not_published(project: Path) -> None:
    """The pairs are about the image that was sampled: one with other bytes is named."""
    Image.new("RGB", (5, 5)).save(project / "photos" / PROMPTS[2].image)
    assert refused(project / "out").startswith(
        f"image {PROMPTS[2].image}: got other bytes than were sampled, expected those of SHA-256"
    )


@pytest.mark.parametrize("by", ["id", "hash"])
def test_what_is_excluded_is_not_published(project: Path, by: str) -> None:
    """An image that must go, named after the pairs were made, stops the release."""
    listed = {file.image: file.sha256 for file in read_rows(paths.IMAGES, ImageFile, made_by="x")}
    line = PROMPTS[3].prompt_id if by == "id" else listed[PROMPTS[3].image]
    Path("exclude.txt").write_text(f"{line}\n")
    state(project, origin=SAID, exclude="exclude.txt")
    assert refused(project / "out").startswith(
        f"prompt {PROMPTS[3].prompt_id}: got image {PROMPTS[3].image}, which params.yaml: source.exclude names"
    )
