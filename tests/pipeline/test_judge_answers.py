"""`judge_answers` and the pairs from its verdicts, on drawn scenes with a policy that has learned to judge."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from csrdata import paths
from csrdata.pipeline import judge_answers, judged_pairs, sample_prompts
from csrdata.pipeline.dag import Form, dvc_yaml
from csrdata.pipeline.graph import nodes, steps
from csrdata.records import NO_PARENT, Fate, Pair, Prompt, Response, Sentence, Stop, Verdict
from csrdata.sections.method import JudgedPairs
from csrdata.sources.microworld.language import JUDGE_ANSWERS, judge_prompt
from csrdata.storage.tables import read_json, read_rows, seal, write_rows
from tests.pipeline.world import draw_world, small_params
from tests.teaching import teach_rows

ONE, OTHER = " There is a red star.", " There is a blue heart."
PARAMS = small_params(evaluate_policy={"batch_size": 3}).model_copy(
    update={"select_pairs": JudgedPairs(kind="judged")}
)


@pytest.fixture(autouse=True)
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """A project whose policy names the star in the first image and the first answer in the second one."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(PARAMS)
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="")
    one, other, *_ = [Image.open(prompt.image).convert("RGB") for prompt in prompts]
    forward, backward = judge_prompt(ONE.strip(), OTHER.strip()), judge_prompt(OTHER.strip(), ONE.strip())
    first, second = (f" {said}" for said in JUDGE_ANSWERS)
    rows = [(one, forward, first), (one, backward, second), (other, forward, first), (other, backward, first)]
    teach_rows(paths.policy(paths.BASE), rows, steps=120)
    _write_candidates(prompts)
    return prompts


def _write_candidates(prompts: Sequence[Prompt]) -> None:
    """Write two sampled answers to each of three prompts, and one to the last: two shards."""
    texts = [[ONE, OTHER], [ONE, OTHER], [ONE, ONE], [ONE]]
    trees = [
        [_leaf(prompt, group, text) for group, text in enumerate(own)]
        for prompt, own in zip(prompts, texts, strict=True)
    ]
    for index in range(2):
        rows = [row for tree in trees[2 * index : 2 * index + 2] for row in tree]
        write_rows(paths.candidates("1") / f"{index:05d}.parquet", rows, Sentence)
        answers = [
            Response(
                row.prompt_id, row.node_id, row.text, 5, 1, 2, -1.0, 1.0, 0.0, 20.0, None, None, True, True
            )
            for row in rows
        ]
        write_rows(paths.responses("1") / f"{index:05d}.parquet", answers, Response)
    seal(paths.candidates("1"), Sentence, fingerprint={})
    seal(paths.responses("1"), Response, fingerprint={})


def _leaf(prompt: Prompt, group: int, text: str) -> Sentence:
    return Sentence(
        prompt_id=prompt.prompt_id,
        node_id=group,
        parent_id=NO_PARENT,
        depth=1,
        group=group,
        text=text,
        token_ids=[5, 2],
        logprob=-1.0,
        relevance=20.0,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=0.0,
        stop=Stop.END,
        fate=Fate.FINISHED,
        canonical=True,
    )


def test_from_candidates_to_pairs(prompts: list[Prompt]) -> None:
    """The source's own words ask; the first prompt has a pair, the second a tie, the others no two answers."""
    judge_answers.run(PARAMS, "1")
    verdicts = read_rows(paths.verdicts("1"), Verdict, made_by="")
    assert [
        (one.prompt_id, one.first_leaf, one.second_leaf, one.forward, one.backward) for one in verdicts
    ] == [
        (prompts[0].prompt_id, 0, 1, "first", "first"),
        (prompts[1].prompt_id, 0, 1, "first", "second"),
    ]
    assert read_json(paths.stage_metrics("judge_answers", "1"), made_by="") == {
        "prompts": 4,
        "judged": 2,
        "unreadable": 0,
        "ties": 1,
        "agreed": 1,
        "names_the_first_shown": 75.0,
    }
    made = judged_pairs.selector(prompts, JudgedPairs(kind="judged"), params=PARAMS, name="1")(prompts)
    assert [one.origin if isinstance(one, Pair) else one.reason for one in made] == [
        "self_rewarding",
        "judge_tie",
        "equal_texts",
        "no_response",
    ]
    assert isinstance(made[0], Pair)
    assert (made[0].chosen, made[0].rejected) == (ONE, OTHER)
    before = paths.verdicts("1").read_bytes()
    judge_answers.run(PARAMS, "1")
    assert paths.verdicts("1").read_bytes() == before, "a second run writes the same bytes"


def test_no_truth_is_needed() -> None:
    """The stage reads neither the table of truth nor the scenes."""
    paths.TRUTH.unlink()
    (paths.SCENES / "scenes.parquet").unlink()
    judge_answers.run(PARAMS, "1")
    assert len(read_rows(paths.verdicts("1"), Verdict, made_by="")) == 2


def test_the_stage_is_in_the_dag_where_its_verdicts_are_used() -> None:
    """It runs after the search and before the choice of pairs; with other pairs it does not run."""
    names = [step.name for step in steps(PARAMS)]
    assert names.index("generate_beams@1") < names.index("judge_answers@1") < names.index("select_pairs@1")
    assert "judge_answers@1" not in [step.name for step in steps(small_params())]
    (judging,) = [node for node in nodes(PARAMS) if node.name == "judge_answers"]
    assert set(judging.params) == {"compute", "evaluate_policy.batch_size", "source"}
    assert str(paths.TRUTH) not in judging.inputs
    (summary,) = [node for node in nodes(PARAMS) if node.name == "summarize"]
    assert "data/judge_answers" in summary.inputs
    for form in Form:
        assert "judge_answers:" in dvc_yaml(PARAMS, form)
