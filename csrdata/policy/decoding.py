"""Batched diverse group decoding of sentences over a shared image-and-prompt prefix.

Each prompt is encoded once, image included; all rows of all its live answers attend to that one prefix
(`shared_attention`), and a sentence's tokens go through the model once.

Diverse group decoding (group size 1, arXiv 1610.02424): for every live answer `groups` rows decode greedily and in order;
row g loses `diversity_penalty` nats on a token for each earlier row of the same answer that takes it at this step. The
penalty never falls on end-of-sequence, and never enters a sentence's log-probability.

No third-party package but torch and transformers; the search (`csrdata.search.beam`) knows none of this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from csrdata.policy.shared_attention import Answers, Prompts, Step, gather, use_shared_prefix
from csrdata.records import Stop
from csrdata.search.beam import Branch, Proposal
from csrdata.search.sentences import TERMINATORS, Boundary, boundary, ends_before


class SentenceDecoder:
    """Continues answers to a batch of prompts by one sentence at a time: the search's `Propose`.

    A `Proposal.state` is a row of the layer that proposed it, so that the branches given to `propose` must come from
    the layer before. A decoder serves one batch; make another for the next.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: Mapping[str, Tensor],
        *,
        groups: int,
        diversity_penalty: float,
        max_sentence_tokens: int,
        max_response_tokens: int,
        end_ids: Sequence[int],
        banned_ids: Sequence[int],
    ) -> None:
        """Encode the prompts.

        Args:
            model: any image-text-to-text model of transformers that uses the attention interface.
            tokenizer: its tokenizer; sentence ends are found in the text that it decodes.
            inputs: the processor's output for the prompts: `input_ids` and `attention_mask` [P, L], padded on the left,
                and whatever the model wants for the images.
            groups: rows for each live answer.
            diversity_penalty: nats, >= 0.
            max_sentence_tokens: tokens of one sentence.
            max_response_tokens: tokens of a whole answer.
            end_ids: the tokens that end an answer.
            banned_ids: tokens that are never generated: the image placeholder, padding, beginning-of-sequence.
        """
        use_shared_prefix(model)
        self.model, self.tokenizer = model, tokenizer
        self.groups, self.diversity_penalty = groups, diversity_penalty
        self.max_sentence_tokens, self.max_response_tokens = max_sentence_tokens, max_response_tokens
        self.end_ids, self.banned_ids = sorted(end_ids), sorted(set(banned_ids) - set(end_ids))
        self.may_close = _may_close(tokenizer, model.config.get_text_config().vocab_size)
        self.prefix, self.prompt_logits = _prefill(model, inputs)
        self.present = list(range(len(self.prompt_logits)))
        self.layer: _Layer | None = None
        self.ends = torch.tensor(self.end_ids, device=self.prompt_logits.device)

    @torch.inference_mode()
    def propose(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return `groups` candidate sentences for each live answer, in the order of the groups."""
        nodes, logits = self._branch(branches)
        rows = [
            _Row(node=index, group=group, before=before, said=said)
            for index, (before, said) in enumerate(nodes.texts)
            for group in range(self.groups)
        ]
        logits = logits.repeat_interleave(self.groups, 0)
        step = Step(
            self.prefix, nodes.prompt_of_branch, nodes.answers, [(row.node, row.group) for row in rows]
        )
        active = list(range(len(rows)))
        while True:
            tokens, logprobs = self._choose(logits, [rows[index] for index in active])
            going = [
                position
                for position, (index, token, logprob) in enumerate(zip(active, tokens, logprobs, strict=True))
                if not self._take(rows[index], token, logprob)
            ]
            if not going:
                break
            if len(going) < len(active):
                active = [active[position] for position in going]
                step.keep(going)
            logits = self._forward([tokens[position] for position in going], step)
        self.layer = _Layer(step, rows)
        return [
            [self._proposal(rows[index], index) for index in range(start, start + self.groups)]
            for start in range(0, len(rows), self.groups)
        ]

    def _branch(self, branches: Sequence[Branch]) -> "tuple[_Nodes, Tensor]":
        """Return what the live answers attend to, and the logits [branches, V] of their next token."""
        prompts = [branch.prompt for branch in branches]
        device = self.prompt_logits.device
        present = sorted(set(prompts) | {prompt for prompt in self.present if prompt > max(prompts)})
        if len(present) < len(self.present):
            self.prefix = self.prefix.select([self.present.index(prompt) for prompt in present])
            self.present = present
        place = {prompt: index for index, prompt in enumerate(self.present)}
        prompt_of_branch = [place[prompt] for prompt in prompts]
        logits = self.prompt_logits[prompts]
        going_on = [index for index, branch in enumerate(branches) if branch.state is not None]
        if self.layer is None or not going_on:
            answers = Answers(torch.zeros(len(branches), 0, dtype=torch.bool, device=device), self.groups)
            return _Nodes(answers, prompt_of_branch, [((), "")] * len(branches)), logits
        rows = [
            None if branch.state is None else self.layer.rows[int(branch.state)]  # type: ignore[call-overload]
            for branch in branches
        ]
        answers = gather(
            self.layer.step.parts,
            [(0, 0, ()) if row is None else self.layer.where(row, self.groups) for row in rows],
            groups=self.groups,
        )
        ids = [() if row is None else row.before + row.ids for row in rows]
        step = Step(self.prefix, prompt_of_branch, answers, [(index, 0) for index in going_on])
        logits[going_on] = self._forward([ids[index][-1] for index in going_on], step)
        texts = [
            (own, self._decode(own)) for own in ids
        ]
        spoken = torch.tensor([[row is not None] for row in rows], device=device)
        return _Nodes(answers.continued(spoken, self.groups), prompt_of_branch, texts), logits

    def _forward(self, tokens: Sequence[int], step: "Step") -> Tensor:
        """Feed one token to each of the step's rows and return the next token's logits [rows, V]."""
        output = self.model(
            input_ids=torch.tensor(tokens, device=self.prompt_logits.device)[:, None],
            position_ids=step.begin()[:, None],
            use_cache=False,
            shared_prefix=step,
        )
        step.end()
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _choose(self, logits: Tensor, rows: "Sequence[_Row]") -> tuple[list[int], list[float]]:
        """Return each row's next token and its natural-log probability, without the penalty.

        The rows of one group are chosen together for all answers; what they take is dearer for the groups after them.
        """
        logprobs = logits.float().log_softmax(-1)
        allowed = logprobs.clone()
        allowed[:, self.banned_ids] = -torch.inf
        device = logits.device
        place = {node: index for index, node in enumerate(dict.fromkeys(row.node for row in rows))}
        table = torch.full((len(place), self.groups), -1)  # the row of each answer and group
        table[[place[row.node] for row in rows], [row.group for row in rows]] = torch.arange(len(rows))
        table = table.to(device)
        tokens = torch.zeros(len(rows), dtype=torch.long, device=device)
        for group in range(self.groups):
            here = table[table[:, group] >= 0]
            mine, later = here[:, group], here[:, group + 1 :]
            chosen = allowed[mine].argmax(-1)
            tokens[mine] = chosen
            dearer = (later >= 0) & ~torch.isin(chosen, self.ends)[:, None]
            answer, column = dearer.nonzero(as_tuple=True)
            allowed[later[answer, column], chosen[answer]] -= self.diversity_penalty
        return tokens.tolist(), logprobs.gather(-1, tokens[:, None])[:, 0].tolist()

    def _take(self, row: "_Row", token: int, logprob: float) -> bool:
        """Add a token to a row; return whether its sentence is complete."""
        if row.waiting:
            # The sentence ended here only if what follows says so; the token looked at is not part of it.
            following = "" if token in self.end_ids else self._text(row, token)[len(row.text) :]
            if ends_before(row.text, following):
                return row.finish(Stop.SENTENCE_END)
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
            found = boundary(row.text)
            if found is Boundary.END:
                return row.finish(Stop.SENTENCE_END)
            row.waiting = found is Boundary.NEXT
        if not row.waiting and (limit := self._limit(row)):
            row.text = self._text(row)
            return row.finish(limit)
        return False

    def _limit(self, row: "_Row") -> Stop | None:
        if len(row.before) + len(row.ids) >= self.max_response_tokens:
            return Stop.RESPONSE_LIMIT
        return Stop.SENTENCE_LIMIT if len(row.ids) >= self.max_sentence_tokens else None

    def _text(self, row: "_Row", *more: int) -> str:
        """The row's own text: what its tokens add to the text of the answer before it."""
        return self._decode(row.before + row.ids + more)[len(row.said) :]

    def _decode(self, ids: tuple[int, ...]) -> str:
        if not ids:
            return ""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)  # type: ignore[return-value]

    def _proposal(self, row: "_Row", index: int) -> Proposal:
        return Proposal(row.group, row.text, row.ids, row.logprob, row.stop, index)


@dataclass(slots=True)
class _Row:
    """One sentence being decoded."""

    node: int
    group: int
    before: tuple[int, ...]
    """The tokens of the answer before this sentence."""
    said: str
    """Its text."""
    ids: tuple[int, ...] = ()
    logprob: float = 0.0
    text: str = ""
    waiting: bool = False
    """The text may end a sentence here: the next token tells."""
    stop: Stop = Stop.SENTENCE_END

    def finish(self, stop: Stop) -> bool:
        self.stop = stop
        return True


@dataclass(slots=True)
class _Nodes:
    """The live answers of a layer, and what they attend to."""

    answers: Answers
    prompt_of_branch: Sequence[int]
    """Rows of the decoder's `prefix`."""
    texts: Sequence[tuple[tuple[int, ...], str]]
    """Each answer's tokens and text so far."""


@dataclass(slots=True)
class _Layer:
    """The rows of a finished layer: what the next one branches from."""

    step: Step
    rows: "Sequence[_Row]"

    def where(self, row: "_Row", groups: int) -> tuple[int, int, list[int]]:
        """The part that holds an answer with this sentence, its row there, and the slots of all but its last token."""
        part, answer = self.step.home[row.node * groups + row.group]
        slots = self.step.parts[part].slots(row.group, past=len(row.before), tokens=len(row.ids) - 1)
        return part, answer, slots


@torch.inference_mode()
def _prefill(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Prompts, Tensor]:
    """Encode images and prompts once; return their keys and values and the first token's logits [P, V]."""
    mask = inputs["attention_mask"]
    cache = DynamicCache(config=model.config.get_text_config())
    output = model(
        **inputs,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    layers: list[Any] = list(cache.layers)
    prefix = Prompts([layer.keys for layer in layers], [layer.values for layer in layers], mask.bool())
    return prefix, output.logits[:, -1]


def _may_close(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> frozenset[int]:
    """The tokens after which a sentence may have ended: those with a terminator, or with a part of a character."""
    texts = tokenizer.batch_decode(
        [[index] for index in range(vocabulary)], clean_up_tokenization_spaces=False
    )
    return frozenset(
        index
        for index, text in enumerate(texts)
        if "\N{REPLACEMENT CHARACTER}" in text or set(text) & TERMINATORS
    )
