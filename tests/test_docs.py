"""The docs against the code: what the README says is there, is there; every test states its rule."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = README.partition("## Map of the files")[2].partition("\n## ")[0]


def _named() -> set[str]:
    """Return the paths of the map: the first word of each line of its block; an indented one lies in the folder above."""
    names: set[str] = set()
    folders: list[str] = []
    for line in re.findall(r"^( *)(\S+)  ", MAP, flags=re.MULTILINE):
        depth, name = len(line[0]) // 2, line[1]
        folders = [*folders[:depth], name]
        names.add("".join(folders))
    return names


def _is_code(path: Path) -> bool:
    return path.name != "__init__.py" and "__pycache__" not in path.parts


def test_the_map_names_every_file() -> None:
    """Every module, stage and profile has its line in the README, and every line its file."""
    files = {
        path.relative_to(ROOT).as_posix()
        for folder, pattern in (
            ("csrdata", "*.py"),
            ("stages", "*.py"),
            ("profiles", "*.yaml"),
            ("docs", "*.md"),
        )
        for path in (ROOT / folder).rglob(pattern)
        if _is_code(path)
    }
    named = _named()
    assert sorted(files - named) == []
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_readme_opens_with_two_commands() -> None:
    """One sentence, then the two commands."""
    opening = README.partition("```")[0].strip().splitlines()
    assert opening[0] == "# csrdata"
    assert "make repro" in README.partition("```")[2].partition("```")[0]
    assert "make test" in README.partition("```")[2].partition("```")[0]


@pytest.mark.parametrize("command", ["stats", "show", "diff", "run", "push", "pull", "export"])
def test_the_readme_names_every_command(command: str) -> None:
    """A command that `csrdata --help` lists is in the README."""
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert command in done.stdout
    assert f"csrdata {command}" in README


def test_paper_to_code_points_at_code() -> None:
    """Every `file.py:name` in docs/paper_to_code.md exists."""
    text = (ROOT / "docs/paper_to_code.md").read_text(encoding="utf-8")
    found = re.findall(r"`([\w/]+\.py):(\w+)`", text)
    assert len(found) >= 10
    for file, name in found:
        tree = ast.parse((ROOT / "csrdata" / file).read_text(encoding="utf-8"))
        names = {getattr(node, "name", None) for node in ast.walk(tree)}
        assert name in names, f"{file}:{name}"


def test_every_test_states_its_rule() -> None:
    """Each test function has a docstring of one line."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rule = ast.get_docstring(node) or ""
                assert rule, f"{path.name}: {node.name}"
