"""The trainer: its losses are TRL's to the last bit, its gradients those of slow forward passes, one answer at a time."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from csrdata.images import load_image
from csrdata.policy.collating import BOTH, PairCollator
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.objective import Objective, normalized_margins
from csrdata.policy.pair_trainer import PairTrainer
from csrdata.policy.prompting import completion_text
from csrdata.policy.sides import side_of
from csrdata.policy.training import TrainingReport, language_layers, train
from csrdata.records import Pair
from csrdata.storage.tables import hash_path
from tests.objectives import DPO, TINY
from tests.policy.pairs import CONTINUED, WHOLE, token_logprobs, written
from tests.scores import pair_with
from tests.tiny import pictures, tiny_llava

BATCH = 3
"""Pairs of a batch: no power of two, and not a divisor of the four pairs."""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny base policy in a project's root with images."""
    monkeypatch.chdir(tmp_path)
    pictures(Path("images"), len(WHOLE + CONTINUED))
    return tiny_llava(Path("base"))


def rows_of(policy: Policy, pairs: Sequence[Pair], **numbers: Sequence[float]) -> list[dict[str, Any]]:
    """Return the pairs as rows for the collator, without the code of training."""
    rows = []
    for index, pair in enumerate(pairs):
        sides = {name: side_of(pair, name) for name in BOTH}
        texts = {
            name: completion_text(policy.processor, side.text, complete=side.complete)
            for name, side in sides.items()
        }
        own = {name: values[index] for name, values in numbers.items()}
        picture = load_image(pair.image, root=Path(), place="test")
        rows.append(
            {
                "prompt": policy.prompt(pair.prompt),
                "context": pair.context,
                "images": [picture],
                **texts,
                **own,
            }
        )
    return rows


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With two threads, sums of the two trainers have other orders, and other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(**settings: Any) -> DPOConfig:
    return DPOConfig(
        output_dir="scratch",
        learning_rate=1e-2,
        lr_scheduler_type="cosine",
        num_train_epochs=2,
        per_device_train_batch_size=BATCH,
        max_length=None,
        disable_dropout=False,
        remove_unused_columns=False,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        seed=0,
        data_seed=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **settings,
    )


def collator(policy: Policy, **settings: Any) -> PairCollator:
    return PairCollator(
        processor=policy.processor,
        max_length=None,
        image_token=policy.model.config.image_token_id,
        **settings,
    )


def lora(policy: Policy, **settings: Any) -> LoraConfig:
    return LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        target_modules=language_layers(policy.model),
        task_type="CAUSAL_LM",
        **settings,
    )


def trained_by_trl(base: Path, pairs: Sequence[Pair], to: Path, **settings: Any) -> list[dict[str, float]]:
    """Train with TRL's own trainer and loss, with references computed beforehand; return its log."""
    policy = load_policy(base)
    disable_dropout_in_model(policy.model)
    rows = Dataset.from_list(rows_of(policy, pairs))
    trainer: Any = DPOTrainer(
        model=policy.model,
        args=config(**settings),
        train_dataset=rows,
        processing_class=policy.processor,
        data_collator=collator(policy),
        peft_config=lora(policy),
    )
    trainer.model.eval()
    found: list[list[float]] = [[], []]
    for start in range(0, len(rows), BATCH):
        batch = trainer.data_collator([rows[index] for index in range(start, min(start + BATCH, len(rows)))])
        for own, logps in zip(found, trainer.compute_ref_log_probs(trainer.model, batch), strict=True):
            own.extend(logps.tolist())
    trainer.train_dataset = rows.add_column("ref_chosen_logps", found[0]).add_column(
        "ref_rejected_logps", found[1]
    )
    trainer.precompute_ref_logps = True
    trainer.train()
    trainer.model.save_pretrained(str(to))
    return [row for row in trainer.state.log_history if "loss" in row]


def trained(base: Path, pairs: Sequence[Pair], to: Path, **settings: Any) -> TrainingReport:
    """Train with csrdata."""
    to.mkdir()
    return train(
        load_policy(base),
        pairs,
        root=Path(),
        adapter_folder=to,
        **{**DPO, **settings},
        learning_rate=1e-2,
        epochs=2,
        batch_size=BATCH,
        **TINY,
    )


@pytest.mark.parametrize(
    ("ours", "trls"),
    [
        ({"sft_weight": 3.0}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 3.0]}),
        ({}, {"loss_type": ["sigmoid"]}),
        ({"loss": "sigmoid_norm"}, {"loss_type": ["sigmoid_norm"]}),
        (
            {"loss": "ipo", "dpo_weight": 0.5, "sft_weight": 1.0},
            {"loss_type": ["ipo", "sft"], "loss_weights": [0.5, 1.0]},
        ),
        ({"loss": "apo_zero"}, {"loss_type": ["apo_zero"]}),
        ({"loss": "hinge"}, {"loss_type": ["hinge"]}),
        ({"loss": "robust", "label_smoothing": 0.1}, {"loss_type": ["robust"], "label_smoothing": 0.1}),
        ({"ld_alpha": 0.3}, {"loss_type": ["sigmoid"], "ld_alpha": 0.3}),
    ],
    ids=lambda settings: "-".join(f"{key}={value}" for key, value in settings.items()) or "sigmoid",
)
def test_the_adapter_is_trls(base: Path, ours: dict[str, Any], trls: dict[str, Any]) -> None:
    """Each loss gives the adapter of TRL's own trainer, byte for byte, and its log of losses and rewards."""
    pairs = written(load_policy(base), WHOLE + CONTINUED)
    report = trained(base, pairs, Path("ours"), **ours)
    log = trained_by_trl(base, pairs, Path("trls"), **{"beta": 0.1, **trls})
    weights = "adapter_model.safetensors"
    assert hash_path(Path("ours") / weights) == hash_path(Path("trls") / weights)
    assert [step.loss for step in report.steps] == [row["loss"] for row in log]
    assert [step.accuracy for step in report.steps] == [row["rewards/accuracies"] for row in log]
    assert [step.margin for step in report.steps] == pytest.approx([row["rewards/margins"] for row in log])
    assert [step.chosen_reward for step in report.steps] == [row["rewards/chosen"] for row in log]
    if "ld_alpha" not in ours:
        assert [step.chosen_logprob for step in report.steps] == [row["logps/chosen"] for row in log]
        assert [step.rejected_logprob for step in report.steps] == [row["logps/rejected"] for row in log]


def slow_loss(policy: Policy, adapted: Any, pairs: Sequence[Pair], objective: Objective) -> torch.Tensor:
    """Return the loss from forward passes of one answer each, and equations written out for one pair at a time."""

    def ratio(pair: Pair, name: str, other: str) -> torch.Tensor:
        own = token_logprobs(policy, pair, name)
        with torch.no_grad(), adapted.disable_adapter():
            reference = token_logprobs(policy, pair, name)
        shared = min(len(own), len(token_logprobs(policy, pair, other)))
        weights = torch.ones(len(own))
        weights[shared:] = 1.0 if objective.ld_alpha is None else objective.ld_alpha
        return ((own - reference) * weights).sum()

    margins = [pair.scores.margin or 0.0 for pair in pairs]
    mean = sum(margins) / len(margins)
    total = torch.zeros(())
    for pair, margin in zip(pairs, margins, strict=True):
        if not objective.dpo_weight:
            break
        gap = objective.beta * (ratio(pair, "chosen", "rejected") - ratio(pair, "rejected", "chosen"))
        target = objective.margin_scale * margin / mean if objective.margin == "target" else 0.0
        weight = margin / mean if objective.margin == "weight" else 1.0
        total = total + objective.dpo_weight * weight * (1 + (target - gap).exp()).log() / len(pairs)
    anchor = torch.cat([token_logprobs(policy, pair, "chosen") for pair in pairs])
    return total - objective.sft_weight * anchor.mean()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"margin": "weight", "sft_weight": 0.5},
        {"margin": "target", "margin_scale": 2.0},
        {"ld_alpha": 0.25},
        {"dpo_weight": 0.0, "sft_weight": 1.0},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "plain",
)
def test_loss_and_gradient_are_those_of_slow_passes(base: Path, settings: dict[str, Any]) -> None:
    """For whole answers and continuations, with an adapter that has been trained: the loss and every gradient agree."""
    policy = load_policy(base)
    pairs = written(policy, WHOLE + CONTINUED)
    objective = Objective(
        **{"loss": "sigmoid", "beta": 0.7, "dpo_weight": 1.0, "sft_weight": 0.0, **settings}
    )
    trainer: Any = PairTrainer(
        objective=objective,
        model=policy.model,
        args=config(),
        train_dataset=Dataset.from_list(rows_of(policy, pairs)),
        processing_class=policy.processor,
        data_collator=collator(policy, sides=objective.sides),
        peft_config=lora(policy, init_lora_weights=False),
    )
    trainer.model.eval()
    numbers = {"margin": normalized_margins([("", pair.scores.margin) for pair in pairs])}
    if objective.dpo_weight:
        with torch.no_grad(), trainer.model.disable_adapter():
            for name, other in (BOTH, BOTH[::-1]):
                numbers[f"ref_{name}_logps"] = [
                    _weighted(policy, pair, name, other, objective) for pair in pairs
                ]
    batch = trainer.data_collator(rows_of(policy, pairs, **numbers))
    assert len(batch["input_ids"]) == len(objective.sides) * len(pairs)
    trained_weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    loss = trainer.compute_loss(trainer.model, batch)
    own = torch.autograd.grad(loss, trained_weights)
    slow = slow_loss(policy, trainer.model, pairs, objective)
    expected = torch.autograd.grad(slow, trained_weights)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-4)
    assert abs(loss.item() - math.log(2)) > 1e-2, "the policy must differ from its reference"
    largest = max(float(one.abs().max()) for one in expected)
    for one, other in zip(own, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * largest)


def _weighted(policy: Policy, pair: Pair, name: str, other: str, objective: Objective) -> float:
    own = token_logprobs(policy, pair, name)
    shared = min(len(own), len(token_logprobs(policy, pair, other)))
    rest = 1.0 if objective.ld_alpha is None else objective.ld_alpha
    return float(own[:shared].sum() + rest * own[shared:].sum())


def test_margins_change_training(base: Path) -> None:
    """Weights and targets each give another adapter; equal margins as weights give the plain one, byte for byte."""
    pairs = written(load_policy(base), WHOLE)
    weights = Path("adapter_model.safetensors")
    plain = trained(base, pairs, Path("plain"))
    equal = [pair_with(pair, margin=7.0) for pair in pairs]
    assert trained(base, equal, Path("equal"), margin="weight") == plain
    found = {hash_path(Path("plain") / weights)}
    for name in ("weight", "target"):
        trained(base, pairs, Path(name), margin=name)
        found.add(hash_path(Path(name) / weights))
    assert hash_path(Path("equal") / weights) == hash_path(Path("plain") / weights)
    assert len(found) == 3


def test_a_target_is_logged_in_the_loss_alone(base: Path) -> None:
    """At the first step policy and reference agree: loss -log sigma(-target), rewards 0."""
    pairs = [pair_with(pair, margin=2.0) for pair in written(load_policy(base), WHOLE)]
    first = trained(base, pairs, Path("to"), margin="target", margin_scale=1.5).steps[0]
    assert first.loss == pytest.approx(math.log(1 + math.exp(1.5)), abs=1e-4)
    assert first.margin == pytest.approx(0.0, abs=1e-5)


def test_fine_tuning_reads_no_rejected_answer(base: Path) -> None:
    """With dpo_weight 0 other rejected answers, even invalid ones, give the same bytes, and no reference is computed."""
    pairs = written(load_policy(base), WHOLE + CONTINUED)
    settings = {"dpo_weight": 0.0, "sft_weight": 1.0}
    report = trained(base, pairs, Path("one"), **settings)
    others = [pair_with(pair, rejected="An <image>. " * 900, rejected_end=9) for pair in pairs]
    assert trained(base, others, Path("other"), **settings) == report
    assert hash_path(Path("one")) == hash_path(Path("other"))
    assert (report.references_checked, report.reference_gap) == (0, None)
    assert report.summary()["accuracy_last_tenth"] is report.summary()["margin_last_tenth"] is None
    for step in report.steps:
        assert (step.accuracy, step.margin, step.chosen_reward, step.rejected_logprob) == (None,) * 4
        assert step.chosen_logprob < 0
    assert report.steps[-1].loss < report.steps[0].loss


def test_fine_tuning_runs_one_pass_per_step(base: Path) -> None:
    """With dpo_weight 0 the language model runs in training steps alone, on the chosen answers' rows."""
    pairs = written(load_policy(base), WHOLE)
    policy, rows = load_policy(base), list[int]()
    policy.model.get_decoder().register_forward_hook(lambda *call: rows.append(len(call[2][0])))
    Path("to").mkdir()
    train(
        policy,
        pairs,
        root=Path(),
        adapter_folder=Path("to"),
        **{**DPO, "dpo_weight": 0.0, "sft_weight": 1.0},
        learning_rate=1e-2,
        epochs=2,
        batch_size=2,
        **TINY,
    )
    assert rows == [2, 2]
