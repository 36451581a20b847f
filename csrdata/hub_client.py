"""A Hub client with bounded retries: `huggingface_hub`'s client without its log messages, and one-line errors.

If the Hub asks to wait (429 and Retry-After), the client says so and waits, up to `patience` seconds in all. It retries cut
connections and server errors (5xx). The library retries some requests by itself; `ask` retries the others. What still fails
becomes a `UserError`, which never contains the token. Use it in one thread at a time: while it is open, it changes the
library's client, log level and progress bars globally.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from csrdata.errors import UserError
from csrdata.text import printable

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

RepoType = Literal["dataset", "model"]

PATIENCE = 300.0
"""Seconds to wait in all when the Hub asks to wait; its rate limits reset every five minutes."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each retry of a request that was cut or got a 5xx."""
CONNECT_SECONDS = 30.0
ANSWER_SECONDS = 600.0
"""The Hub takes minutes for a large commit; after this time without data, the connection counts as dead."""

LOGIN = "hf auth login"

T = TypeVar("T")


def tell(line: str) -> None:
    """Print a message to stderr; stdout is for data."""
    sys.stderr.write(printable(line) + "\n")


@dataclass(slots=True)
class Connection:
    """An open connection to a repository, with its retry settings."""

    api: "HfApi"
    repo_id: str
    repo_type: RepoType
    token: str | None = field(repr=False)
    patience: float
    pauses: Sequence[float]
    say: Callable[[str], None]
    waited: float = 0.0
    """Seconds waited so far because the Hub asked to."""
    state: str = "nothing was changed there"
    """The state of the repository after a failure, for its error."""

    @property
    def place(self) -> str:
        return f"hub {self.repo_id}"

    @property
    def here(self) -> dict[str, Any]:
        """The arguments that every call of the library needs."""
        return {"repo_id": self.repo_id, "repo_type": self.repo_type}

    def ask(self, call: Callable[[], T]) -> T:
        """Make a request with retries, for requests that the library does not retry; `call` must be safe to repeat."""
        pauses = iter(self.pauses)
        while True:
            try:
                return call()
            except _passing() as error:
                seconds = _wait_asked_for(error)
                if seconds is None:
                    pause = next(pauses, None)
                    if pause is None or not _may_pass(error):
                        raise
                    self.say(f"{self.place}: {_what(error)}; trying again in {pause:g} s")
                    time.sleep(pause)
                else:
                    # `_check_response` has counted and reported this wait.
                    time.sleep(seconds)

    def explain(self, error: Exception) -> UserError | None:
        """Return a failure of the client as a `UserError` without the token; None if something else raised the error."""
        failed = isinstance(error, _failures()) and _is_the_clients(error)
        return _explain(self, error) if failed else None

    def _check_response(self, response: "httpx2.Response") -> None:
        """Check each response: report and count a wait that the Hub asks for, and refuse one that is too long."""
        if response.status_code != 429:
            return
        seconds = _retry_after(response)
        self.waited += seconds
        if self.waited > self.patience:
            raise UserError(
                self.place,
                got=f"429, wait {seconds:g} s",
                expected=f"at most {self.patience:g} s of waiting in all ({self.state})",
                do="the same command again, later",
            )
        self.say(f"{self.place}: too many requests (429), waiting {seconds:g} s as the Hub asks")


@contextmanager
def connect(
    repo_id: str,
    *,
    repo_type: RepoType,
    token: str | None = None,
    endpoint: str | None = None,
    patience: float = PATIENCE,
    pauses: Sequence[float] = PAUSES,
    say: Callable[[str], None] = tell,
) -> Iterator[Connection]:
    """Open a connection to a repository of the Hub.

    Args:
        repo_id: `OWNER/NAME`.
        repo_type: `dataset` or `model`.
        token: by default the token of `hf auth login` or of HF_TOKEN, if there is one.
        endpoint: by default the public Hub, or HF_ENDPOINT.
        patience: seconds to wait in all when the Hub asks to wait.
        pauses: seconds before each retry after a cut connection or a 5xx.
        say: prints a message to the user.

    Raises:
        UserError: the `hub` extra is missing, or a request failed for good.
    """
    try:
        import httpx2
        from huggingface_hub import HfApi, get_token, set_client_factory
        from huggingface_hub.utils import logging as client_logging
        from huggingface_hub.utils._http import default_client_factory
        from huggingface_hub.utils.tqdm import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
    except ImportError as error:
        raise UserError(
            "the Hub's client", got=str(error), expected="huggingface_hub", do="pip install 'csrdata[hub]'"
        ) from None
    token = token or get_token()
    connection = Connection(
        HfApi(endpoint=endpoint, token=token or False), repo_id, repo_type, token, patience, pauses, say
    )

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.event_hooks = {**made.event_hooks, "response": [connection._check_response]}  # noqa: SLF001 - a method of this module
        made.timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return made

    level, bars = client_logging.get_verbosity(), not are_progress_bars_disabled()
    set_client_factory(client)
    client_logging.set_verbosity(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield connection
    except _failures() as error:
        explained = connection.explain(error)
        if explained is None:
            raise
        raise explained from None
    finally:
        set_client_factory(default_client_factory)
        client_logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


def hidden_failure(error: BaseException) -> Exception | None:
    """Return the cut connection or server error (5xx) behind another library's error; None for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _passing()) and _may_pass(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _passing() -> tuple[type[Exception], ...]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError, httpx2.TransportError)


def _failures() -> tuple[type[Exception], ...]:
    """Return the error types that the client raises, including builtin types that other code raises too."""
    from huggingface_hub.errors import FileMetadataError, LocalEntryNotFoundError, OfflineModeIsEnabled

    own = (*_passing(), OfflineModeIsEnabled, FileMetadataError, LocalEntryNotFoundError)
    return (*own, RuntimeError, ValueError)


def _is_the_clients(error: Exception) -> bool:
    """Return whether the client raised the error; a bug of csrdata keeps its traceback.

    The client raises a plain `ValueError` for a refused card or LFS object, and a `RuntimeError` for a failed upload.
    """
    if not isinstance(error, RuntimeError | ValueError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("huggingface_hub")


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed if it is retried."""
    status = _status(error)
    return status is None or status == 408 or status >= 500


def _wait_asked_for(error: BaseException) -> float | None:
    return _retry_after(error.response) if _status(error) == 429 else None  # type: ignore[attr-defined]


def _retry_after(response: "httpx2.Response") -> float:
    """Return the seconds that a 429 asks for, by either of the Hub's headers; 5 without a header."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds) + 1
    text = response.headers.get("Retry-After", "").strip()
    return float(text) + 1 if text.isdigit() else 5.0


def _cause(error: BaseException) -> BaseException:
    """Return the cause that the library wrapped; a `ValueError` about a card is kept, as it is clearer than its cause."""
    while error.__cause__ is not None and _status(error) is None and not isinstance(error, ValueError):
        error = error.__cause__
    return error


def _what(error: BaseException) -> str:
    """Describe an error briefly: the status and the server's message, or the connection's error."""
    status = _status(error)
    if status is not None:
        said = str(getattr(error, "server_message", None) or "").strip().splitlines()
        return f"{status} {said[0]}" if said else str(status)
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _explain(connection: Connection, error: BaseException) -> UserError:
    """Turn the client's error into a `UserError` without the token."""
    cause = _cause(error)
    if isinstance(cause, UserError):
        return cause
    got = _what(cause)
    if connection.token:
        got = got.replace(connection.token, "hf_***")
    expected, first = _advice(connection, cause)
    again = f"the same command again ({connection.state})"
    return UserError(
        connection.place, got=got, expected=expected, do=f"{first}, then {again}" if first else again
    )


def _advice(connection: Connection, cause: BaseException) -> tuple[str, str]:
    """Return what was expected, and what to do before trying again."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RevisionNotFoundError

    status = _status(cause)
    unseen = (
        f"a {connection.repo_type} that exists, and a token that may read it",
        f"check the name, or {LOGIN}",
    )
    known: dict[int | None, tuple[str, str]] = {
        401: ("a token that the Hub accepts", LOGIN) if connection.token else unseen,
        403: (
            f"a token that may write to {connection.repo_id.partition('/')[0]}",
            f"{LOGIN} with such a token",
        ),
        404: unseen,
        412: ("no push by somebody else at the same time", ""),
    }
    if isinstance(cause, GatedRepoError):
        known[status] = "access to a gated model", f"accept its terms on its page, {LOGIN}"
    if isinstance(cause, RevisionNotFoundError):
        known[status] = f"a branch, tag or commit of the {connection.repo_type}", "name another revision"
    if status is not None and status in known:
        return known[status]
    if isinstance(cause, OfflineModeIsEnabled):
        return "a connection to the Hub", "unset HF_HUB_OFFLINE"
    if isinstance(cause, ValueError):
        return "what the Hub accepts", "fix it"
    if status is None:
        return "a stable connection", ""
    return ("a request that the Hub accepts", "") if status < 500 else ("an available Hub", "wait a little")
