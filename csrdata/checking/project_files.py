"""Whether the files that csrdata writes for DVC are those of the installed version and of params.yaml."""

from collections.abc import Mapping
from pathlib import Path

from csrdata.checking.findings import Finding, error, ok


def check_files(expected: Mapping[Path, str], *, do: str) -> list[Finding]:
    """Return an error for each file that is missing or has another text.

    Args:
        expected: the text of each file, by its path.
        do: the command that writes them.
    """
    findings = []
    for path, text in expected.items():
        if not path.is_file():
            got = "no such file"
        elif path.read_text(encoding="utf-8") != text:
            got = "an outdated text"
        else:
            continue
        words = f"{path}: got {got}, expected what this version of csrdata writes for params.yaml"
        findings.append(error("dag", words, do=f"{do}, then: csrdata check"))
    names = ", ".join(str(path) for path in expected)
    return findings or [ok("dag", f"{names} as this version of csrdata writes them")]
