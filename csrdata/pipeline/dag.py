"""Write the code dependencies of dvc.yaml from the imports: `python -m csrdata.pipeline.dag`, or `make dag`.

In the `deps` of a stage, the lines that name a file of csrdata are replaced. All other lines stay, comments included.
"""

import re
from pathlib import Path

from csrdata.pipeline.code import reached, source_path, wiring
from csrdata.storage.tables import atomic_file

FILE = Path("dvc.yaml")
_SCRIPT = re.compile(r"\s+cmd: python stages/(\w+)\.py\b")
_CODE = re.compile(r"\s+- csrdata/\S+\.py\s*")


def dependencies(stage: str) -> list[str]:
    """Return the files of csrdata that a stage's result depends on, as paths in dvc.yaml, sorted."""
    package = Path("csrdata")
    return sorted(source_path(module, package=package).as_posix() for module in reached(wiring(stage)))


def rewrite(text: str) -> str:
    """Return the text of a dvc.yaml in which each stage depends on the code that it imports."""
    lines: list[str] = []
    stage = None
    inside = False
    indent = ""
    for line in text.splitlines():
        if script := _SCRIPT.match(line):
            stage = script[1]
        if inside and not line.startswith(f"{indent}  "):
            lines += [f"{indent}  - {name}" for name in dependencies(stage or "")]
            inside = False
        if inside and _CODE.fullmatch(line):
            continue
        lines.append(line)
        if stage is not None and line.strip() == "deps:":
            inside, indent = True, line.removesuffix("deps:")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the dvc.yaml of the current folder."""
    text = rewrite(FILE.read_text(encoding="utf-8"))
    with atomic_file(FILE) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
