"""A server that samples answers with vLLM, for `generate_beams.proposal.kind: served`. It runs in vLLM's own environment.

    python vllm_worker.py --policy NAME --model FOLDER [--adapter FOLDER] [--port 8900]

`csrdata` prints NAME, a hash of the policy's content, while it waits for a server. FOLDER is a model folder of
transformers, such as `csrdata export --to checkpoint` writes; `--adapter` is one LoRA on it. The protocol: docs/servers.md.

This file needs the standard library, vLLM, and Pillow, which vLLM brings. It was run with vLLM 0.32 on a CPU
(`tests/generation/test_vllm.py`); all but `VllmEngine` is also tested with another engine (`policy_server.py`, same folder).
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

PROTOCOL = 1
MOST_IMAGE = 64 << 20
"""Bytes of one image."""
MOST_IMAGES = 4 << 30
"""Bytes of all images that are kept; the one that was not used for longest goes first."""
MOST_BODY = 8 << 20
"""Bytes of a request for an answer."""
MOST_TOKENS = 1 << 17
"""Tokens of a prompt, an answer or a list of banned tokens."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `max_lora_rank`."""


@dataclass(frozen=True)
class Request:
    """What is to be sampled."""

    prompt: list[int]
    """Tokens of the prompt, with one image placeholder."""
    answer: list[int]
    """Tokens of the answer so far."""
    image: str
    """SHA-256 of the image's bytes."""
    max_tokens: int
    """1 or more."""
    temperature: float
    """> 0."""
    seed: int
    banned: list[int]
    """Tokens that must not be sampled."""


@dataclass(frozen=True)
class Answer:
    """What was sampled."""

    tokens: list[int]
    """The last one may be end-of-sequence."""
    logprobs: list[float]
    """Natural-log probability of each token at temperature 1, over all tokens."""
    is_full: bool
    """Whether the model has no position for another token."""


class Engine(Protocol):
    """Samples answers; called by many threads at the same time."""

    name: str
    """With its version, for the record."""

    @property
    def is_dead(self) -> bool:
        """Whether it can answer no more."""

    def sample(self, request: Request, image: bytes) -> Answer:
        """Sample one continuation of an answer."""


class Refused(Exception):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, error: str) -> None:
        self.status, self.error = status, error
        super().__init__(error)


class Images:
    """The images that clients have sent, by their SHA-256; bounded."""

    def __init__(self, most: int = MOST_IMAGES) -> None:
        self.most, self.size = most, 0
        self.kept: OrderedDict[str, bytes] = OrderedDict()
        self.lock = threading.Lock()

    def put(self, name: str, content: bytes) -> None:
        """Keep an image.

        Raises:
            Refused: its bytes have another hash.
        """
        if hashlib.sha256(content).hexdigest() != name:
            raise Refused(400, "the image has another SHA-256 than its name")
        with self.lock:
            if name not in self.kept:
                self.size += len(content)
            self.kept[name] = content
            while self.size > self.most and len(self.kept) > 1:
                _, oldest = self.kept.popitem(last=False)
                self.size -= len(oldest)

    def get(self, name: str) -> bytes:
        """Return an image.

        Raises:
            Refused: it is not kept; the client sends it again.
        """
        with self.lock:
            if name not in self.kept:
                raise Refused(404, "no such image")
            self.kept.move_to_end(name)
            return self.kept[name]


class Server(ThreadingHTTPServer):
    """Answers requests once its `serve_forever` runs, each in a thread."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self, engine: Engine, *, policy: str, host: str, port: int, handler: "type[Handler] | None" = None
    ) -> None:
        """Listen.

        Args:
            engine: samples the answers.
            policy: the name of its policy.
            host, port: where to listen; port 0 takes a free one.
            handler: answers the requests; None for `Handler`.
        """
        self.engine, self.policy, self.images = engine, policy, Images()
        super().__init__((host, port), handler or Handler)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`, then listen no more: a client finds nobody, and waits."""
        try:
            super().serve_forever(poll_interval)
        finally:
            self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 600

    def do_GET(self) -> None:
        self._answer(self._facts)

    def do_PUT(self) -> None:
        self._answer(self._image)

    def do_POST(self) -> None:
        self._answer(self._sample)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Write nothing for each request."""

    def _facts(self) -> dict[str, Any]:
        if self.path != "/v1/policy":
            raise Refused(404, "no such path")
        return {"protocol": PROTOCOL, "policy": self.server.policy, "engine": self.server.engine.name}

    def _image(self) -> dict[str, Any]:
        body = self._body(MOST_IMAGE)
        start, _, name = self.path.rpartition("/")
        if start != "/v1/images":
            raise Refused(404, "no such path")
        self.server.images.put(name, body)
        return {}

    def _sample(self) -> dict[str, Any]:
        body = self._body(MOST_BODY)
        if self.path != "/v1/answers":
            raise Refused(404, "no such path")
        request = parse(body, policy=self.server.policy)
        answer = self.server.engine.sample(request, self.server.images.get(request.image))
        return {"tokens": answer.tokens, "logprobs": answer.logprobs, "is_full": answer.is_full}

    def _body(self, most: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or int(length) > most:
            self.close_connection = True
            raise Refused(413, f"expected a body of at most {most} bytes, with its length")
        return self.rfile.read(int(length))

    def _answer(self, act: Callable[[], dict[str, Any]]) -> None:
        try:
            status, value = 200, act()
        except Refused as refused:
            status, value = refused.status, {"error": refused.error}
        except Exception as error:  # noqa: BLE001 - one request must not end the server
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            status, value = 500, {"error": type(error).__name__}
            if self.server.engine.is_dead:  # the client waits for the next server at this address
                status = 503
                threading.Thread(target=self.server.shutdown).start()
        self.reply(status, json.dumps(value).encode())

    def reply(self, status: int, body: bytes) -> None:
        """Send a reply; an error of a client that has closed the connection is ignored."""
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


def parse(body: bytes, *, policy: str) -> Request:
    """Return the request that a body states.

    Raises:
        Refused: it is malformed, or is for another policy.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(raw, dict):
        raise Refused(400, "the body is not a JSON object")
    if raw.get("policy") != policy:
        raise Refused(409, f"this server has the policy {policy}")
    for key in ("prompt", "answer", "banned"):
        value = raw.get(key)
        if (
            not isinstance(value, list)
            or len(value) > MOST_TOKENS
            or not all(_is_token(one) for one in value)
        ):
            raise Refused(400, f"{key} is not a list of tokens")
    values: list[Any] = [raw.get(key) for key in ("temperature", "seed", "max_tokens", "image")]
    temperature, seed, most, image = values
    if type(temperature) not in (int, float) or not 0 < temperature < 1e6:
        raise Refused(400, "temperature is not a number above 0")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise Refused(400, "seed is not a whole number from 0 to 2^63 - 1")
    if type(most) is not int or not 1 <= most <= MOST_TOKENS:
        raise Refused(400, "max_tokens is not a whole number from 1")
    if not isinstance(image, str):
        raise Refused(400, "image is not text")
    return Request(raw["prompt"], raw["answer"], image, most, float(temperature), seed, raw["banned"])


def _is_token(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def slots(adapter: str) -> int:
    """Return the smallest rank that vLLM can be told and that an adapter fits in; each token pays for all of it.

    Raises:
        SystemExit: the adapter has a rank above all of them, or no `adapter_config.json` with a rank.
    """
    try:
        config = json.loads((Path(adapter) / "adapter_config.json").read_bytes())
        rank = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
        return next(one for one in RANKS if one >= rank)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        raise SystemExit(
            f"{adapter}: expected adapter_config.json with r from 1 to {RANKS[-1]}. Next: csrdata export --to checkpoint"
        ) from None


class VllmEngine:
    """Samples with vLLM's asynchronous engine: requests of all clients share its batches and its prefix cache."""

    def __init__(self, model: str, *, policy: str, adapter: str | None, options: dict[str, Any]) -> None:
        """Load a model.

        Args:
            model: its folder.
            policy: a hash of its content. An adapter has this name, so that no cache mistakes it for another.
            adapter: the folder of a LoRA, or None.
            options: further arguments of `AsyncEngineArgs`.
        """
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.async_llm import AsyncLLM

        self.name = f"vllm {vllm.__version__}"
        self.vllm = vllm
        self.adapter = None if adapter is None else LoRARequest(policy, 1, adapter)
        # Raw log-probabilities: before temperature and bias. No speculative decoding: it is off unless asked for.
        lora = {} if adapter is None else {"enable_lora": True, "max_lora_rank": slots(adapter)}
        arguments = AsyncEngineArgs(
            model=model, logprobs_mode="raw_logprobs", enable_prefix_caching=True, **(lora | options)
        )
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.engine = asyncio.run_coroutine_threadsafe(self._open(AsyncLLM, arguments), self.loop).result()
        self.limit: int = self.engine.model_config.max_model_len
        self.count = 0

    async def _open(self, kind: Any, arguments: Any) -> Any:
        return kind.from_engine_args(arguments)

    @property
    def is_dead(self) -> bool:
        """Whether vLLM's own process has failed."""
        return bool(self.engine.errored)

    def close(self) -> None:
        """End vLLM's own processes; without this they stay after a signal."""
        self.engine.shutdown()

    def sample(self, request: Request, image: bytes) -> Answer:
        """Sample one continuation of an answer; see `Engine`."""
        return asyncio.run_coroutine_threadsafe(self._sample(request, image), self.loop).result()

    async def _sample(self, request: Request, image: bytes) -> Answer:
        from PIL import Image

        self.count += 1
        settings = self.vllm.SamplingParams(
            n=1,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=1.0,
            top_k=-1,
            seed=request.seed,
            logprobs=0,
            detokenize=False,
            logit_bias=dict.fromkeys(request.banned, -100.0) or None,
        )
        prompt = {
            "prompt_token_ids": [*request.prompt, *request.answer],
            "multi_modal_data": {"image": Image.open(io.BytesIO(image)).convert("RGB")},
            "multi_modal_uuids": {"image": [request.image]},
        }
        last: Any = None
        async for output in self.engine.generate(
            prompt, settings, request_id=str(self.count), lora_request=self.adapter
        ):
            last = output
        (completion,) = last.outputs
        tokens = list(completion.token_ids)
        logprobs = [
            float(step[token].logprob) for token, step in zip(tokens, completion.logprobs, strict=True)
        ]
        is_full = len(last.prompt_token_ids) + len(tokens) >= self.limit
        return Answer(tokens, logprobs, is_full)


def options(text: str) -> dict[str, Any]:
    """Return the value of `--options`.

    Raises:
        argparse.ArgumentTypeError: it is not a JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return found


def main() -> None:
    """Serve a policy until a signal (exit code 0), or until vLLM's own process has failed (1)."""
    parser = argparse.ArgumentParser(description="Sample answers with vLLM for csrdata.")
    parser.add_argument(
        "--policy", required=True, help="the name that csrdata gives this policy: a hash of its content"
    )
    parser.add_argument("--model", required=True, help="a model folder of transformers")
    parser.add_argument("--adapter", help="the folder of one LoRA on it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument(
        "--options",
        type=options,
        default={},
        help='further arguments of AsyncEngineArgs as JSON: {"dtype": "bfloat16"}',
    )
    given = parser.parse_args()
    engine = VllmEngine(given.model, policy=given.policy, adapter=given.adapter, options=given.options)
    server = Server(engine, policy=given.policy, host=given.host, port=given.port)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    failed = engine.is_dead
    if failed:
        sys.stderr.write(f"{engine.name} has failed; start it again, and its clients go on\n")
    engine.close()
    os._exit(int(failed))  # a thread of vLLM's would keep the process


if __name__ == "__main__":
    main()
