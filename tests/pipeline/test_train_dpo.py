"""`train_dpo`: a table of pairs becomes a policy, a step log and figures, for whole answers and for continuations."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline import sample_prompts, train_dpo
from csrdata.pipeline.train_dpo import step_log
from csrdata.records import Pair, PairScores, Prompt
from csrdata.storage.tables import read_json, read_rows, write_rows
from tests.pipeline.world import draw_world, small_params

SMALL = {"epochs": 1, "batch_size": 2, "lora_rank": 2, "lora_alpha": 4}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with prompts and an untrained base policy, and pairs of another origin in iteration 1."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(params())
    first, second, *_ = read_rows(paths.PROMPTS, Prompt, made_by="")
    rows = [
        pair(first, chosen=" A red circle.", rejected=" A blue square."),
        pair(
            first,
            number=1,
            context=" A red circle.",
            chosen="",
            rejected=" And a dog.",
            rejected_complete=False,
        ),
        pair(second, context=" Yes.", chosen=" It is red.", rejected=" It is blue.", chosen_complete=False),
    ]
    write_rows(paths.pairs("1"), rows, Pair)


def params(**train: Any) -> Params:
    return small_params(train_dpo={**SMALL, **train})


def pair(prompt: Prompt, *, margin: float | None = None, **fields: Any) -> Pair:
    scores = PairScores(margin=margin)
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        origin="judge",
        scores=scores,
        **fields,
    )


def test_pairs_become_a_policy() -> None:
    """Whole answers, sentences and an end train together; the log has a row per step and no nulls."""
    train_dpo.run(params(), "1")
    assert (paths.policy("1") / "adapters/1/adapter_model.safetensors").is_file()
    log = pl.read_parquet(step_log("1"))
    assert log["step"].to_list() == [1, 2]
    assert sum(log.null_count().row(0)) == 0
    figures = read_json(paths.stage_metrics("train_dpo", "1"), made_by="")
    assert (figures["pairs"], figures["steps"], figures["references_checked"]) == (3, 2, 0)
    assert 0 <= figures["accuracy_last_tenth"] <= 1


def test_fine_tuning_has_nothing_of_the_reference() -> None:
    """With dpo_weight 0 the same columns exist, as numbers, and are null where there is no reference."""
    train_dpo.run(params(dpo_weight=0), "1")
    log = pl.read_parquet(step_log("1"))
    assert log.dtypes == [pl.Int64] + [pl.Float64] * (len(log.columns) - 1)
    empty = {column.name for column in log if column.null_count() == len(log)}
    assert empty == {"accuracy", "margin", "chosen_reward", "rejected_reward", "rejected_logprob"}
    assert read_json(paths.stage_metrics("train_dpo", "1"), made_by="")["margin_last_tenth"] is None


def test_a_missing_margin_stops_before_anything_is_written() -> None:
    """A pair without a margin is refused by name where the loss uses margins; no policy is written."""
    with pytest.raises(
        UserError, match=r"^pair [\w-]+: margin: got null, expected 0 or more, as train_dpo\.margin"
    ):
        train_dpo.run(params(margin="weight"), "1")
    assert not paths.policy("1").exists()
