"""Answers at every end-of-sequence bias, compared with a decoding of its own for each bias."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from csrdata.policy.answering import Reply, answer
from csrdata.policy.end_bias import AnswerPath, answer_paths, replies_at
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import banned_ids, end_ids
from csrdata.records import Kind, Question
from tests.families import FAMILIES as EVERY_FAMILY
from tests.families import unlike_pictures
from tests.tiny import FAMILIES, pictures

TOKENS = 24
BIASES = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
TEXTS = ("Describe the image.", "Is there a triangle?", "What do you see in this picture? Is it red or blue?")


@contextmanager
def _ending(policy: Policy, bias: float) -> Iterator[None]:
    """Add a bias to the logits of all end tokens, in the model itself."""
    head = policy.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    added = torch.zeros(head.weight.shape[0])
    added[end_ids(policy.model, policy.processor)] = bias
    handle = head.register_forward_hook(lambda _module, _inputs, output: output + added)
    try:
        yield
    finally:
        handle.remove()


def _eagerness(policy: Policy, questions: Sequence[Question], root: Path) -> float:
    """Return the bias at which a random policy ends half of its answers in a third of the limit: it rarely ends them itself."""
    paths = answer_paths(
        policy, questions, root=root, lowest=-1e4, max_new_tokens=TOKENS, batch_size=9, progress=False
    )
    needed = sorted(-max(path.gaps[: TOKENS // 3]) for path in paths)
    return needed[len(needed) // 2]


def _questions(count: int) -> list[Question]:
    return [
        Question(f"q{index}", "held_out", Kind.DESCRIBE, f"{index % 4}.png", TEXTS[index % 3], None, None)
        for index in range(count)
    ]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A tiny policy of each family."""
    family: str = request.param
    return load_policy(FAMILIES[family](tmp_path_factory.mktemp(family) / "model"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four images: 0.png to 3.png."""
    folder = tmp_path_factory.mktemp("root")
    pictures(folder, 4)
    return folder


def _each_decoded(
    policy: Policy, questions: Sequence[Question], root: Path, start: float
) -> list[list[Reply]]:
    """Return the answers of each question at each bias, from one decoding per bias."""
    found = []
    for bias in BIASES:
        with _ending(policy, start + bias):
            found.append(
                answer(policy, questions, root=root, max_new_tokens=TOKENS, batch_size=9, progress=False)
            )
    return [list(replies) for replies in zip(*found, strict=True)]


def _from_paths(policy: Policy, questions: Sequence[Question], root: Path, start: float) -> list[list[Reply]]:
    with _ending(policy, start):
        paths = answer_paths(
            policy,
            questions,
            root=root,
            lowest=min(BIASES),
            max_new_tokens=TOKENS,
            batch_size=9,
            progress=False,
        )
    return [replies_at(policy, path, BIASES) for path in paths]


def test_one_decoding_gives_the_answers_of_a_decoding_for_each_bias(policy: Policy, root: Path) -> None:
    """For seven biases, tokens, texts and ends are those of greedy decoding with the bias added to the end's logits."""
    questions = _questions(18)
    start = _eagerness(policy, questions, root)
    expected = _each_decoded(policy, questions, root, start)
    assert _from_paths(policy, questions, root, start) == expected
    lengths = [[len(reply.token_ids) for reply in replies] for replies in expected]
    assert all(own == sorted(own, reverse=True) for own in lengths)
    assert any(len(set(own)) > 2 for own in lengths), "the biases change nothing: the test shows nothing"
    assert len({reply.finished for replies in expected for reply in replies}) == 2


@pytest.mark.parametrize("family", ["gemma3", "internvl", "mllama", "qwen2_5_vl"])
def test_a_path_goes_on_where_its_round_ended(family: str, tmp_path: Path) -> None:
    """Image inputs of any form: where others are complete, a path is encoded again with its tokens and goes on alike."""
    policy = load_policy(EVERY_FAMILY[family](tmp_path / "model"))
    unlike_pictures(tmp_path / "images", [(160, 120), (90, 200), (120, 120), (100, 140)])
    questions = _questions(6)
    start = _eagerness(policy, questions, tmp_path / "images")
    assert _from_paths(policy, questions, tmp_path / "images", start) == _each_decoded(
        policy, questions, tmp_path / "images", start
    )


def test_no_bias_is_the_answer_itself(policy: Policy, root: Path) -> None:
    """At a bias of 0 the replies are those of `answer`, whatever the lowest bias."""
    questions = _questions(7)
    expected = answer(policy, questions, root=root, max_new_tokens=TOKENS, batch_size=3, progress=False)
    for lowest in (0.0, -2.0, -100.0):
        paths = answer_paths(
            policy, questions, root=root, lowest=lowest, max_new_tokens=TOKENS, batch_size=3, progress=False
        )
        assert [replies_at(policy, path, [0.0])[0] for path in paths] == expected


def test_a_path_has_no_end_and_nothing_that_is_banned(policy: Policy, root: Path) -> None:
    """End tokens are apart, and a path is as long as the lowest bias needs: it ends there or has all tokens."""
    paths = answer_paths(
        policy, _questions(7), root=root, lowest=-1.0, max_new_tokens=TOKENS, batch_size=7, progress=False
    )
    ends = set(end_ids(policy.model, policy.processor))
    for path in paths:
        assert not set(path.token_ids) & (ends | set(banned_ids(policy.model, policy.processor)))
        assert set(path.end_ids) <= ends
        last = path.end(-1.0)
        assert len(path.token_ids) == (TOKENS if last is None else last + 1)


PATH = AnswerPath(token_ids=(10, 11, 12, 13), end_ids=(2, 2, 20, 2), gaps=(-3.0, -1.0, 0.5, 4.0), lowest=-4.0)


@pytest.mark.parametrize(
    ("bias", "tokens", "finished"),
    [
        (3.5, (2,), True),
        (3.0, (2,), True),  # a tie: 2 is lower than 10
        (2.0, (10, 2), True),
        (0.0, (10, 11, 20), True),
        (-0.5, (10, 11, 12, 2), True),  # a tie: 20 is not lower than 12
        (-3.9, (10, 11, 12, 2), True),
        (-4.0, (10, 11, 12, 2), True),  # a tie: 2 is lower than 13
    ],
)
def test_the_end_is_the_first_step_at_which_it_is_the_better_token(
    bias: float, tokens: tuple[int, ...], finished: bool
) -> None:
    """Gaps -3, -1, 0.5, 4: a bias ends the answer at the first step where gap + bias is above 0, or 0 and the end's id lower."""
    end = PATH.end(bias)
    assert (PATH.tokens(end), end is not None) == (tokens, finished)


def test_a_bias_below_the_lowest_is_refused() -> None:
    """The path may be too short for it; an unfinished answer would be a wrong one."""
    with pytest.raises(ValueError, match=r"a bias of -4\.5: the path was decoded for -4\.0 or more"):
        PATH.end(-4.5)
