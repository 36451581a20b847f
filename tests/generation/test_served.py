"""A search whose sentences a server samples: scored here, kept, refused where the two differ, and faults survived."""

import argparse
import hashlib
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.generation import answer_server
from csrdata.generation.answer_server import AnswerServer, Asked, Sampled, rules_of
from csrdata.generation.served import read_replies
from csrdata.policy import choosing
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import plain_logits
from csrdata.policy.prompting import encode
from csrdata.records import NO_PARENT, Sentence, Stop
from csrdata.serving.vllm_worker import Answer, Images, Refused, Request, options, parse, slots
from tests.generation import served_search
from tests.generation.policy_server import FaultyServer, ScriptedEngine, serving
from tests.generation.served_search import NAME, PROMPTS, client
from tests.teaching import teach
from tests.tiny import picture, pictures, tiny_llava


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    teach(tiny_llava(root / "policy"), steps=25)
    pictures(root / "images", len(PROMPTS))
    return root


@pytest.fixture(scope="module")
def policy(project: Path) -> Policy:
    return load_policy(project / "policy")


@pytest.fixture(scope="module")
def served(project: Path) -> Policy:
    """The server's own copy of the policy: it computes in other threads."""
    return load_policy(project / "policy")


@pytest.fixture
def server(served: Policy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A server without a fault yet; its client pauses for a hundredth of a second."""
    monkeypatch.setattr(answer_server, "PAUSES", (0.01,))
    with serving(served) as server:
        yield server


def searched(
    project: Path,
    policy: Policy,
    server: FaultyServer,
    replies: Path,
    *,
    tolerance: float = 1e-4,
    **keys: Any,
) -> list[Sentence]:
    """Search with some of the client's settings changed."""
    return served_search.searched(
        project, policy, client(server.address, policy, **keys), replies, tolerance=tolerance
    )


@pytest.fixture(scope="module")
def whole(project: Path, policy: Policy, served: Policy) -> tuple[list[Sentence], bytes]:
    """The rows of a search whose server had no fault, and the file of its replies."""
    with serving(served) as server:
        rows = searched(project, policy, server, project / "replies.jsonl")
    return rows, (project / "replies.jsonl").read_bytes()


def test_sentences_of_a_server_have_the_policys_own_log_probability(
    project: Path, policy: Policy, server: FaultyServer, tmp_path: Path
) -> None:
    """R_T is what transformers gives for the tokens; the server's own value is in the replies, for each of their tokens.

    Requests are in flight together; a sentence ends where our splitter says, not where the server stopped.
    """
    rows = searched(project, policy, server, tmp_path / "replies.jsonl")
    assert {row.prompt_id for row in rows} == {prompt.prompt_id for prompt in PROMPTS}
    paths: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        before = [] if row.parent_id == NO_PARENT else paths[row.prompt_id, row.parent_id]
        paths[row.prompt_id, row.node_id] = before + row.token_ids
        prompt = next(one for one in PROMPTS if one.prompt_id == row.prompt_id)
        index = PROMPTS.index(prompt)
        inputs = encode(policy.processor, [picture(index)], [policy.prompt(prompt.text)])
        answers = [tuple(before + row.token_ids[:count]) for count in range(len(row.token_ids))]
        logits = [plain_logits(policy.model, inputs, [answer])[0].log_softmax(-1) for answer in answers]
        again = sum(float(one[token]) for one, token in zip(logits, row.token_ids, strict=True))
        assert row.logprob == pytest.approx(again, abs=1e-4)
    assert {Stop.SENTENCE_END.value, Stop.END.value} <= {row.stop for row in rows}
    assert server.engine.busiest > 1  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()[1:]]
    assert len(lines) == server.asked
    assert all(len(line["tokens"]) == len(line["logprobs"]) for line in lines)
    assert any(len(line["tokens"]) > len(row.token_ids) for line in lines for row in rows)


def test_a_model_that_shares_no_prefix_goes_token_by_token(
    project: Path,
    policy: Policy,
    server: FaultyServer,
    whole: tuple[list[Sentence], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes the server's tokens one after the other, and gives the same tree with the same log-probabilities."""
    monkeypatch.setattr(choosing, "_against_sharing", lambda *_, **__: "not today")
    with pytest.warns(UserWarning, match="takes the cached path"):
        rows = searched(project, policy, server, project / "by_token.jsonl")
    for row, other in zip(rows, whole[0], strict=True):
        assert row.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert (row.token_ids, row.stop, row.fate) == (other.token_ids, other.stop, other.fate)


def test_kept_replies_are_not_asked_for_again(
    project: Path,
    policy: Policy,
    server: FaultyServer,
    tmp_path: Path,
    whole: tuple[list[Sentence], bytes],
) -> None:
    """A shard that is made again gives the same rows without a server; damaged replies are asked for again."""
    replies, (rows, content) = tmp_path / "replies.jsonl", whole
    replies.write_bytes(content)
    assert searched(project, policy, server, replies) == rows
    assert server.asked == 0
    for damaged in (content.replace(b'"group": 0', b'"group": 1', 1), b"[" * 10_000):
        replies.write_bytes(damaged)
        assert searched(project, policy, server, replies) == rows
        assert replies.read_bytes() == content


def test_replies_that_break_a_rule_are_not_read(policy: Policy, tmp_path: Path) -> None:
    """A file with the right hash may still hold what no server could have sent."""
    rules = rules_of(vocabulary=100, ends=[2], banned=[0])
    good = {"prompt_id": "p", "group": 0, "before": [], "tokens": [5, 2], "logprobs": [-1.0, -0.5]}
    for change, count in ({}, 1), ({"tokens": [5, 0]}, 0), ({"logprobs": [-1.0]}, 0), ({"before": None}, 0):
        text = json.dumps(good | change) + "\n"
        head = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})
        (tmp_path / "r.jsonl").write_text(f"{head}\n{text}", encoding="utf-8")
        assert len(read_replies(tmp_path / "r.jsonl", rules=rules, seed=0)) == count


FAULTS = [
    "cut",
    "busy",
    "error",
    "large",
    "text",
    "nested",
    "unknown token",
    "banned token",
    "fraction",
    "truth value",
]
FAULTS += [
    "none",
    "short",
    "long",
    "fewer logprobs",
    "nan",
    "infinite",
    "above 0",
    "huge",
    "text for a number",
]


def test_faults_of_a_server_change_nothing(
    project: Path,
    policy: Policy,
    server: FaultyServer,
    tmp_path: Path,
    whole: tuple[list[Sentence], bytes],
) -> None:
    """Cut, busy, failing, and replies that break a rule: the request is made again, and the rows are the same."""
    server.faults = list(FAULTS)
    assert searched(project, policy, server, tmp_path / "two.jsonl", in_flight=2) == whole[0]
    assert not server.faults
    assert (tmp_path / "two.jsonl").read_bytes() == whole[1]


@pytest.mark.parametrize(
    "fault", [("error", "status 500"), ("nan", "a log-probability of nan")], ids=lambda one: one[0]
)
def test_a_fault_that_stays_is_one_line(
    project: Path, policy: Policy, server: FaultyServer, tmp_path: Path, fault: tuple[str, str]
) -> None:
    """After five tries the line says what the server did and that finished shards are kept; no reply is kept."""
    server.always, words = fault
    with pytest.raises(UserError, match=rf"^server 127.0.0.1:\d+: got {words} \(\d tries"):
        searched(project, policy, server, tmp_path / "one.jsonl")
    assert not (tmp_path / "one.jsonl").exists()


def test_a_slow_answer_is_a_failed_try() -> None:
    """A request is given up after its seconds and made again, as often as any other fault."""
    asked = [Asked((5,), "0" * 64, (number,), 4, 0) for number in range(6)]
    rules = rules_of(vocabulary=9, ends=[2], banned=[])
    with serving(ScriptedEngine()) as server:
        server.images.kept["0" * 64] = b"x"
        settings: dict[str, Any] = {"policy": NAME, "temperature": 1.0, "rules": rules, "in_flight": 3}
        one = AnswerServer(server.address, **settings, patience=0.1, seconds=3.0)
        one._sent.add("0" * 64)
        server.faults, server.slow = ["slow"], 60.0
        start = time.monotonic()
        assert one.sample(asked, lambda _: b"x") == [Sampled((5, 2), (-1.0, -0.5))] * 6
        assert 3.0 < time.monotonic() - start < 40.0
        assert server.asked == 7


def test_drops_of_an_answer_end_too(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte at a time is given up within the seconds of a request."""
    monkeypatch.setattr(answer_server, "TRIES", 1)
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        peer, _ = listener.accept()
        try:
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
            for _ in range(100):
                peer.sendall(b" ")
                time.sleep(0.2)
        except OSError:
            peer.close()

    threading.Thread(target=drip, daemon=True).start()
    rules = rules_of(vocabulary=9, ends=[2], banned=[])
    one = AnswerServer(
        f"127.0.0.1:{listener.getsockname()[1]}",
        policy=NAME,
        temperature=1.0,
        rules=rules,
        in_flight=1,
        patience=5,
        seconds=1.0,
    )
    start = time.monotonic()
    with pytest.raises(UserError, match=r"got no answer within 1 s \(1 tries"):
        one.check()
    assert time.monotonic() - start < 10
    listener.close()


def test_a_dead_server_is_waited_for(
    project: Path,
    policy: Policy,
    served: Policy,
    tmp_path: Path,
    whole: tuple[list[Sentence], bytes],
) -> None:
    """A server that starts later is used, and the policy that is waited for is named; one that does not come back costs its patience and one line."""
    with serving(served) as first:
        port = first.server_address[1]
    start = time.monotonic()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(record=True) as said,
        pytest.raises(UserError, match=r"got no connection \(.*no answer for \d+ s\), expected an answer"),
    ):
        patch.setattr(answer_server, "QUIET", 0.1)
        searched(project, policy, first, tmp_path / "two.jsonl", patience=1.0)
    (waiting_for,) = (str(one.message) for one in said if "waiting" in str(one.message))
    assert waiting_for.endswith(f"waiting up to 1 s for one with --policy {NAME}")
    assert 1.0 < time.monotonic() - start < 20
    found: list[list[Sentence]] = []
    waiting = threading.Thread(
        target=lambda: found.append(searched(project, policy, first, tmp_path / "two.jsonl", patience=60.0))
    )
    waiting.start()
    time.sleep(1.0)
    with serving(served, port=int(port)):
        waiting.join(120)
    assert found == [whole[0]]


@pytest.mark.parametrize("fault", ["wrong tokens", "wrong logprobs"])
def test_a_shard_whose_log_probabilities_differ_is_refused(
    project: Path, policy: Policy, server: FaultyServer, tmp_path: Path, fault: str
) -> None:
    """Tokens or values of another policy: the line names server, prompt and difference; the replies are not kept."""
    server.always = fault
    words = r"^server 127.0.0.1:\d+: prompt p\d: sentence \d+: got log-probabilities that differ by \S+ nats per token"
    with pytest.raises(UserError, match=words):
        searched(project, policy, server, tmp_path / "one.jsonl", tolerance=0.1)
    assert not (tmp_path / "one.jsonl").exists()


def test_an_answer_that_pretends_to_be_full_is_refused(
    project: Path, policy: Policy, server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply may be short where the model has no position left; elsewhere no end is invented for it."""
    real = server.changed
    monkeypatch.setattr(
        server,
        "changed",
        lambda found, _: real(found, "short") | ({} if len(found["tokens"]) == 1 else {"is_full": True}),
    )
    with pytest.raises(UserError, match="got an answer that ends before it has an end or reaches its limit"):
        searched(project, policy, server, tmp_path / "one.jsonl")


def test_a_server_of_another_policy_is_one_line(
    project: Path, policy: Policy, server: FaultyServer, tmp_path: Path
) -> None:
    """The line says how to start the right one."""
    with pytest.raises(
        UserError, match=rf"got policy {NAME}, protocol 1, expected policy q+, protocol 1. Next: start it"
    ):
        searched(project, policy, server, tmp_path / "one.jsonl", named="q" * 32)
    asked = Asked((5,), hashlib.sha256(b"").hexdigest(), (), 4, 0)
    with pytest.raises(UserError, match=r"got status 409: this server has the policy p+, expected an answer"):
        client(server.address, policy, named="q" * 32).sample([asked], lambda _: b"")


def test_an_image_is_sent_once(
    project: Path,
    policy: Policy,
    server: FaultyServer,
    tmp_path: Path,
    whole: tuple[list[Sentence], bytes],
) -> None:
    """Later requests name its hash; a server that has lost it gets it again."""
    sent: list[str] = []
    put = server.images.put
    server.images.put = lambda name, content: (sent.append(name), put(name, content))[1]  # type: ignore[method-assign]
    assert searched(project, policy, server, tmp_path / "one.jsonl") == whole[0]
    assert len(sent) == len(PROMPTS)
    real, lost = server.images.get, iter([True, False, True])

    def get(name: str) -> bytes:
        if next(lost, False):
            raise Refused(404, "no such image")
        return real(name)

    server.images.get = get  # type: ignore[method-assign]
    assert searched(project, policy, server, tmp_path / "two.jsonl", in_flight=1) == whole[0]


def test_a_server_keeps_images_within_its_room() -> None:
    """The image that was not used for longest goes; one with another hash than its name is refused."""
    images = Images(most=25)
    names = [hashlib.sha256(bytes([index]) * 10).hexdigest() for index in range(3)]
    for index in (0, 1):
        images.put(names[index], bytes([index]) * 10)
    images.get(names[0])
    images.put(names[2], bytes([2]) * 10)
    assert images.get(names[0])
    with pytest.raises(Refused, match="no such image"):
        images.get(names[1])
    with pytest.raises(Refused, match="another SHA-256"):
        images.put(names[1], b"x")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"policy": "x"}, 409),
        ({"prompt": "5"}, 400),
        ({"prompt": [5.0]}, 400),
        ({"answer": [-1]}, 400),
        ({"banned": None}, 400),
        ({"temperature": 0}, 400),
        ({"temperature": float("nan")}, 400),
        ({"seed": 2**63}, 400),
        ({"max_tokens": 0}, 400),
        ({"max_tokens": True}, 400),
        ({"image": 5}, 400),
    ],
)
def test_a_server_refuses_what_is_no_request(change: dict[str, Any], status: int) -> None:
    """Each part of a request has its type and range."""
    good = {
        "policy": "p",
        "prompt": [5],
        "answer": [],
        "image": "x",
        "max_tokens": 4,
        "temperature": 1,
        "seed": 0,
    }
    good["banned"] = [0]
    assert parse(json.dumps(good).encode(), policy="p").temperature == 1.0
    with pytest.raises(Refused) as caught:
        parse(json.dumps(good | change).encode(), policy="p")
    assert caught.value.status == status
    for body in (b"", b"[]", b"[" * 20_000):
        with pytest.raises(Refused, match="JSON"):
            parse(body, policy="p")


def test_sampled_values_are_frozen() -> None:
    """A reply cannot be changed after it was checked."""
    with pytest.raises(AttributeError):
        Sampled((1,), (-1.0,)).tokens = ()  # type: ignore[misc]


class BreakingEngine(ScriptedEngine):
    """Breaks at its second request."""

    def sample(self, request: Request, image: bytes) -> Answer:
        if self.is_dead or len(request.prompt) > 1:
            self.is_dead = True
            raise RuntimeError("out of memory")
        return super().sample(request, image)


def test_a_server_whose_engine_died_ends() -> None:
    """The request counts as one to a server that is away, not as a failed try; `serve_forever` returns."""
    rules = rules_of(vocabulary=9, ends=[2], banned=[])
    with serving(BreakingEngine()) as server:
        server.images.kept["0" * 64] = b"x"
        one = AnswerServer(
            server.address, policy=NAME, temperature=1.0, rules=rules, in_flight=1, patience=0.5, seconds=10.0
        )
        one._sent.add("0" * 64)
        first, second = (Asked(prompt, "0" * 64, (), 4, 0) for prompt in ((5,), (5, 6)))
        assert one.sample([first], lambda _: b"x") == [Sampled((5, 2), (-1.0, -0.5))]
        with pytest.raises(UserError, match=r"got (status 503|no connection) \("):
            one.sample([second], lambda _: b"x")
        assert server.has_ended.wait(10)


@pytest.mark.parametrize(
    ("config", "wanted"), [({"r": 4}, 8), ({"r": 16}, 16), ({"r": 8, "rank_pattern": {"a": 200}}, 256)]
)
def test_a_server_makes_room_for_the_adapters_rank(
    tmp_path: Path, config: dict[str, Any], wanted: int
) -> None:
    """The next larger rank that vLLM takes; a folder without a rank, or with too large a one, is one line."""
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert slots(str(tmp_path)) == wanted
    for text in ("{}", "[]", "no JSON", '{"r": 1000}', '{"r": null}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(SystemExit, match=r"expected adapter_config.json with r from 1 to 512"):
            slots(str(tmp_path))


def test_options_of_a_server_are_an_object() -> None:
    """Anything else is an error of the command line."""
    assert options('{"dtype": "float32"}') == {"dtype": "float32"}
    for text in ("[]", "dtype", "1", "[" * 100_000):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a JSON object"):
            options(text)
