"""A dataset of the Hub as a source: one commit, streamed, its images written once; a server on this machine answers."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.imports import ROOT
from tests.publishing.hub_server import environment, serve
from tests.publishing.hub_state import Fault, Hub
from tests.tiny import picture

ASK = """
import json, sys, time
from pathlib import Path
from csrdata.errors import UserError
from csrdata.sources.hub import HubDataset
from csrdata.sources.table import Columns

time.sleep = lambda seconds: None  # between two tries
said = []
for asked in json.loads(sys.argv[1]):
    source = HubDataset(Path(), asked["id"], asked["revision"], None, asked["split"], Columns(*asked["columns"]), "kept")
    try:
        rows = [[row.prompt_id, row.image, row.text] for row in source.prompts(count=asked["count"], seed=0)]
        said.append([source.revision(), rows])
    except UserError as error:
        said.append(str(error))
print(json.dumps(said))
"""
"""Asks a source in a process by itself: the libraries read the Hub's address when they are imported."""


def png(number: int) -> bytes:
    content = io.BytesIO()
    picture(number).save(content, "PNG")
    return content.getvalue()


def rows_of(hub: Hub, folder: Path, numbers: range) -> Any:
    """Store a Parquet file with some of twelve rows; one has no image, one a damaged one."""
    images: list[Any] = [{"bytes": png(number % 10), "path": None} for number in range(12)]
    images[10], images[11] = None, {"bytes": b"no image", "path": None}
    table = {
        "image": pa.array(
            [images[number] for number in numbers], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        ),
        "question": [f"What is photo {number}?" for number in numbers],
        "key": [f"k{number:02d}" for number in numbers],
    }
    features = {
        "image": {"_type": "Image"},
        **{name: {"dtype": "string", "_type": "Value"} for name in ("question", "key")},
    }
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(table).replace_schema_metadata(meta), folder / "t.parquet")
    return hub.store((folder / "t.parquet").read_bytes(), lfs=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub with datasets of twelve rows in two files each."""
    with serve(tmp_path / "hub", lfs_from=100) as served:
        for name in ("photos", "slow", "gone"):
            repo = served.create(f"me/{name}")
            files = {
                f"data/train-0000{number}-of-00002.parquet": rows_of(served, tmp_path, numbers)
                for number, numbers in enumerate((range(5), range(5, 12)))
            }
            served.commit(repo, "photos", files)
            repo.tags["v1"] = repo.head.oid
        yield served


def ask(hub: Hub, folder: Path, *asked: dict[str, Any]) -> list[Any]:
    """Ask one source after the other; return what each gave, or the words of its error."""
    default = {
        "id": "me/photos",
        "revision": "v1",
        "split": "train",
        "columns": ["image", "question", "key", None],
        "count": 12,
    }
    words = json.dumps([default | one for one in asked])
    done = subprocess.run(
        [sys.executable, "-c", ASK, words],
        cwd=folder,
        env=environment(hub, folder / "home") | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[Any] = json.loads(done.stdout)
    return found


def test_a_dataset_is_sampled_at_one_commit(hub: Hub, tmp_path: Path) -> None:
    """A tag gives its commit; each image is written once, under its content's name; mistakes are one line each."""
    oid = hub.repo("me/photos").head.oid
    every, few, by_commit, tag, split, column, many = ask(
        hub,
        tmp_path,
        {},
        {"count": 3, "columns": ["image", "question", None, None]},
        {"count": 3, "revision": oid},
        {"revision": "v9"},
        {"split": "nope"},
        {"columns": ["image", "text", "key", None]},
        {"count": 13},
    )
    assert every[0] == few[0] == by_commit[0] == oid
    assert [(key, text) for key, _, text in every[1]] == [
        (f"k{number:02d}", f"What is photo {number}?") for number in range(12)
    ]
    paths = [path for _, path, _ in every[1]]
    assert paths[10] == "kept/no-image-in-row-10"
    assert paths[11].endswith(".bin")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == 11
    assert all(kept[Path(path).name] == png(number) for number, path in enumerate(paths[:10]))
    assert {path for _, path, _ in by_commit[1]} <= set(paths)
    assert all(key.startswith("row-0000000") for key, _, _ in few[1])
    assert tag.startswith("hub me/photos: got 404 Invalid rev id: v9, expected a branch, tag or commit")
    assert split.startswith("hub me/photos@v1: got Bad split: nope. Available splits: ['train'], expected")
    assert column.startswith("hub me/photos@v1: column text: got no such column, expected ")
    assert many.startswith("params.yaml: sample_prompts.prompts: got 13, expected at most the 12 prompts")


TRIES = 6
"""Of one request by `huggingface_hub` itself, before csrdata tries again."""


def test_a_passing_failure_costs_nothing_but_time(hub: Hub, tmp_path: Path) -> None:
    """Server errors and cut connections at every kind of request give the same prompts as none; no row comes twice."""
    hub.faults = [
        Fault("GET", "/api/datasets/me/slow/revision/v1", status=503, times=2),
        Fault("GET", "/api/datasets/me/slow/revision/[0-9a-f]{40}", status=500),
        Fault("GET", "/api/datasets/me/slow/tree/", status=503, times=TRIES + 1),
        Fault("HEAD", "/datasets/me/slow/resolve/", status=503, times=TRIES + 1),
        Fault("GET", "/datasets/me/slow/resolve/.*train-00000", kind="cut", times=2),
        Fault("GET", "/datasets/me/slow/resolve/.*train-00001", status=503, times=2 * TRIES),
    ]
    sound, slow = ask(hub, tmp_path, {}, {"id": "me/slow"})
    assert slow[1] == sound[1]
    assert [fault.times for fault in hub.faults] == [0] * len(hub.faults)


def test_a_hub_that_stays_away_is_one_line(hub: Hub, tmp_path: Path) -> None:
    """A bounded number of tries, then the status and what to do; nothing says that the dataset is missing or wrong."""
    hub.faults = [
        Fault("GET", "/api/datasets/me/slow/revision/v1", status=503, times=999),
        Fault("HEAD", "/datasets/me/photos/resolve/", status=503, times=999),
        Fault("GET", "/datasets/me/gone/resolve/.*train-00001", status=502, times=999),
    ]
    for said in ask(hub, tmp_path, {"id": "me/slow"}, {}, {"id": "me/gone"}):
        assert re.match(
            r"hub me/\w+: got 50[23].*, expected an available Hub\. Next: wait a little, then the same command",
            said,
        ), said
    tried = [999 - fault.times for fault in hub.faults]
    assert tried[0] == 4  # the client itself does not repeat this one
    assert max(tried) <= 5 * (TRIES + 1)
