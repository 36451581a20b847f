"""A policy's greedy answers to questions about images, and the log-probability of given answers.

Answers come from transformers' `generate`, in batches; the search uses `csrdata.policy.decoding` instead. A batch holds
prompts of similar length. Results are in the order of the questions. The composition of a batch can change the last bits of
a logit, so batches depend only on the questions and the batch size: the same questions, batch size and number of threads
give the same answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
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
    with_answers,
)
from csrdata.progress import progress as bar_of
from csrdata.records import Question


@dataclass(frozen=True, slots=True)
class Reply:
    """One greedy answer."""

    text: str
    token_ids: tuple[int, ...]
    """The generated tokens, including end-of-sequence if it was generated."""
    finished: bool
    """Whether the model ended the answer; False if the token limit cut it."""


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
    """Answer each question greedily; the tokens of `banned_ids` (image placeholder, padding and others) are never generated.

    Args:
        root: the folder that image paths are relative to.
        max_new_tokens: limit on the tokens of one answer, end-of-sequence included.
        batch_size: questions in one batch.
        title: label of the progress bar.
        progress: show the progress bar.

    Returns:
        One reply per question, in the same order.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty or contains a special token.
    """
    prompts = rendered_prompts(policy, questions)
    ends = end_ids(policy.model, policy.processor)
    settings = greedy_settings(policy, max_new_tokens=max_new_tokens)
    replies: dict[int, Reply] = {}
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for batch in batches([len(prompt) for prompt in prompts], batch_size):
            inputs = encode_questions(
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
    """Return the log-probability (nats) of each completion given its question: the sum over its tokens.

    Args:
        completions: the generated tokens for each question, including end-of-sequence if it was generated; an empty
            completion has log-probability 0.
        root, batch_size, title, progress: as in `answer`.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty or contains a special token.
    """
    prompts = rendered_prompts(policy, questions)
    lengths = [len(ids) for ids in completions]
    logprobs: dict[int, float] = {}
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for batch in batches(lengths, batch_size):
            inputs = encode_questions(
                policy, [questions[index] for index in batch], [prompts[index] for index in batch], root
            )
            sums = _sums(policy, inputs, [completions[index] for index in batch])
            logprobs.update(zip(batch, sums, strict=True))
            bar.update(len(batch))
    return [logprobs[index] for index in range(len(questions))]


def _sums(policy: Policy, inputs: BatchFeature, completions: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probabilities of B completions, from one forward pass over B encoded prompts and their completions."""
    longest = max(map(len, completions))
    if not longest:
        return [0.0] * len(completions)
    mask = torch.tensor(
        [[1] * len(ids) + [0] * (longest - len(ids)) for ids in completions], device=policy.device
    )
    tokens = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions], device=policy.device)
    extended = with_answers(inputs, tokens, mask, image_token=policy.model.config.image_token_id)
    logits = policy.model(**extended, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
    logprobs = logits.float().log_softmax(-1).gather(-1, tokens[:, :, None])[:, :, 0]
    sums: list[float] = logprobs.double().masked_fill(mask == 0, 0.0).sum(-1).tolist()
    return sums


def greedy_settings(policy: Policy, *, max_new_tokens: int) -> GenerationConfig:
    """Return the settings of transformers' `generate` for greedy answers."""
    ends = end_ids(policy.model, policy.processor)
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        # Override the penalty of the model's generation config: a greedy answer takes the most probable tokens.
        repetition_penalty=1.0,
        suppress_tokens=banned_ids(policy.model, policy.processor) or None,
        eos_token_id=ends,
        pad_token_id=ends[0] if policy.tokenizer.pad_token_id is None else policy.tokenizer.pad_token_id,
    )


def rendered_prompts(policy: Policy, questions: Sequence[Question]) -> list[str]:
    """Validate the questions and return their rendered prompts; each distinct text is rendered once."""
    check_tokens(
        policy.processor, ((f"question {question.question_id}", question.text) for question in questions)
    )
    rendered: dict[str, str] = {}
    for question in questions:
        check_prompt(question.text, prompt_id=question.question_id)
        if question.text not in rendered:
            rendered[question.text] = policy.prompt(question.text)
    return [rendered[question.text] for question in questions]


def encode_questions(
    policy: Policy, questions: Sequence[Question], prompts: Sequence[str], root: Path | ImageRoot
) -> BatchFeature:
    """Return the model's inputs of B questions and their rendered prompts, on its device; see `prompting.encode`."""
    images = [
        load_image(question.image, root=root, place=f"question {question.question_id}")
        for question in questions
    ]
    return encode(policy.processor, images, prompts).to(policy.device, policy.model.dtype)


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Group indices into batches of similar length. The longest come first, so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _reply(policy: Policy, ids: Sequence[int], ends: Sequence[int]) -> Reply:
    """Cut one row after its first end token; the rest is padding."""
    stop = next((index for index, token in enumerate(ids) if token in ends), None)
    kept = tuple(ids if stop is None else ids[: stop + 1])
    return Reply(text=answer_text(policy.processor, kept), token_ids=kept, finished=stop is not None)
