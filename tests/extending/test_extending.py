"""docs/extending.md: its code is the code of the examples, and the examples work."""

import re
from functools import partial
from pathlib import Path

import pytest

from csrdata.engines.base import Engine, Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.runlog import RunLog
from csrdata.records import Dropped
from csrdata.storage.tables import ShardStore
from tests.engines.test_local import ITEMS, files, open_worker, shard
from tests.extending.counting_engine import CountingEngine
from tests.extending.word_scorer import SCORER
from tests.imports import ROOT
from tests.tiny import picture

DOC = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["word_scorer.py", "counting_engine.py"])
def test_the_page_shows_the_code_that_runs(name: str) -> None:
    """Each code block of the page is the example file, character by character."""
    blocks = re.findall(r"```python\n(.*?)```", DOC, flags=re.DOTALL)
    assert (ROOT / "tests/extending" / name).read_text(encoding="utf-8") in blocks


def test_an_engine_writes_what_the_local_engine_writes(tmp_path: Path) -> None:
    """Another engine gives the same bytes; a second run finds all of them good and opens no worker."""
    (tmp_path / "pids").mkdir()
    counting = CountingEngine()
    engines: dict[str, Engine] = {"local": LocalEngine(), "counting": counting}
    for opening in (partial(open_worker, tmp_path / "pids"), _open_nothing):
        for name, engine in engines.items():
            engine.run(
                ShardStore(tmp_path / name, Dropped, fingerprint={"run": "a"}, shards=4),
                shard(ITEMS, 2),
                opening,
                title="t",
                unit="item",
                log=RunLog(tmp_path / "log.jsonl"),
            )
    assert counting.made == [0, 1, 2, 3]
    assert files(tmp_path / "local") == files(tmp_path / "counting")


def _open_nothing(_number: int) -> Worker:
    raise AssertionError("a complete store needs no worker")


def test_a_scorer_repeats_itself() -> None:
    """The same calls give the same values; a text is compared with those before it."""
    scores = SCORER.open([picture(0)])
    (found,) = scores.relevance([0], ["There is a red dog."])
    assert found == (50.0, False)
    assert scores.repetition(["a dog", "a dog"], [(), ("A dog.",)]) == [0.0, 1.0]
