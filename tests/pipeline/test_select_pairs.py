"""The wiring of `select_pairs`: every prompt is in exactly one of its two tables."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.params import load_params
from csrdata.pipeline.select_pairs import run
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.storage.tables import read_json, read_rows, seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import PROMPTS, RESPONSES, SENTENCES


def test_kept_and_dropped_are_the_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs, dropped prompts and metrics agree, and a second run writes the same bytes."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    params = load_params()
    of_any_length = params.select_pairs.model_copy(update={"max_length_gap": 1.0})
    params = params.model_copy(update={"select_pairs": of_any_length})
    longer = dataclasses.replace(RESPONSES[1], leaf_id=9, text="A star.", words=2)
    write_rows(paths.PROMPTS, PROMPTS, Prompt)
    too_long = dataclasses.replace(
        SENTENCES[2],
        prompt_id=PROMPTS[1].prompt_id,
        node_id=0,
        text="5,000 tokens",
        token_ids=[],
        relevance=None,
        repetition=None,
        guidance_reward=None,
        stop="too_long",
        fate="refused",
    )
    write_rows(paths.candidates("1") / "00000.parquet", [*SENTENCES, too_long], Sentence)
    seal(paths.candidates("1"), Sentence, fingerprint={})
    write_rows(paths.responses("1") / "00000.parquet", [*RESPONSES, longer], Response)
    seal(paths.responses("1"), Response, fingerprint={})
    run(params, "1")
    pairs = read_rows(paths.pairs("1"), Pair, made_by="")
    dropped = read_rows(paths.dropped("1"), Dropped, made_by="")
    assert [pair.prompt_id for pair in pairs] + [row.prompt_id for row in dropped] == [
        one.prompt_id for one in PROMPTS
    ]
    assert (pairs[0].chosen, pairs[0].rejected) == ("A red circle.", "A [blue] star here.")
    assert (dropped[0].reason, dropped[0].detail) == ("too_long", "5,000 tokens")
    metrics = read_json(paths.stage_metrics("select_pairs", "1"), made_by="")
    assert metrics["kept"] + sum(metrics["dropped"].values()) == metrics["prompts"] == len(PROMPTS)
    before = paths.pairs("1").read_bytes(), paths.dropped("1").read_bytes()
    run(params, "1")
    assert (paths.pairs("1").read_bytes(), paths.dropped("1").read_bytes()) == before
