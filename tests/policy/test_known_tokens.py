"""Known tokens scored in one pass: the log-probabilities of plain passes, for families with full and windowed attention."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from csrdata.policy import question_block
from csrdata.policy.known_tokens import KnownPasses
from csrdata.policy.loading import load_policy
from csrdata.policy.one_by_one import plain_logits
from tests.families import FAMILIES, unlike_pictures
from tests.policy.test_question_block import inputs


@pytest.mark.parametrize("block", [1024, 8], ids=["one pass", "several passes"])
@pytest.mark.parametrize("name", ["llava", "llava_next_window", "qwen2_vl", "gemma3_window"])
def test_sentences_have_the_log_probabilities_of_plain_passes(
    name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-4, over two depths: sentences of 1 to 6 tokens, several of an answer, a prompt that is admitted in between."""
    monkeypatch.setattr(question_block, "BLOCK_TOKENS", block)
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    prompts = [inputs(policy, image) for image in unlike_pictures(tmp_path / "images")]
    words = policy.tokenizer("Is there a blue star or a ring?", add_special_tokens=False)["input_ids"]
    passes = KnownPasses(policy.model)

    def check(numbers: Sequence[int], before: Sequence[Sequence[int]], own: Sequence[Sequence[int]]) -> None:
        found = passes.logprobs(numbers, before, own)
        for number, answer, tokens, logprobs in zip(numbers, before, own, found, strict=True):
            assert len(logprobs) == len(tokens)
            for place, token in enumerate(tokens):
                so_far = (*answer, *tokens[:place])
                plain = plain_logits(policy.model, prompts[number], [so_far])[0].log_softmax(-1)
                assert logprobs[place] == pytest.approx(float(plain[token]), abs=1e-4)

    with torch.inference_mode():
        passes.admit([0], prompts[0])
        check([0, 0, 0], [(), (), ()], [words[:1], words[1:7], words[2:4]])
        passes.admit([1], prompts[1])
        check(
            [0, 1, 1, 0],
            [words[1:7], (), (), words[2:4]],
            [words[:3], words[4:5], words[3:6], words[5:6]],
        )
        check([1], [words[3:6]], [words[:2]])
        assert passes.present == [1]
