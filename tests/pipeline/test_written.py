"""What a stage says that it wrote is what is on the disk."""

from pathlib import Path

import pytest

from csrdata.pipeline.written import files_now, written
from csrdata.records import Dropped, DropReason
from csrdata.storage.tables import write_json, write_rows

ROWS = [Dropped(f"train-{number}", DropReason.NO_RESPONSE, "") for number in range(3)]


def test_new_and_changed_files_are_named_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with their rows; what was there before and stays is not counted."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("data/select_pairs/1/pairs.parquet"), ROWS, Dropped)
    write_json(Path("metrics/a.json"), {"kept": 1})
    before = files_now()
    assert written(before, before) == "wrote nothing, its outputs were complete"
    write_rows(Path("data/select_pairs/2/pairs.parquet"), ROWS, Dropped)
    write_rows(Path("data/select_pairs/2/dropped.parquet"), ROWS[:1], Dropped)
    write_json(Path("metrics/a.json"), {"kept": 1})
    write_json(Path("logs/run.json"), {})
    assert written(before, files_now()) == (
        "wrote 3 files, 4 rows (data/select_pairs/2: 2 files, 4 rows; metrics: 1 file)"
    )


def test_a_project_without_outputs_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, or a file in the place of one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("", encoding="utf-8")
    assert files_now() == {}
