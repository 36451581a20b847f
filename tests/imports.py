"""Who imports whom inside csrdata, read from the source without running it."""

import ast
from pathlib import Path

from csrdata.pipeline.code import imported, source_path

ROOT = Path(__file__).parents[1]


def imported_names(file: Path) -> set[str]:
    """Return every module that a file imports anywhere in it; `from a import b` gives `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def csrdata_files(file: Path) -> set[Path]:
    """Return the files of csrdata that a file imports directly, packages' `__init__.py` left out."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if file.name == "__init__.py":
        names = [name for name in imported_names(file) if name.startswith("csrdata.")]
        return {path for path in map(source_path, names) if path.is_file()}
    return {source_path(name) for name in imported(module)}
