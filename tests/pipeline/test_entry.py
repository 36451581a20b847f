"""The one way into the stages: names, iterations and what a mistake prints."""

from pathlib import Path

import pytest

from csrdata import pipeline
from csrdata.errors import UserError
from csrdata.params import Params
from tests.imports import ROOT


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("select_pair", "1", "stage: got select_pair, expected select_pairs. Next: csrdata run select_pairs"),
        (
            "select_pairs",
            None,
            "select_pairs: iteration: got '', expected one of 1, 2, 3 (params.yaml: iterations)",
        ),
        ("select_pairs", "9", "got 9, expected one of 1, 2, 3"),
        ("select_pairs", "base", "got base, expected one of 1, 2, 3"),
        ("evaluate_policy", "9", "evaluate_policy: policy: got 9, expected one of base, 1, 2, 3"),
        ("summarize", "1", "summarize: nothing: got 1, expected none. Next: csrdata run summarize"),
    ],
)
def test_a_wrong_name_is_one_line(stage: str, name: str | None, message: str) -> None:
    """An unknown stage, an unknown iteration, or one where none is wanted: place, value, expected, next command."""
    with pytest.raises(UserError) as caught:
        pipeline.run(stage, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_prints_one_line_and_leaves_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing input is the user's to mend: stderr has one line with the next command, no traceback; nothing is written."""
    with pytest.raises(SystemExit) as caught:
        pipeline.main("select_pairs", ["1"])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [err.strip()]
    assert "dvc repro sample_prompts" in err
    assert sorted(path.name for path in Path().iterdir()) == ["logs", "params.yaml"]  # the lock is in logs/


def test_an_interrupt_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C prints no traceback: what was kept and how to go on, and the exit code that shells expect."""

    def interrupt(_params: Params, _name: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("csrdata.pipeline.select_pairs.run", interrupt)
    with pytest.raises(SystemExit) as caught:
        pipeline.main("select_pairs", ["1"])
    assert caught.value.code == 130
    assert (
        capsys.readouterr().err == "select_pairs: interrupted; what was finished is kept. Next: dvc repro\n"
    )


def test_a_script_takes_no_second_word(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not understood is refused, not ignored."""
    with pytest.raises(SystemExit):
        pipeline.main("select_pairs", ["1", "2"])
    assert "got 1 2" in capsys.readouterr().err
