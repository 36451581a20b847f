"""The stages that measure say in one line what they lack: a source without truth, no questions, an image without its truth."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline import evaluate_policy, sample_prompts, source, summarize
from csrdata.records import Kind, Prompt, Question, Truth
from csrdata.storage.tables import read_rows, write_rows
from tests.extending.table_source import TableSource
from tests.pipeline.world import draw_world, small_params

PARAMS = small_params(sample_prompts={"questions_per_image": 2})
MEASURE: dict[str, Callable[[], None]] = {
    "evaluate_policy": lambda: evaluate_policy.run(PARAMS, paths.BASE),
    "summarize": lambda: summarize.run(PARAMS),
}
"""Neither has a policy or a scorer here: what is wrong with the questions is said before a model is looked for."""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, prompts and questions."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(PARAMS)


def _refusal(stage: str) -> str:
    with pytest.raises(UserError) as caught:
        MEASURE[stage]()
    assert not paths.answers(paths.BASE).exists()
    assert not paths.SUMMARY.exists()
    return str(caught.value)


def _questions(change: Callable[[list[Question]], list[Question]]) -> None:
    write_rows(paths.QUESTIONS, change(read_rows(paths.QUESTIONS, Question, made_by="")), Question)


@pytest.mark.parametrize("stage", MEASURE)
def test_a_source_without_truth_is_one_line(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is named, not its empty table, which `sample_prompts` would write again."""
    write_rows(paths.TRUTH, [], Truth)
    monkeypatch.setattr(source, "open_source", lambda _: TableSource(Path("prompts.jsonl")))
    assert _refusal(stage) == (
        "params.yaml: source.kind: got microworld, expected a source whose images have known truth. "
        "Next: choose such a source: CHAIR and POPE need it"
    )


@pytest.mark.parametrize("stage", MEASURE)
@pytest.mark.parametrize(("path", "record"), [(paths.TRUTH, Truth), (paths.QUESTIONS, Question)])
def test_an_empty_table_is_one_line(stage: str, path: Path, record: type[Truth | Question]) -> None:
    """No truth, or no question at all: the table and the stage that makes it."""
    write_rows(path, [], record)
    assert _refusal(stage) == (
        f"{path}: got no rows, expected 1 {record.__name__.lower()} or more. Next: dvc repro sample_prompts"
    )


def test_an_image_without_truth_is_one_line_before_anything_is_answered() -> None:
    """It took the answers to all questions to see it."""
    truths = read_rows(paths.TRUTH, Truth, made_by="")
    asked = read_rows(paths.QUESTIONS, Question, made_by="")[0]
    write_rows(paths.TRUTH, [truth for truth in truths if truth.image != asked.image], Truth)
    assert _refusal("evaluate_policy") == (
        f"question {asked.question_id}: got nothing known about {asked.image}, expected the truth about its image. "
        "Next: dvc repro sample_prompts"
    )


@pytest.mark.parametrize("descriptions", [0, 2])
def test_an_image_is_described_once(descriptions: int) -> None:
    """None, or two, was a KeyError, or figures of other images, once all questions had their answers."""
    asked = next(row for row in read_rows(paths.QUESTIONS, Question, made_by="") if row.kind == Kind.DESCRIBE)
    again = dataclasses.replace(asked, question_id="again")
    _questions(lambda rows: [row for row in rows if row != asked] + [asked, again][: 2 * (descriptions == 2)])
    said = _refusal("evaluate_policy")
    assert said.endswith(
        f": got {descriptions} questions that ask to describe {asked.image}, expected 1. Next: dvc repro sample_prompts"
    )
    assert said.startswith("question ")


def test_pairs_need_no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sample_prompts` takes a source without truth: its tables of truth are empty, its prompts are there."""
    Path("prompts.jsonl").write_text('{"id": "a", "image": "a.png", "text": "Describe it."}\n')
    table = TableSource(Path("prompts.jsonl"))
    monkeypatch.setattr(sample_prompts, "open_source", lambda _: table)
    sample_prompts.run(small_params(sample_prompts={"prompts": 1, "questions_per_image": 0}))
    assert read_rows(paths.PROMPTS, Prompt, made_by="") == table.prompts(count=1, seed=0)
    with pytest.raises(UserError, match="expected 1 truth or more"):
        read_rows(paths.TRUTH, Truth, made_by="")
