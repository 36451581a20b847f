"""The docs against the code: what the README names exists, and every test states its rule."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.md")]


def test_written_pages_are_up_to_date() -> None:
    """The map, the reference of the command line, the results and the README's table are what `make docs` writes."""
    done = subprocess.run(
        [sys.executable, "docs/write.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page names a file, and its anchor a heading there."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_the_readme_is_a_landing_page() -> None:
    """The README has at most 120 lines; longer texts are separate pages."""
    assert len(README.splitlines()) <= 120


def test_the_readme_opens_with_two_commands() -> None:
    """The README opens with one sentence and then the two commands."""
    opening = README.partition("```")[0].strip().splitlines()
    assert opening[0] == "# csrdata"
    assert "make repro" in README.partition("```")[2].partition("```")[0]
    assert "make test" in README.partition("```")[2].partition("```")[0]


@pytest.mark.parametrize(
    "command", ["stats", "show", "diff", "report", "run", "push", "pull", "export", "import"]
)
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
