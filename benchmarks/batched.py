"""The search's sentences by transformers' own batched `generate`: what a good engineer would write in a day.

Prompts are encoded once. At each depth the prompts' cache is repeated for each row, and `generate` continues all rows
of all prompts together; the penalty of the groups is vectorized over prompts. Its costs: a copy of the prompt for
every row, the answer so far encoded again at each depth, and rows that keep decoding until the last row is done.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from benchmarks.groups import VectorisedGroups
from csrdata.policy.loading import Policy
from csrdata.records import Stop
from csrdata.search.beam import Branch, Proposal


class AnyOf(StoppingCriteria):
    """Stops a row at the first of some tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = torch.tensor(list(tokens))

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' interface
        return torch.isin(input_ids[:, -1], self.tokens)


class BatchedGenerate:
    """Continues the answers to a batch of prompts by one sentence at a time: a `Propose` of the search."""

    def __init__(
        self,
        policy: Policy,
        inputs: Mapping[str, Tensor],
        *,
        groups: int,
        penalty: float,
        sentence_limit: int,
        closers: Sequence[int],
        ends: Sequence[int],
        banned: Sequence[int],
    ) -> None:
        """Encode the prompts except their last token, which `generate` must be fed.

        `closers`: the tokens that end a sentence; `ends`: those that end an answer; `banned`: those never generated.
        """
        self.policy, self.groups, self.penalty, self.sentence_limit = policy, groups, penalty, sentence_limit
        self.closers, self.ends, self.banned = set(closers), set(ends), list(banned)
        self.ids, self.mask = inputs["input_ids"], inputs["attention_mask"]
        self.cache = DynamicCache(config=policy.model.config.get_text_config())
        others = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            policy.model(
                input_ids=self.ids[:, :-1],
                attention_mask=self.mask[:, :-1],
                position_ids=(self.mask[:, :-1].cumsum(-1) - 1).clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
                **others,
            )
        self.answers: list[tuple[int, ...]] = []

    @torch.inference_mode()
    def __call__(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return `groups` sentences for each live answer; the state of a proposal is its row at this depth."""
        before = [() if branch.state is None else self.answers[int(str(branch.state))] for branch in branches]
        prompts = torch.tensor([branch.prompt for branch in branches]).repeat_interleave(self.groups)
        longest = max(map(len, before))
        answers = torch.zeros(len(branches), longest, dtype=torch.long)
        seen = torch.zeros_like(answers)
        for row, own in enumerate(before):
            if own:
                answers[row, longest - len(own) :] = torch.tensor(own)
                seen[row, longest - len(own) :] = 1
        ids = torch.cat([self.ids[prompts], answers.repeat_interleave(self.groups, 0)], 1)
        mask = torch.cat([self.mask[prompts], seen.repeat_interleave(self.groups, 0)], 1)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(prompts)
        processor = VectorisedGroups(
            groups=self.groups, penalty=self.penalty, banned=self.banned, ends=sorted(self.ends)
        )
        model: Any = self.policy.model
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            do_sample=False,
            max_new_tokens=self.sentence_limit,
            eos_token_id=None,
            logits_processor=LogitsProcessorList([processor]),
            stopping_criteria=StoppingCriteriaList([AnyOf(sorted(self.closers | self.ends))]),
        )
        logprobs = torch.stack(processor.logprobs, 1).tolist()
        proposals, self.answers = [], []
        for row, tokens in enumerate(output[:, ids.shape[1] :].tolist()):
            last = next(
                (place for place, token in enumerate(tokens) if token in self.closers | self.ends),
                len(tokens) - 1,
            )
            own = tuple(tokens[: last + 1])
            self.answers.append(before[row // self.groups] + own)
            stop = (
                Stop.END
                if own[-1] in self.ends
                else Stop.SENTENCE_END
                if own[-1] in self.closers
                else Stop.SENTENCE_LIMIT
            )
            text = self.policy.tokenizer.decode(list(own), skip_special_tokens=True)
            proposals.append(
                Proposal(row % self.groups, str(text), own, sum(logprobs[row][: last + 1]), stop, row)
            )
        return [proposals[start : start + self.groups] for start in range(0, len(proposals), self.groups)]
