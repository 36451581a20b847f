"""A server of a tiny policy that speaks the protocol of docs/servers.md, with faults: what is tested where there is no vLLM.

The HTTP side is that of `csrdata/serving/vllm_worker.py`; the engine samples with transformers, encoding everything again
for each token.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from csrdata.policy.loading import Policy
from csrdata.policy.one_by_one import plain_logits
from csrdata.policy.prompting import encode, end_ids
from csrdata.serving.vllm_worker import Answer, Engine, Handler, Refused, Request, Server


@dataclass
class PolicyEngine:
    """Samples from a policy of transformers; equal requests give equal answers."""

    policy: Policy
    name: str = "transformers"
    is_dead: bool = False
    busiest: int = 0
    """The most requests that were in work at the same time."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _now: int = 0

    def sample(self, request: Request, image: bytes) -> Answer:
        self._now += 1
        self.busiest = max(self.busiest, self._now)
        try:
            with self._lock:
                return self._sample(request, image)
        finally:
            self._now -= 1

    def _sample(self, request: Request, image: bytes) -> Answer:
        model, processor = self.policy.model, self.policy.processor
        rendered = self.policy.tokenizer.decode(request.prompt, clean_up_tokenization_spaces=False)
        inputs = encode(processor, [Image.open(io.BytesIO(image))], [str(rendered)])
        ends, generator = set(end_ids(model, processor)), torch.Generator().manual_seed(request.seed)
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < request.max_tokens and not ends.intersection(tokens[-1:]):
            logits = plain_logits(model, inputs, [(*request.answer, *tokens)])[0].float()
            allowed = (logits / request.temperature).index_fill(0, torch.tensor(request.banned), -torch.inf)
            tokens.append(int(torch.multinomial(allowed.softmax(-1), 1, generator=generator)))
            logprobs.append(float(logits.log_softmax(-1)[tokens[-1]]))
        return Answer(tokens, logprobs, is_full=False)


class ScriptedEngine:
    """Says the same to every request, at once."""

    name = "scripted"
    is_dead = False

    def sample(self, request: Request, image: bytes) -> Answer:
        return Answer([5, 2], [-1.0, -0.5], is_full=False)


class FaultyHandler(Handler):
    """Answers as `Handler` does, but with a fault where its server has one for the request."""

    server: "FaultyServer"
    kept: bytes

    def do_POST(self) -> None:  # noqa: N802 - the name of the base class
        self.kept = super()._body(1 << 30)
        self.fault = self.server.next_fault(self.kept)
        bodies = {"large": b"[" + b"0, " * 10_000_000, "text": b"<html>", "nested": b"[" * 20_000}
        if self.fault == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.fault in bodies:
            self.reply(200, bodies[self.fault])
        else:
            super().do_POST()

    def _body(self, most: int) -> bytes:
        return self.kept if self.command == "POST" else super()._body(most)

    def _sample(self) -> dict[str, Any]:
        if self.fault == "busy":
            raise Refused(503, "busy")
        if self.fault == "error":
            raise Refused(500, "error")
        if self.fault == "slow":
            time.sleep(self.server.slow)
        return self.server.changed(super()._sample(), self.fault)


class FaultyServer(Server):
    """A `Server` with a list of faults: each is for one request for an answer, which is answered well the next time.

    The fault `always` is for every request.
    """

    def __init__(self, engine: Engine, *, policy: str, port: int = 0) -> None:
        super().__init__(engine, policy=policy, host="127.0.0.1", port=port, handler=FaultyHandler)
        self.faults: list[str] = []
        self.always = ""
        self.slow = 0.0
        self.asked = 0
        self.seen: set[bytes] = set()
        self.has_ended = threading.Event()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        super().serve_forever(poll_interval)
        self.has_ended.set()

    def next_fault(self, body: bytes) -> str:
        self.asked += 1
        fault = self.faults.pop(0) if self.faults and body not in self.seen else self.always
        self.seen.add(body)
        return fault

    def changed(self, found: dict[str, Any], fault: str) -> dict[str, Any]:
        """Return an answer with a fault in it."""
        tokens, logprobs = found["tokens"], found["logprobs"]
        changes: dict[str, dict[str, Any]] = {
            "wrong tokens": {"tokens": [*(5 + token % 7 for token in tokens[:-1]), tokens[-1]]},
            "wrong logprobs": {"logprobs": [value - 0.5 for value in logprobs]},
            "unknown token": {"tokens": [10**9, *tokens[1:]]},
            "banned token": {"tokens": [0, *tokens[1:]]},
            "fraction": {"tokens": [7.0, *tokens[1:]]},
            "truth value": {"tokens": [True, *tokens[1:]]},
            "none": {"tokens": [], "logprobs": []},
            "short": {"tokens": tokens[:1], "logprobs": logprobs[:1]},
            "long": {"tokens": tokens * 50, "logprobs": logprobs * 50},
            "fewer logprobs": {"logprobs": logprobs[1:]},
            "nan": {"logprobs": [float("nan"), *logprobs[1:]]},
            "infinite": {"logprobs": [float("-inf"), *logprobs[1:]]},
            "above 0": {"logprobs": [1.0, *logprobs[1:]]},
            "huge": {"logprobs": [-(10**400), *logprobs[1:]]},
            "text for a number": {"logprobs": ["-1", *logprobs[1:]]},
        }
        return found | changes.get(fault, {})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(
    policy: Policy | ScriptedEngine, *, name: str = "p" * 32, port: int = 0
) -> Iterator[FaultyServer]:
    """Run a server in a thread."""
    engine = PolicyEngine(policy) if isinstance(policy, Policy) else policy
    server = FaultyServer(engine, policy=name, port=port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
