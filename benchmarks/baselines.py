"""Two other searches for `benchmarks.gpu`, over transformers' own `generate`: the straightforward one, and a batched one.

Both take token ids and image inputs, so that no processor is needed. Every sentence has the same number of tokens.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList

from benchmarks.groups import VectorisedGroups
from csrdata.records import Stop
from csrdata.search.beam import Branch, Proposal

Inputs = Mapping[str, Tensor]


class Straightforward:
    """Encodes image, prompt and answer again for every sentence, one live answer at a time: a `Propose` of the search."""

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Inputs],
        *,
        groups: int,
        tokens: int,
        penalty: float,
        banned: Sequence[int],
    ) -> None:
        """`inputs`: of each prompt alone, `input_ids` and `attention_mask` [1, L] and the image inputs."""
        self.model, self.inputs, self.tokens = model, inputs, tokens
        self.settings: dict[str, Any] = {"groups": groups, "penalty": penalty, "banned": banned}

    @torch.inference_mode()
    def __call__(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return the sentences of each live answer; the state of a proposal is its answer's tokens."""
        return [self._continue(branch) for branch in branches]

    def _continue(self, branch: Branch) -> list[Proposal]:
        before: tuple[int, ...] = branch.state if isinstance(branch.state, tuple) else ()
        groups, own = self.settings["groups"], dict(self.inputs[branch.prompt])
        answer = torch.tensor([before], dtype=torch.long, device=own["input_ids"].device)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if name in own:
                more = answer if name == "input_ids" else torch.full_like(answer, name == "attention_mask")
                own[name] = torch.cat([own[name], more], 1)
        repeated = {name: value.repeat(groups, *[1] * (value.dim() - 1)) for name, value in own.items()}
        processor = VectorisedGroups(**self.settings)
        rows = self.model.generate(
            **repeated,
            do_sample=False,
            max_new_tokens=self.tokens,
            eos_token_id=None,
            logits_processor=LogitsProcessorList([processor]),
        )[:, own["input_ids"].shape[1] :]
        return _proposals(rows, processor, [before] * groups, groups)[0]


class Batched:
    """Encodes prompts once, and repeats their cache for every row of `generate`: a `Propose` of the search."""

    def __init__(
        self,
        model: Any,
        inputs: Inputs,
        *,
        groups: int,
        tokens: int,
        penalty: float,
        banned: Sequence[int],
    ) -> None:
        """Encode the prompts except their last token, which `generate` must be fed; `inputs` [P, L] as of a processor."""
        self.model, self.tokens = model, tokens
        self.settings: dict[str, Any] = {"groups": groups, "penalty": penalty, "banned": banned}
        self.ids, self.mask = inputs["input_ids"], inputs["attention_mask"]
        self.cache = DynamicCache(config=model.config.get_text_config())
        along = self.ids.shape
        cut = {name: value[:, :-1] if value.shape == along else value for name, value in inputs.items()}
        with torch.inference_mode():
            model(**cut, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        # Qwen's models remember how far the positions of their last batch are from the numbers of its tokens.
        self.shifts = getattr(model.model, "rope_deltas", None)

    @torch.inference_mode()
    def __call__(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return the sentences of each live answer; the state of a proposal is its answer's tokens."""
        groups, device = self.settings["groups"], self.ids.device
        before = [branch.state if isinstance(branch.state, tuple) else () for branch in branches]
        prompts = torch.tensor([branch.prompt for branch in branches], device=device).repeat_interleave(
            groups
        )
        answers = torch.tensor(before, dtype=torch.long, device=device).view(len(before), -1)
        answers = answers.repeat_interleave(groups, 0)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(prompts)
        if self.shifts is not None:
            self.model.model.rope_deltas = self.shifts[prompts]
        processor = VectorisedGroups(**self.settings)
        ids = torch.cat([self.ids[prompts], answers], 1)
        rows = self.model.generate(
            input_ids=ids,
            attention_mask=torch.cat([self.mask[prompts], torch.ones_like(answers)], 1),
            past_key_values=cache,
            do_sample=False,
            max_new_tokens=self.tokens,
            eos_token_id=None,
            logits_processor=LogitsProcessorList([processor]),
        )[:, ids.shape[1] :]
        return _proposals(rows, processor, [own for own in before for _ in range(groups)], groups)


def _proposals(
    rows: Tensor, processor: VectorisedGroups, before: Sequence[tuple[int, ...]], groups: int
) -> list[list[Proposal]]:
    """Return the rows of `generate` as proposals, one list per live answer."""
    logprobs = torch.stack(processor.logprobs, 1).sum(1).tolist()
    found = []
    for row, tokens in enumerate(rows.tolist()):
        text = " ".join(map(str, tokens))
        state = (*before[row], *tokens)
        found.append(Proposal(row % groups, text, tuple(tokens), logprobs[row], Stop.SENTENCE_LIMIT, state))
    return [found[start : start + groups] for start in range(0, len(found), groups)]
