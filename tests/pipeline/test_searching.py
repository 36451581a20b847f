"""Best of N: `evaluate_policy` with the answers of the search, on drawn scenes and a tiny policy that was taught to answer."""

from pathlib import Path

import pytest

from csrdata import paths
from csrdata.generation.clock import Clock
from csrdata.generation.generating import generate
from csrdata.generation.self_check import SelfCheck
from csrdata.params import Params
from csrdata.pipeline import evaluate_policy, sample_prompts
from csrdata.pipeline.proposing import open_proposing
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings
from csrdata.policy.loading import Policy, load_policy
from csrdata.records import Answer, Kind, Prompt, Question, Response
from csrdata.relevance.base import Scorer
from csrdata.relevance.open_clip import load_open_clip
from csrdata.search.responses import responses
from csrdata.storage.tables import read_json, read_rows
from tests.pipeline.world import SMALL_SEARCH, draw_world, save_tiny_scorers, small_params
from tests.teaching import teach
from tests.tiny import tiny_llava

GREEDY = small_params(
    evaluate_policy={"max_new_tokens": 6, "batch_size": 8}, source={"questions_per_image": 2}
)
SEARCHING = small_params(
    evaluate_policy={"decoding": "search", "max_new_tokens": 6, "batch_size": 8},
    source={"questions_per_image": 2},
    generate_beams=SMALL_SEARCH | {"prompts_per_shard": 3},
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, questions and a base policy that was taught a few answers."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(GREEDY)
    teach(tiny_llava(paths.policy("base")))
    save_tiny_scorers()


def _search(prompts: list[Prompt], policy: Policy, scorer: Scorer) -> dict[str, list[Response]]:
    """Return the answers that the search gives to some prompts, with rewards, by prompt."""
    settings, scoring = SEARCHING.generate_beams, SEARCHING.score_beams
    sentences = generate(
        prompts,
        root=Path(),
        policy=policy,
        scorer=scorer,
        proposing=open_proposing(settings.proposal),
        **settings.model_dump(exclude={"proposal", "prompts_per_shard", "guidance"}),
        guidance=settings.guidance.kind,
        image_weight=settings.guidance.image_weight,
        scale=settings.guidance.scale,
        repetition_threshold=settings.guidance.repetition_threshold,
        clock=Clock(),
    )
    return {
        prompt.prompt_id: responses(
            [row for row in sentences if row.prompt_id == prompt.prompt_id],
            None,
            image_weight=scoring.image_weight,
            scale=scoring.scale,
            repetition_threshold=scoring.repetition_threshold,
            aggregate_by=scoring.aggregate,
        )
        for prompt in prompts
    }


def _policy(name: str) -> Policy:
    return load_policy(paths.policy(name), wordings=read_wordings(paths.QUESTION_WORDINGS))


def _searched(name: str, scorer: Scorer) -> dict[str, list[Response]]:
    """Return the answers that a policy's search gives to all descriptions, by question, in the shards of the stage.

    The composition of a batch can change last bits.
    """
    questions = read_rows(paths.QUESTIONS, Question, made_by="")
    prompts = [Prompt(one.question_id, one.image, one.text) for one in questions if one.kind == Kind.DESCRIBE]
    shards = [prompts[start : start + 3] for start in range(0, len(prompts), 3)]
    policy = _policy(name)
    return {key: rows for shard in shards for key, rows in _search(shard, policy, scorer).items()}


def _best(answers: list[Response]) -> Response | None:
    """Return the finished, canonical answer with words and the highest reward, if there is one."""
    ended = [one for one in answers if one.finished and one.canonical and one.text.strip()]
    return max(ended, key=lambda one: one.reward) if ended else None


def test_best_of_n_takes_the_searchs_best_answers() -> None:
    """Descriptions are the finished answers with the highest reward, or greedy ones without any; yes/no questions are greedy."""
    evaluate_policy.run(GREEDY, "base")
    plain = {row.question_id: row for row in read_rows(paths.answers("base"), Answer, made_by="")}
    evaluate_policy.run(SEARCHING, "base")
    found = read_rows(paths.answers("base"), Answer, made_by="")
    questions = {row.question_id: row for row in read_rows(paths.QUESTIONS, Question, made_by="")}
    searched = _searched("base", load_open_clip("scorers/search", device="cpu"))
    taken = 0
    for row in found:
        if questions[row.question_id].kind == Kind.YES_NO:
            assert row == plain[row.question_id]
            continue
        best = _best(searched[row.question_id])
        if best is None:
            assert row == plain[row.question_id]
            continue
        assert (row.text, row.tokens, row.finished) == (best.text, best.tokens, True)
        assert row.logprob_base == pytest.approx(best.logprob, abs=1e-3)
        taken += 1
    assert taken > len(searched) / 2
    record = read_json(paths.evaluation_record("base"), made_by="")
    assert record["decoding"] == "search"


def test_a_self_check_of_the_search_asks_the_policy_that_searches() -> None:
    """Best of N of a later policy is guided by that policy's own checks, not the base's, as in `generate_beams`."""
    teach(tiny_llava(paths.policy("1"), seed=1), steps=40)
    raw = SEARCHING.model_dump()
    raw["scorers"] |= {"search": {"kind": "self_check"}, "held_out": None}
    settings = Params.model_validate(raw)
    evaluate_policy.run(settings, "1")
    found = {row.question_id: row.text for row in read_rows(paths.answers("1"), Answer, made_by="")}
    checks = open_source(settings.source).checks

    def best(asked: str) -> dict[str, str]:
        judge = _policy(asked)
        searched = _searched("1", SelfCheck(lambda: judge, checks))
        return {key: one.text for key, rows in searched.items() if (one := _best(rows)) is not None}

    own, by_base = best("1"), best("base")
    assert own
    assert {key: found[key] for key in own} == own
    assert own != by_base
