"""Training: only the language model has an adapter, the reference wrote the pairs, equal runs give equal bytes."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from csrdata.errors import UserError
from csrdata.images import load_image
from csrdata.policy.loading import Dtype, Policy, load_policy, new_chain
from csrdata.policy.preflight import MEAN_SHARE, check_references, most_gap, usual_gap
from csrdata.policy.prompting import completion_ids, encode, render_prompt
from csrdata.policy.training import TrainingReport, language_layers, train
from csrdata.records import Pair, PairScores
from csrdata.storage.tables import hash_path
from tests.objectives import DPO
from tests.scores import pair_with, without_scores
from tests.tiny import FAMILIES, pictures

KNOBS: dict[str, Any] = {
    **DPO,
    "learning_rate": 1e-2,
    "epochs": 2.0,
    "batch_size": 2,
    "accumulation": 1,
    "warmup_share": 0.0,
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "lora_dropout": 0.0,
    "reference_tolerance": 1e-4,
    "gradient_checkpointing": False,
    "seed": 0,
    "progress": False,
}

TEXTS = [
    (" There is a red circle.", " A blue square sits in the corner."),
    (" A green star. I see a circle.", " No, there is none."),
    ("Yes.", " There is a triangle at the top left. There is a red circle."),
    (" In the middle I see a green star.", " A red\ncircle  sits here."),
]


ONE_FAMILY = pytest.mark.parametrize("base", ["llava"], indirect=True)
"""For rules that no model family can break."""


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy of each family, and images."""
    monkeypatch.chdir(tmp_path)
    pictures(Path("images"), len(TEXTS))
    return FAMILIES[request.param](Path("policies/base"))


HALF = ["bfloat16", "float16"]


def logprob(policy: Policy, image: Path, prompt: str, answer: str) -> float:
    """Return an answer's log-probability from a forward pass with one row and no padding."""
    ids = completion_ids(policy.processor, answer)
    picture = load_image(image.as_posix(), root=Path(), place="test")
    rendered = [render_prompt(policy.processor, prompt)]
    inputs = encode(policy.processor, [picture], rendered).to(policy.device, policy.model.dtype)
    tail = torch.tensor([ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.inference_mode():
        logprobs = policy.model(**inputs).logits[0, -len(ids) - 1 : -1].float().log_softmax(-1)
    return float(logprobs.gather(1, tail.T).sum())


def written_by(folder: Path, *, dtype: Dtype = "float32") -> list[Pair]:
    """Return pairs whose stored log-probabilities and token counts are those of a policy."""
    policy = load_policy(folder, dtype=dtype)
    tokens = lambda text: len(completion_ids(policy.processor, text))  # noqa: E731
    pairs = []
    for index, (chosen, rejected) in enumerate(TEXTS):
        image, prompt = f"images/{index}.png", f"Describe {'the image ' * index}now."
        pairs.append(
            Pair(
                prompt_id=f"train-{index:05d}",
                image=image,
                prompt=prompt,
                chosen=chosen,
                rejected=rejected,
                origin="csr_search",
                scores=PairScores(
                    chosen_leaf=0,
                    rejected_leaf=1,
                    chosen_reward=1.0,
                    rejected_reward=0.0,
                    margin=1.0,
                    chosen_reward_held_out=1.0,
                    rejected_reward_held_out=0.0,
                    chosen_relevance=50.0,
                    rejected_relevance=40.0,
                    chosen_logprob=logprob(policy, Path(image), prompt, chosen),
                    rejected_logprob=logprob(policy, Path(image), prompt, rejected),
                    chosen_tokens=tokens(chosen),
                    rejected_tokens=tokens(rejected),
                    chosen_words=len(chosen.split()),
                    rejected_words=len(rejected.split()),
                ),
            )
        )
    return pairs


def iterate(
    folder: Path, *, previous: Path, pairs: list[Pair], dtype: Dtype = "float32", **knobs: Any
) -> TrainingReport:
    """Train the policy `folder` from the one before it."""
    policy = load_policy(previous, dtype=dtype)
    with new_chain(folder, previous=previous, name=folder.name) as adapter:
        return train(policy, pairs, root=Path(), adapter_folder=adapter, **{**KNOBS, **knobs})


def test_training_prefers_the_chosen(base: Path) -> None:
    """The margin grows, the loss falls below ln 2, and the adapter has no weight of the vision tower."""
    pairs = written_by(base)
    report = iterate(Path("policies/1"), previous=base, pairs=pairs)
    assert report.steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert report.steps[-1].loss < 0.6
    assert [step.step for step in report.steps] == [1, 2, 3, 4]
    before, after = load_policy(base), load_policy(Path("policies/1"))
    for pair in pairs:
        image = Path(pair.image)
        gain = {
            text: logprob(after, image, pair.prompt, text) - logprob(before, image, pair.prompt, text)
            for text in (pair.chosen, pair.rejected)
        }
        assert gain[pair.chosen] > gain[pair.rejected]
    changed = {
        name
        for (name, old), new in zip(before.model.named_parameters(), after.model.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert len(changed) == 2 * 7
    assert all("language_model.layers" in name or "text_model.layers" in name for name in changed)


def test_references_are_those_of_generation(base: Path) -> None:
    """TRL's padded batches give the same log-probabilities as one unpadded row at a time, within the tolerance."""
    report = iterate(Path("policies/1"), previous=base, pairs=written_by(base), batch_size=4)
    assert 0 <= report.reference_gap < 1e-4


def test_wrong_iterate_is_refused(base: Path) -> None:
    """Training policy 1 on pairs of the base is refused: the error names the prompt, both values and the next step."""
    pairs = written_by(base)
    iterate(Path("policies/1"), previous=base, pairs=pairs)
    with pytest.raises(UserError) as caught:
        iterate(Path("policies/2"), previous=Path("policies/1"), pairs=pairs)
    message = str(caught.value)
    assert message.startswith("pair train-00000: chosen: reference log-probability under policies/1: got -")
    assert f"{pairs[0].scores.chosen_logprob:.6f} as stored at generation" in message
    assert "iterations.*.previous" in message
    assert not Path("policies/2").exists()


def test_other_prompt_is_refused(base: Path) -> None:
    """A pair with another instruction than at generation is refused."""
    pairs = written_by(base)
    pairs[2] = dataclasses.replace(pairs[2], prompt=pairs[2].prompt + " ")
    words = r"pair train-00002: .*got -[\d.]+, [\d.]+ nats away, expected -[\d.]+ as stored at generation, within 0\.000\d+ nats"
    with pytest.raises(UserError, match=words):
        iterate(Path("policies/1"), previous=base, pairs=pairs)


@pytest.mark.parametrize("dtype", HALF)
def test_half_types_train(base: Path, dtype: Dtype) -> None:
    """Pairs written in bfloat16 or float16 pass the check in the same dtype, in spite of rounding."""
    policy = load_policy(base, dtype=dtype)
    pairs = written_by(base, dtype=dtype)
    Path("adapter").mkdir()
    report = train(policy, pairs, root=Path(), adapter_folder=Path("adapter"), **{**KNOBS, "batch_size": 4})
    assert KNOBS["reference_tolerance"] < report.reference_gap < 0.5
    assert all(math.isfinite(step.loss) for step in report.steps)


@pytest.mark.parametrize("dtype", HALF)
def test_wrong_iterate_is_refused_in_half_types(base: Path, dtype: Dtype) -> None:
    """The wider tolerance still detects another policy; the error names dtype, tokens, gap and both explanations."""
    iterate(Path("policies/1"), previous=base, pairs=written_by(base))
    pairs = written_by(base, dtype=dtype)
    with pytest.raises(UserError) as caught:
        iterate(Path("policies/2"), previous=Path("policies/1"), pairs=pairs, dtype=dtype)
    message = str(caught.value)
    assert "nats away" in message
    assert (
        f"tokens in {dtype}): another policy or prompt wrote it, or {dtype} rounds more than allowed"
        in message
    )
    assert "train_dpo.reference_tolerance" in message
    assert not Path("policies/2").exists()


@ONE_FAMILY
@pytest.mark.parametrize("dtype", HALF)
def test_gaps_that_are_each_allowed_are_refused_together(base: Path, dtype: Dtype) -> None:
    """One answer at half its allowance is accepted as rounding; all answers at half of it are refused."""
    policy, pairs = load_policy(base, dtype=dtype), written_by(base, dtype=dtype)
    stored = [
        [pair.scores.chosen_logprob for pair in pairs],
        [pair.scores.rejected_logprob for pair in pairs],
    ]
    allowed = [
        [usual_gap(tokens, dtype=policy.model.dtype, tolerance=1e-4) for tokens in own]
        for own in (
            [pair.scores.chosen_tokens for pair in pairs],
            [pair.scores.rejected_tokens for pair in pairs],
        )
    ]
    one = [[stored[0][0] + allowed[0][0] / 2, *stored[0][1:]], stored[1]]
    assert (check_references(pairs, *one, policy=policy, tolerance=1e-4).largest_gap or 0) > 1e-4
    every = [
        [value + gap / 2 for value, gap in zip(*own, strict=True)]
        for own in zip(stored, allowed, strict=True)
    ]
    words = rf"8 answers: .* nats away on average, 50% of .*at most {MEAN_SHARE:.0%} \(about \d+ tokens in {dtype}\)"
    with pytest.raises(UserError, match=words):
        check_references(pairs, *every, policy=policy, tolerance=1e-4)
    assert (check_references(pairs, *every, policy=policy, tolerance=100.0).largest_gap or 0) > 1e-4


def test_the_tolerance_belongs_to_type_and_length() -> None:
    """Longer answers are allowed more, half types much more than float32, and none less than the tolerance."""
    assert usual_gap(9, dtype=torch.float32, tolerance=1e-4) == 1e-4
    assert usual_gap(400, dtype=torch.float32, tolerance=1e-4) == pytest.approx(6e-4)
    assert usual_gap(400, dtype=torch.bfloat16, tolerance=1e-4) == pytest.approx(3.0)
    assert usual_gap(100, dtype=torch.bfloat16, tolerance=1e-4) == pytest.approx(1.5)
    assert usual_gap(400, dtype=torch.float16, tolerance=1e-4) == pytest.approx(0.6)
    assert usual_gap(400, dtype=torch.float16, tolerance=5.0) == 5.0
    assert most_gap(400, dtype=torch.float32, tolerance=1e-4) == pytest.approx(6e-3)
    assert most_gap(400, dtype=torch.float32, tolerance=5.0) == 5.0
    assert most_gap(400, dtype=torch.bfloat16, tolerance=1e-4) == pytest.approx(3.0)


def test_one_answer_may_be_rounded_more_than_all(base: Path) -> None:
    """In float32, a gap like the largest one seen passes for one answer, not for all of them, nor does ten times as much."""
    policy, pairs = load_policy(base), written_by(base)
    stored = [
        [pair.scores.chosen_logprob for pair in pairs],
        [pair.scores.rejected_logprob for pair in pairs],
    ]
    seen = 4.8e-5 * math.sqrt(pairs[0].scores.chosen_tokens)
    one = [[stored[0][0] + seen, *stored[0][1:]], stored[1]]
    check = check_references(pairs, *one, policy=policy, tolerance=1e-6)
    assert check.largest_gap == pytest.approx(seen, rel=1e-3)
    every = [[value + seen for value in own] for own in stored]
    with pytest.raises(UserError, match="nats away on average"):
        check_references(pairs, *every, policy=policy, tolerance=1e-6)
    far = [[stored[0][0] + 10 * seen, *stored[0][1:]], stored[1]]
    with pytest.raises(UserError, match="as stored at generation"):
        check_references(pairs, *far, policy=policy, tolerance=1e-6)


def test_chain_trains_on(base: Path) -> None:
    """Policy 2 has both adapters, its training starts at ln 2, and its chain equals the adapters stacked by hand."""
    iterate(Path("policies/1"), previous=base, pairs=written_by(base))
    report = iterate(Path("policies/2"), previous=Path("policies/1"), pairs=written_by(Path("policies/1")))
    assert report.steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert sorted(path.name for path in Path("policies/2/adapters").iterdir()) == ["1", "2"]
    assert hash_path(Path("policies/2/adapters/1")) == hash_path(Path("policies/1/adapters/1"))


@ONE_FAMILY
@pytest.mark.parametrize("dtype", HALF)
def test_chain_trains_on_in_half_types(base: Path, dtype: Dtype) -> None:
    """With the adapters on top of the base, the reference is policy 1 too: the pairs that it wrote start at ln 2."""
    iterate(Path("policies/1"), previous=base, pairs=written_by(base, dtype=dtype), dtype=dtype)
    previous = Path("policies/1")
    pairs = written_by(previous, dtype=dtype)
    report = iterate(Path("policies/2"), previous=previous, pairs=pairs, dtype=dtype)
    assert report.references_checked == len(pairs)
    assert report.steps[0].loss == pytest.approx(math.log(2), abs=0.1)
    assert sorted(path.name for path in Path("policies/2/adapters").iterdir()) == ["1", "2"]


@ONE_FAMILY
def test_gradient_checkpointing_is_the_same_training(base: Path) -> None:
    """Layers that are computed again in the backward pass give the same steps but for rounding."""
    pairs = written_by(base)
    plain = iterate(Path("policies/1"), previous=base, pairs=pairs)
    spared = iterate(Path("policies/1"), previous=base, pairs=pairs, gradient_checkpointing=True)
    assert plain.steps[0].grad_norm > 0
    for one, other in zip(plain.steps, spared.steps, strict=True):
        assert (other.loss, other.grad_norm) == pytest.approx((one.loss, one.grad_norm), rel=1e-3)


def test_equal_runs_give_equal_bytes(base: Path) -> None:
    """The same inputs give the same adapter, in any folder, and the same report."""
    pairs = written_by(base)
    first = iterate(Path("policies/1"), previous=base, pairs=pairs, lora_dropout=0.1)
    kept = hash_path(Path("policies/1"))
    second = iterate(Path("policies/1"), previous=base, pairs=pairs, lora_dropout=0.1)
    assert (hash_path(Path("policies/1")), second) == (kept, first)
    other = iterate(Path("policies/1"), previous=base, pairs=pairs, lora_dropout=0.1, seed=1)
    assert hash_path(Path("policies/1")) != kept
    assert other != first


@ONE_FAMILY
def test_dropout_reaches_the_adapter(base: Path) -> None:
    """`lora_dropout` changes training: only the model's dropout is turned off."""
    pairs = written_by(base)
    with_dropout = iterate(Path("policies/1"), previous=base, pairs=pairs, lora_dropout=0.5)
    assert with_dropout.steps != iterate(Path("policies/1"), previous=base, pairs=pairs).steps


@ONE_FAMILY
def test_the_anchor_holds_on_to_the_chosen_answers(base: Path) -> None:
    """`sft_weight` adds the chosen answers' mean token loss, and raises their final log-probability."""
    pairs = written_by(base)
    plain = iterate(Path("policies/1"), previous=base, pairs=pairs)
    anchored = iterate(Path("policies/1"), previous=base, pairs=pairs, sft_weight=2.0)
    assert anchored.steps[0].loss > plain.steps[0].loss
    assert anchored.steps[-1].chosen_logprob > plain.steps[-1].chosen_logprob


@ONE_FAMILY
def test_warm_up_then_cosine(base: Path) -> None:
    """The learning rate rises over `warmup_share` of the steps, peaks, and falls to nearly 0."""
    report = iterate(Path("policies/1"), previous=base, pairs=written_by(base), epochs=5.0, warmup_share=0.2)
    rates = [step.learning_rate for step in report.steps]
    assert len(rates) == 10
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.001


def test_the_reference_is_computed_once(base: Path) -> None:
    """Each training step runs one forward pass: the reference is not computed again."""
    pairs = written_by(base)
    policy = load_policy(base)
    calls = []
    policy.model.get_decoder().register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    Path("adapter").mkdir()
    train(policy, pairs, root=Path(), adapter_folder=Path("adapter"), **KNOBS)
    assert calls == [False] * 2 + [True] * 4


@ONE_FAMILY
def test_pairs_without_scores_train(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs without stored log-probabilities train without a reference check, and stderr says so."""
    pairs = [without_scores(pair) for pair in written_by(base)]
    report = iterate(Path("policies/1"), previous=base, pairs=pairs)
    assert report.steps[-1].loss < 0.6
    assert (report.summary()["references_checked"], report.summary()["reference_gap"]) == (0, None)
    assert f"the reference was checked for 0 of {len(pairs)} pairs" in capsys.readouterr().err


@ONE_FAMILY
def test_references_are_checked_where_there_are_any(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Among pairs without scores, a stored log-probability is checked: a wrong one is refused, a right one counted."""
    first, *others = written_by(base)
    mixed = [first, *map(without_scores, others)]
    assert iterate(Path("policies/1"), previous=base, pairs=mixed).references_checked == 1
    assert f"for 1 of {len(mixed)} pairs" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"pair train-00000: rejected: reference log-probability"):
        iterate(Path("policies/2"), previous=base, pairs=[pair_with(first, rejected_logprob=-1.0), *others])


@ONE_FAMILY
def test_a_few_steps_learn(base: Path) -> None:
    """A run of one step has the peak learning rate: warm-up rounds down to no step."""
    report = iterate(
        Path("policies/1"), previous=base, pairs=written_by(base), batch_size=4, epochs=1.0, warmup_share=0.03
    )
    assert [step.learning_rate for step in report.steps] == [KNOBS["learning_rate"]]


def test_language_layers_only(base: Path) -> None:
    """The pattern matches every linear layer of the language model and no other."""
    import re

    model = load_policy(base).model
    hit = {name for name, _ in model.named_modules() if re.fullmatch(language_layers(model), name)}
    assert len(hit) == 2 * 7
    assert all(("language_model" in name) or ("text_model" in name) for name in hit)


def test_no_pairs(tmp_path: Path) -> None:
    """The error for an empty list of pairs names the next commands."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "base"))
    with pytest.raises(UserError, match=r"csrdata stats; lower select_pairs.margin"):
        train(policy, [], root=tmp_path, adapter_folder=tmp_path, **KNOBS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": "  "}, r"pair train-00001: chosen: got ' ', expected an answer with words"),
        ({"prompt": ""}, r"prompt train-00001: got '', expected an instruction"),
        (
            {"prompt": "What is <image>?"},
            r"pair train-00001: prompt: got the text <image>, expected a text without",
        ),
        (
            {"rejected": " An <image>."},
            r"pair train-00001: rejected: got the text <image>, expected a text without",
        ),
        ({"image": "images/none.png"}, r"prompt train-00001: image images/none.png: got no such file"),
        (
            {"rejected": "No" * 600},
            r"pair train-00001: rejected: got \d+ tokens with prompt and image, expected at most",
        ),
        (
            {"rejected_tokens": 99},
            r"pair train-00001: rejected: got \d+ tokens of the answer, expected the 99 tokens",
        ),
        (
            {"rejected_end": 9},
            r"pair train-00001: rejected_end: got 9, expected a token that ends an answer of",
        ),
        ({"chosen_logprob": math.nan}, r"pair train-00001: chosen: reference .* expected nan as stored"),
    ],
)
def test_bad_pairs(base: Path, change: dict[str, Any], words: str) -> None:
    """An invalid pair is refused by name before the first step, and nothing is written."""
    pairs = written_by(base)
    pairs[1] = pair_with(pairs[1], **change)
    with pytest.raises(UserError, match=words):
        iterate(Path("policies/1"), previous=base, pairs=pairs)
    assert [path.name for path in Path("policies").iterdir()] == ["base"]


def test_image_tokens_are_counted(base: Path) -> None:
    """A processor that writes fewer image tokens than the model has image features is refused with both numbers."""
    pairs = written_by(base)
    policy = load_policy(base)
    if hasattr(policy.processor, "image_seq_len"):
        policy.processor.image_seq_len = 3
    else:
        policy.processor.num_additional_image_tokens = 0
    with pytest.raises(UserError, match=r"pair train-00000: chosen: got 3 image tokens, expected 4"):
        train(policy, pairs, root=Path(), adapter_folder=Path(), **KNOBS)
