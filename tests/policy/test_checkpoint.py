"""A policy as one model folder: plain transformers loads it, and it answers as the chain does."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from csrdata.errors import UserError
from csrdata.pipeline.checkpoint import export_checkpoint
from csrdata.pipeline.publish_policy import _base
from csrdata.policy.checkpoint import write_checkpoint
from csrdata.policy.loading import load_policy, new_chain
from tests.policy.test_loading import chain_of_two, logits, write_adapter
from tests.tiny import FAMILIES

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    return FAMILIES["llava"](Path("policies/base"))


def test_a_checkpoint_is_the_chain(base: Path) -> None:
    """Without csrdata, the folder has the chain's logits, its template and its end tokens."""
    folder = chain_of_two(base)
    done = export_checkpoint(Path("out"), iteration="2", dtype=None)
    assert (done.adapters, done.kept) == (2, pytest.approx(1))
    model, processor = (
        AutoModelForImageTextToText.from_pretrained("out"),
        AutoProcessor.from_pretrained("out"),
    )
    policy = load_policy(folder)
    assert torch.equal(logits(model, processor), logits(policy.model, policy.processor))
    assert processor.chat_template == policy.processor.chat_template  # type: ignore[attr-defined]
    assert model.generation_config.eos_token_id == policy.model.generation_config.eos_token_id  # type: ignore[union-attr]
    assert not list(Path("out").glob("adapter*"))


def test_a_checkpoint_in_16_bits_says_what_rounding_left(base: Path) -> None:
    """The merge is in float32 and is rounded once; of an update below the last bit, little is left, and that is said."""
    with new_chain(Path("policies/1"), previous=base, name="1") as folder:
        write_adapter(load_policy(base).model, folder, seed=1, size=0.05)
    done = export_checkpoint(Path("out"), iteration="1", dtype="bfloat16")
    assert done.kept == pytest.approx(1, abs=0.1)
    exact = load_policy(Path("policies/1")).model.state_dict()
    found = AutoModelForImageTextToText.from_pretrained("out").state_dict()
    assert all(torch.equal(value, exact[name].to(torch.bfloat16)) for name, value in found.items())
    AutoModelForImageTextToText.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    with new_chain(Path("policies/2"), previous=base, name="2") as folder:
        write_adapter(load_policy(base).model, folder, seed=1, size=0.001)
    tiny = write_checkpoint(Path("policies/2"), Path("tiny"), dtype="bfloat16")
    assert tiny.kept is not None
    assert tiny.kept < 0.5


def test_a_checkpoint_is_refused_in_one_line(base: Path) -> None:
    """An unknown dtype, and a folder with something in it."""
    chain_of_two(base)
    with pytest.raises(UserError, match="--dtype: got int8, expected one of float32, bfloat16, float16"):
        export_checkpoint(Path("out"), iteration="2", dtype="int8")
    with pytest.raises(UserError, match="policies: got something"):
        export_checkpoint(Path("policies"), iteration="2", dtype=None)


def test_a_published_policy_brings_along_a_base_that_was_trained_here(base: Path) -> None:
    """Without a pointer the base is its folder."""
    assert (_base().folder, _base().repo_id) == (base, None)
