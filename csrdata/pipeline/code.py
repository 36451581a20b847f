"""Which code a stage's result comes from: the modules that its wiring reaches by imports, and one hash of them.

Three things use it and therefore agree: the fingerprint of shards (other code makes them again), the code dependencies in
dvc.yaml (`csrdata.pipeline.dag` writes them), and the test that compares. Nothing is imported or run: the source is parsed,
in a checkout as in an installed package.

Where a module chooses by kind (`match settings.kind:`), the cases of other kinds are not followed if the caller says which
kinds are in use: a project's stages depend on the code of its own source, and not on that of the others.

The hash sees: every statement of the modules reached, those inside functions and `if TYPE_CHECKING` included. It does not
see comments, docstrings and layout; the modules of `EXEMPT`; a package's `__init__.py`, which imports nothing here; modules
that are imported by a name put together at run time; other packages and their versions; the machine.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
"""The folder of csrdata's source."""

EXEMPT = {
    "csrdata.records": "the columns: a table of other columns is refused or made again when it is read",
    "csrdata.storage.tables": "how tables are stored, not what is in them",
    "csrdata.storage.shard_manifest": "the same",
    "csrdata.storage.disk": "the same",
    "csrdata.errors": "what a mistake says",
    "csrdata.paths": "names of files; a stage's inputs are hashed by content",
    "csrdata.params": "reads values; the values are hashed themselves",
    "csrdata.storage.values": "refuses values, changes none",
    "csrdata.text": "what reaches a terminal",
    "csrdata.progress": "the same",
    "csrdata.entry": "the same",
    "csrdata.strict_yaml": "reads values; the values are hashed themselves",
    "csrdata.validation": "the same",
    "csrdata.cli": "starts a stage",
    "csrdata.pipeline.written": "says what a stage wrote",
    "csrdata.pipeline.guard": "surrounds a stage",
    "csrdata.pipeline.code": "says what the code is",
    "csrdata.pipeline.inputs": "checks that inputs are there",
    "csrdata.engines.runlog": "a log that no stage reads",
    "csrdata.generation.clock": "the same",
    "csrdata.engines.base": "what an engine promises",
    "csrdata.engines.local": "where shards run: tests/engines/test_local.py holds that its workers change no byte",
}
"""Modules that change no result, each with its reason. They are not followed either."""


Kinds = Mapping[str, Collection[str]]
"""The kinds in use, by the module that chooses among them: `{"csrdata.pipeline.source": {"llava"}}`. A module that is not in
it has all its cases followed."""


def reached(
    module: str, *, package: Path = PACKAGE, exempt: Iterable[str] = tuple(EXEMPT), kinds: Kinds | None = None
) -> list[str]:
    """Return a module and all that it reaches by imports within the package, sorted by name.

    Args:
        module: a name such as `csrdata.pipeline.score_beams`.
        package: the folder that holds the package's source.
        exempt: modules that are left out and not followed.
        kinds: the cases to follow; None follows all.
    """
    found: set[str] = set()
    waiting, left_out = [module], set(exempt)
    while waiting:
        name = waiting.pop()
        if name not in found | left_out:
            found.add(name)
            waiting += imported(name, package=package, kinds=kinds)
    return sorted(found)


def imported(module: str, *, package: Path = PACKAGE, kinds: Kinds | None = None) -> list[str]:
    """Return the modules of the package that one module imports directly, `__init__.py` left out."""
    names: set[str] = set()
    for node in _walk(_parse(module, package=package), (kinds or {}).get(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from . import x` in `a.b.c` means `a.b`, each further dot one package up.
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names.add(source)
            names.update(f"{source}.{alias.name}" for alias in node.names)
    return sorted(name for name in names if _is_module(name, package=package))


def hash_code(modules: Iterable[str], *, package: Path = PACKAGE) -> str:
    """Return the SHA-256 of the modules' names and statements; see the module's docstring for what it sees."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module}\n{_normal_form(_parse(module, package=package))}\n".encode())
    return digest.hexdigest()


def stage_hash(stage: str, *, package: Path = PACKAGE, kinds: Kinds | None = None) -> str:
    """Return the hash of all code behind a stage's result."""
    return hash_code(reached(wiring(stage), package=package, kinds=kinds), package=package)


def wiring(stage: str) -> str:
    """Return the module that a stage starts in.

    Example: "score_beams" -> "csrdata.pipeline.score_beams"
    """
    return f"csrdata.pipeline.{stage}"


def source_path(module: str, *, package: Path = PACKAGE) -> Path:
    """Return the file of a module: `csrdata.search.beam` is `search/beam.py` in the package's folder."""
    return package.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _walk(node: ast.AST, kinds: Collection[str] | None) -> Iterator[ast.AST]:
    """Yield a syntax tree's nodes, without the cases of `match X.kind:` that are of other kinds."""
    yield node
    chooses = isinstance(node, ast.Match) and ast.unparse(node.subject).endswith(".kind")
    for child in ast.iter_child_nodes(node):
        pattern = child.pattern if chooses and isinstance(child, ast.match_case) else None
        value = pattern.value if isinstance(pattern, ast.MatchValue) else None
        if kinds is None or not isinstance(value, ast.Constant) or value.value in kinds:
            yield from _walk(child, kinds)


def _is_module(name: str, *, package: Path) -> bool:
    return name.startswith("csrdata.") and source_path(name, package=package).is_file()


def _parse(module: str, *, package: Path) -> ast.Module:
    return ast.parse(source_path(module, package=package).read_text(encoding="utf-8"))


def _normal_form(node: Any) -> str:
    """Write out a syntax tree without docstrings and other bare strings, the same on every version of Python.

    Empty fields are left out: versions differ in which of them they have.
    """
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_normal_form(value)}"
            for name, value in ast.iter_fields(node)
            if value not in (None, [])
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(_normal_form(part) for part in node if not _is_bare_string(part))}]"
    return repr(node)


def _is_bare_string(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
