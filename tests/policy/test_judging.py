"""A policy judges two answers in both orders; the tiny policy has learned what to say of each pair."""

from dataclasses import replace

import pytest

from csrdata.policy.answering import answer, completion_logprobs
from csrdata.policy.judging import VERDICT_TOKENS, judge
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.preflight import context_limit
from csrdata.policy.prompting import banned_ids
from csrdata.records import Kind, Question, Verdict, Winner
from csrdata.search.contests import Contest
from csrdata.search.judging import Judging
from tests.teaching import teach_rows
from tests.tiny import FAMILIES, picture, pictures

JUDGING = Judging("Which fits? A: {first} B: {second}", ("A.", "B."))
SURE = Contest("p0", (4, 7), (" A red circle.", " A blue square."))
"""The policy names the first answer in both orders."""
BIASED = Contest("p1", (2, 3), (" A green star.", " There is a red circle at the top left."))
"""It names the answer that is shown first."""
MUTE = Contest("p2", (0, 1), (" A triangle.", " No."))
"""It says something else."""
CONTESTS = [SURE, BIASED, MUTE]
SAID = {"p0": (" A.", " B."), "p1": (" A.", " A."), "p2": (" There is none.", " B. A.")}
IMAGES = {one.prompt_id: f"images/{index}.png" for index, one in enumerate(CONTESTS)}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy of each family, with its images beside it."""
    root = tmp_path_factory.mktemp(request.param)
    pictures(root / "images", len(CONTESTS))
    rows = [
        (picture(index), JUDGING.ask(*texts), said)
        for index, one in enumerate(CONTESTS)
        for texts, said in zip((one.texts, one.texts[::-1]), SAID[one.prompt_id], strict=True)
    ]
    return load_policy(teach_rows(FAMILIES[request.param](root / "policy"), rows))


def judged(
    policy: Policy, contests: list[Contest], *, batch_size: int = 8, judging: Judging = JUDGING
) -> list[Verdict]:
    return judge(
        policy,
        contests,
        images=IMAGES,
        root=policy.folder.parent,
        judging=judging,
        batch_size=batch_size,
        progress=False,
    )


def test_verdicts_name_answers_not_places(policy: Policy) -> None:
    """Named twice is agreement; the same place twice is two different answers; other words are unreadable."""
    sure, biased, mute = judged(policy, CONTESTS)
    assert (sure.prompt_id, sure.first_leaf, sure.second_leaf) == ("p0", 4, 7)
    assert (sure.forward, sure.backward) == (Winner.FIRST, Winner.FIRST)
    assert (biased.forward, biased.backward) == (Winner.FIRST, Winner.SECOND)
    assert (mute.forward, mute.backward, mute.forward_margin, mute.backward_margin) == (None,) * 4
    assert sure.forward_margin is not None
    assert sure.backward_margin is not None
    assert biased.backward_margin is not None
    assert sure.forward_margin > 0
    assert sure.backward_margin > 0
    assert biased.backward_margin < 0, "log-odds of the first answer, which was shown second"


def test_a_margin_is_the_difference_of_two_log_probabilities(policy: Policy) -> None:
    """Of the tokens up to the first one that tells the two verdicts apart, given the prompt."""
    (sure,) = judged(policy, [SURE])
    own, other = (policy.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (" A.", " B."))
    apart = next(index for index in range(len(own)) if own[index] != other[index])
    for texts, sign, margin in (
        (SURE.texts, 1, sure.forward_margin),
        (SURE.texts[::-1], -1, sure.backward_margin),
    ):
        question = Question("q", "x", Kind.DESCRIBE, IMAGES["p0"], JUDGING.ask(*texts), None, None)
        first, second = completion_logprobs(
            policy,
            [question] * 2,
            [own[: apart + 1], other[: apart + 1]],
            root=policy.folder.parent,
            batch_size=2,
            progress=False,
        )
        assert margin == pytest.approx(sign * (first - second), abs=1e-3)


def test_the_batch_does_not_matter(policy: Policy) -> None:
    """Judged alone, together or in another order, the verdicts are those of single greedy answers."""
    together = judged(policy, CONTESTS)
    backwards = judged(policy, CONTESTS[::-1], batch_size=2)[::-1]
    for one, other, single in zip(together, backwards, CONTESTS, strict=True):
        assert (one.prompt_id, one.forward, one.backward) == (other.prompt_id, other.forward, other.backward)
        questions = [
            Question(
                str(order), "x", Kind.DESCRIBE, IMAGES[single.prompt_id], JUDGING.ask(*texts), None, None
            )
            for order, texts in enumerate((single.texts, single.texts[::-1]))
        ]
        replies = answer(
            policy,
            questions,
            root=policy.folder.parent,
            max_new_tokens=VERDICT_TOKENS,
            batch_size=1,
            progress=False,
        )
        places = [JUDGING.read(reply.text) for reply in replies]
        assert [None if place is None else "first second".split()[place] for place in places] == [
            one.forward,
            None if one.backward is None else {"first": "second", "second": "first"}[one.backward],
        ]


def test_what_cannot_be_asked_is_unreadable(policy: Policy) -> None:
    """Answers that leave no room for a verdict, or spell out a special token, cost their own verdict alone."""
    limit = context_limit(policy.model)
    assert limit is not None
    long = Contest("p1", (2, 3), (" star" * limit, " A star."))
    special = policy.tokenizer.decode([banned_ids(policy.model, policy.processor)[0]])
    spelled = Contest("p2", (0, 1), (f" A {special}.", " A star."))
    found = judged(policy, [long, SURE, spelled])
    assert [(one.forward, one.backward) for one in found] == [(None, None), ("first", "first"), (None, None)]
    assert judged(policy, []) == []


def test_the_prompt_is_that_of_sampling(policy: Policy) -> None:
    """What the chat template printed at sampling, such as a date, is around the instruction: as if it were part of it."""
    stored = policy.prompt("Describe it.").replace("Describe it.", "Today. Describe it.")
    dated = replace(policy, wordings={"Describe it.": stored})
    spelled = Judging(f"Today. {JUDGING.pattern}", JUDGING.verdicts)
    assert judged(dated, CONTESTS) == judged(policy, CONTESTS, judging=spelled)
    assert judged(dated, CONTESTS) != judged(policy, CONTESTS)
