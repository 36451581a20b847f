"""A policy's greedy answers to questions about images, and the log-probability of given answers.

Plain `generate` in batches; the search has its own decoder. Batches are made of prompts of similar length,
results come back in the order of the questions. What a batch holds can move a logit's last bits, so the plan
(order and batch size) is fixed: same questions, same batch size, same threads, same answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import BatchFeature, GenerationConfig

from csrdata.images import ImageRoot, load_image
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import (
    answer_text,
    banned_ids,
    check_prompt,
    check_tokens,
    encode,
    end_ids,
    render_prompt,
)
from csrdata.progress import progress as bar_of
from csrdata.records import Question


@dataclass(frozen=True, slots=True)
class Reply:
    """One greedy answer."""

    text: str
    token_ids: tuple[int, ...]
    """As generated, end-of-sequence included where it came."""
    finished: bool
    """It ended by itself, not at the token limit."""


@torch.inference_mode()
def answer(
    policy: Policy,
    questions: Sequence[Question],
    *,
    root: Path | ImageRoot,
    max_new_tokens: int,
    batch_size: int,
    title: str = "answers",
    progress: bool = True,
) -> list[Reply]:
    """Answer each question greedily; image placeholder, padding and the like are never generated.

    Args:
        root: the folder that image paths are relative to.
        max_new_tokens: of one answer.
        batch_size: questions in one batch.
        title: what the progress bar says.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty.
    """
    prompts = _rendered(policy, questions)
    ends = end_ids(policy.model, policy.processor)
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        # A model's own generation config may ask for a penalty; a greedy answer is the model's first choice.
        repetition_penalty=1.0,
        suppress_tokens=banned_ids(policy.model, policy.processor) or None,
        eos_token_id=ends,
        pad_token_id=ends[0] if policy.tokenizer.pad_token_id is None else policy.tokenizer.pad_token_id,
    )
    replies: dict[int, Reply] = {}
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for batch in _batches([len(prompt) for prompt in prompts], batch_size):
            inputs = _encode(
                policy, [questions[index] for index in batch], [prompts[index] for index in batch], root
            )
            rows = policy.model.generate(**inputs, generation_config=settings)  # type: ignore[operator]
            generated = rows[:, inputs["input_ids"].shape[1] :].tolist()
            for index, ids in zip(batch, generated, strict=True):
                replies[index] = _reply(policy, ids, ends)
            bar.update(len(batch))
    return [replies[index] for index in range(len(questions))]


@torch.inference_mode()
def completion_logprobs(
    policy: Policy,
    questions: Sequence[Question],
    completions: Sequence[Sequence[int]],
    *,
    root: Path | ImageRoot,
    batch_size: int,
    title: str = "log-probabilities",
    progress: bool = True,
) -> list[float]:
    """Return the natural-log probability of each completion after its question: the sum over its tokens.

    Args:
        completions: tokens as generated, end-of-sequence included where it came; an empty one gives 0.
        root, batch_size, title: as in `answer`.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty.
    """
    prompts = _rendered(policy, questions)
    lengths = [len(ids) for ids in completions]
    found: dict[int, float] = {}
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for batch in _batches(lengths, batch_size):
            inputs = _encode(
                policy, [questions[index] for index in batch], [prompts[index] for index in batch], root
            )
            sums = _sums(policy, inputs, [completions[index] for index in batch])
            found.update(zip(batch, sums, strict=True))
            bar.update(len(batch))
    return [found[index] for index in range(len(questions))]


def _sums(policy: Policy, inputs: BatchFeature, completions: Sequence[Sequence[int]]) -> list[float]:
    """Feed B encoded prompts and their completions in one forward."""
    longest = max(map(len, completions))
    if not longest:
        return [0.0] * len(completions)
    mask = torch.tensor(
        [[1] * len(ids) + [0] * (longest - len(ids)) for ids in completions], device=policy.device
    )
    tokens = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions], device=policy.device)
    shape = inputs["input_ids"].shape
    extended = {name: _extend(value, shape, tokens=longest) for name, value in inputs.items()}
    extended["input_ids"][:, shape[1] :] = tokens
    extended["attention_mask"][:, shape[1] :] = mask
    logits = policy.model(**extended, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
    logprobs = logits.float().log_softmax(-1).gather(-1, tokens[:, :, None])[:, :, 0]
    sums: list[float] = logprobs.double().masked_fill(mask == 0, 0.0).sum(-1).tolist()
    return sums


def _extend(value: Tensor, shape: torch.Size, *, tokens: int) -> Tensor:
    """Make room for more tokens in what runs along the prompts (ids, masks, token types), not in images."""
    if value.shape != shape:
        return value
    return torch.cat([value, value.new_zeros(shape[0], tokens)], dim=1)


def _rendered(policy: Policy, questions: Sequence[Question]) -> list[str]:
    """Check the questions and return their prompts; each wording is rendered once."""
    check_tokens(
        policy.processor, ((f"question {question.question_id}", question.text) for question in questions)
    )
    wordings: dict[str, str] = {}
    for question in questions:
        check_prompt(question.text, prompt_id=question.question_id)
        if question.text not in wordings:
            wordings[question.text] = render_prompt(policy.processor, question.text)
    return [wordings[question.text] for question in questions]


def _encode(
    policy: Policy, questions: Sequence[Question], prompts: Sequence[str], root: Path | ImageRoot
) -> BatchFeature:
    images = [
        load_image(question.image, root=root, place=f"question {question.question_id}")
        for question in questions
    ]
    return encode(policy.processor, images, prompts).to(policy.device, policy.model.dtype)


def _batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Cut the indices into batches of similar length, the longest first: too large a batch shows at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _reply(policy: Policy, ids: Sequence[int], ends: Sequence[int]) -> Reply:
    """Cut one row at its end; what follows it is padding."""
    stop = next((index for index, token in enumerate(ids) if token in ends), None)
    kept = tuple(ids if stop is None else ids[: stop + 1])
    return Reply(text=answer_text(policy.processor, kept), token_ids=kept, finished=stop is not None)
