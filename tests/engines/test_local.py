"""The local engine: the same bytes with any number of workers, no finished shard lost, no process left running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from csrdata.engines.base import Worker
from csrdata.engines.local import LocalEngine, fitting_workers, take_device
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import shard
from csrdata.errors import UserError
from csrdata.records import Dropped
from csrdata.storage.tables import ShardStore

ITEMS = "abcdefg"


def rows(items: Sequence[str], *, number: int, pids: Path) -> list[Dropped]:
    """Return one row per item; write a file named for the process, and wait so that no worker gets all shards."""
    (pids / str(os.getpid())).write_text(str(number), encoding="utf-8")
    time.sleep(0.3)
    return [Dropped(prompt_id=item, reason="no_response", detail=item * 3) for item in items]


def open_worker(pids: Path, number: int) -> Worker:
    return Worker(partial(rows, number=number, pids=pids))


def refuse(items: Sequence[str], *, number: int, pids: Path) -> list[Dropped]:
    if "e" in items:
        raise UserError("image e", got=lambda: "no pickle takes this", expected="an image", do="mend it")
    return rows(items, number=number, pids=pids)


def open_refusing(pids: Path, number: int) -> Worker:
    return Worker(partial(refuse, number=number, pids=pids))


def die(_items: Sequence[str]) -> list[Dropped]:
    os._exit(9)


def open_dying(_number: int) -> Worker:
    return Worker(die)


def open_sleeping(pids: Path, number: int) -> Worker:
    rows(["z"], number=number, pids=pids)
    return Worker(lambda _items: time.sleep(600) or [])


def store(folder: Path) -> ShardStore:
    return ShardStore(folder, Dropped, fingerprint={"run": "a"}, shards=4)


def run(folder: Path, opening: object, *, workers: int) -> None:
    LocalEngine(workers).run(
        store(folder),
        shard(ITEMS, 2),
        opening,  # type: ignore[arg-type]
        title="t",
        unit="item",
        log=RunLog(folder.parent / "log.jsonl"),
    )


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    folder = tmp_path / "pids"
    folder.mkdir()
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_two_workers_write_what_one_writes(tmp_path: Path, pids: Path) -> None:
    """Two processes write the same bytes as one; the log has every shard and the number of workers."""
    run(tmp_path / "one", partial(open_worker, pids), workers=1)
    assert [path.name for path in pids.iterdir()] == [str(os.getpid())]
    (pids / str(os.getpid())).unlink()
    run(tmp_path / "two", partial(open_worker, pids), workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "two")) == 4
    assert sorted(path.read_text(encoding="utf-8") for path in pids.iterdir()) == ["0", "1"]
    assert str(os.getpid()) not in {path.name for path in pids.iterdir()}
    log = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert (log.count('"workers": 1'), log.count('"workers": 2')) == (4, 4)


def test_one_process_lists_what_all_of_them_wrote(tmp_path: Path, pids: Path) -> None:
    """The manifest of two workers equals that of one and lists every shard; the folder has no other file."""
    for workers in (1, 2):
        run(tmp_path / str(workers), partial(open_worker, pids), workers=workers)
    one, two = ((tmp_path / name / "manifest.json").read_bytes() for name in ("1", "2"))
    assert one == two
    assert one.count(b"sha256") == 4
    assert {path.name for path in (tmp_path / "2").iterdir()} == {*files(tmp_path / "2"), "manifest.json"}


def test_nothing_missing_opens_no_worker(tmp_path: Path, pids: Path) -> None:
    """A complete store opens no worker, so that no model is loaded."""
    run(tmp_path / "one", partial(open_worker, pids), workers=1)
    run(tmp_path / "one", None, workers=2)


def test_a_mistake_in_a_worker_is_the_users_line(tmp_path: Path, pids: Path) -> None:
    """A worker's UserError reaches the caller unchanged; finished shards are kept, and the next run computes the others."""
    with pytest.raises(UserError, match=r"^image e: got <function .*>, expected an image. Next: mend it$"):
        run(tmp_path / "two", partial(open_refusing, pids), workers=2)
    kept = files(tmp_path / "two")
    assert "00002.parquet" not in kept
    assert kept
    run(tmp_path / "two", partial(open_worker, pids), workers=2)
    run(tmp_path / "one", partial(open_worker, pids), workers=1)
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    """A worker that is killed, for example for its memory, gives one line that names the parameter."""
    with pytest.raises(UserError, match=r"params.yaml: engine.workers: got 2, and one of the processes died"):
        run(tmp_path / "two", open_dying, workers=2)
    assert not files(tmp_path / "two")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_leave_with_their_parent(tmp_path: Path, pids: Path, sent: signal.Signals) -> None:
    """Workers end when their parent is killed or interrupted, without finishing their shards."""
    code = (
        "import signal\nfrom functools import partial\nfrom pathlib import Path\n"
        "from tests.engines.test_local import open_sleeping, run\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"    run(Path({str(tmp_path / 'two')!r}), partial(open_sleeping, Path({str(pids)!r})), workers=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert _wait_for(lambda: len(list(pids.iterdir())) == 2, seconds=60)
        parent.send_signal(sent)
        parent.wait(timeout=20)
    children = [int(path.name) for path in pids.iterdir()]
    assert _wait_for(lambda: not any(_alive(pid) for pid in children), seconds=20)


@pytest.mark.parametrize(
    ("sent", "everybody", "word"),
    [
        (signal.SIGINT, True, "interrupted"),
        (signal.SIGTERM, True, "terminated"),
        (signal.SIGTERM, False, "terminated"),
    ],
)
def test_a_signal_to_a_pool_is_one_line(
    tmp_path: Path, pids: Path, sent: signal.Signals, everybody: bool, word: str
) -> None:
    """After Ctrl-C, which reaches every process, only the parent reports it, and no worker is left."""
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\nfrom pathlib import Path\n"
        "from csrdata.entry import leaving_in_words\n"
        "from tests.engines.test_local import open_sleeping, run\n"
        "if __name__ == '__main__':\n"
        "    with leaving_in_words('a stage', kept='; shards are kept'):\n"
        f"        run(Path({str(tmp_path / 'two')!r}), partial(open_sleeping, Path({str(pids)!r})), workers=2)\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert _wait_for(lambda: len(list(pids.iterdir())) == 2, seconds=60)
        if everybody:
            os.killpg(parent.pid, sent)
        else:
            parent.send_signal(sent)
        _, said = parent.communicate(timeout=30)
    lines = [line for line in said.splitlines() if not line.startswith("t: ")]
    assert (parent.returncode, lines) == (128 + sent, [f"a stage: {word}; shards are kept"])
    children = [int(path.name) for path in pids.iterdir()]
    assert _wait_for(lambda: not any(_alive(pid) for pid in children), seconds=20)


def test_workers_that_do_not_fit_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU no more workers start than the cores allow; on an accelerator all start."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)))
    assert fitting_workers(2, device="cpu", threads=2) == 2
    with pytest.warns(
        UserWarning, match=r"engine.workers: 3 of 2 threads each do not fit on 4 cores: 2 is used"
    ):
        assert fitting_workers(3, device="cpu", threads=2) == 2
    with pytest.warns(UserWarning, match="1 is used"):
        assert fitting_workers(2, device="cpu", threads=8) == 1
    assert fitting_workers(8, device="cuda", threads=8) == 8


def test_a_device_that_is_named_stays() -> None:
    """Any device but `cuda` is returned unchanged."""
    assert take_device("cpu", 3) == "cpu"


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for(condition: object, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False
