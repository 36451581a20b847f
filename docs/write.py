"""Write the pages of docs/ that are derived from the code and the record: `make docs` runs it, a test compares.

docs/map.md      every file with the first sentence of its docstring
docs/cli.md      every command with its help text
docs/results.md  the full table of the record (metrics/summary.md), its main figures on other processors
                 (metrics/processors/), the test split (metrics/final.md) and the ablation (metrics/ablation.md)
docs/families.md the families of models that the tests try (docs/families.json, written by `make families`)
README.md        its arms, its rows of results and its table of families, each between two marks
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDERS = ("csrdata", "stages", "benchmarks", "docs", "tests")
"""Folders of the map, in its order."""


def map_page() -> str:
    """Return docs/map.md: one line per file, in the order of folders and names."""
    lines = [
        "# Map of the files",
        "",
        "One line per file: the first sentence of its docstring or its title. `make docs` writes this page.",
    ]
    for folder in _folders():
        files = [path for path in sorted(folder.iterdir()) if _is_listed(path)]
        if not files:
            continue
        lines += ["", f"## {folder.relative_to(ROOT).as_posix()}/", ""]
        about = _first_sentence(folder / "__init__.py")
        lines += [about, ""] if about else []
        lines += ["| file | what it is for |", "| --- | --- |"]
        lines += [f"| `{path.name}` | {_about(path)} |" for path in files]
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Return docs/cli.md: Typer's own reference of the command line."""
    import typer
    from typer.cli import get_docs_for_click

    from csrdata.cli import app

    command = typer.main.get_command(app)
    with command.make_context("csrdata", ["--help"], resilient_parsing=True) as context:
        text: str = get_docs_for_click(obj=command, ctx=context, name="csrdata")
    # Examples are indented lines, which Markdown would join.
    text = re.sub(r"\n*Examples:\n((?:  .+\n?)+)", lambda found: _examples(found[1]), text)
    return text.rstrip() + "\n"


def _examples(lines: str) -> str:
    commands = "\n".join(f"$ {line.strip()}" for line in lines.strip().splitlines())
    return f"\n\n**Examples**:\n\n```console\n{commands}\n```\n"


def results_page() -> str:
    """Return docs/results.md: the tables of the record, the test split and the ablation, where there are any."""
    table = (ROOT / "metrics/summary.md").read_text(encoding="utf-8").strip()
    final, ablation = ROOT / "metrics/final.md", ROOT / "metrics/ablation.md"
    others = sorted((ROOT / "metrics/processors").glob("*.json"))
    if others:
        table += f"\n\n# On other processors\n\n{processors_table([ROOT / 'metrics/summary.json', *others])}"
    if final.is_file():
        table += f"\n\n# The test split\n\n{final.read_text(encoding='utf-8').strip()}"
    pictures = [text for name, text in PICTURES.items() if (ROOT / "metrics" / name).is_file()]
    if ablation.is_file():
        table = "\n\n".join(
            [table, "# The ablation", *pictures, ablation.read_text(encoding="utf-8").strip()]
        )
    return (
        "# Results\n\n"
        "The whole table of the record, as `make repro` printed it. `make docs` writes this page.\n"
        "What the figures mean and what they do not show: [evaluation.md](evaluation.md#what-the-figures-mean).\n\n"
        f"{table}\n"
    )


def processors_table(summaries: Sequence[Path]) -> str:
    """Return the main figures on several processors, each with its base and its last iteration.

    Args:
        summaries: files of `metrics/summary.json`, the record's first. NAME.json is of the same params.yaml, NAME.ARM.json
            of an arm.
    """
    from csrdata.evaluation.scorecard import FIGURES

    read = [json.loads(path.read_text(encoding="utf-8")) for path in summaries]
    names = [summary["prepared"]["machine"]["processor"] for summary in read]
    arms = [path.stem.partition(".")[2] for path in summaries]
    titles = [f"{name}, arm {arm}" if arm else name for name, arm in zip(names, arms, strict=True)]
    columns = [
        (f"{title}: {words}", summary["splits"], policy)
        for title, summary in zip(titles, read, strict=True)
        for last in [summary["iterations"][-1]]
        for words, policy in (("base", "base"), (f"iteration {last}", last))
    ]
    lines = [
        "Another processor adds numbers in another order, so that the base and the scorers are other models. The same",
        "seeds, and `params.yaml` or the arm that is named, from nothing on each; the record is the first.",
    ]
    for split in ("held_out", "out_of_distribution"):
        heads = " | ".join(title for title, _, _ in columns)
        lines += ["", f"## {split.replace('_', ' ')}, base and last iteration", "", f"| figure | {heads} |"]
        lines.append(f"| {' | '.join(['---'] * (1 + len(columns)))} |")
        for name in PROCESSOR_FIGURES:
            cells = [
                _interval(splits[split][policy].get(name), FIGURES[name].digits)
                for _, splits, policy in columns
            ]
            lines.append(f"| {' | '.join((FIGURES[name].title, *cells))} |")
    return "\n".join(lines)


def _interval(figure: dict[str, Any] | None, digits: int) -> str:
    """Show a figure of a summary. Example: `14.4 [12.2, 16.5]`."""
    if figure is None or figure["value"] is None:
        return "-"
    value, low, high = (
        "-" if figure[key] is None else f"{figure[key]:.{digits}f}" for key in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def families_page() -> str:
    """Return docs/families.md: what the tests found for each family of models."""
    lines = [
        "# Families of models",
        "",
        "What the tests found for each family: a tiny randomly initialised model of the real class, with its real processor",
        "class, goes from search to a trained adapter that answers, with two images of unlike shape",
        "(`tests/generation/test_every_family.py`). The chat templates of these tests are written from memory: close to the",
        "originals, not equal. No released weights were used. `make families` writes the record, `make docs` this page.",
        "",
        "| family | what is tried | class in transformers | decoding | result |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in _families():
        cells = (row["family"], row["about"], f"`{row['class']}`", row["path"] or "-", row["result"])
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _families() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((ROOT / "docs/families.json").read_text(encoding="utf-8"))
    return rows


def _families_table() -> str:
    """Return the README's table: the families by how their answers are decoded."""
    kinds: dict[str, dict[str, None]] = {}
    for row in _families():
        kind = {
            "shared prefix": "decoded over a shared prefix",
            "cache within a sentence": "encoded once per sentence, a few times slower",
            "plain": "encoded again for every token, many times slower",
        }
        kinds.setdefault(kind.get(row["path"], "refused in one line"), {})[row["family"]] = None
    rows = [f"| {kind} | {', '.join(names)} |" for kind, names in sorted(kinds.items())]
    return "\n".join(["| answers | families |", "| --- | --- |", *rows])


def readme() -> str:
    """Return README.md with the rows of the record's table for held-out images, and the families by their decoding."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = _between(text, FAMILIES, _families_table())
    text = _between(text, ARMS, arms_table(ROOT / "metrics/ablation.json"))
    held_out = (ROOT / "metrics/summary.md").read_text(encoding="utf-8").partition("## held out\n")[2]
    lines = held_out.partition("\n## ")[0].splitlines()
    table = [
        line
        for line in lines
        if line.startswith(("| figure |", "| --- |", *(f"| {name} |" for name in ROWS)))
    ]
    return _between(text, RESULTS, "\n".join(table))


def arms_table(path: Path) -> str:
    """Return the README's table of arms from metrics/ablation.json: those of `README_ARMS` that have results.

    Without any, the sentence that says so.
    """
    from csrdata.ablation.base_curve import AT_THIS_RECALL
    from csrdata.ablation.by_seed import PRIMARY

    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    arms = [name for name in README_ARMS if f"{HELD_OUT}/{PRIMARY}" in found.get(name, {})]
    if not arms:
        return "No arm of this version of the microworld has been run yet: `make ablation`."
    columns = {
        f"{HELD_OUT}/{PRIMARY}": "CHAIR_S at the base's recall",
        f"{OUT_OF_DISTRIBUTION}/{PRIMARY}": "the same, out of distribution",
        f"{HELD_OUT}/chair_s": "CHAIR_S",
        f"{HELD_OUT}/recall": "recall",
        f"{HELD_OUT}/present_per_answer": "objects named",
        f"{HELD_OUT}/length": "words",
        f"{HELD_OUT}/{AT_THIS_RECALL}": "CHAIR_S of the base at this recall",
    }
    heads = ("arm", *columns.values(), "first column by seed")
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name in arms:
        cells = [_arm_cell(found[name].get(metric), metric.partition("/")[2]) for metric in columns]
        seeds = " / ".join(
            "-" if one is None else f"{one:.1f}" for one in found[name][f"{HELD_OUT}/{PRIMARY}"]["seeds"]
        )
        lines.append(f"| {' | '.join((name, *cells, seeds))} |")
    return "\n".join(lines)


def _arm_cell(cell: dict[str, Any] | None, figure: str) -> str:
    """Show a figure; b and s: it differs from base and from shipped. Example: `14.4 [12.2, 16.5] b s`."""
    from csrdata.evaluation.holm import SIGNIFICANT
    from csrdata.evaluation.scorecard import FIGURES

    if cell is None or cell["value"] is None:
        return "-"
    digits = FIGURES[figure].digits if figure in FIGURES else 1
    value, low, high = (
        "-" if cell[key] is None else f"{cell[key]:.{digits}f}" for key in ("value", "low", "high")
    )
    interval = [] if cell["p_vs_base"] is None and low == "-" else [f"[{low}, {high}]"]
    marks = [
        mark
        for mark, key in (("b", "p_vs_base"), ("s", "p_vs_shipped"))
        if cell[key] is not None and cell[key] < SIGNIFICANT
    ]
    return " ".join([value, *interval, *marks])


def _between(text: str, name: str, new: str) -> str:
    """Return the text of a page with something new between the two marks of a name."""
    start, end = f"<!-- {name}: written by `make docs` -->", f"<!-- end of {name} -->"
    before, rest = text.split(start)
    return f"{before}{start}\n{new}\n{end}{rest.split(end)[1]}"


FAMILIES, RESULTS, ARMS = "families", "results", "arms"
"""What the README has between two marks."""
HELD_OUT, OUT_OF_DISTRIBUTION = "held_out", "out_of_distribution"
PICTURES = {
    "ablation.svg": "![Recall and CHAIR_S of all arms, and the curve of the base](../metrics/ablation.svg)",
    "ablation.scorers.svg": "![The gain of one iteration against the scorer's accuracy](../metrics/ablation.scorers.svg)",
}
"""Of the arms, by their file in metrics/."""
README_ARMS = ("base", "shipped", "paper", "best-of-n", "only-ri", "sft-chosen", "self-rewarding")
"""The arms of the README, in its order."""
PROCESSOR_FIGURES = (
    "chair_s_at_recall",
    "chair_s",
    "recall",
    "present_per_answer",
    "length",
    "attribute_errors",
    "well_formed",
    "pope_accuracy",
)
"""Figures that are shown for every processor."""
ROWS = ("CHAIR_S at the base's recall", "CHAIR_S", "recall", "length", "POPE accuracy")
PAGES = {
    "docs/map.md": map_page,
    "docs/cli.md": cli_page,
    "docs/results.md": results_page,
    "docs/families.md": families_page,
    "README.md": readme,
}


def _folders() -> Iterator[Path]:
    """Yield every folder of the map, parents first."""
    for name in FOLDERS:
        top = ROOT / name
        yield top
        yield from sorted(
            path
            for path in top.rglob("*")
            if path.is_dir() and path.name != "__pycache__" and _has_files(path)
        )


def _has_files(folder: Path) -> bool:
    return any(_is_listed(path) for path in folder.iterdir())


def _is_listed(path: Path) -> bool:
    """Say whether a file has a line: code with content, profiles, templates and pages."""
    if not path.is_file() or path.suffix not in {".py", ".md", ".yaml", ".jinja"}:
        return False
    return path.name != "__init__.py"


def _about(path: Path) -> str:
    """Return a file's purpose: its docstring's first sentence, its title, or its first comment."""
    if path.suffix == ".py":
        return _first_sentence(path)
    for line in path.read_text(encoding="utf-8").splitlines():
        text = re.sub(r"^(\{#-?|#+|<!--)\s*", "", line.strip()).removesuffix("#}").removesuffix("-->").strip()
        if text:
            return _cell(_sentence(text))
    return ""


def _first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring; empty without one."""
    if not path.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return _cell(_sentence(paragraph))


def _sentence(text: str) -> str:
    """Cut a text behind its first sentence.

    Example: "Write tables. A rename ends it." -> "Write tables."
    """
    found = re.match(r".*?[.!?](?=\s+[A-Z`]|$)", text)
    return found[0] if found else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write all pages; with `--check`, exit with 1 where a page differs."""
    stale = []
    for name, page in PAGES.items():
        path = ROOT / name
        text = page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'differs' if '--check' in sys.argv else 'written'}: {', '.join(stale)}", file=sys.stderr)
    if stale and "--check" in sys.argv:
        sys.exit(1)


if __name__ == "__main__":
    main()
