"""Who imports whom inside csrdata, read from the source without running it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported_names(file: Path) -> set[str]:
    """Return every module a file names in an import, wherever it stands; `from a import b` gives `a` and `a.b`."""
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
    candidates = (
        ROOT / (name.replace(".", "/") + ".py")
        for name in imported_names(file)
        if name.startswith("csrdata.")
    )
    return {path for path in candidates if path.is_file()}


def reachable(file: Path, *, exempt: frozenset[str] = frozenset()) -> set[str]:
    """Return a file and all it reaches by imports within csrdata, as POSIX paths; what is exempt is not followed."""
    found: set[str] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in found | exempt:
            found.add(name)
            waiting += csrdata_files(path)
    return found
