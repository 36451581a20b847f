"""A client of a server that samples answers (docs/servers.md): many requests at once, bounded retries, checked replies.

What a server sends is not trusted: sizes, types, tokens and log-probabilities are checked, and a reply that breaks a rule
counts as a failed try. A server that is away or busy is waited for, up to `patience` seconds.
"""

import http.client
import json
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from csrdata.errors import UserError

T = TypeVar("T")

PROTOCOL = 1
TRIES = 5
"""Tries of one request that the server took and did not answer as it should."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further try; the last one is repeated."""
QUIET = 3.0
"""Seconds without an answer after which a message says what is waited for."""
SECONDS = 300.0
"""Seconds within which one request is answered."""
MOST_FACTS = 4096
"""Bytes of a reply that holds no answer."""
BYTES_PER_TOKEN = 64
"""Bytes of a reply for each token and its log-probability."""
LEAST_LOGPROB = -1e4
"""Nats: less than the log-probability of any token that is sampled."""
ROUNDING = 1e-3
"""Nats by which a server's log-probability may exceed 0."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A continuation of an answer that a server is to sample."""

    prompt: tuple[int, ...]
    """Tokens, with one image placeholder."""
    image: str
    """SHA-256 of the image's bytes."""
    answer: tuple[int, ...]
    """Tokens of the answer so far."""
    max_tokens: int
    """1 or more."""
    seed: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a server has sampled."""

    tokens: tuple[int, ...]
    """1 or more. If the last one is no end, there are `max_tokens`, or the model has no position for another."""
    logprobs: tuple[float, ...]
    """Nats, of each token under the server's model, at temperature 1."""


@dataclass(frozen=True)
class Rules:
    """What the tokens of a reply may be."""

    vocabulary: int
    """Tokens are from 0 to `vocabulary` - 1."""
    ends: frozenset[int]
    banned: frozenset[int]


class BadReply(Exception):
    """A try that gave no answer, or one that breaks a rule."""

    def __init__(self, reason: str, *, is_away: bool = False) -> None:
        self.is_away = is_away
        """Whether the server did not take the request at all: away, or busy."""
        super().__init__(reason)


class AnswerServer:
    """A server of one policy. Its methods may be called by one thread at a time."""

    def __init__(
        self,
        address: str,
        *,
        policy: str,
        temperature: float,
        rules: Rules,
        in_flight: int,
        patience: float,
        seconds: float = SECONDS,
    ) -> None:
        """Prepare to ask.

        Args:
            address: `HOST:PORT`.
            policy: the name that the server must have for its policy, a hash of the policy's content.
            temperature: > 0.
            rules: what the tokens of a reply may be.
            in_flight: requests at the same time, 1 or more.
            patience: seconds without any answer while the server is away or busy, after which asking fails, > 0.
            seconds: within which one request is answered, > 0.
        """
        self.address, self.policy, self.temperature, self.rules = address, policy, temperature, rules
        self.in_flight, self.patience, self.seconds = in_flight, patience, seconds
        self.heard = time.monotonic()
        self.engine = "unknown"
        """The server's engine and its version, as it states them."""
        self._waits = False
        self._sent: set[str] = set()
        self._sending: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._open: set[http.client.HTTPConnection] = set()

    def check(self) -> None:
        """Wait for the server, and check that it has the policy.

        Raises:
            UserError: it has another policy or protocol, or is away for longer than `patience`.
        """
        self.heard = time.monotonic()
        facts = self._until_answered(lambda: self._json("GET", "/v1/policy", b"", most=MOST_FACTS))
        if facts.get("protocol") != PROTOCOL or facts.get("policy") != self.policy:
            raise UserError(
                f"server {self.address}",
                got=f"policy {facts.get('policy')}, protocol {facts.get('protocol')}",
                expected=f"policy {self.policy}, protocol {PROTOCOL}",
                do=f"start it with --policy {self.policy} and that policy's model, then: dvc repro",
            )
        self.engine = str(facts.get("engine"))[:200]

    def sample(self, asked: Sequence[Asked], image: Callable[[str], bytes]) -> list[Sampled]:
        """Return a continuation for each question, in the same order.

        Args:
            asked: the questions.
            image: returns the bytes of an image, by its SHA-256; called by several threads.

        Raises:
            UserError: the server is away or busy for longer than `patience`, refuses a question, or does not answer one as
                it should in `TRIES` tries.
        """
        self.heard = time.monotonic()
        stop = threading.Event()

        def one(question: Asked) -> Sampled:
            try:
                return self._until_answered(lambda: self._ask(question, image), stop)
            except BaseException:
                stop.set()  # the others would only wait for the same server
                raise

        with ThreadPoolExecutor(max_workers=min(self.in_flight, len(asked) or 1)) as pool:
            futures = [pool.submit(one, question) for question in asked]
            try:
                return [future.result() for future in futures]
            finally:
                stop.set()
                for connection in list(self._open):  # after an error or an interrupt
                    _shut(connection)
                pool.shutdown(cancel_futures=True)

    def _until_answered(self, act: Callable[[], T], stop: threading.Event | None = None) -> T:
        """Try until there is an answer; see `sample` for the errors."""
        failed = waited = 0
        while True:
            try:
                answer = act()
            except BadReply as error:
                failed += not error.is_away
                waited += 1
                silent = time.monotonic() - self.heard
                is_gone = error.is_away and silent > self.patience
                if error.is_away and not is_gone and silent > QUIET:
                    self._say_waiting(error)
                if failed >= TRIES or is_gone or (stop is not None and stop.is_set()):
                    raise self._no_answer(error, tries=waited, silent=silent) from None
                pause = PAUSES[min(waited, len(PAUSES)) - 1]
                if stop is None:
                    time.sleep(pause)
                else:
                    stop.wait(pause)
            else:
                self.heard, self._waits = time.monotonic(), False
                return answer

    def _say_waiting(self, error: BadReply) -> None:
        """Say once between two answers what is waited for."""
        if self._waits:
            return
        self._waits = True
        warnings.warn(
            f"server {self.address}: {error}; waiting up to {self.patience:.0f} s for one with --policy {self.policy}",
            stacklevel=2,
        )

    def _no_answer(self, error: BadReply, *, tries: int, silent: float) -> UserError:
        return UserError(
            f"server {self.address}",
            got=f"{error} ({tries} tries, no answer for {silent:.0f} s)",
            expected="an answer",
            do="look at the server's own messages, start it again, then: dvc repro (finished shards are kept)",
        )

    def _ask(self, question: Asked, image: Callable[[str], bytes]) -> Sampled:
        body = json.dumps(
            {
                "policy": self.policy,
                "prompt": question.prompt,
                "answer": question.answer,
                "image": question.image,
                "max_tokens": question.max_tokens,
                "temperature": self.temperature,
                "seed": question.seed,
                "banned": sorted(self.rules.banned),
            }
        ).encode()
        most = MOST_FACTS + BYTES_PER_TOKEN * question.max_tokens
        self._send(question.image, image)
        status, value = self._request("POST", "/v1/answers", body, most=most)
        if status == http.client.NOT_FOUND:  # it was started again, or had no room for the image
            self._sent.discard(question.image)
            self._send(question.image, image)
            status, value = self._request("POST", "/v1/answers", body, most=most)
        return check_reply(self._ok(status, value), question, self.rules)

    def _send(self, name: str, image: Callable[[str], bytes]) -> None:
        """Send an image, unless the server has it; other threads that need it wait."""
        with self._sending[name]:
            if name not in self._sent:
                self._json("PUT", f"/v1/images/{name}", image(name), most=MOST_FACTS)
                self._sent.add(name)

    def _json(self, method: str, path: str, body: bytes, *, most: int) -> dict[str, Any]:
        return self._ok(*self._request(method, path, body, most=most))

    def _ok(self, status: int, value: object) -> dict[str, Any]:
        """Return the object of a reply.

        Raises:
            UserError: the server refuses the request; it would do so again.
            BadReply: it is busy, has an error of its own, or has sent no object.
        """
        said = value.get("error") if isinstance(value, dict) else None
        if status in (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE):
            raise BadReply(f"busy ({status})", is_away=True)
        if http.client.BAD_REQUEST <= status < http.client.INTERNAL_SERVER_ERROR:
            raise UserError(
                f"server {self.address}",
                got=f"status {status}: {said}",
                expected="an answer",
                do="start a server of this version of csrdata with this policy, then: dvc repro",
            )
        if status != http.client.OK:
            raise BadReply(f"status {status}")
        if not isinstance(value, dict):
            raise BadReply("a reply that is not a JSON object")
        return value

    def _request(self, method: str, path: str, body: bytes, *, most: int) -> tuple[int, object]:
        """Send a request; return the status and the JSON of the reply, None if it is not JSON.

        Raises:
            BadReply: no connection, a cut one, a reply that is late or longer than `most` bytes.
        """
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=self.seconds)
        self._open.add(connection)
        try:
            connection.connect()
        except OSError as error:
            self._open.discard(connection)
            connection.close()
            raise BadReply(f"no connection ({error})", is_away=True) from None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _shut(connection)

        timer = threading.Timer(self.seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            connection.request(
                method, path, body, {"Content-Type": "application/json", "Connection": "close"}
            )
            reply = connection.getresponse()
            content = reply.read(most + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            slow = late.is_set() or isinstance(error, TimeoutError)
            reason = (
                f"no answer within {self.seconds:g} s"
                if slow
                else f"a cut connection ({type(error).__name__})"
            )
            raise BadReply(reason) from None
        finally:
            timer.cancel()
            self._open.discard(connection)
            connection.close()
        if late.is_set():
            raise BadReply(f"no answer within {self.seconds:g} s")
        if len(content) > most:
            raise BadReply(f"a reply of more than {most:,} bytes")
        try:
            return reply.status, json.loads(content)
        except (ValueError, RecursionError):
            return reply.status, None


def check_reply(value: dict[str, Any], question: Asked, rules: Rules) -> Sampled:
    """Return what a reply says, after checking it.

    Raises:
        BadReply: it breaks a rule.
    """
    tokens, logprobs, is_full = (value.get(key) for key in ("tokens", "logprobs", "is_full"))
    if not isinstance(tokens, list) or not 1 <= len(tokens) <= question.max_tokens:
        raise BadReply(f"no list of 1 to {question.max_tokens} tokens")
    for token in tokens:
        if type(token) is not int or not 0 <= token < rules.vocabulary or token in rules.banned:
            raise BadReply(f"a token that must not be sampled: {str(token)[:20]}")
    if rules.ends.intersection(tokens[:-1]):
        raise BadReply("tokens after the end of an answer")
    if tokens[-1] not in rules.ends and len(tokens) < question.max_tokens and is_full is not True:
        raise BadReply(f"{len(tokens)} of {question.max_tokens} tokens without an end")
    if not isinstance(logprobs, list) or len(logprobs) != len(tokens):
        raise BadReply("not one log-probability for each token")
    for logprob in logprobs:
        # A comparison with NaN is false, and an integer may be too large for a float.
        if type(logprob) not in (int, float) or not LEAST_LOGPROB <= logprob <= ROUNDING:
            raise BadReply(f"a log-probability of {str(logprob)[:20]}")
    return Sampled(tuple(tokens), tuple(map(float, logprobs)))


def _shut(connection: http.client.HTTPConnection) -> None:
    """End a connection that another thread reads from."""
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(2)
        except OSError:
            return


def rules_of(*, vocabulary: int, ends: Collection[int], banned: Collection[int]) -> Rules:
    """Return the rules of a policy's tokens."""
    return Rules(vocabulary, frozenset(ends), frozenset(banned) - frozenset(ends))
