"""Batched decoding of sentences: when a sentence ends, and what its log-probability is.

`csrdata.policy.passes` computes the next-token logits of each row, `csrdata.policy.proposing` chooses the tokens. Prompts
can be admitted while others are being decoded; a prompt is dropped when it has no live answer.

A sentence's log-probability is the policy's own: without the diversity penalty, and at temperature 1.

The search (`csrdata.search.beam`) does not depend on this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrdata.policy.known_tokens import KnownPasses
from csrdata.policy.passes import Node, Passes
from csrdata.policy.proposing import Known, Proposing
from csrdata.records import Stop
from csrdata.search.beam import Branch, Proposal
from csrdata.search.sentences import TERMINATORS, Boundary, boundary, ends_before


class SentenceDecoder:
    """Continues answers to a batch of prompts by one sentence at a time: the search's `Propose`.

    `Proposal.state` is the index of the row that proposed the sentence. Each branch given to `propose` must come from the
    previous call, or be the empty answer of a prompt admitted since.
    """

    def __init__(
        self,
        passes: Passes,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt_ids: Sequence[str],
        proposing: Proposing,
        max_sentence_tokens: int,
        max_response_tokens: int | Sequence[int],
        end_ids: Sequence[int],
        banned_ids: Sequence[int],
    ) -> None:
        """Prepare to admit prompts.

        Args:
            passes: computes the policy's logits.
            tokenizer: the policy's; sentence ends are detected in its decoded text.
            prompt_ids: the id of each prompt, by the prompt's number.
            proposing: the rows of a live answer, and how they choose tokens.
            max_sentence_tokens: limit on the tokens of one sentence, 1 or more.
            max_response_tokens: limit on the tokens of a whole answer, end-of-sequence included, 1 or more; one for all
                prompts, or one for each.
            end_ids: tokens that end an answer.
            banned_ids: tokens that are never generated (the image placeholder, padding, beginning-of-sequence); may be
                empty.
        """
        self.passes, self.tokenizer = passes, tokenizer
        self.prompt_ids, self.proposing = prompt_ids, proposing
        self.max_sentence_tokens = max_sentence_tokens
        self.max_response_tokens = (
            [max_response_tokens] * len(prompt_ids)
            if isinstance(max_response_tokens, int)
            else list(max_response_tokens)
        )
        self.end_ids, self.banned_ids = sorted(end_ids), sorted(set(banned_ids) - set(end_ids))
        self.may_close = _may_close(tokenizer)
        self.rows: list[_Row] = []

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Admit prompts; `propose` can answer them from its next call.

        Args:
            prompts: P prompt numbers, as in `Branch.prompt`.
            inputs: the processor's output for them: `input_ids` and `attention_mask` [P, L], padded on the left, and the
                model's image inputs. P must be 1 unless `passes.together`.
        """
        self.passes.admit(prompts, inputs)

    def propose(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return the candidate sentences of each live answer, ordered by group."""
        answers = [self._answer(branch) for branch in branches]
        rows = self._rows(branches, answers)
        if isinstance(self.passes, KnownPasses) and isinstance(self.proposing, Known):
            self._score(rows, self.proposing.tokens(rows), self.passes)
        else:
            self._decode(rows, [node for node, _ in answers])
        self.rows, count = rows, self.proposing.candidates
        return [
            [self._proposal(rows[index], index) for index in range(start, start + count)]
            for start in range(0, len(rows), count)
        ]

    def _rows(self, branches: Sequence[Branch], answers: Sequence[tuple[Node, int]]) -> list["_Row"]:
        """Return the rows that continue each answer, answer by answer."""
        count = self.proposing.candidates
        return [
            self._row(branch.root * count + number, node, offset)
            for branch, (node, offset) in zip(branches, answers, strict=True)
            for number in range(count)
        ]

    def _decode(self, rows: Sequence["_Row"], nodes: Sequence[Node]) -> None:
        """Choose the tokens of all rows, step by step, until each has its sentence."""
        count = self.proposing.candidates
        logits = self.passes.begin(nodes, groups=count).repeat_interleave(count, 0)
        active = list(range(len(rows)))
        while True:
            tokens, logprobs = self._choose(logits, active, [rows[index] for index in active])
            unfinished = [
                position
                for position, (index, token, logprob) in enumerate(zip(active, tokens, logprobs, strict=True))
                if not self._take(rows[index], token, logprob)
            ]
            if not unfinished:
                break
            if len(unfinished) < len(active):
                active = [active[position] for position in unfinished]
                self.passes.keep(unfinished)
            logits = self.passes.feed([tokens[position] for position in unfinished])

    def _score(self, rows: Sequence["_Row"], tokens: Sequence[tuple[int, ...]], passes: KnownPasses) -> None:
        """Score the tokens of all rows in one pass, and take each row's up to the end of its sentence.

        After a row's last token comes an end, which only tells that no text follows.
        """
        found = passes.logprobs([row.prompt for row in rows], [row.before for row in rows], tokens)
        for row, own, logprobs in zip(rows, tokens, found, strict=True):
            for token, logprob in zip((*own, self.end_ids[0]), (*logprobs, 0.0), strict=True):
                if self._take(row, token, logprob):
                    break

    def _answer(self, branch: Branch) -> tuple[Node, int]:
        """Return the answer that a branch continues, and the length of its text in characters."""
        if branch.state is None:
            return Node(branch.prompt, (), None), 0
        index = int(branch.state)  # type: ignore[call-overload]
        row = self.rows[index]
        return Node(branch.prompt, row.before + row.ids, index), row.offset + len(row.text)

    def _row(self, group: int, node: Node, offset: int) -> "_Row":
        key = self.proposing.key(self.prompt_ids[node.prompt], node.tokens, group)
        limit = self.max_response_tokens[node.prompt]
        return _Row(group, node.prompt, key=key, before=node.tokens, offset=offset, limit=limit)

    def _choose(
        self, logits: Tensor, active: Sequence[int], rows: Sequence["_Row"]
    ) -> tuple[list[int], list[float]]:
        """Return the next token of each active row, and its log-probability (nats) under the policy.

        Args:
            logits: [R, V], one per active row.
            active: R ascending row numbers.
            rows: the R rows.
        """
        logits, device = logits.float(), logits.device
        # A token without a row in the output layer, such as Llama 3.2's image token, cannot be generated.
        banned_ids = [token for token in self.banned_ids if token < logits.shape[-1]]
        banned = torch.tensor(
            banned_ids, dtype=torch.long, device=device
        )  # an empty list would give a float tensor
        ends = torch.tensor(self.end_ids, dtype=torch.long, device=device)
        tokens = self.proposing.choose(logits.index_fill(-1, banned, -torch.inf), active, rows, ends=ends)
        logprobs = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        return tokens.tolist(), logprobs.tolist()

    def _take(self, row: "_Row", token: int, logprob: float) -> bool:
        """Add a token to a row; return whether its sentence is complete."""
        if row.waiting:
            # The following text decides whether the sentence ended before this token.
            following = "" if token in self.end_ids else self._text(row, token)[len(row.text) :]
            if ends_before(row.text, following):
                return self._complete(row)
            row.waiting = False
            if limit := self._limit(row):
                return row.finish(limit)
        row.ids += (token,)
        row.logprob += logprob
        if token in self.end_ids:
            row.text = self._text(row)
            return row.finish(Stop.END)
        if token in self.may_close:
            row.text = self._text(row)
            result = boundary(row.text)
            if result is Boundary.END:
                return self._complete(row)
            row.waiting = result is Boundary.NEXT
        if not row.waiting and (limit := self._limit(row)):
            row.text = self._text(row)
            return row.finish(limit)
        return False

    def _complete(self, row: "_Row") -> bool:
        """Stop a row at the end of its sentence, or at the response limit if the answer has no room for another token."""
        return row.finish(Stop.RESPONSE_LIMIT if row.is_full else Stop.SENTENCE_END)

    def _limit(self, row: "_Row") -> Stop | None:
        if row.is_full:
            return Stop.RESPONSE_LIMIT
        return Stop.SENTENCE_LIMIT if len(row.ids) >= self.max_sentence_tokens else None

    def _text(self, row: "_Row", *more: int) -> str:
        """Return the text of the row's sentence, with `more` tokens after it: the decoded answer from `offset` on."""
        ids = list(row.before + row.ids + more)
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)[row.offset :]

    def _proposal(self, row: "_Row", index: int) -> Proposal:
        return Proposal(row.group, row.text, row.ids, row.logprob, row.stop, index)


@dataclass(slots=True)
class _Row:
    """One sentence being decoded."""

    group: int
    prompt: int
    """The number of its prompt."""
    key: bytes
    """What its random numbers are derived from; see `csrdata.policy.proposing`."""
    before: tuple[int, ...]
    """Tokens of the answer before this sentence."""
    offset: int
    """Length of the text of `before`, in characters."""
    limit: int
    """The most tokens of its answer."""
    ids: tuple[int, ...] = ()
    logprob: float = 0.0
    text: str = ""
    waiting: bool = False
    """Whether the next token decides if the sentence has ended (`Boundary.NEXT`)."""
    stop: Stop = Stop.SENTENCE_END

    @property
    def position(self) -> int:
        """The position of its next token in the answer."""
        return len(self.before) + len(self.ids)

    @property
    def is_full(self) -> bool:
        """Whether the answer has no room for another token."""
        return self.position >= self.limit

    def finish(self, stop: Stop) -> bool:
        self.stop = stop
        return True


def _may_close(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that can end a sentence: those that contain a terminator or only part of a character."""
    texts = tokenizer.batch_decode(
        [[index] for index in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    return frozenset(
        index
        for index, text in enumerate(texts)
        if "\N{REPLACEMENT CHARACTER}" in text or set(text) & TERMINATORS
    )
