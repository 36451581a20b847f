"""docs/extending.md: its code is the code of the examples, and the examples work."""

import json
import re
import shlex
import subprocess
from functools import partial
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.engines.base import Engine, Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.runlog import RunLog
from csrdata.errors import UserError
from csrdata.inspection.stats import stats
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.export.formats import FORMATS
from csrdata.publishing.export.writing import export
from csrdata.records import Dropped, Pair, Prompt, Question
from csrdata.storage.tables import ShardStore, read_rows, write_rows
from tests.engines.test_local import ITEMS, files, open_worker, shard
from tests.extending.counting_engine import CountingEngine
from tests.extending.plain_export import PLAIN
from tests.extending.swapped_words import main as swap
from tests.extending.table_source import TableSource
from tests.extending.word_scorer import SCORER
from tests.imports import ROOT
from tests.publishing.project import PROMPTS, make_project, release
from tests.tiny import picture

DOC = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["table_source.py", "word_scorer.py", "swapped_words.py", "counting_engine.py", "plain_export.py"]
)
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


@pytest.fixture
def swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose first iteration has pairs by a rule."""
    monkeypatch.chdir(make_project(tmp_path / "project"))
    answers = {prompt.prompt_id: " A red star. A blue dot." for prompt in PROMPTS[:4]} | {
        PROMPTS[4].prompt_id: "A star."
    }
    Path("answers.json").write_text(json.dumps(answers))
    swap(Path("answers.json"), "1")
    return tmp_path


def test_pairs_of_a_rule_are_counted_and_published(swapped: Path) -> None:
    """Every prompt has a pair or a reason; `stats` and `push` take the tables."""
    figures = stats(project_tables("1").load()).pairs
    assert figures.by_origin == {"swapped_words": 4}
    assert (figures.dropped["equal_texts"], figures.dropped["no_response"]) == (1, 2)
    release(Path(), swapped / "release", ("1",))
    pair = read_rows(paths.pairs("1"), Pair, made_by="the test")[0]
    assert (pair.chosen, pair.rejected) == (" A red star. A blue dot.", " A blue star. A blue dot.")


def test_an_export_loads_by_its_own_command(swapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command gives a row per pair, whose image is a copy in the folder."""
    monkeypatch.setitem(FORMATS, "plain", PLAIN)
    pairs = read_rows(paths.pairs("1"), Pair, made_by="the test")
    done = export(pairs, to="plain", folder=swapped / "out", root=Path(), name="swapped")
    printed = subprocess.run(shlex.split(done.usage), capture_output=True, text=True, check=True).stdout
    for line, pair in zip(printed.splitlines(), pairs, strict=True):
        row = json.loads(line)
        assert (row["id"], row["rejected"]) == (pair.prompt_id, "A blue star. A blue dot.")
        assert (done.folder / row["image"]).read_bytes() == Path(pair.image).read_bytes()


def _table(folder: Path, ids: list[str]) -> TableSource:
    file = folder / "prompts.jsonl"
    rows = [{"id": one, "image": f"photos/{one}.jpg", "text": "Describe it."} for one in ids]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TableSource(file)


def test_a_source_gives_rows_that_the_tables_take(tmp_path: Path) -> None:
    """Prompts from any order of lines are the same and are read back as they were written; no questions are stored too."""
    source = _table(tmp_path, ["c", "a", "b", "d"])
    prompts, questions = source.prompts(count=3, seed=0), source.questions()
    write_rows(tmp_path / "prompts.parquet", prompts, Prompt)
    write_rows(tmp_path / "questions.parquet", questions, Question)
    assert read_rows(tmp_path / "prompts.parquet", Prompt, made_by="the test") == prompts
    assert read_rows(tmp_path / "questions.parquet", Question, made_by="the test") == questions
    assert (source.files(), source.truths()) == ([tmp_path / "prompts.jsonl"], [])
    again = _table(tmp_path, ["d", "c", "b", "a"])
    assert (again.prompts(count=3, seed=0), again.questions()) == (prompts, questions)


def test_a_source_refuses_in_one_line(tmp_path: Path) -> None:
    """Too few lines, an id given twice, and a line that is no prompt."""
    with pytest.raises(UserError, match="got 1, expected 2 prompts"):
        _table(tmp_path, ["a"]).prompts(count=2, seed=0)
    with pytest.raises(UserError, match="line 2: got a, expected an id used once"):
        _table(tmp_path, ["a", "a"]).prompts(count=1, seed=0)
    source = _table(tmp_path, [])
    source.file.write_text("[1]\n")
    with pytest.raises(UserError, match=r"line 1: got \[1\], expected a JSON object with id, image and text"):
        source.prompts(count=1, seed=0)
