"""The docs against the code: what the README names exists, and every test states its rule."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csrdata.ablation.arms import read_arms
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


def test_paper_to_code_is_complete() -> None:
    """Every equation, line of Algorithm 1, table and figure of the paper has a row, and every arm that a row names exists."""
    text = (ROOT / "docs/paper_to_code.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    firsts = [row[0].removeprefix("| ") for row in rows]
    numbers = {what: _numbers(firsts, what) for what in ("equation", "line", "Table", "Figure")}
    assert numbers == {
        "equation": set(range(1, 6)),
        "line": set(range(1, 14)),
        "Table": set(range(1, 11)),
        "Figure": set(range(1, 10)),
    }
    assert any(first.startswith("Theorem 5.1") for first in firsts)
    with_arm = [row[-1] for row in rows if len(row) == 6]
    tables = [row[2] for row in rows if len(row) == 3 and row[2].startswith("arms ")]
    named = {arm for cell in (*with_arm, *tables) for arm in re.findall(r"`([^`]+)`", cell)}
    named |= {
        arm
        for sentence in re.findall(r"\n   +Arms?: (.+)", text)
        for arm in re.findall(r"`([^`]+)`", sentence)
    }
    assert len(with_arm) > 40
    assert named <= set(read_arms().by_name)
    assert len(named) > 25


def _numbers(rows: list[str], what: str) -> set[int]:
    """Return the numbers of some parts of the paper: `Tables 6 and 7` are 6 and 7."""
    found = [re.findall(rf"{what}s? (\d+)(?: and (\d+))?", row) for row in rows]
    return {int(number) for row in found for pair in row for number in pair if number}


def test_every_test_states_its_rule() -> None:
    """Each test function has a docstring of one line."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rule = ast.get_docstring(node) or ""
                assert rule, f"{path.name}: {node.name}"


def test_arms_of_the_readme_are_those_with_results(tmp_path: Path) -> None:
    """Without results a sentence; with all arms the README stays within its length; an arm without the figure has no row."""
    sys.path.insert(0, str(ROOT / "docs"))
    write = importlib.import_module("write")
    path = tmp_path / "ablation.json"
    assert "make ablation" in write.arms_table(path)
    cell = {
        "value": 12.34,
        "low": 10.0,
        "high": 14.0,
        "seeds": [12.0, 12.7],
        "p_vs_base": 0.01,
        "p_vs_shipped": 0.2,
    }
    figures = {f"held_out/{name}": cell for name in ("chair_s_at_recall", "chair_s", "recall", "length")}
    figures["held_out/base_chair_s_at_this_recall"] = {**dict.fromkeys(cell), "value": 12.34}
    path.write_text(json.dumps({"base": {}, **dict.fromkeys(reversed(write.README_ARMS[1:]), figures)}))
    lines = write.arms_table(path).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(write.README_ARMS[1:])
    known = "12.3 [10.0, 14.0] b"
    assert lines[2] == f"| shipped | {known} | - | {known} | {known} | - | {known} | 12.3 | 12.0 / 12.7 |"
    assert set(write.README_ARMS) <= set(read_arms().by_name)
    shown = README.partition("<!-- arms: ")[2].partition("<!-- end of arms -->")[0].strip().splitlines()[1:]
    assert len(README.splitlines()) - len(shown) + len(lines) + 1 <= 120


def test_figures_of_other_processors_are_next_to_the_record(tmp_path: Path) -> None:
    """Base and last iteration of each; a figure that one of them does not have is a dash. A file may name an arm."""
    sys.path.insert(0, str(ROOT / "docs"))
    write = importlib.import_module("write")
    summaries = []
    for processor, last, value in (("first", "2", 12.34), ("second", "1", None)):
        own = {"chair_s": {"value": value, "low": 10.0, "high": None}}
        by_policy = {"base": own, "1": {}, "2": {}, last: own}
        splits = {"held_out": by_policy, "out_of_distribution": by_policy}
        found = {
            "prepared": {"machine": {"processor": processor}},
            "iterations": ["base", "1", "2"][: int(last) + 1],
            "splits": splits,
        }
        summaries.append(tmp_path / f"{processor}.{'json' if last == '2' else 'groups.json'}")
        summaries[-1].write_text(json.dumps(found))
    lines = write.processors_table(summaries).splitlines()
    heads = (
        "| first: base | first: iteration 2 | second, arm groups: base | second, arm groups: iteration 1 |"
    )
    assert f"| figure {heads}" in lines
    assert "| CHAIR_S | 12.3 [10.0, -] | 12.3 [10.0, -] | - | - |" in lines
