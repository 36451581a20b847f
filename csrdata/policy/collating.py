"""Rows of pairs -> the batch that a training step sees: TRL's collator for vision preferences, for any processor.

TRL tokenizes answers by the processor; some processors refuse a text without an image, or return labels of their own. Here
the tokenizer alone reads an answer, as `csrdata.policy.prompting.completion_ids` does, and every input that runs along the
prompt's tokens runs along the answer's tokens too (`with_answers`). Where TRL's collator works, the batch is equal to its.

A row may begin its answer with a context, which is not trained on. It is tokenized together with what follows it, as a part
of the answer: as a part of the prompt it would get other tokens than generation gave it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
from trl.trainer.utils import pad

from csrdata.policy.prompting import text_ids, with_answers
from csrdata.policy.shared_images import TEXT_INPUTS
from csrdata.policy.sides import BOTH, NUMBERS


@dataclass
class PairCollator(DataCollatorForVisionPreference):
    """Makes a batch of B rows: first the B chosen answers, then the B rejected ones."""

    image_token: int = -1
    """The model's `image_token_id`."""
    sides: tuple[str, ...] = BOTH
    """`BOTH`, or `("chosen",)` where the rejected answers are not used: S sides."""
    images_once: bool = False
    """Whether a batch holds each image once (`csrdata.policy.shared_images`) or once for each of the S sides."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return `input_ids`, `attention_mask`, `completion_mask` [S * B, L], padded on the right, and the image inputs.

        Args:
            examples: TRL's columns `prompt`, `chosen`, `rejected` as plain strings and `images` as a list of one; `context`,
                if it is not empty, is the beginning of both answers; `NUMBERS` become tensors [B].
        """
        repeats = 1 if self.images_once else len(self.sides)
        inputs: dict[str, Any] = self.processor(
            images=[example["images"] for example in examples] * repeats,
            text=[example["prompt"] for example in examples] * repeats,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            add_special_tokens=False,
        )
        if self.images_once:
            inputs = {
                name: torch.cat([value] * len(self.sides)) if name in TEXT_INPUTS else value
                for name, value in inputs.items()
            }
        ids, mask = self._answers(examples)
        prompt_mask = inputs["attention_mask"]
        trained = mask * (torch.arange(mask.shape[1]) >= self._begun(examples)[:, None])
        batch = {
            **with_answers(inputs, ids, mask, image_token=self.image_token),
            "completion_mask": torch.cat([torch.zeros_like(prompt_mask), trained], dim=1),
        }
        batch = _flush_left(batch)
        for column in NUMBERS:
            if column in examples[0]:
                batch[column] = torch.tensor([example[column] for example in examples])
        return batch

    def _answers(self, examples: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Tokenize the answers of each side, contexts included; return ids and mask [S * B, T], padded on the right."""
        tokenizer: Any = self.processor.tokenizer
        read = [
            tokenizer(
                [example.get("context", "") + example[side] for example in examples],
                add_special_tokens=False,
                padding=True,
                padding_side="right",
                return_tensors="pt",
            )
            for side in self.sides
        ]
        filler = (
            tokenizer.pad_token_id or tokenizer.eos_token_id
        )  # as TRL's, so that equal pairs give equal batches
        ids = pad([side["input_ids"] for side in read], padding_value=filler)
        mask = pad([side["attention_mask"] for side in read], padding_value=0)
        return torch.cat(tuple(ids)), torch.cat(tuple(mask))

    def _begun(self, examples: list[dict[str, Any]]) -> Tensor:
        """Return the number of tokens of each row's context, [S * B]."""
        counts = [len(text_ids(self.processor, example.get("context", ""))) for example in examples]
        return torch.tensor(counts * len(self.sides))


def _flush_left(batch: dict[str, Any]) -> dict[str, Any]:
    """Move each row's padding from the left to the right, and cut the columns that only padding is left in."""
    mask: Tensor = batch["attention_mask"]
    rows, columns = mask.shape
    order = (torch.arange(columns) + mask.argmax(dim=1)[:, None]) % columns
    kept = int(mask.sum(1).max())

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape[:2] != mask.shape or value.is_floating_point():
            return value
        index = order.view(rows, columns, *[1] * (value.dim() - 2)).expand(value.shape)
        return value.gather(1, index)[:, :kept]

    return {name: moved(value) for name, value in batch.items()}
