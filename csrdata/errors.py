"""The one error that a user is meant to read: place, value, expected, next command, in one line.

Everything a user can get wrong raises `UserError`; the command line and the stages print it and leave with
exit code 1. Any other exception is a fault of ours and keeps its traceback.
"""

from collections.abc import Callable
from functools import partial


class UserError(Exception):
    """A mistake that the user can mend.

    Example: `UserError("params.yaml: score_beams.image_weight", got=1.7, expected="0..1", do="edit it, then: dvc repro")`
    prints `params.yaml: score_beams.image_weight: got 1.7, expected 0..1. Next: edit it, then: dvc repro`
    """

    def __init__(self, place: str, *, got: object, expected: str, do: str) -> None:
        self.place, self.got, self.expected, self.do = place, got, expected, do
        super().__init__(f"{place}: got {_short(got)}, expected {expected}. Next: {do}")

    def __reduce__(self) -> tuple[Callable[[], "UserError"], tuple[()]]:
        """Pickle by what it says: it may come from another process."""
        return partial(UserError, self.place, got=_short(self.got), expected=self.expected, do=self.do), ()


def _short(value: object, limit: int = 120) -> str:
    """Show a value on one line; a string that is empty is shown as ''."""
    text = value if isinstance(value, str) and value.strip() else repr(value)
    text = " ".join(str(text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
