"""Every family of `tests/families.py` goes the whole way, or is refused in one line; the record in docs/ says the same."""

import json
import re
from pathlib import Path

import pytest

from csrdata.policy.loading import Dtype, load_policy
from csrdata.policy.training import language_layers
from csrdata.records import Pair, Response, Sentence
from csrdata.storage.tables import to_table
from csrdata.storage.values import check_values
from tests.extending.word_scorer import words
from tests.families import FAMILIES
from tests.family_way import RECORD, finding, go

REFUSED = {"paligemma": "this processor does not have a chat template"}
"""Families that cannot go the way, and what the line says."""
RARE = {
    "idefics3_whole",
    "smolvlm",
    "internvl_whole",
    "llava_old",
    "llava_onevision",
    "qwen2_5_vl",
    "mistral3",
    "gemma3_window",
}
"""Near relatives of another family; `make test-all` takes them the whole way too."""
WAYS = [
    pytest.param(name, marks=[pytest.mark.sweep] if name in RARE else [])
    for name in FAMILIES
    if name not in REFUSED
]
TAUGHT = {"circle", "star", "square"}
TOWER = re.compile(r"vision|visual|projector|connector|lm_head|embed_tokens|merger")


@pytest.mark.parametrize("name", WAYS)
def test_a_family_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    """Two images of unlike shape: search, scores, pairs, one step whose reference is right, an adapter that answers."""
    way = go(name, tmp_path)
    check_values(to_table(way.sentences, Sentence), Sentence, place="sentences", made_by="")
    check_values(to_table(way.responses, Response), Response, place="responses", made_by="")
    assert all(row.canonical for row in way.responses if row.finished)
    assert all(isinstance(row, Pair) for row in way.selected), way.selected
    assert way.path == _record()[name]["path"], "run: make families"
    assert len(way.report.steps) == 1
    assert way.report.references_checked == 2
    assert way.report.reference_gap is not None
    assert way.report.reference_gap < 1e-4
    assert all(reply.finished and TAUGHT & words(reply.text) for reply in way.replies), way.replies


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("internvl", "bfloat16"), pytest.param("qwen2_vl", "float16", marks=pytest.mark.sweep)],
)
def test_half_types_go_the_whole_way(name: str, dtype: Dtype, tmp_path: Path) -> None:
    """What a policy wrote in bfloat16 or float16 trains it in the same type: the tolerance follows type and length."""
    report = go(name, tmp_path, dtype=dtype).report
    assert report.references_checked == 2
    assert report.reference_gap is not None
    assert 0 < report.reference_gap < 1.0


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_cannot_go_says_why(name: str, tmp_path: Path) -> None:
    """What cannot work is one line with the reason."""
    assert REFUSED[name] in finding(name, tmp_path)["result"]


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_are_on_the_language_model_alone(name: str, tmp_path: Path) -> None:
    """LoRA's pattern hits every projection of every layer of the language model, and nothing of tower or projector."""
    model = load_policy(FAMILIES[name](tmp_path)).model
    pattern = language_layers(model)
    hit = {module for module, _ in model.named_modules() if re.fullmatch(pattern, module)}
    assert not [module for module in hit if TOWER.search(module)]
    layers = model.config.get_text_config().num_hidden_layers
    for kind in ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj"):
        assert sum(module.endswith(f".{kind}") for module in hit) == layers


def test_the_record_has_every_family() -> None:
    """docs/families.json has a row for each family, and says of each what the tests above find."""
    rows = _record()
    assert list(rows) == list(FAMILIES)
    assert {name for name, row in rows.items() if row["result"] != "passes"} == set(REFUSED)


def _record() -> dict[str, dict[str, str]]:
    return {row["builder"]: row for row in json.loads(RECORD.read_text(encoding="utf-8"))}
