"""The one error that a user is meant to read: place, value, expected, next command, in one line.

Everything a user can get wrong raises `UserError`; the command line and the stages print it and leave with
exit code 1. Any other exception is a fault of ours and keeps its traceback.
"""

from collections.abc import Callable
from functools import partial

from csrdata.text import one_line

LONGEST_GOT = 120
LONGEST_PART = 400
"""Characters of a place, an expectation or a next command."""


class UserError(Exception):
    """A mistake that the user can mend. Whatever it quotes, its words are one printable line of bounded length.

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
        """Pickle by what it says: it may come from another process."""
        return partial(UserError, self.place, got=self.got, expected=self.expected, do=self.do), ()


def _short(value: object) -> str:
    """Show a value on one line; a string that is empty is shown as ''."""
    if isinstance(value, str) and value.strip():
        return one_line(value, limit=LONGEST_GOT)
    try:
        text = repr(value)
    except ValueError:
        # An integer of more than 4,300 digits.
        text = f"a value of type {type(value).__name__}"
    return one_line(text, limit=LONGEST_GOT)
