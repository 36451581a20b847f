"""The code behind a stage: what an edit changes, and what it does not."""

import shutil
from pathlib import Path

import pytest

from csrdata.pipeline import STAGES
from csrdata.pipeline.code import (
    EXEMPT,
    PACKAGE,
    hash_code,
    imported,
    reached,
    source_path,
    stage_hash,
    wiring,
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of csrdata's source that a test may edit."""
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "csrdata", ignore=ignore))


def module_of(function: str, *, among: list[str]) -> str:
    """Return the one module that defines a function."""
    (found,) = [
        name for name in among if f"\ndef {function}(" in source_path(name).read_text(encoding="utf-8")
    ]
    return found


def edit(package: Path, module: str, old: str, new: str) -> None:
    path = source_path(module, package=package)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_edit_of_guidance_makes_other_shards(package: Path) -> None:
    """What guides the search is part of what made its shards, wherever it is defined."""
    before = stage_hash("generate_beams", package=package)
    module = module_of("guide", among=reached(wiring("generate_beams")))
    edit(package, module, 'if guidance == "none":', 'if guidance != "none":')
    assert stage_hash("generate_beams", package=package) != before


def test_an_edit_of_scoring_makes_other_scores(package: Path) -> None:
    """The shards of `score_beams` do not outlive the code that scored them."""
    before = {stage: stage_hash(stage, package=package) for stage in ("score_beams", "train_dpo")}
    edit(package, module_of("score", among=reached(wiring("score_beams"))), "is not None", "is None")
    assert stage_hash("score_beams", package=package) != before["score_beams"]
    assert stage_hash("train_dpo", package=package) == before["train_dpo"]


def test_an_edit_of_a_chat_template_keeps_the_scores(package: Path) -> None:
    """How a prompt is put to the policy does not change how answers are scored."""
    before = {stage: stage_hash(stage, package=package) for stage in ("generate_beams", "score_beams")}
    module = module_of("render_prompt", among=reached(wiring("generate_beams")))
    path = source_path(module, package=package)
    path.write_text(path.read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
    assert stage_hash("generate_beams", package=package) != before["generate_beams"]
    assert stage_hash("score_beams", package=package) == before["score_beams"]


def test_prose_keeps_shards(package: Path) -> None:
    """Comments, docstrings, bare strings and layout are not seen; a default value is."""
    source = package / "search" / "sample.py"
    texts = [
        "def f(x: int = 1) -> int:\n    return x\n",
        '"""Idea."""\n\n\ndef f(\n    x: int = 1,  # why\n) -> int:\n    """Return x."""\n    return x\n',
        "def f(x: int = 2) -> int:\n    return x\n",
    ]
    hashes = []
    for text in texts:
        source.write_text(text, encoding="utf-8")
        hashes.append(hash_code(["csrdata.search.sample"], package=package))
    assert hashes[0] == hashes[1] != hashes[2]


def test_imports_are_read_in_every_form(package: Path) -> None:
    """Inside functions, relative, of a package's module or of a module's name: each names the module."""
    (package / "search" / "sample.py").write_text(
        "import csrdata.search.beam\nfrom csrdata.search import pairs\nfrom . import reward\n"
        "def f():\n    from .sentences import x\n    from ..policy.decoding import y\n    import torch\n",
        encoding="utf-8",
    )
    found = imported("csrdata.search.sample", package=package)
    assert found == [
        "csrdata.policy.decoding",
        "csrdata.search.beam",
        "csrdata.search.pairs",
        "csrdata.search.reward",
        "csrdata.search.sentences",
    ]


def test_a_stage_reaches_the_code_of_its_own_source() -> None:
    """Of a choice by kind, the cases in use are followed: the microworld's stages do not depend on the Hub's."""
    chooser = "csrdata.pipeline.source"
    found = {
        kind: set(reached(wiring("sample_prompts"), kinds={chooser: {kind}}))
        for kind in ("microworld", "llava", "hub")
    }
    assert not [name for name in found["llava"] | found["hub"] if "microworld" in name]
    assert not found["microworld"] & {
        "csrdata.sources.llava",
        "csrdata.sources.hub",
        "csrdata.sources.sampling",
    }
    assert "csrdata.sources.image_index" in found["llava"] - found["hub"]
    assert "csrdata.sources.table" in found["hub"] - found["llava"]
    assert set.union(*found.values()) < set(reached(wiring("sample_prompts")))


def test_a_stage_reaches_the_code_of_its_own_pairs() -> None:
    """Of the ways to make pairs, those in use are followed, and of their orders too: only an oracle reaches the truth."""
    ways = (
        "csrdata.pipeline.select_pairs",
        "csrdata.pipeline.answer_pairs",
        "csrdata.pipeline.sentence_pairs",
    )
    found = {
        used: set(reached(wiring("select_pairs"), kinds={way: set(used) for way in ways}))
        for used in (("answers", "reward"), ("answers", "truth"), ("sentences", "reward"))
    }
    sentences = {"csrdata.search.sentence_pairs", "csrdata.search.end_pairs", "csrdata.search.responses"}
    assert sentences & found["answers", "reward"] == set()
    assert sentences <= found["sentences", "reward"]
    assert "csrdata.search.answer_pairs" not in found["sentences", "reward"]
    assert "csrdata.pipeline.oracle" in found["answers", "truth"] - found["answers", "reward"]


def test_an_evaluation_reaches_the_search_only_where_it_answers() -> None:
    """Greedy answers do not depend on the code of the search; best of N does."""
    greedy, search = (
        set(reached(wiring("evaluate_policy"), kinds={"csrdata.pipeline.evaluate_policy": {decoding}}))
        for decoding in ("greedy", "search")
    )
    own = {"csrdata.search.beam", "csrdata.generation.generating", "csrdata.search.responses"}
    assert not greedy & own
    assert own <= search
    assert greedy < search


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_code(stage: str) -> None:
    """A stage reaches its own wiring, and nothing of what is left out."""
    modules = reached(wiring(stage))
    assert wiring(stage) in modules
    assert not set(modules) & set(EXEMPT)


def test_what_is_left_out_exists_and_has_its_reason() -> None:
    """A module that is renamed or removed leaves the list too."""
    assert all(source_path(module).is_file() for module in EXEMPT)
    assert all(EXEMPT.values())
