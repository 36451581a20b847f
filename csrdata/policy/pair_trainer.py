"""TRL's DPO trainer with the loss of `csrdata.policy.objective`, and with references that are computed once, beforehand.

TRL wraps the model in the adapter, computes log-probabilities without whole logits, and runs the steps. Its own loss has no
place for a weight or a target of each pair, and always reads the rejected answers. Where it can do the same, the loss, its
gradient and so the adapter's bytes are equal. If the batch holds each image once, it is encoded once, not once per answer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from trl.trainer.dpo_trainer import DPOTrainer

from csrdata.policy import launched, processes
from csrdata.policy.collating import PairCollator
from csrdata.policy.objective import Batch, Objective, answer_logprobs, log_ratios, total_loss
from csrdata.policy.shared_images import encode_images, with_features
from csrdata.policy.sides import NUMBERS, REFERENCES
from csrdata.storage.disk import write_sums

_NOT_FOR_THE_MODEL = {"completion_mask", *NUMBERS}


class PairTrainer(DPOTrainer):
    """Trains on the batches of `PairCollator`, which hold the references once they are known."""

    objective: Objective
    data_collator: PairCollator

    def __init__(self, *args: Any, objective: Objective, **kwargs: Any) -> None:
        """Take TRL's arguments, and the objective in place of TRL's settings of the loss."""
        super().__init__(*args, **kwargs)
        self.objective = objective
        self._figures: list[dict[str, float]] = []

    @torch.no_grad()
    def reference_tokens(self, batch: Mapping[str, Tensor], features: Any = None) -> Tensor:
        """Return the log-probability of each token under the reference: the model without its adapter.

        Args:
            batch: of `PairCollator`.
            features: of `encode_images`, if they are known.
        """
        model: Any = self.model
        with model.disable_adapter(), self.accelerator.autocast():
            return self._tokens(model, batch, features)

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002, ARG002 - transformers' signature
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Tensor:
        """Return the loss of a batch, and keep its figures for the log."""
        chosen, rejected = REFERENCES
        batch = Batch(
            tokens=self._tokens(model, inputs),
            mask=inputs["completion_mask"][:, 1:],
            references=(inputs[chosen], inputs[rejected]) if chosen in inputs else None,
            margins=inputs.get("margin"),
        )
        self._figures.append(_figures(batch, self.objective))
        return total_loss(batch, self.objective)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the figures since the last log to a step's loss and learning rate."""
        kept, self._figures = self._figures, []
        means = {name: sum(one[name] for one in kept) / len(kept) for name in (kept[0] if kept else ())}
        if processes.count() > 1:
            parts = processes.gathered(lambda: means)
            means = {name: sum(part[name] for part in parts) / len(parts) for name in means}
        super().log({**logs, **means}, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, and last of all the hashes of its files: one without them was not written to its end."""
        Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001 - without TRL's model card
        self.accelerator.wait_for_everyone()
        if launched.number() == 0:
            write_sums(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")

    def encode_images(self, batch: Mapping[str, Tensor]) -> Any:
        """Return the features of a batch's images, each encoded once; None if the batch holds an image for each row."""
        if not self.data_collator.images_once:
            return None
        model: Any = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast():
            return encode_images(model.get_base_model(), batch)

    def _tokens(self, model: Any, batch: Mapping[str, Tensor], features: Any = None) -> Tensor:
        inputs: dict[str, Any] = {
            name: value for name, value in batch.items() if name not in _NOT_FOR_THE_MODEL
        }
        if self.data_collator.images_once:
            features = self.encode_images(batch) if features is None else features
            inputs = with_features(inputs, features, copies=len(self.objective.sides))
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        tokens: Tensor = model(**inputs, use_cache=False, labels=labels, fused_lm_head=True).log_probs
        return tokens


@torch.no_grad()
def _figures(batch: Batch, objective: Objective) -> dict[str, float]:
    """Return the means of a batch; those that compare with the reference only where there is one."""
    answers = answer_logprobs(batch.tokens, batch.mask)
    if batch.references is None:
        return {"chosen_logprob": answers.mean().item()}
    chosen, rejected = (objective.beta * ratios for ratios in log_ratios(batch, objective))
    chosen_logprobs, rejected_logprobs = answers.chunk(2)
    return {
        "accuracy": (chosen > rejected).float().mean().item(),
        "margin": (chosen - rejected).mean().item(),
        "chosen_reward": chosen.mean().item(),
        "rejected_reward": rejected.mean().item(),
        "chosen_logprob": chosen_logprobs.mean().item(),
        "rejected_logprob": rejected_logprobs.mean().item(),
    }
