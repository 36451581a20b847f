"""The code that a stage's result depends on: the modules that its wiring imports, and one hash of them.

Three things use this module, so that they agree: the fingerprint of shards (a shard that other code made is made
again), the code dependencies in dvc.yaml (`csrdata.pipeline.dag` writes them), and the test that compares them. The
source is parsed; nothing is imported or run. This works in a checkout and in an installed package.

If a module chooses by kind (`match settings.kind:`, or by `.order` or `.decoding`), and the caller says which kinds are in
use, the cases of other kinds are not followed: the stages of a project depend only on the code of that project's source.

The hash covers every statement of these modules, also inside functions and under `if TYPE_CHECKING`. It does not
cover comments, docstrings and layout; the modules in `EXEMPT`; the `__init__.py` of a package; modules imported by a
name that is computed at run time; other packages and their versions; the machine.
"""

import ast
import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
"""The folder of csrdata's source."""

EXEMPT = {
    "csrdata.records": "the columns: a table with other columns is refused, or made again, when it is read",
    "csrdata.columns": "the columns, which are derived from the records",
    "csrdata.storage.tables": "how tables are stored, not what is in them",
    "csrdata.storage.shard_manifest": "how shards are listed and checked",
    "csrdata.storage.disk": "how files are written and checked",
    "csrdata.errors": "the text of error messages",
    "csrdata.hub_client": "retries requests; what is read is named by its commit",
    "csrdata.pinned": "compares files of models with their hashes",
    "csrdata.pipeline.pinning": "writes records of models; a result depends on the records",
    "csrdata.paths": "paths of files; the inputs of a stage are hashed by content",
    "csrdata.params": "reads values, which are hashed themselves",
    "csrdata.sections.values": "types of values, which are hashed themselves",
    "csrdata.sections.sources": "types of values, which are hashed themselves",
    "csrdata.sections.models": "types of values, which are hashed themselves",
    "csrdata.sections.evaluation": "types of values, which are hashed themselves",
    "csrdata.sections.method": "types of values, which are hashed themselves",
    "csrdata.storage.values": "refuses values, changes none",
    "csrdata.storage.json_values": "reads values, changes none",
    "csrdata.text": "how text is printed",
    "csrdata.progress": "shows progress",
    "csrdata.entry": "starts and ends a process",
    "csrdata.strict_yaml": "reads values, which are hashed themselves",
    "csrdata.validation": "the text of error messages",
    "csrdata.cli": "starts a stage",
    "csrdata.pipeline.written": "reports what a stage wrote",
    "csrdata.pipeline.guard": "locks a stage and reports disk errors",
    "csrdata.pipeline.code": "computes this hash",
    "csrdata.pipeline.inputs": "checks that inputs exist",
    "csrdata.engines.runlog": "a log that no stage reads",
    "csrdata.generation.clock": "measures time",
    "csrdata.engines.base": "the protocol of engines",
    "csrdata.engines.local": "where shards run: tests/engines/test_local.py checks that workers change no byte",
    "csrdata.engines.shards": "how a shard is written and listed, not what is in it",
    "csrdata.pipeline.shards": "where shards run: tests/engines checks that no byte changes",
    "csrdata.storage.shard_shares": "which process makes a shard",
}
"""Modules that cannot change a result, each with the reason. The modules that they import are not followed."""


Kinds = Mapping[str, Collection[str]]
"""The kinds in use, by the module that chooses among them: `{"csrdata.pipeline.source": {"llava"}}`. For any other
module all cases are followed."""


def reached(
    module: str, *, package: Path = PACKAGE, exempt: Iterable[str] = tuple(EXEMPT), kinds: Kinds | None = None
) -> list[str]:
    """Return a module and all modules of the package that it imports, directly or indirectly, sorted by name.

    Args:
        module: a name such as `csrdata.pipeline.score_beams`.
        package: the folder of the package's source.
        exempt: modules to leave out; what they import is not followed.
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
    """Return the modules of the package that one module imports directly, without any `__init__.py`."""
    own = (kinds or {}).get(module)
    names = _names(module, _source(module, package=package), None if own is None else frozenset(own))
    return sorted(name for name in names if _is_module(name, package=package))


def hash_code(modules: Iterable[str], *, package: Path = PACKAGE) -> str:
    """Return the SHA-256 of the names and statements of modules; the module docstring says what it covers."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module}\n{_statements(_source(module, package=package))}\n".encode())
    return digest.hexdigest()


def stage_hash(stage: str, *, package: Path = PACKAGE, kinds: Kinds | None = None) -> str:
    """Return the hash of all code that a stage's result depends on."""
    return hash_code(reached(wiring(stage), package=package, kinds=kinds), package=package)


def wiring(stage: str) -> str:
    """Return the name of the module that holds a stage's wiring.

    Example: "score_beams" -> "csrdata.pipeline.score_beams"
    """
    return f"csrdata.pipeline.{stage}"


def source_path(module: str, *, package: Path = PACKAGE) -> Path:
    """Return the source file of a module: `csrdata.search.beam` is `search/beam.py` in the package's folder."""
    return package.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _walk(node: ast.AST, kinds: Collection[str] | None) -> Iterator[ast.AST]:
    """Yield a syntax tree's nodes, without the cases of `match X.kind:` (`.order`, `.decoding`) that are of other kinds."""
    yield node
    chooses = isinstance(node, ast.Match) and ast.unparse(node.subject).endswith(
        (".kind", ".order", ".decoding")
    )
    for child in ast.iter_child_nodes(node):
        pattern = child.pattern if chooses and isinstance(child, ast.match_case) else None
        value = pattern.value if isinstance(pattern, ast.MatchValue) else None
        if kinds is None or not isinstance(value, ast.Constant) or value.value in kinds:
            yield from _walk(child, kinds)


def _is_module(name: str, *, package: Path) -> bool:
    return name.startswith("csrdata.") and source_path(name, package=package).is_file()


def _source(module: str, *, package: Path) -> str:
    return source_path(module, package=package).read_text(encoding="utf-8")


@functools.cache
def _names(module: str, source: str, kinds: frozenset[str] | None) -> frozenset[str]:
    """Return the names that a module's source imports; some may be no modules of the package."""
    names: set[str] = set()
    for node in _walk(ast.parse(source), kinds):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # In `a.b.c`, `from . import x` imports from `a.b`; each further dot goes one package up.
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names.add(start)
            names.update(f"{start}.{alias.name}" for alias in node.names)
    return frozenset(names)


@functools.cache
def _statements(source: str) -> str:
    return _normal_form(ast.parse(source))


def _normal_form(node: Any) -> str:
    """Return a syntax tree as text, without docstrings and other bare strings.

    The text is the same in every version of Python: empty fields are left out, because versions differ in which of
    them they have.
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
