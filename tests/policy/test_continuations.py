"""Pairs of continuations: training reads the tokens of generation, trains on what follows the context, and adds no end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from csrdata.errors import UserError
from csrdata.images import load_image
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import completion_ids, completion_text, is_boundary, text_ids
from csrdata.policy.sides import BOTH
from csrdata.policy.training import TrainingReport, train
from csrdata.records import Pair
from tests.families import FAMILIES, unlike_pictures
from tests.objectives import DPO, TINY
from tests.policy.pairs import CONTINUED, WHOLE, token_logprobs, written
from tests.scores import pair_with, without_scores
from tests.tiny import pictures, tiny_llava

REPLIES = ("A red circle is here. There are two blue squares.\nNo dog.", "Yes. It's 3 o'clock... I think.")
"""Answers as a model may write them, cut at several places below."""
OTHER_TOKENIZERS = [
    "llava_old",
    "llava",
    "paligemma_template",
    "gemma3",
    "qwen2_5_vl",
    "smolvlm",
    "mllama",
    "pixtral",
]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny base policy in a project's root with images."""
    monkeypatch.chdir(tmp_path)
    pictures(Path("images"), len(WHOLE + CONTINUED))
    return tiny_llava(Path("base"))


def trained(
    base: Path | Policy, pairs: list[Pair], *, root: Path = Path(), **settings: Any
) -> TrainingReport:
    """Train one pass over the pairs, in batches of two."""
    folder = root / "adapter"
    folder.mkdir(exist_ok=True)
    return train(
        load_policy(base) if isinstance(base, Path) else base,
        pairs,
        root=root,
        adapter_folder=folder,
        **{**DPO, **settings},
        learning_rate=1e-2,
        epochs=1,
        batch_size=2,
        **TINY,
    )


def test_references_are_those_of_slow_passes(base: Path) -> None:
    """The reference of a continuation is its log-probability given prompt and context, from one unpadded row each."""
    pairs = written(load_policy(base), CONTINUED + WHOLE)
    assert pairs[1].scores.chosen_tokens == 1, "the end alone is one token"
    report = trained(base, pairs)
    assert report.references_checked == len(pairs)
    assert 0 <= (report.reference_gap or 0) < 1e-4


def test_a_prompt_may_have_several_pairs(base: Path) -> None:
    """Pairs of one prompt train together, each checked against its own stored log-probabilities."""
    report = trained(base, written(load_policy(base), CONTINUED + WHOLE, one_prompt=True))
    assert report.references_checked == report.pairs == 4


def test_training_prefers_the_chosen_continuation(base: Path) -> None:
    """A step on pairs with a context raises the log-probability of chosen against rejected, given prompt and context."""
    policy = load_policy(base)
    pairs = written(policy, CONTINUED)
    trained(policy, pairs)
    for pair in pairs:
        with torch.no_grad():
            chosen, rejected = (float(token_logprobs(policy, pair, name).sum()) for name in BOTH)
        before = (pair.scores.chosen_logprob or 0) - (pair.scores.rejected_logprob or 0)
        assert chosen - rejected > before + 0.1


@pytest.mark.parametrize(
    "context", [" There is a red square.", " There is a red circle. Yes.", "", "There is a red circle."]
)
def test_another_context_is_refused(base: Path, context: str) -> None:
    """The check of the reference names the pair whose context is not the one of generation, be it by one space."""
    pairs = written(load_policy(base), CONTINUED)
    pairs[0] = pair_with(pairs[0], context=context)
    with pytest.raises(
        UserError, match=r"^pair train-00000: chosen: reference log-probability under base: got -"
    ):
        trained(base, pairs)


@pytest.mark.parametrize("name", ["chosen_complete", "rejected_complete"])
def test_an_end_that_was_not_generated_is_refused(base: Path, name: str) -> None:
    """A side that went on when it was generated, taken for one that ended, has a token too many; and the other way round."""
    pairs = written(load_policy(base), CONTINUED)
    side = name.removesuffix("_complete")
    old = bool(getattr(pairs[0], name))
    pairs[0] = pair_with(pairs[0], **{name: not old})
    words = rf"^pair train-00000: {side}: got \d+ tokens of the answer, expected the \d+ tokens that were generated"
    with pytest.raises(UserError, match=words):
        trained(base, pairs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"chosen": "", "chosen_complete": False},
            r"chosen: got '', expected a text with words in it, or an empty one",
        ),
        ({"context": "", "chosen": ""}, r"chosen: got '', expected an answer with words in it"),
        ({"context": "  ", "chosen": ""}, r"chosen: got '', expected a text with words in it"),
        ({"context": " A <image>."}, r"context: got the text <image>, expected a text without"),
    ],
)
def test_a_side_has_words_or_is_the_end(base: Path, change: dict[str, Any], words: str) -> None:
    """A side without words is allowed only as the end of an answer that was begun."""
    pairs = written(load_policy(base), CONTINUED, one_prompt=True)
    pairs[1] = pair_with(without_scores(pairs[1]), **change)
    with pytest.raises(UserError, match=rf"^pair train-00000, number 1: {words}"):
        trained(base, pairs)


def test_a_token_across_the_boundary_is_refused(base: Path) -> None:
    """A context that ends inside a word, where the tokenizer has a token for the whole, is refused in one line."""
    policy = load_policy(base)
    whole = " There is"
    cut = next(
        place
        for place in range(2, len(whole))
        if not is_boundary(policy.processor, whole[:place], whole[place:])
    )
    pair = Pair(
        "p", "images/0.png", "Describe it.", whole[cut:] + " a circle.", " No.", "judge", context=whole[:cut]
    )
    words = r"^pair p: chosen: got a token that spans the end of the context and the start of the text, expected the tokens of"
    with pytest.raises(UserError, match=words):
        trained(base, [pair])


def test_continuations_of_any_origin_train(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without stored log-probabilities, pairs with a context train, and stderr says that nothing was checked."""
    pairs = [without_scores(pair) for pair in written(load_policy(base), CONTINUED)]
    report = trained(base, pairs, sft_weight=1.0)
    assert (report.references_checked, report.reference_gap) == (0, None)
    assert "the reference was checked for 0 of 2 pairs" in capsys.readouterr().err


def generated(policy: Policy, reply: str) -> list[int]:
    """Return an answer's tokens as a model generates them, without the end."""
    return text_ids(policy.processor, reply)


def cuts(policy: Policy, ids: list[int]) -> list[tuple[str, str, int]]:
    """Cut an answer behind each sentence: the text before and behind, as generation decodes them, and the tokens before."""
    whole = policy.tokenizer.decode(ids)
    found = []
    for place in range(1, len(ids)):
        before = policy.tokenizer.decode(ids[:place])
        if (
            before.endswith((".", "?", "!"))
            and whole.startswith(before)
            and text_ids(policy.processor, before) == ids[:place]
        ):
            found.append((before, whole[len(before) :], place))
    return found


@pytest.mark.parametrize("name", OTHER_TOKENIZERS)
def test_every_tokenizer_keeps_its_tokens_at_a_boundary(name: str, tmp_path: Path) -> None:
    """Rows hold the tokens of the prompt, of the context and of the continuation as generated; the mask is on the last part."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    unlike_pictures(tmp_path / "images")
    picture = load_image("images/0.png", root=tmp_path, place="test")
    collator = PairCollator(
        processor=policy.processor, max_length=None, image_token=policy.model.config.image_token_id
    )
    tried = 0
    for reply in REPLIES:
        ids = generated(policy, reply)
        for before, behind, place in cuts(policy, ids):
            row = {"prompt": policy.prompt("Describe it."), "images": [picture], "context": before}
            sides = {"chosen": (behind, True), "rejected": (behind[: behind.rfind(" ")], False)}
            texts = {
                key: completion_text(policy.processor, text, complete=ends)
                for key, (text, ends) in sides.items()
            }
            assert is_boundary(policy.processor, before, texts["chosen"])
            batch = collator([{**row, **texts}, {**row, **texts, "context": ""}])
            real = batch["attention_mask"].bool()
            trained_on = batch["completion_mask"].bool()
            end = completion_ids(policy.processor, "", context=before)
            assert len(end) == 1
            assert batch["input_ids"][0][trained_on[0]].tolist() == ids[place:] + end
            assert batch["input_ids"][0][real[0]].tolist()[-len(ids) - 1 :] == ids + end
            cut = completion_ids(policy.processor, texts["rejected"], context=before, complete=False)
            assert batch["input_ids"][2][trained_on[2]].tolist() == cut
            assert cut == ids[place:][: len(cut)]
            tried += 1
    assert tried >= 3


def test_pairs_that_only_end_answers_are_refused(tmp_path: Path) -> None:
    """Trained on them, a policy says nothing any more; one chosen side with words is enough to train."""
    policy = load_policy(FAMILIES["llava_old"](tmp_path / "policy"))
    unlike_pictures(tmp_path / "images")
    before, behind, _ = cuts(policy, generated(policy, REPLIES[0]))[0]
    ends = [Pair("a", "images/0.png", "Describe it.", "", behind, "judge", context=before)] * 2
    words = "^pairs to train on: got 2, in which the chosen side is always the end of the answer, expected chosen sides with words"
    with pytest.raises(UserError, match=words):
        trained(policy, ends, root=tmp_path)
    goes_on = Pair("b", "images/1.png", "Describe it.", behind, "", "judge", context=before)
    assert len(trained(policy, [ends[0], goes_on], root=tmp_path).steps) == 1


@pytest.mark.parametrize("name", ["llava_old", "qwen2_5_vl"])
def test_a_tokenizer_of_another_kind_trains(name: str, tmp_path: Path) -> None:
    """SentencePiece with a space before the first word, and byte-level BPE: continuations and ends train."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    unlike_pictures(tmp_path / "images")
    before, behind, _ = cuts(policy, generated(policy, REPLIES[0]))[0]
    pairs = [
        Pair("a", "images/0.png", "Describe it.", behind, "", "judge", context=before),
        Pair(
            "b",
            "images/1.png",
            "Describe it.",
            " No.",
            " Yes.",
            "judge",
            context=before,
            chosen_complete=False,
        ),
    ]
    report = trained(policy, pairs, root=tmp_path)
    assert len(report.steps) == 1
    assert report.steps[0].chosen_logprob < 0
