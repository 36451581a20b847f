"""The card: metadata that the loader takes, code that runs, figures that are the tables', a changelog."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image

from csrdata.publishing.manifest import Manifest, read_manifest
from tests.publishing.project import (
    MODELS,
    change_params,
    make_project,
    pairs_of,
    release,
    rewrite,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("made")
    release(make_project(parent / "project"), parent / "release", commit="5" * 40)
    return parent


@pytest.fixture(scope="module")
def card(made: Path) -> str:
    return (made / "release/README.md").read_text(encoding="utf-8")


def test_the_metadata_are_the_hubs(card: str) -> None:
    """Licence, task, size, languages and configs as the Hub names them; the last iteration is the default."""
    data = DatasetCard(card).data.to_dict()
    assert (data["license"], data["task_categories"], data["size_categories"]) == (
        "apache-2.0",
        ["image-text-to-text"],
        ["n<1K"],
    )
    assert (data["language"], data["base_model"]) == (["en"], "open/clip")
    configs = {one["config_name"]: one for one in data["configs"]}
    assert list(configs) == ["iteration_1", "iteration_2", "candidates"]
    assert [name for name, one in configs.items() if one.get("default")] == ["iteration_2"]
    assert [one["split"] for one in configs["candidates"]["data_files"]] == ["iteration_1", "iteration_2"]


def test_every_piece_of_code_is_python_and_loading_works(card: str, made: Path, monkeypatch: Any) -> None:
    """The three lines of the card, run as they stand but for the place of the set, print a pair's image and margin."""
    pieces = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(pieces) == 2
    for piece in pieces:
        ast.parse(piece)
    assert 'revision="v1"' in pieces[0]
    monkeypatch.setenv("HF_DATASETS_CACHE", str(made / "cache"))
    here = (
        pieces[0].replace('"me/set"', repr(str(made / "release"))).replace('revision="v1"', "revision=None")
    )
    names: dict[str, Any] = {"print": lambda *words: names.update(said=words)}
    exec(here, names)  # noqa: S102 - the card's own lines
    image, chosen, margin = names["said"]
    assert (image.size, chosen[0]["role"], margin) == ((28, 28), "assistant", 1.0)


def test_the_statistics_are_the_tables(card: str) -> None:
    """Funnel, means and shares, worked out by hand from the project's rows."""
    rows = {line.split(" | ")[0]: line for line in card.splitlines() if line.startswith("| ")}
    assert rows["| prompts"] == "| prompts | 7 | 7 |"
    assert rows["| **pairs kept**"] == "| **pairs kept** | 6 | 6 |"
    assert rows["| no pair: under margin"] == "| no pair: under margin | 1 | 1 |"
    assert rows["| reward R(y), chosen / rejected"].endswith("| 1.15 / -0.1 | 1.15 / -0.1 |")
    assert rows["| relevance R_I, chosen / rejected"].endswith("| 42.5 / 20 | 42.5 / 20 |")
    assert rows["| chosen has fewer words, %"] == "| chosen has fewer words, % | 50.0 | 50.0 |"
    assert rows["| held-out scorer prefers chosen, %"].endswith("| 100.0 | 100.0 |")
    assert rows["| candidates: finished"] == "| candidates: finished | 14 | 14 |"
    # Three of six chosen answers are a word shorter than every rejected one, three are as long: (3 * 6 * 0.5) / 36.
    assert rows["| chance that chosen is the longer"].endswith("| 0.250 | 0.250 |")


def test_what_made_it_is_named_exactly(card: str, made: Path) -> None:
    """Models by hash and Hub revision, the code's version and commit, the identity, the parameters."""
    manifest = read_manifest(made / "release")
    for exact in ("c" * 64, "d" * 40, "5" * 40, manifest.identity, f"csrdata {manifest.csrdata}"):
        assert exact in card
    stated = yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])
    assert stated == json.loads(json.dumps(manifest.params))
    assert "2405.14622" in card.partition("## Citation")[2]
    making = card.partition("## How it was made")[2]
    assert f"cosine of {stated['score_beams']['repeat_similarity']:g} or more" in making
    assert f"{stated['train_dpo']['sft_weight']:g} times the chosen answers' token loss" in making
    assert "made by csrdata's microworld" in card.partition("## Licence")[2]


def test_every_plot_of_the_card_is_there_and_shows_something(card: str, made: Path) -> None:
    """Each picture decodes, is small, and has chosen's blue in it."""
    names = re.findall(r"!\[[^]]+\]\((plots/[a-z]+\.png)\)", card)
    assert sorted(names) == sorted(f"plots/{path.name}" for path in (made / "release/plots").iterdir())
    for name in names:
        assert (made / "release" / name).stat().st_size < 40_000
        with Image.open(made / "release" / name) as image:
            colours = {colour: count for count, colour in image.convert("RGB").getcolors() or []}
            assert image.width == 1440
        assert colours[(47, 109, 179)] > 1000


def test_the_changelog_says_what_changed(tmp_path: Path) -> None:
    """Against the release before: iterations, pairs, parameters, models; older entries stay, the same data adds none."""
    project = make_project(tmp_path / "project")
    first = release(project, tmp_path / "a", names=("1",))
    assert [entry.changes for entry in first.changelog] == [["the first release"]]
    change_params(project, "select_pairs", margin=0.2)
    rewrite(project, pairs_of()[:5])
    second = release(project, tmp_path / "b", previous=first, tag="v2", models=MODELS[:2])
    text = (tmp_path / "b/README.md").read_text(encoding="utf-8").partition("## Changes")[2]
    assert second.changelog[1:] == first.changelog
    for change in (
        "iteration 1: 6 -> 5 pairs, 7 -> 7 prompts, 28 -> 28 candidates",
        "iteration 2 added: 6 pairs from 7 prompts",
        "`select_pairs.margin`: `0.1` -> `0.2`",
        "`train_dpo.beta`: none -> `0.1`",
        "search scorer left out",
    ):
        assert change in second.changelog[0].changes
        assert f"- {change}" in text
    assert text.index("### v2") < text.index("### v1")
    again = release(project, tmp_path / "c", previous=second, tag="v3", models=MODELS[:2])
    assert again.changelog == second.changelog


def test_other_rows_alone_are_a_change(tmp_path: Path) -> None:
    """New data of the same counts and parameters do not pass for nothing."""
    project = make_project(tmp_path / "project")
    first: Manifest = release(project, tmp_path / "a")
    rewrite(project, [*pairs_of()[:5], pairs_of("2")[5]])
    second = release(project, tmp_path / "b", previous=first)
    assert second.changelog[0].changes == ["the data files differ; counts, parameters and models do not"]
