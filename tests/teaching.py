"""A random policy learns a few answers, so that its searches hold words and come to an end."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from csrdata.policy.loading import load_policy
from csrdata.policy.prompting import completion_ids, encode, render_prompt, with_answers
from tests.tiny import picture

TEXTS = ["Describe the image.", "What do you see in this picture?", "Describe it.", "Is there a triangle?"]
ANSWERS = [
    " There is a red circle. In the middle I see a star.",
    " A blue square sits in the corner. There is a red circle.",
    " In the middle I see a green star.",
]


def teach(
    folder: Path,
    *,
    steps: int = 60,
    texts: Sequence[str] = TEXTS,
    images: Sequence[Image] | None = None,
    end: str | None = None,
) -> Path:
    """Teach a policy three answers, the same to any image, and save it again.

    Args:
        folder: of the policy; it is returned.
        steps: of the optimizer, each over all rows.
        texts: instructions.
        images: one for each instruction; by default pictures of noise.
        end: the special token that ends an answer; by default the chat template's.
    """
    shown = [picture(index) for index in range(len(texts))] if images is None else images
    rows = [(image, text, answer) for image, text in zip(shown, texts, strict=True) for answer in ANSWERS]
    return teach_rows(folder, rows, steps=steps, end=end)


def teach_rows(
    folder: Path, rows: Sequence[tuple[Image, str, str]], *, steps: int = 60, end: str | None = None
) -> Path:
    """Teach a policy answers to images and instructions, and save it again; see `teach`."""
    policy = load_policy(folder)
    inputs = encode(
        policy.processor,
        [image for image, _, _ in rows],
        [render_prompt(policy.processor, text) for _, text, _ in rows],
    )
    last = None if end is None else policy.tokenizer.convert_tokens_to_ids(end)
    answers = [torch.tensor(completion_ids(policy.processor, answer, end=last)) for _, _, answer in rows]
    ids = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=-100)
    mask = (labels != -100).long()
    batch = with_answers(inputs, ids, mask, image_token=policy.model.config.image_token_id)
    batch["labels"] = torch.cat([torch.full_like(inputs["input_ids"], -100), labels], 1)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=3e-3)
    policy.model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        policy.model(**batch).loss.backward()
        optimizer.step()
    policy.model.eval().save_pretrained(folder)
    return folder
