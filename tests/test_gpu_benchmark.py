"""`python -m benchmarks.gpu` at a tiny size on the CPU: all sides run, every figure is kept, and the table is filed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, page
from benchmarks.gpu import Result, Settings, measure, table

SIDES = ("graphs", "without graphs", "batched", "straightforward")


def settings(shape: str, **more: Any) -> Settings:
    known: dict[str, Any] = {"device": "cpu", "dtype": "float32", "prompts": 2, "tokens": 3, "sentences": 2}
    return Settings(shape=shape, **known, **{"repeats": 1, "seconds": 300.0} | more)


@pytest.mark.parametrize("shape", ["tiny", "tiny-qwen"])
def test_all_sides_search_the_same(tmp_path: Path, shape: str) -> None:
    """Every side has its figures; with and without static shapes the same rows are fed, and a limit is above what was reached."""
    result = measure(settings(shape), out=tmp_path)
    kept = json.loads((tmp_path / f"gpu-{shape}.json").read_text(encoding="utf-8"))
    assert kept["figures"] == result.figures
    for side in SIDES:
        assert "failed" not in result.figures[side], result.figures[side]
        assert float(str(result.figures[side]["sentences_per_second"])) > 0
    one, other = (result.figures[side] for side in SIDES[:2])
    assert one["rows_per_step"] == other["rows_per_step"]
    assert 0 < float(str(one["share_of_bandwidth"])) <= float(str(one["share_of_limit"])) < 1
    assert result.figures["path"]["kind"] == "shared"
    assert [row[0] for row in table(result)][1:5] == list(SIDES)


def test_a_side_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is a figure in one line, and the other sides go on."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr("csrdata.policy.static_passes.StaticPasses._compute", refuse)
    result = measure(settings("tiny"), out=tmp_path)
    assert result.figures["graphs"] == {
        "failed": "RuntimeError: operation not permitted when stream is capturing"
    }
    assert "sentences_per_second" in result.figures["straightforward"]
    assert table(result)[1][1].startswith("RuntimeError")


def test_a_run_that_takes_too_long_leaves_sides_out(tmp_path: Path) -> None:
    """After the time of `--seconds`, no further side starts, and the figures say so."""
    result = measure(settings("tiny", seconds=0.0), out=tmp_path)
    assert all("left_out" in result.figures[side] for side in SIDES)
    assert "gb_per_second" in result.figures["device"]


def test_the_table_is_filed_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from FILE --write` needs no model: it puts the table, with the name of the device, between the marks of its shape."""
    figures: dict[str, Any] = {
        "device": {"gb_per_second": 4000.0, "tflops": 700.0},
        "graphs": {"sentences_per_second": 600.0, "seconds_per_pair": 0.1, "peak_gb": 90.0, "share_of_limit": 0.6,
                   "share_of_bandwidth": 0.4, "binds": "reading"},
        "batched": {"sentences_per_second": 100.0, "seconds_per_pair": 0.5, "peak_gb": 120.0},
        "straightforward": {"failed": "out of memory: none left"},
    }  # fmt: skip
    result = Result(settings("llava-1.5-7b"), "a device", {}, figures)
    (tmp_path / "kept.json").write_text(json.dumps(gpu.asdict(result)), encoding="utf-8")
    marks = "<!-- gpu llava-1.5-7b: written by the command below -->\nold\n<!-- end of gpu llava-1.5-7b -->"
    (tmp_path / "page.md").write_text(f"# Page\n\n{marks}\n\nend\n", encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["gpu", "--from", str(tmp_path / "kept.json"), "--write"])
    gpu.main()
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "on a device:" in text
    assert "| batched | 100.0 | 0.500 | 120.0 | 6.0 times as fast | 3 |" in text
    assert "| straightforward | out of memory: none left |" in text
    assert "| limit of decoding (4,000 GB/s, 700 TFLOP/s; reading binds) |  |  |  | 60% of it | 50% |" in text
    assert "old" not in text


def test_the_page_has_a_place_for_each_shape() -> None:
    """docs/benchmarks.md has the marks of both shapes."""
    text = page.PAGE.read_text(encoding="utf-8")
    for shape in ("llava-1.5-7b", "qwen2.5-vl-7b"):
        assert f"<!-- gpu {shape}: written by the command below -->" in text


def test_it_needs_torch_and_transformers_alone() -> None:
    """No package is imported that these two do not import themselves."""
    words = (
        "import sys, torch, transformers; from transformers import LlavaForConditionalGeneration, "
        "Qwen2_5_VLForConditionalGeneration; import transformers.integrations.sdpa_attention; "
        "before = set(sys.modules); import benchmarks.gpu; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    for absent in ("polars", "datasets", "open_clip", "trl", "peft", "dvc", "pydantic", "typer", "ray"):
        assert absent not in run.stdout.split()
