"""How a process ends: an error that the user can fix is one line, a defect of csrdata is a traceback."""

import errno
import tomllib
import warnings

import pytest

from csrdata.entry import ENVIRONMENT, EXTRAS, explain, leaving_in_words
from tests.imports import ROOT
from tests.nasty import NASTY, SURROGATE, unsafe

ALL = "".join(NASTY.values()) + SURROGATE


def _ends(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as leaving, leaving_in_words("a stage", kept="; shards are kept"):
        raise error
    assert isinstance(leaving.value.code, int)
    return leaving.value.code, capsys.readouterr().err


def test_every_package_of_an_extra_is_known() -> None:
    """The mapping has what pyproject.toml lists, each under an extra that brings it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    brings = {
        name: {
            line.partition(">=")[0].replace("_torch", "") for line in lines if not line.startswith("csrdata[")
        }
        for name, lines in extras.items()
        if name not in {"all", "dev", "fuzz", "lmms-eval"}  # csrdata itself imports nothing of the last two
    }
    assert set().union(*brings.values()) == set(EXTRAS)
    assert [module for module, extra in EXTRAS.items() if module not in brings[extra]] == []


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_extra_names_its_command(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing extra is one line, also if a submodule of it was imported."""
    error = ModuleNotFoundError(f"No module named '{module}.x'", name=f"{module}.x")
    assert _ends(error, capsys) == (
        1,
        f"Python module {module}: got no such module, expected the extra {EXTRAS[module]}. "
        f"Next: pip install 'csrdata[{EXTRAS[module]}]', then the same command again\n",
    )


@pytest.mark.parametrize("number", ENVIRONMENT, ids=errno.errorcode.get)
def test_a_system_that_says_no_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A full or read-only disk, no permission, a long name: the error has the path, the system's message and the remedy."""
    code, line = _ends(OSError(number, "no such luck", f"data/{ALL}"), capsys)
    assert code == 1
    assert f"got no such luck, expected {ENVIRONMENT[number]}" in line
    assert line.startswith("data/")
    assert line.count("\n") == 1
    assert unsafe(line) == set()


@pytest.mark.parametrize(
    "error",
    [
        ValueError(ALL),
        FileNotFoundError(errno.ENOENT, "no such file", ALL),
        ModuleNotFoundError("csrdata.nothing", name="csrdata.nothing"),
        ModuleNotFoundError("yaml", name="yaml"),
        KeyError(ALL),
    ],
    ids=["value", "file", "our module", "a base package", "key"],
)
def test_a_fault_of_ours_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """A defect of csrdata keeps its traceback, every line of it safe to print."""
    assert explain(error) is None
    code, said = _ends(error, capsys)
    assert code == 1
    assert said.startswith("Traceback (most recent call last):\n")
    assert f"\n{type(error).__name__}: " in said
    assert unsafe(said) == set()


def test_a_warning_is_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is printed without its source line, and Python's format is restored afterwards."""
    before = warnings.formatwarning
    with leaving_in_words("a stage"), warnings.catch_warnings():
        warnings.simplefilter("always")
        assert warnings.formatwarning(ALL, UserWarning, "file.py", 3).count("\n") == 1
        assert unsafe(warnings.formatwarning(ALL, UserWarning, "file.py", 3)) == set()
    assert warnings.formatwarning is before


def test_an_exit_code_is_kept() -> None:
    """SystemExit keeps its exit code."""
    with pytest.raises(SystemExit) as leaving, leaving_in_words("a stage"):
        raise SystemExit(2)
    assert leaving.value.code == 2
