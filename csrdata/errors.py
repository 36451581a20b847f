"""The one error type for users: place, value, expectation and next command, in one line.

Every mistake that a user can make raises `UserError`. The command line and the stages print it and exit with code 1. Any
other exception is a bug in csrdata and keeps its traceback.
"""

from collections.abc import Callable
from functools import partial

from csrdata.text import one_line

LONGEST_GOT = 120
"""The most characters of the value got."""
LONGEST_PART = 400
"""The most characters of a place, an expectation or a next command."""


class UserError(Exception):
    """A mistake that the user can correct. Its message is one printable line of bounded length, whatever it quotes.

    Example: `UserError("params.yaml: score_beams.image_weight", got=1.7, expected="0..1", do="edit it, then: dvc repro")`
    prints `params.yaml: score_beams.image_weight: got 1.7, expected 0..1. Next: edit it, then: dvc repro`
    """

    def __init__(self, place: str, *, got: object, expected: str, do: str) -> None:
        self.place, self.expected, self.do = (
            one_line(part, limit=LONGEST_PART) for part in (place, expected, do)
        )
        self.got = _short(got)
        super().__init__(f"{self.place}: got {self.got}, expected {self.expected}. Next: {self.do}")

    def __reduce__(self) -> tuple[Callable[[], "UserError"], tuple[()]]:
        """Pickle by its parts, as it may come from another process."""
        return partial(UserError, self.place, got=self.got, expected=self.expected, do=self.do), ()


def _short(value: object) -> str:
    """Return a value as one line; an empty or blank string is shown in quotes."""
    if isinstance(value, str) and value.strip():
        return one_line(value, limit=LONGEST_GOT)
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to convert an integer of more than 4,300 digits.
        text = f"a value of type {type(value).__name__}"
    return one_line(text, limit=LONGEST_GOT)
