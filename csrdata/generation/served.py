"""A search whose sentences a server samples (docs/servers.md), each scored again by the policy here.

The server sees a prompt's tokens, its image and the answer so far, and returns more tokens than a sentence can have. The
decoder of this process (`csrdata.policy.decoding`) then scores these tokens instead of choosing its own, all in one pass
where the model's prefix can be shared: it finds where the sentence ends, and its log-probability is the policy's own in
transformers, as for every other way to propose. That is R_T, and the reference that training checks. The server's own
log-probabilities are kept in the replies' file, and a shard in which the two differ is refused.

A server's answers depend on its batches, so they cannot be made twice. The replies of a shard are therefore kept, in a
separate file, before its rows are written: a shard that is made again asks only for what is not there.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csrdata.errors import UserError
from csrdata.generation.answer_server import AnswerServer, Asked, BadReply, Rules, Sampled, check_reply
from csrdata.generation.generating import generate
from csrdata.images import ImageRoot, load_image
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import text_ids
from csrdata.policy.proposing import Row
from csrdata.records import NO_PARENT, Fate, Prompt, Sentence
from csrdata.storage.disk import atomic_file
from csrdata.storage.lines import read_json_lines

Before = tuple[str, tuple[int, ...]]
"""A prompt's id, and the tokens of an answer before a sentence."""


def generate_served(
    prompts: Sequence[Prompt],
    *,
    root: Path | ImageRoot,
    policy: Policy,
    server: AnswerServer,
    replies: Path,
    count: int,
    seed: int,
    tolerance: float,
    max_sentence_tokens: int,
    max_response_tokens: int,
    **search: Any,
) -> list[Sentence]:
    """Run the search for a shard of prompts with sentences that a server samples; see `generate`.

    Args:
        prompts, root, policy, max_sentence_tokens, max_response_tokens, search: see `generate`.
        server: has the same policy.
        replies: the file that keeps what the server has sampled for this shard, JSON lines; read first if it exists.
        count: sentences that continue each live answer, 1 or more.
        seed: >= 0; each sentence's own seed is derived from it, the prompt's id, the answer so far and its number.
        tolerance: nats per token, > 0: the largest difference between the log-probabilities of a sentence by the server
            and by the policy here, divided by its tokens.

    Raises:
        UserError: a log-probability differs by more than the tolerance; or as `generate` and `AnswerServer.sample` raise.
    """
    sentences = ServedSentences(
        prompts,
        root=root,
        policy=policy,
        server=server,
        kept=read_replies(replies, rules=server.rules, seed=seed),
        count=count,
        seed=seed,
        max_sentence_tokens=max_sentence_tokens,
        max_response_tokens=max_response_tokens,
    )
    rows = generate(
        prompts,
        root=root,
        policy=policy,
        proposing=sentences,
        max_sentence_tokens=max_sentence_tokens,
        max_response_tokens=max_response_tokens,
        **search,
    )
    compare(rows, sentences.replies.values(), tolerance=tolerance, address=server.address)
    if sentences.has_asked:
        write_replies(replies, sentences.replies.values())
    return rows


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server has sampled for one row of the search."""

    prompt_id: str
    group: int
    """The number of the sample, from 0."""
    before: tuple[int, ...]
    """Tokens of the answer before it."""
    sampled: Sampled

    @property
    def path(self) -> Before:
        return self.prompt_id, self.before


@dataclass
class ServedSentences:
    """A way to propose (`csrdata.policy.proposing.Proposing`): each live answer has `count` sentences from a server.

    All sentences of a depth are asked for together, when the decoder wants the first token of one of them.
    """

    prompts: Sequence[Prompt]
    root: Path | ImageRoot
    policy: Policy
    server: AnswerServer
    kept: Mapping[bytes, Reply]
    """Replies of earlier, by their key."""
    count: int
    seed: int
    max_sentence_tokens: int
    max_response_tokens: int
    replies: dict[bytes, Reply] = field(default_factory=dict)
    """Those that this search has used, by their key."""
    has_asked: bool = False
    """Whether the server was asked for any of them."""
    _wanted: dict[bytes, tuple[str, tuple[int, ...], int]] = field(default_factory=dict)
    _images: dict[str, bytes] = field(default_factory=dict)
    """Encoded images by their SHA-256."""
    _encoded: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """Tokens and image of each prompt, by its id."""

    @property
    def roots(self) -> int:
        return 1

    @property
    def candidates(self) -> int:
        return self.count

    def key(self, prompt_id: str, before: Sequence[int], group: int) -> bytes:
        """Return what a sentence's seed is derived from, and note that it is wanted."""
        found = key_of(self.seed, prompt_id, before, group)
        if found in self.kept:
            self.replies[found] = self.kept[found]
        elif found not in self.replies:
            self._wanted[found] = (prompt_id, tuple(before), group)
        return found

    def tokens(self, rows: Sequence[Row]) -> list[tuple[int, ...]]:
        """Return the tokens of each row's reply."""
        self._fetch()
        return [self.replies[row.key].sampled.tokens for row in rows]

    def choose(self, allowed: Tensor, active: Sequence[int], rows: Sequence[Row], *, ends: Tensor) -> Tensor:  # noqa: ARG002
        """Return the next token of each row's reply, for a model that cannot score a reply in one pass.

        After a reply whose answer has no room for more comes an end, which only tells that no text follows.
        """
        tokens = []
        for row, reply in zip(rows, self.tokens(rows), strict=True):
            place = row.position - len(self.replies[row.key].before)
            tokens.append(reply[place] if place < len(reply) else int(ends[0]))
        return torch.tensor(tokens, dtype=torch.long, device=allowed.device)

    def _fetch(self) -> None:
        """Ask the server for all sentences that are wanted."""
        if not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        if not self.has_asked:
            self.server.check()
            self.has_asked = True
        asked = [self._asked(key, *what) for key, what in wanted.items()]
        sampled = self.server.sample(asked, self._images.__getitem__)
        for (key, (prompt_id, before, group)), one in zip(wanted.items(), sampled, strict=True):
            self.replies[key] = Reply(prompt_id, group, before, one)

    def _asked(self, key: bytes, prompt_id: str, before: tuple[int, ...], _group: int) -> Asked:
        if prompt_id not in self._encoded:
            self._encoded[prompt_id] = self._encode(prompt_id)
        prompt, image = self._encoded[prompt_id]
        # One more than a sentence has: where an end needs it, the next token decides whether it is one.
        room = max(1, min(self.max_sentence_tokens + 1, self.max_response_tokens - len(before)))
        return Asked(prompt, image, before, room, int.from_bytes(key[:8], "big") >> 1)

    def _encode(self, prompt_id: str) -> tuple[tuple[int, ...], str]:
        prompt = next(one for one in self.prompts if one.prompt_id == prompt_id)
        picture = load_image(prompt.image, root=self.root, place=f"prompt {prompt_id}")
        content = io.BytesIO()
        picture.save(content, "PNG")
        name = hashlib.sha256(content.getvalue()).hexdigest()
        self._images[name] = content.getvalue()
        return tuple(text_ids(self.policy.processor, self.policy.prompt(prompt.text))), name


def key_of(seed: int, prompt_id: str, before: Sequence[int], group: int) -> bytes:
    """Return 16 bytes that depend on all four: a sentence's seed comes from them."""
    return hashlib.blake2b(
        json.dumps([seed, prompt_id, group, list(before)]).encode(), digest_size=16
    ).digest()


def compare(rows: Sequence[Sentence], replies: Iterable[Reply], *, tolerance: float, address: str) -> None:
    """Check each sentence of a search against the reply that it is the beginning of.

    Args:
        rows: a shard's sentences, prompt by prompt, with the policy's log-probabilities.
        replies: of the server, with its own.
        tolerance: nats per token, > 0.
        address: the server's, for the error.

    Raises:
        UserError: a sentence comes from no reply, or its log-probabilities differ by more than the tolerance.
    """
    by_path: dict[Before, list[Sampled]] = {}
    for reply in replies:
        by_path.setdefault(reply.path, []).append(reply.sampled)
    paths: dict[tuple[str, int], tuple[int, ...]] = {}
    for row in rows:
        if row.fate == Fate.REFUSED.value:
            continue
        own, before = tuple(row.token_ids), paths.get((row.prompt_id, row.parent_id), ())
        if row.parent_id == NO_PARENT:
            before = ()
        paths[row.prompt_id, row.node_id] = before + own
        sums = [
            sum(one.logprobs[: len(own)])
            for one in by_path.get((row.prompt_id, before), ())
            if one.tokens[: len(own)] == own
        ]
        place = f"server {address}: prompt {row.prompt_id}: sentence {row.node_id}"
        do = "start it with this policy's own model and the dtype of params.yaml, then: dvc repro (other shards are kept)"
        if not sums:
            got = "an answer that ends before it has an end or reaches its limit"
            raise UserError(place, got=got, expected="all tokens of the sentence", do=do)
        differs = min(abs(value - row.logprob) for value in sums) / len(own)
        if not differs <= tolerance:
            raise UserError(
                place,
                got=f"log-probabilities that differ by {differs:.3g} nats per token from the policy's",
                expected=f"at most {tolerance:g} (generate_beams.proposal.tolerance)",
                do=do,
            )


def replies_file(folder: Path, *, inputs: Mapping[str, str], prompts: Sequence[Prompt]) -> Path:
    """Return the file of a shard's replies: other inputs or other prompts have another file.

    Args:
        folder: of all files of replies.
        inputs: hashes of what a reply depends on.
        prompts: the shard's.
    """
    parts = [dict(inputs), [prompt.prompt_id for prompt in prompts]]
    return folder / f"{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]}.jsonl"


def write_replies(path: Path, replies: Iterable[Reply]) -> None:
    """Write replies, atomically, one JSON object per line; the first line has the hash of the others."""
    lines = [
        json.dumps(
            {
                "prompt_id": reply.prompt_id,
                "group": reply.group,
                "before": reply.before,
                "tokens": reply.sampled.tokens,
                "logprobs": reply.sampled.logprobs,
            }
        )
        for reply in sorted(replies, key=lambda one: (one.prompt_id, len(one.before), one.before, one.group))
    ]
    text = "".join(f"{line}\n" for line in lines)
    head = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})
    with atomic_file(path) as partial:
        partial.write_text(f"{head}\n{text}", encoding="utf-8")


def read_replies(path: Path, *, rules: Rules, seed: int) -> dict[bytes, Reply]:
    """Return the replies in a file, by their key; none if the file is missing or damaged: the server is asked again.

    Args:
        path: the file.
        rules: what the tokens of a reply may be.
        seed: of the search.
    """
    try:
        content = path.read_bytes()
        head, _, rest = content.partition(b"\n")
        if json.loads(head) != {"sha256": hashlib.sha256(rest).hexdigest()}:
            return {}
        found = [_reply(line, rules) for _, line in list(read_json_lines(path))[1:]]
    except (OSError, ValueError, RecursionError, UserError, BadReply, KeyError, TypeError):
        return {}
    return {key_of(seed, one.prompt_id, one.before, one.group): one for one in found}


def _reply(line: Mapping[str, Any], rules: Rules) -> Reply:
    before = tuple(line["before"])
    question = Asked((), "", before, max_tokens=len(line["tokens"]), seed=0)
    sampled = check_reply({**line, "is_full": True}, question, rules)
    return Reply(str(line["prompt_id"]), int(line["group"]), before, sampled)
