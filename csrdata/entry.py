"""How a process ends: one line and an exit code for what a user can correct, a traceback for a bug.

The command line and the stages run inside `leaving_in_words`. Exit codes: 1 for a user's mistake or a bug, 2 for wrong
arguments, 130 after Ctrl-C, 143 after SIGTERM, 141 after the reader of a pipe has closed it.
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
    "bitsandbytes": "quantized",
    "datasets": "hub",
    "dvc": "pipeline",
    "huggingface_hub": "hub",
    "jinja2": "hub",
    "num2words": "smolvlm",
    "open_clip": "relevance",
    "peft": "train",
    "pyarrow": "hub",
    "ray": "ray",
    "safetensors": "policy",
    "torch": "policy",
    "torchvision": "policy",
    "transformers": "policy",
    "trl": "train",
}
"""The extra of csrdata that installs each module."""

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
"""System errors that a user can correct, and what is needed."""

_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
PIPE_CLOSED = 128 + signal.SIGPIPE


class Stopped(BaseException):
    """A signal asked the process to end. It is not a `KeyboardInterrupt`, because libraries catch and replace that one."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextmanager
def leaving_in_words(
    what: str, *, kept: str = "", reword: Callable[[UserError], UserError] = lambda error: error
) -> Iterator[None]:
    """Run the body; turn an error or a signal into an exit code and, if there is something to report, a line on stderr.

    A second Ctrl-C ends the process immediately. Buffered output is written to stdout before the body counts as done.

    Args:
        what: the command or stage, for the line after a signal.
        kept: what that line says about finished work.
        reword: replaces the next command of a `UserError` by one that works in this folder.

    Raises:
        SystemExit: the body failed or was interrupted.
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
        # The terminal shows ^C or a progress bar on the current line.
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
    """Return the `UserError` for an error of the installation or the system that a user can correct; None for a bug."""
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
            do="fix that, then the same command again",
        )
    return None


def say(line: object) -> None:
    """Write a message to stderr, made printable; if stderr is closed or full, the message is dropped."""
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
    """Write a line to stderr and exit; buffered output goes to stdout if possible, and is dropped otherwise."""
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
    """Discard stdout's buffer: Python would otherwise write it again on exit, and report the error."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _make_streams_safe() -> None:
    """Make the streams write characters that they cannot encode as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 - the signature of `warnings.formatwarning`
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> str:
    """Return a warning as one printable line, without the source line that raised it."""
    return f"warning: {one_line(message, limit=500)}\n"
