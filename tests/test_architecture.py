"""Imports point down, and the algorithms know neither models nor files: read from the source, nothing is run."""

import ast
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT, csrdata_files, imported_names

LEVELS = [
    {"text"},
    {"records", "errors", "progress"},
    {"search", "strict_yaml", "validation", "entry"},
    {"storage"},
    {"images", "weights"},
    {"policy", "relevance", "sources"},
    {"generation"},
    {"inspection", "evaluation", "engines"},
    {"publishing"},
    {"params", "paths"},
    {"pipeline", "cli"},
    {"__main__"},
]
"""Lowest first: a room imports from below it and from itself."""

LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted((ROOT / "csrdata").rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(ROOT / "csrdata").parts[0].removesuffix(".py")


def _third_parties(path: Path) -> set[str]:
    packages = {name.split(".")[0] for name in imported_names(path)}
    return packages - set(sys.stdlib_module_names) - {"csrdata"}


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_room_has_its_level() -> None:
    """A new room says where it stands before anything is built in it."""
    assert {_room(path) for path in FILES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", [path for path in FILES if _room(path) != "__init__"], ids=_id)
def test_imports_point_down(path: Path) -> None:
    """No file imports from its own level's other rooms or from above: config stops at the stages and the command line."""
    own = _room(path)
    allowed = {room for room, level in LEVEL.items() if level < LEVEL[own]} | {own}
    if own == "cli":
        allowed |= {"pipeline"}
    assert {_room(imported) for imported in csrdata_files(path)} - allowed == set()


@pytest.mark.parametrize("path", [path for path in FILES if _room(path) == "search"], ids=_id)
def test_the_search_is_pure(path: Path) -> None:
    """The algorithms import nothing but the language and the records: no torch, no tables, no files."""
    assert _third_parties(path) == set()
    assert imported_names(path) & {"io", "json", "os", "pathlib", "shutil", "subprocess"} == set()


def test_the_decoder_stands_on_two_packages() -> None:
    """`policy/decoding.py` can be lifted out with torch and transformers alone."""
    assert _third_parties(ROOT / "csrdata/policy/decoding.py") <= {"torch", "transformers"}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=_id)
def test_a_folder_is_a_shelf(path: Path) -> None:
    """A package's `__init__.py` imports nothing (the stages' entry point excepted), so that a room costs what it uses."""
    if _room(path) != "pipeline":
        assert imported_names(path) == set()


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_every_module_states_its_idea(path: Path) -> None:
    """A file opens with what it is about; a file with two subjects is two files, and 500 lines are two subjects."""
    text = path.read_text(encoding="utf-8")
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 500
