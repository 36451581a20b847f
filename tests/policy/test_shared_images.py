"""Images that a pair's answers share: encoded once, and the loss and every gradient are those of encoding them twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from csrdata.images import load_image
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import load_policy
from csrdata.policy.objective import Objective
from csrdata.policy.pair_trainer import PairTrainer
from csrdata.policy.prompting import completion_text
from csrdata.policy.shared_images import takes_features
from csrdata.policy.training import language_layers
from tests.families import FAMILIES, unlike_pictures
from tests.policy.test_pair_trainer import config

TWICE = {"mllama"}
"""Families whose language model attends to the image across: they take no features."""
NAMES = ("gemma3", "idefics3", "internvl", "llava", "llava_next", "mllama", "qwen2_5_vl", "qwen3_vl")
TEXTS = ((" A red circle.", " No."), (" Yes.", " There is a blue square."))


@pytest.mark.parametrize("name", [name for name in NAMES if name in FAMILIES])
def test_features_once_are_images_twice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vision tower reads half the pixels; loss and gradients of a trained adapter agree within 1e-6."""
    monkeypatch.chdir(tmp_path)
    unlike_pictures(tmp_path)
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    assert takes_features(policy.model) == (name not in TWICE)
    if name in TWICE:
        return
    rows = [
        {
            "prompt": policy.prompt("Describe it."),
            "chosen": completion_text(policy.processor, chosen),
            "rejected": completion_text(policy.processor, rejected),
            "images": [load_image(f"{index}.png", root=tmp_path, place="")],
            "ref_chosen_logps": -9.0,
            "ref_rejected_logps": -8.0,
        }
        for index, (chosen, rejected) in enumerate(TEXTS)
    ]
    collator = PairCollator(
        processor=policy.processor, max_length=None, image_token=policy.model.config.image_token_id
    )
    trainer: Any = PairTrainer(
        objective=Objective(loss="sigmoid", beta=0.5, dpo_weight=1.0, sft_weight=0.5),
        model=policy.model,
        args=config(),
        train_dataset=Dataset.from_list([{**row, "images": []} for row in rows]),
        processing_class=policy.processor,
        data_collator=collator,
        peft_config=LoraConfig(
            r=2,
            lora_alpha=4,
            target_modules=language_layers(policy.model),
            task_type="CAUSAL_LM",
            init_lora_weights=False,
        ),
    )
    trainer.model.eval()
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    found, pixels = [], []
    for once in (False, True):
        collator.images_once = once
        batch = trainer.data_collator([dict(row) for row in rows])
        pixels.append(batch["pixel_values"].numel())
        loss = trainer.compute_loss(trainer.model, batch)
        found.append((loss.item(), torch.autograd.grad(loss, weights)))
    assert pixels[0] == 2 * pixels[1]
    (twice, gradients), (once_loss, once_gradients) = found
    assert once_loss == pytest.approx(twice, abs=1e-6)
    largest = max(float(one.abs().max()) for one in gradients)
    assert largest > 0
    for one, other in zip(gradients, once_gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-6 * largest)
