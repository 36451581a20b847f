"""How a process ends: in one line and an exit code for what a user can mend, with a traceback for what only we can.

The command line and the stages run inside `leaving_in_words`. Exit codes: 1 for a mistake or a fault, 2 for a call that does
not parse, 130 after Ctrl-C, 143 after SIGTERM, 141 where the reader of a pipe has gone.
"""

import errno
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from csrdata.errors import UserError
from csrdata.text import one_line, printable

EXTRAS = {
    "accelerate": "policy",
    "datasets": "hub",
    "dvc": "pipeline",
    "huggingface_hub": "hub",
    "jinja2": "hub",
    "open_clip": "relevance",
    "peft": "train",
    "pyarrow": "hub",
    "safetensors": "policy",
    "torch": "policy",
    "torchvision": "policy",
    "transformers": "policy",
    "trl": "train",
}
"""Which extra of csrdata brings a module."""

ENVIRONMENT = {
    errno.EACCES: "a file or folder that you may write",
    errno.EDQUOT: "room within your quota",
    errno.EIO: "a disk that works",
    errno.EMFILE: "a higher limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "a shorter path",
    errno.ENOSPC: "room on the disk",
    errno.EPERM: "a file or folder that you may write",
    errno.EROFS: "a disk that can be written",
}
"""Errors of the system that a user can mend, and what is needed."""

_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
PIPE_CLOSED = 128 + signal.SIGPIPE


class Stopped(BaseException):
    """A signal asked the process to end. No `KeyboardInterrupt`, which libraries catch and turn into something else."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextmanager
def leaving_in_words(
    what: str, *, kept: str = "", reword: Callable[[UserError], UserError] = lambda error: error
) -> Iterator[None]:
    """Run the body; whatever ends it early becomes an exit code and, where there is something to say, a line on stderr.

    The second Ctrl-C ends the process at once. What stdout holds back is written before the body counts as done.

    Args:
        what: the command or stage, for the line after a signal.
        kept: what that line says of finished work.
        reword: gives a user's mistake a next command that works in this folder.

    Raises:
        SystemExit: the body did not end well.
    """
    _make_streams_safe()
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, _stop) for number in _SIGNALS} if in_main else {}
    said_before, warnings.formatwarning = warnings.formatwarning, plain_warning
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except UserError as error:
        _leave(str(reword(error)), 1)
    except (Stopped, KeyboardInterrupt) as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        # The terminal shows ^C, or a bar, on the line.
        start = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""
        _leave(f"{start}{what}: {_SIGNALS[signal.Signals(number)]}{kept}", 128 + number)
    except BrokenPipeError:
        _leave("", PIPE_CLOSED)
    except Exception as error:  # noqa: BLE001 - its traceback is printed, made safe
        known = explain(error)
        _leave(str(reword(known)) if known else printable(traceback.format_exc(), keep="\n").rstrip(), 1)
    finally:
        warnings.formatwarning = said_before
        for number, handler in before.items():
            signal.signal(number, handler)


def explain(error: Exception) -> UserError | None:
    """Return the line for an error of the installation or the system that a user can mend; None for a fault of ours."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        module = error.name.partition(".")[0]
        extra = EXTRAS.get(module)
        if extra is not None:
            return UserError(
                f"Python module {module}",
                got="no such module",
                expected=f"the extra {extra}",
                do=f"pip install 'csrdata[{extra}]', then the same command again",
            )
    if isinstance(error, OSError) and error.errno in ENVIRONMENT:
        place = "output" if error.filename is None else os.fsdecode(error.filename)
        return UserError(
            one_line(place, limit=120),
            got=error.strerror or str(error),
            expected=ENVIRONMENT[error.errno],
            do="mend that, then the same command again",
        )
    return None


def say(line: object) -> None:
    """Write commentary to stderr, printable; a stderr that is closed or full stops nothing."""
    if sys.stderr is None:
        return
    text = printable(line, keep="\n")
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        return


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)


def _leave(line: str, code: int) -> NoReturn:
    """Say a line and leave; what stdout still holds is written if it can be, and dropped in silence if not."""
    try:
        _flush()
    except OSError:
        _drop_stdout()
    if line:
        say(line)
    raise SystemExit(code) from None


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _drop_stdout() -> None:
    """Send what is left in stdout's buffer nowhere: Python would try again at its end, and complain."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _make_streams_safe() -> None:
    """Show what a stream cannot encode as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 - the form that `warnings.formatwarning` has
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> str:
    """Return a warning as one printable line, without the source line that raised it."""
    return f"warning: {one_line(message, limit=500)}\n"
