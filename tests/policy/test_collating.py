"""The collator of pairs makes TRL's batches, and makes them where TRL's own cannot."""

from pathlib import Path

import pytest
import torch
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from csrdata.images import load_image
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import completion_ids, completion_text
from tests.families import FAMILIES, unlike_pictures

OWN = ("mllama", "paligemma_template")
"""Families whose processor refuses a text without an image, or gives an input that TRL does not extend."""
SHARED = [name for name in FAMILIES if not name.startswith("paligemma") and name not in OWN]
ANSWERS = ((" A red circle.", " No."), (" Yes.", " There is a blue square in the corner."))


def _rows(policy: Policy, root: Path) -> list[dict[str, object]]:
    unlike_pictures(root)
    return [
        {
            "prompt": policy.prompt(text),
            "chosen": completion_text(policy.processor, chosen),
            "rejected": completion_text(policy.processor, rejected),
            "images": [load_image(f"{index}.png", root=root, place="")],
        }
        for index, (text, (chosen, rejected)) in enumerate(
            zip(("Describe it.", "What do you see in this picture?"), ANSWERS, strict=True)
        )
    ]


def _collator(policy: Policy) -> PairCollator:
    return PairCollator(
        processor=policy.processor, max_length=None, image_token=policy.model.config.image_token_id
    )


@pytest.mark.parametrize("name", SHARED)
def test_the_batch_is_trls(name: str, tmp_path: Path) -> None:
    """Every tensor of a batch of unlike rows equals that of TRL's collator."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    own = _collator(policy)(_rows(policy, tmp_path))
    expected = DataCollatorForVisionPreference(processor=policy.processor)(_rows(policy, tmp_path))
    assert set(own) == set(expected)
    for key, value in expected.items():
        assert torch.equal(own[key], value), key


@pytest.mark.parametrize("name", OWN)
def test_what_runs_along_a_prompt_runs_along_its_answer(name: str, tmp_path: Path) -> None:
    """Where TRL's collator cannot, every row holds its answer's tokens, and the masks are as long as the rows."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    batch = _collator(policy)(_rows(policy, tmp_path))
    answers = [chosen for chosen, _ in ANSWERS] + [rejected for _, rejected in ANSWERS]
    for row, answer in enumerate(answers):
        ids = batch["input_ids"][row][batch["completion_mask"][row].bool()].tolist()
        assert ids == completion_ids(policy.processor, answer)
    along = {"cross_attention_mask", "token_type_ids"} & set(batch)
    assert along
    for key in along:
        assert batch[key].shape[:2] == batch["input_ids"].shape
        assert batch[key][batch["completion_mask"].bool()].any(), key
    assert "labels" not in batch
