"""Train a LoRA adapter on pairs: DPO (equation 1) through TRL, against the policy that wrote the pairs (equation 5).

The reference is the policy as loaded: the trained model without its new adapter. Its log-probabilities are computed once,
checked against those stored at generation, and reused in every step; TRL does this only for text-only models. Rows are
plain strings in TRL's standard columns, so that its collator gives the same tokens as generation
(`csrdata.policy.prompting`). Left out on purpose: evaluation, checkpoints, and code for a single model family.
"""

import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from csrdata.errors import UserError
from csrdata.images import ImageRoot, load_image
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import Policy
from csrdata.policy.preflight import check_batch, check_ends, check_references, check_texts
from csrdata.policy.prompting import check_tokens, completion_text, end_ids
from csrdata.progress import progress as bar_of
from csrdata.records import Pair


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimiser step, as TRL logs it. Losses, rewards and log-probabilities are means over the step's pairs."""

    step: int
    """Number of the step, from 1."""
    loss: float
    """Equation 1, which is ln 2 if policy and reference agree, plus `sft_weight` times the anchor term; nats."""
    learning_rate: float
    grad_norm: float
    """Norm of the gradient of the adapter's weights, before clipping at 1."""
    accuracy: float
    """Share of pairs (0..1) whose chosen answer has the higher implicit reward."""
    margin: float
    """Implicit reward of chosen minus that of rejected, nats. It is beta * ln(policy / reference), of a whole answer."""
    chosen_reward: float
    rejected_reward: float
    chosen_logprob: float
    """Log-probability of the whole answer under the policy in training, nats."""
    rejected_logprob: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The log and the figures of one training run; equal inputs give equal reports."""

    pairs: int
    steps: tuple[StepLog, ...]
    adapter_parameters: int
    references_checked: int
    """Pairs whose reference log-probabilities were compared with stored ones; the other pairs have none stored."""
    reference_gap: float | None
    """Largest difference, in nats, between a reference log-probability and the stored one; None if none is stored."""

    def summary(self) -> dict[str, float | None]:
        """Return the run's figures: counts, the reference check, and means over the first or last tenth of the steps."""
        tenth = max(1, len(self.steps) // 10)
        first, last = self.steps[:tenth], self.steps[-tenth:]
        return {
            "pairs": self.pairs,
            "steps": len(self.steps),
            "adapter_parameters": self.adapter_parameters,
            "references_checked": self.references_checked,
            "reference_gap": self.reference_gap,
            "loss_first_tenth": _mean([step.loss for step in first]),
            "loss_last_tenth": _mean([step.loss for step in last]),
            "accuracy_last_tenth": _mean([step.accuracy for step in last]),
            "margin_last_tenth": _mean([step.margin for step in last]),
            "grad_norm_mean": _mean([step.grad_norm for step in self.steps]),
        }


class Bar(ProgressCallback):
    """The trainer's progress bar with the loss on it; transformers' own bar prints a line for every step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        bar: Any = bar_of(total=state.max_steps, title="train", unit="step")
        self.training_bar, self.current_step = bar, 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        bar: Any = self.training_bar
        loss = (logs or {}).get("loss")
        if bar is not None and loss is not None:
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)


def train(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    root: Path | ImageRoot,
    adapter_folder: Path,
    beta: float,
    sft_weight: float,
    learning_rate: float,
    epochs: float,
    batch_size: int,
    accumulation: int,
    warmup_share: float,
    lora_rank: int,
    lora_alpha: float,
    lora_dropout: float,
    reference_tolerance: float,
    seed: int,
    progress: bool = True,
) -> TrainingReport:
    """Train a LoRA adapter on the policy's language model and save it.

    Args:
        policy: the policy of the previous iteration, which wrote the pairs. Its model is changed in place; load it again
            for further use.
        pairs: 1 or more. Pairs without stored log-probabilities are trained on without a check of the reference; stderr
            then tells how many were checked.
        root: the folder that the pairs' image paths are relative to.
        adapter_folder: receives `adapter_config.json` and `adapter_model.safetensors`.
        beta: beta of equation 1, > 0.
        sft_weight: weight, >= 0, of the anchor term: the mean negative log-probability of the chosen answers' tokens, nats.
            Without it, training can also lower the probability of end-of-sequence in chosen answers (RPO, arXiv 2404.19733,
            equation 1; not in the CSR paper).
        learning_rate: peak learning rate, > 0; it rises linearly, then falls to 0 on a cosine.
        epochs: passes over the pairs, > 0.
        batch_size: pairs per forward pass.
        accumulation: forward passes per optimiser step.
        warmup_share: share of the steps, 0..1, in which the learning rate rises.
        lora_rank, lora_alpha, lora_dropout: options of the adapter. It is on every linear layer of the language model; the
            vision tower, the projector and the output layer are frozen.
        reference_tolerance: nats; see `check_references`.
        seed: seed of the adapter's initial weights, the order of the pairs and the dropout.
        progress: show progress bars.

    Returns:
        The log of the steps and the result of the reference check.

    Raises:
        UserError: there are no pairs, an image does not load, or the preflight fails; training has not started then.
    """
    if not pairs:
        raise UserError(
            "pairs to train on",
            got="none",
            expected="1 or more",
            do="see why prompts were dropped: csrdata stats; lower select_pairs.margin in params.yaml, then: dvc repro",
        )
    ends = end_ids(policy.model, policy.processor)
    for pair in pairs:
        check_texts(pair)
        check_ends(pair, ends, policy=policy)
    check_tokens(
        policy.processor,
        [
            (f"pair {pair.prompt_id}: {name}", text)
            for pair in pairs
            for name, text in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected))
        ],
    )
    disable_dropout_in_model(policy.model)  # before PEFT adds the adapter's dropout, which stays on
    with tempfile.TemporaryDirectory() as scratch:
        trainer: Any = DPOTrainer(
            model=policy.model,
            args=_config(
                policy,
                pairs=len(pairs),
                output_dir=scratch,
                beta=beta,
                sft_weight=sft_weight,
                learning_rate=learning_rate,
                epochs=epochs,
                batch_size=batch_size,
                accumulation=accumulation,
                warmup_share=warmup_share,
                seed=seed,
                progress=progress,
            ),
            train_dataset=_dataset(policy, pairs, root=root),
            processing_class=policy.processor,
            data_collator=PairCollator(
                processor=policy.processor,
                max_length=None,
                image_token=policy.model.config.image_token_id,
            ),
            peft_config=LoraConfig(
                r=lora_rank,
                lora_alpha=lora_alpha,  # type: ignore[arg-type]
                lora_dropout=lora_dropout,
                target_modules=language_layers(policy.model),
                task_type="CAUSAL_LM",
            ),
        )
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(Bar())
        references = _preflight(trainer, policy, pairs, batch_size=batch_size, progress=progress)
        check = check_references(pairs, *references, policy=policy, tolerance=reference_tolerance)
        if check.pairs < len(pairs):
            sys.stderr.write(
                f"the reference was checked for {check.pairs} of {len(pairs)} pairs: "
                "the others have no stored log-probabilities\n"
            )
        trainer.train_dataset = _dataset(policy, pairs, root=root, references=references)
        trainer.precompute_ref_logps = True
        trainer.train()
    trainer.model.save_pretrained(str(adapter_folder))
    weights = [weight.numel() for weight in trainer.model.parameters() if weight.requires_grad]
    return TrainingReport(
        pairs=len(pairs),
        steps=_steps(trainer.state.log_history),
        adapter_parameters=sum(weights),
        references_checked=check.pairs,
        reference_gap=check.largest_gap,
    )


def language_layers(model: PreTrainedModel) -> str:
    """Return a regular expression for all linear layers of the language model, without vision tower, projector and output.

    The names are read from the model; none is assumed. Example for LLaVA:
    `model\\.language_model\\..*\\.(down_proj|gate_proj|k_proj|o_proj|q_proj|up_proj|v_proj)`

    Raises:
        UserError: the language model is not a separate submodule, or has no linear layers.
    """
    decoder = _decoder(model)
    where = [name for name, module in model.named_modules() if module is decoder]
    layers = {
        name.rsplit(".", 1)[-1] for name, module in decoder.named_modules() if isinstance(module, nn.Linear)
    }
    if not where or not where[0] or not layers:
        raise UserError(
            f"policy {type(model).__name__}",
            got="no separate language model with linear layers",
            expected="an image-text-to-text model of transformers whose language model is a separate submodule",
            do="choose another base model, then: dvc repro",
        )
    return rf"{re.escape(where[0])}\..*\.({'|'.join(sorted(layers))})"


def _decoder(model: Any) -> nn.Module:
    """Return the language model inside a vision-language model (transformers leaves this function untyped)."""
    decoder: nn.Module = model.get_decoder()
    return decoder


def _config(
    policy: Policy,
    *,
    pairs: int,
    output_dir: str,
    beta: float,
    sft_weight: float,
    learning_rate: float,
    epochs: float,
    batch_size: int,
    accumulation: int,
    warmup_share: float,
    seed: int,
    progress: bool,
) -> DPOConfig:
    on_cpu = policy.device.type == "cpu"
    forwards = math.ceil(pairs / batch_size)
    steps = math.ceil(epochs * math.ceil(forwards / accumulation))
    return DPOConfig(
        output_dir=output_dir,
        beta=beta,
        loss_type=["sigmoid", "sft"] if sft_weight else ["sigmoid"],
        loss_weights=[1.0, sft_weight] if sft_weight else None,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        # Rounded down: the first step of a warm-up has rate 0, so a run of very few steps would learn nothing.
        warmup_steps=math.floor(warmup_share * steps),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        # Truncation would cut answers silently; instead, the preflight compares every row with the model's positions.
        max_length=None,
        # This would turn off the adapter's dropout too; `train` turns off the model's dropout only.
        disable_dropout=False,
        remove_unused_columns=False,
        use_cpu=on_cpu,
        bf16=policy.model.dtype == torch.bfloat16,
        fp16=policy.model.dtype == torch.float16,
        gradient_checkpointing=not on_cpu,
        dataloader_pin_memory=not on_cpu,
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=not progress,
    )


def _dataset(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    root: Path | ImageRoot,
    references: tuple[list[float], list[float]] | None = None,
) -> Dataset:
    """Return the pairs as rows in TRL's standard columns; an image is read only when its row is read."""
    columns: dict[str, list[Any]] = {
        "prompt": [policy.prompt(pair.prompt) for pair in pairs],
        "chosen": [
            completion_text(policy.processor, pair.chosen, end=pair.scores.chosen_end) for pair in pairs
        ],
        "rejected": [
            completion_text(policy.processor, pair.rejected, end=pair.scores.rejected_end) for pair in pairs
        ],
        "images": [[pair.image] for pair in pairs],
        "prompt_id": [pair.prompt_id for pair in pairs],
    }
    if references is not None:
        columns["ref_chosen_logps"], columns["ref_rejected_logps"] = references
    return Dataset.from_dict(columns).with_transform(_image_loader(root))


def _image_loader(root: Path | ImageRoot) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    """Return a function that replaces the image paths of rows by images, loaded as generation loads them."""

    def read(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        named = zip(rows["images"], rows["prompt_id"], strict=True)
        return {
            **rows,
            "images": [
                [load_image(path, root=root, place=f"prompt {name}") for path in paths]
                for paths, name in named
            ],
        }

    return read


@torch.no_grad()
def _preflight(
    trainer: Any, policy: Policy, pairs: Sequence[Pair], *, batch_size: int, progress: bool
) -> tuple[list[float], list[float]]:
    """Validate every batch of training's collator; return the reference's log-probabilities (chosen, rejected)."""
    trainer.model.eval()
    model = trainer.model.get_base_model()
    chosen: list[float] = []
    rejected: list[float] = []
    starts = range(0, len(pairs), batch_size)
    for start in bar_of(starts, title="preflight", unit="batch", disable=not progress):
        part = pairs[start : start + batch_size]
        rows = [trainer.train_dataset[start + offset] for offset in range(len(part))]
        batch = {name: value.to(policy.device) for name, value in trainer.data_collator(rows).items()}
        check_batch(batch, part, policy=policy, model=model)
        for logps, kept in zip(
            trainer.compute_ref_log_probs(trainer.model, batch), (chosen, rejected), strict=True
        ):
            kept.extend(logps.float().tolist())
    return chosen, rejected


def _steps(history: Sequence[Mapping[str, float]]) -> tuple[StepLog, ...]:
    """Return the steps of TRL's log, without timings."""
    return tuple(
        StepLog(
            step=int(row["step"]),
            loss=row["loss"],
            learning_rate=row["learning_rate"],
            grad_norm=row["grad_norm"],
            accuracy=row["rewards/accuracies"],
            margin=row["rewards/margins"],
            chosen_reward=row["rewards/chosen"],
            rejected_reward=row["rewards/rejected"],
            chosen_logprob=row["logps/chosen"],
            rejected_logprob=row["logps/rejected"],
        )
        for row in history
        if "loss" in row
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
