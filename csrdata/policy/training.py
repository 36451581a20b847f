"""Train a LoRA adapter on pairs: DPO (equation 1) through TRL, against the policy that wrote the pairs (equation 5).

The reference is the policy as loaded: the trained model without its new adapter. Its log-probabilities are computed once,
checked against those stored at generation, and reused in every step; TRL does this only for text-only models. Rows are
plain strings in TRL's standard columns, so that its collator gives the same tokens as generation
(`csrdata.policy.prompting`). A pair may be two ways to continue one answer: its context is read, not trained on. A run that
was killed goes on from its last checkpoint (`csrdata.policy.resuming`), and several processes may train together
(`csrdata.policy.processes`). Left out on purpose: evaluation, and code for a single model family.
"""

import math
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.utils import disable_dropout_in_model

from csrdata.errors import UserError
from csrdata.images import ImageRoot
from csrdata.policy import launched, processes
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import Policy
from csrdata.policy.objective import Objective, normalized_margins
from csrdata.policy.pair_trainer import PairTrainer
from csrdata.policy.preflight import (
    ReferenceCheck,
    check_boundaries,
    check_ends,
    check_references,
    check_texts,
)
from csrdata.policy.prompting import check_tokens, end_ids
from csrdata.policy.reference_pass import pass_over, reference_key
from csrdata.policy.resuming import CHECKPOINTS, KEPT, Known, Work
from csrdata.policy.rows import dataset_of
from csrdata.policy.shared_images import takes_features
from csrdata.policy.sides import REFERENCES, Reference, place_of
from csrdata.progress import progress as bar_of
from csrdata.records import Pair
from csrdata.storage.tables import fingerprint

_NOT_SETTINGS = {"policy", "pairs", "root", "adapter_folder", "work", "checkpoint_every", "progress"}
"""Arguments of `train` that a checkpoint does not depend on, or that the references' key holds."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimiser step. Losses, rewards and log-probabilities are means over the step's pairs.

    What compares with the reference or with the rejected answers is null if `dpo_weight` is 0.
    """

    step: int
    """Number of the step, from 1."""
    loss: float
    """`dpo_weight` times the preference loss, which for `sigmoid` (equation 1) is ln 2 if policy and reference agree, plus
    `sft_weight` times the anchor term; nats."""
    learning_rate: float
    grad_norm: float
    """Norm of the gradient of the adapter's weights, before clipping at 1."""
    accuracy: float | None
    """Share of pairs (0..1) whose chosen answer has the higher implicit reward."""
    margin: float | None
    """Implicit reward of chosen minus that of rejected, nats. It is beta * ln(policy / reference) of an answer, with the
    weights of `ld_alpha`, and without a pair's weight or target."""
    chosen_reward: float | None
    rejected_reward: float | None
    chosen_logprob: float
    """Log-probability under the policy in training of the whole answer, or of what follows the context, nats."""
    rejected_logprob: float | None


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The log and the figures of one training run; equal inputs give equal reports."""

    pairs: int
    steps: tuple[StepLog, ...]
    adapter_parameters: int
    references_checked: int
    """Pairs whose reference log-probabilities were compared with stored ones; the other pairs have none stored. 0 if
    `dpo_weight` is 0: there is no reference then."""
    reference_gap: float | None
    """Largest difference, in nats, between a reference log-probability and the stored one; None if none is stored."""
    references: tuple[Reference, ...]
    """One for each pair, in their order; none if `dpo_weight` is 0."""

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
            "accuracy_last_tenth": _mean_or_none([step.accuracy for step in last]),
            "margin_last_tenth": _mean_or_none([step.margin for step in last]),
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
    adapter_folder: Path | None,
    loss: str,
    dpo_weight: float,
    label_smoothing: float,
    ld_alpha: float | None,
    margin: str,
    margin_scale: float,
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
    gradient_checkpointing: bool,
    seed: int,
    checkpoint_every: int | None = None,
    work: Work | None = None,
    progress: bool = True,
) -> TrainingReport:
    """Train a LoRA adapter on the policy's language model and save it.

    Args:
        policy: the policy of the previous iteration, which wrote the pairs. Its model is changed in place; load it again
            for further use.
        pairs: 1 or more, of any origin. Pairs without stored log-probabilities are trained on without a check of the
            reference; stderr then tells how many were checked.
        root: the folder that the pairs' image paths are relative to.
        adapter_folder: receives `adapter_config.json` and `adapter_model.safetensors`; None in all processes but the first.
        loss, dpo_weight, label_smoothing, ld_alpha, margin, margin_scale, beta: see `Objective`. If `dpo_weight` is 0,
            rejected answers and references are not read.
        sft_weight: weight, >= 0, of the anchor term: the mean negative log-probability of the chosen answers' tokens, nats.
            Without it, training can also lower the probability of end-of-sequence in chosen answers (RPO, arXiv 2404.19733,
            equation 1; not in the CSR paper).
        learning_rate: peak learning rate, > 0; it rises linearly, then falls to 0 on a cosine.
        epochs: passes over the pairs, > 0.
        batch_size: pairs per forward pass.
        accumulation: forward passes per optimiser step, over all processes that train together: how many they are changes
            nothing but rounding. If the forward passes of an epoch are no multiple of it, several processes fill the last
            step with pairs of the epoch's beginning.
        warmup_share: share of the steps, 0..1, in which the learning rate rises.
        lora_rank, lora_alpha, lora_dropout: options of the adapter. It is on every linear layer of the language model; the
            vision tower, the projector and the output layer are frozen.
        reference_tolerance: nats; see `check_references`.
        gradient_checkpointing: keep the input of each layer alone, and compute the layer again in the backward pass.
        seed: seed of the adapter's initial weights, the order of the pairs and the dropout.
        checkpoint_every: optimiser steps between two checkpoints in `work`, 1 or more; None: no checkpoints. On the CPU, a
            run that goes on from one ends in the bytes of a run without a break.
        work: the folder for what a killed run leaves to the next one, which the caller removes at the end; None: nothing is
            left, and `checkpoint_every` has no effect.
        progress: show progress bars.

    Returns:
        The log of the steps and the result of the reference check.

    Raises:
        UserError: there are no pairs, an image does not load, a pair has no margin that the loss needs, the processes cannot
            share the forward passes of a step, or the preflight fails; training has not started then.
    """
    settings = {name: value for name, value in locals().items() if name not in _NOT_SETTINGS}
    objective = Objective(
        loss=loss,
        beta=beta,
        dpo_weight=dpo_weight,
        sft_weight=sft_weight,
        label_smoothing=label_smoothing,
        ld_alpha=ld_alpha,
        margin=margin,
        margin_scale=margin_scale,
    )
    margins = _check_pairs(pairs, objective, policy=policy)
    disable_dropout_in_model(policy.model)  # before PEFT adds the adapter's dropout, which stays on
    with tempfile.TemporaryDirectory() as scratch:
        trainer: Any = PairTrainer(
            objective=objective,
            model=policy.model,
            args=_config(
                policy,
                pairs=len(pairs),
                output_dir=scratch if work is None else str(work.folder / CHECKPOINTS),
                learning_rate=learning_rate,
                epochs=epochs,
                batch_size=batch_size,
                accumulation=accumulation,
                warmup_share=warmup_share,
                gradient_checkpointing=gradient_checkpointing,
                seed=seed,
                checkpoint_every=None if work is None else checkpoint_every,
                progress=progress,
            ),
            train_dataset=dataset_of(policy, pairs, root=root, sides=objective.sides),
            processing_class=policy.processor,
            data_collator=PairCollator(
                processor=policy.processor,
                max_length=None,
                image_token=policy.model.config.image_token_id,
                sides=objective.sides,
                # Under FSDP a part of the model cannot be called by itself: its weights are elsewhere.
                images_once=len(objective.sides) > 1
                and takes_features(policy.model)
                and not launched.is_sharded(),
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
        if work is not None:
            kept, key = work, {"settings": settings, "processes": processes.count()}
            processes.decided(
                lambda: kept.open(
                    references=reference_key(
                        policy, pairs, root=root, objective=objective, batch_size=batch_size
                    ),
                    settings=fingerprint(**key),
                )
            )
        known = pass_over(trainer, policy, pairs, batch_size=batch_size, work=work, progress=progress)
        check = ReferenceCheck(0, None)
        if known is not None:
            check = _compare(known, pairs, policy=policy, tolerance=reference_tolerance)
        numbers = {} if known is None else dict(zip(REFERENCES, known.weighted, strict=True))
        if margins is not None:
            numbers["margin"] = margins
        trainer.train_dataset = dataset_of(policy, pairs, root=root, sides=objective.sides, numbers=numbers)
        start = processes.decided(lambda: None if work is None else work.checkpoint())
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    _save(trainer, adapter_folder)
    weights = [weight.numel() for weight in trainer.model.parameters() if weight.requires_grad]
    return TrainingReport(
        pairs=len(pairs),
        steps=_steps(trainer.state.log_history),
        adapter_parameters=sum(weights),
        references_checked=check.pairs,
        reference_gap=check.largest_gap,
        references=() if known is None else _references(known, pairs),
    )


def _compare(known: Known, pairs: Sequence[Pair], *, policy: Policy, tolerance: float) -> ReferenceCheck:
    """Check the reference's log-probabilities against those stored at generation; say on stderr if some pairs have none."""
    check = check_references(pairs, *known.whole, policy=policy, tolerance=tolerance)
    if check.pairs < len(pairs) and launched.number() == 0:
        sys.stderr.write(
            f"the reference was checked for {check.pairs} of {len(pairs)} pairs: "
            "the others have no stored log-probabilities\n"
        )
    return check


def _references(known: Known, pairs: Sequence[Pair]) -> tuple[Reference, ...]:
    sides = zip(*known.whole, strict=True), zip(*known.tokens, strict=True)
    return tuple(
        Reference(pair.prompt_id, pair.number, chosen, rejected, chosen_tokens, rejected_tokens)
        for pair, (chosen, rejected), (chosen_tokens, rejected_tokens) in zip(pairs, *sides, strict=True)
    )


def _save(trainer: Any, folder: Path | None) -> None:
    """Save the adapter in the first process; where the weights are split, all processes put them together first."""
    state = None
    if launched.is_sharded():
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if folder is not None:
        trainer.model.save_pretrained(str(folder), **({} if state is None else {"state_dict": state}))


def _check_pairs(pairs: Sequence[Pair], objective: Objective, *, policy: Policy) -> list[float] | None:
    """Validate what can be told without the model; return the normalized margins, or None if the loss uses none."""
    if not pairs:
        raise UserError(
            "pairs to train on",
            got="none",
            expected="1 or more",
            do="see why prompts were dropped: csrdata stats; lower select_pairs.margin in params.yaml, then: dvc repro",
        )
    if not any(pair.chosen.strip() for pair in pairs):
        raise UserError(
            "pairs to train on",
            got=f"{len(pairs)}, in which the chosen side is always the end of the answer",
            expected="chosen sides with words, too: trained on ends alone, a policy falls silent",
            do="csrdata stats: where similarity to an earlier sentence is mostly above repetition_threshold, raise it",
        )
    ends = end_ids(policy.model, policy.processor)
    for pair in pairs:
        check_texts(pair, sides=objective.sides)
        check_ends(pair, ends, policy=policy, sides=objective.sides)
        check_boundaries(pair, policy=policy, sides=objective.sides)
    check_tokens(
        policy.processor,
        (
            (f"{place_of(pair)}: {name}", getattr(pair, name))
            for pair in pairs
            for name in ("prompt", "context", *objective.sides)
        ),
    )
    if objective.margin == "none":
        return None
    return normalized_margins([(place_of(pair), pair.scores.margin) for pair in pairs])


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
    learning_rate: float,
    epochs: float,
    batch_size: int,
    accumulation: int,
    warmup_share: float,
    gradient_checkpointing: bool,
    seed: int,
    checkpoint_every: int | None,
    progress: bool,
) -> DPOConfig:
    """Return the trainer's settings; each process takes its share of the forward passes of an optimiser step.

    Raises:
        UserError: the share is no whole number.
    """
    on_cpu = policy.device.type == "cpu"
    together = launched.planned()
    if accumulation % together:
        raise UserError(
            "train_dpo.accumulation",
            got=accumulation,
            expected=f"a multiple of the {together} processes: it counts the forward passes of all of them",
            do=f"set it to {together} in params.yaml and batch_size to a part of it, then the same command again",
        )
    forwards = math.ceil(pairs / batch_size)
    steps = math.ceil(epochs * math.ceil(forwards / accumulation))
    return DPOConfig(
        output_dir=output_dir,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        # Rounded down: the first step of a warm-up has rate 0, so a run of very few steps would learn nothing.
        warmup_steps=math.floor(warmup_share * steps),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation // together,
        # Truncation would cut answers silently; instead, the preflight compares every row with the model's positions.
        max_length=None,
        # This would turn off the adapter's dropout too; `train` turns off the model's dropout only.
        disable_dropout=False,
        remove_unused_columns=False,
        use_cpu=on_cpu,
        bf16=policy.model.dtype == torch.bfloat16,
        fp16=policy.model.dtype == torch.float16,
        gradient_checkpointing=gradient_checkpointing,
        dataloader_pin_memory=not on_cpu,
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        save_strategy="no" if checkpoint_every is None else "steps",
        save_steps=checkpoint_every or 0,
        save_total_limit=KEPT,
        report_to="none",
        disable_tqdm=not progress,
    )


def _steps(history: Sequence[Mapping[str, float]]) -> tuple[StepLog, ...]:
    """Return the steps of the trainer's log, without timings."""
    return tuple(
        StepLog(
            step=int(row["step"]),
            loss=row["loss"],
            learning_rate=row["learning_rate"],
            grad_norm=row["grad_norm"],
            accuracy=row.get("accuracy"),
            margin=row.get("margin"),
            chosen_reward=row.get("chosen_reward"),
            rejected_reward=row.get("rejected_reward"),
            chosen_logprob=row["chosen_logprob"],
            rejected_logprob=row.get("rejected_logprob"),
        )
        for row in history
        if "loss" in row
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
