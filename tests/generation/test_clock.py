"""The clock, and the summary of a run log."""

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from csrdata.engines.base import Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.runlog import RunLog
from csrdata.generation.clock import Clock
from csrdata.inspection.cost import cost
from csrdata.records import Dropped
from csrdata.storage.tables import ShardStore


class Sleeper(torch.nn.Module):
    def forward(self, seconds: float) -> None:
        time.sleep(seconds)


def test_a_clock_adds_up_and_starts_again() -> None:
    """Times of the same name are added up; `take` resets the clock."""
    clock = Clock()
    for _ in range(2):
        with clock.spend("read"):
            time.sleep(0.02)
    assert 0.04 <= clock.take()["read"] < 0.5
    assert clock.take() == {}


def test_a_module_is_counted_apart_from_the_rest() -> None:
    """The forward time of a module in the body is counted under `name`, the remaining time under `rest`."""
    clock, module = Clock(), Sleeper()
    with clock.spend_within("prefill", module, rest="vision"):
        module(0.05)
        time.sleep(0.02)
    found = clock.take()
    assert 0.05 <= found["prefill"] < 0.5
    assert 0.02 <= found["vision"] < 0.5


def test_what_a_search_cost_is_read_from_its_log(tmp_path: Path) -> None:
    """Shares add up to 100; a shard that ran twice counts once; events of an older plan and cut lines do not count."""
    clock = Clock()

    def worker(items: Any) -> list[Dropped]:
        with clock.spend("decode"):
            time.sleep(0.02)
        return [Dropped(prompt_id=item, reason="no_response", detail="") for item in items]

    path = tmp_path / "log.jsonl"
    assert cost(path) is None
    old = '{"event": "shard", "index": 7, "shards": 8, "items": 1, "rows": 1, "seconds": 1.0}\n'
    path.write_text(old, encoding="utf-8")
    for run in ("a", "b"):
        store = ShardStore(tmp_path / "shards", Dropped, fingerprint={"run": run}, shards=2)
        LocalEngine().run(
            store,
            [["p", "q"], ["r"]],
            lambda _number: Worker(worker, clock),
            title="t",
            unit="prompt",
            log=RunLog(path),
        )
    with path.open("a", encoding="utf-8") as log:
        log.write('{"event": "sh')
    found = cost(path)
    assert found is not None
    assert (found.prompts, len(pl.read_parquet(tmp_path / "shards" / "00000.parquet"))) == (3, 2)
    assert found.sentences_per_second == pytest.approx(3 / found.seconds)
    assert found.peak_mib > 10
    assert set(found.spent) == {"decode", "write", "other"}
    assert sum(found.spent.values()) == pytest.approx(100)
