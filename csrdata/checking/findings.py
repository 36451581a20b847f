"""A finding of `csrdata check`: what would fail later, what is unusual, what is fine.

Each subject has its own file and gives a list of findings. None of them raises for a mistake of the user: a check that
stops at the first mistake would hide the others.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

from csrdata.errors import UserError
from csrdata.text import one_line


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Nothing fails, but the result or the time may not be what the user expects."""
    ERROR = "error"
    """A stage would fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says."""

    level: Level
    subject: str
    """What was checked, such as `scorers.search`."""
    words: str
    """For an error: the place, the value, and what was expected."""
    do: str | None = None
    """What to change, and the next command; None if there is nothing to do."""

    def line(self) -> str:
        """Return the finding as one printable line."""
        end = "" if self.do is None else f". Next: {self.do}"
        return f"{self.level.value:<8}" + one_line(f"{self.subject}: {self.words}{end}", limit=1000)


def ok(subject: str, words: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Level.OK, subject, words)


def warning(subject: str, words: str, *, do: str | None = None) -> Finding:
    """Return a finding about something unusual."""
    return Finding(Level.WARNING, subject, words, do)


def error(subject: str, words: str, *, do: str) -> Finding:
    """Return a finding about something that would fail."""
    return Finding(Level.ERROR, subject, words, do)


def refusal(subject: str, problem: UserError) -> Finding:
    """Return the finding for an error that a stage would raise: its place, value, expectation and next command."""
    words = f"{problem.place}: got {problem.got}, expected {problem.expected}"
    return Finding(Level.ERROR, subject, words, problem.do)


@contextmanager
def collecting(findings: list[Finding], subject: str) -> Iterator[None]:
    """Run the body; add the finding of a `UserError` to the list, and leave the body there."""
    try:
        yield
    except UserError as problem:
        findings.append(refusal(subject, problem))


def fails(findings: Iterable[Finding]) -> bool:
    """Return whether a stage would fail."""
    return any(finding.level is Level.ERROR for finding in findings)


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """Return findings for `--json`: `fails` and the list."""
    return {"fails": fails(findings), "findings": [asdict(finding) for finding in findings]}
