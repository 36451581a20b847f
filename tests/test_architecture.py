"""Imports point to lower levels, and the algorithms know neither models nor files: the source is parsed, not run."""

import ast
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT, csrdata_files, imported_names

LEVELS = [
    {"text"},
    {"records", "errors", "progress"},
    {"columns"},
    {"search", "strict_yaml", "validation", "entry"},
    {"storage"},
    {"images", "pinned", "weights", "hub_client"},
    {"policy", "relevance"},
    {"sources"},
    {"generation", "evaluation_sets"},
    {"inspection", "evaluation", "engines", "checking", "serving"},
    {"report"},
    {"publishing"},
    {"sections"},
    {"params", "paths"},
    {"pipeline"},
    {"ablation"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
"""Lowest first: a folder (or file) of csrdata imports from lower levels and from itself."""

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
    """Every folder and file of csrdata has a level."""
    assert {_room(path) for path in FILES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", [path for path in FILES if _room(path) != "__init__"], ids=_id)
def test_imports_point_down(path: Path) -> None:
    """No file imports from a higher level, or from another folder of its level."""
    own = _room(path)
    allowed = {room for room, level in LEVEL.items() if level < LEVEL[own]} | {own}
    assert {_room(imported) for imported in csrdata_files(path)} - allowed == set()


@pytest.mark.parametrize("path", [path for path in FILES if _room(path) == "search"], ids=_id)
def test_the_search_is_pure(path: Path) -> None:
    """The algorithms import nothing but the language and the records: no torch, no tables, no files."""
    assert _third_parties(path) == set()
    assert imported_names(path) & {"io", "json", "os", "pathlib", "shutil", "subprocess"} == set()


def test_the_decoder_stands_on_two_packages() -> None:
    """`policy/decoding.py` can be used elsewhere: it needs torch and transformers alone."""
    assert _third_parties(ROOT / "csrdata/policy/decoding.py") <= {"torch", "transformers"}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=_id)
def test_a_folder_is_a_shelf(path: Path) -> None:
    """A package's `__init__.py` imports nothing (except that of the stages), so that importing a module loads only what it uses."""
    if _room(path) != "pipeline":
        assert imported_names(path) == set()


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_every_module_states_its_idea(path: Path) -> None:
    """Every file begins with a docstring and has at most 500 lines: one subject per file."""
    text = path.read_text(encoding="utf-8")
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 500
