"""Prompts of a source that are asked for evaluation are never trained on."""

import json
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation_sets.held_out_prompts import HeldOutPrompts
from csrdata.records import Kind
from csrdata.sources.microworld.source import Microworld
from csrdata.storage.values import MAX_NAME
from tests.extending.table_source import TableSource
from tests.pipeline.world import draw_world
from tests.tiny import pictures


def _source(folder: Path, count: int, *, prefix: str = "") -> TableSource:
    pictures(folder, count)
    rows = [{"id": f"{prefix}{n}", "image": f"{n}.png", "text": "Describe it."} for n in range(count)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return TableSource(folder / "rows.jsonl")


@pytest.mark.parametrize("seed", range(5))
def test_no_held_out_prompt_is_a_training_prompt(tmp_path: Path, seed: int) -> None:
    """Whatever the seeds, the questions are other prompts than the training's; equal settings give equal ones."""
    source = _source(tmp_path, 12)
    training = source.prompts(count=7, seed=seed)
    one = HeldOutPrompts("unseen", source, 5, 3)
    asked = one.ask(training)
    assert one.ask(training) == asked
    assert len(asked.questions) == 5
    assert {row.question_id for row in asked.questions}.isdisjoint(f"unseen-{p.prompt_id}" for p in training)
    assert {(row.split, row.kind, row.answer) for row in asked.questions} == {("unseen", Kind.DESCRIBE, None)}
    assert [f"unseen-{asked.prompt_ids[row.question_id]}" for row in asked.questions] == [
        row.question_id for row in asked.questions
    ]
    assert asked.truths == []


def test_the_same_image_and_text_under_another_id_is_the_same_prompt(tmp_path: Path) -> None:
    """A prompt that a source lists twice is not held out by its second id; too few are refused in one line."""
    source = _source(tmp_path, 2)
    text = source.file.read_text(encoding="utf-8")
    source.file.write_text(
        text + '\n{"id": "again", "image": "0.png", "text": "Describe it."}\n', encoding="utf-8"
    )
    training = [row for row in source.prompts(count=3, seed=0) if row.prompt_id == "0"]
    (question,) = HeldOutPrompts("unseen", source, 1, 0).ask(training).questions
    assert question.image == "1.png"
    with pytest.raises(
        UserError, match=r"unseen.count: got 2, expected at most the 1 prompts that differ from every"
    ):
        HeldOutPrompts("unseen", source, 2, 0).ask(training)


def test_a_source_with_too_few_names_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the set's count, not the training's number of prompts."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    source = Microworld(Path("data/prepare"), questions_per_image=2, seed=0)
    training = source.prompts(count=4, seed=0)
    with pytest.raises(UserError) as caught:
        HeldOutPrompts("unseen", source, 3, 0).ask(training)
    assert str(caught.value) == (
        "params.yaml: evaluation_sets.unseen.count: got 3, expected with the 4 training prompts at most the 6 training "
        "images. Next: lower it or add prompts to the source, then: dvc repro"
    )


def test_a_long_id_stays_an_id(tmp_path: Path) -> None:
    """An id with the set's name before it may be too long for a table: it is cut, stays unique, and its prompt is known."""
    source = _source(tmp_path, 6, prefix="a" * (MAX_NAME - 1))
    asked = HeldOutPrompts("unseen", source, 6, 0).ask([])
    assert {len(row.question_id) for row in asked.questions} == {MAX_NAME}
    assert len({row.question_id for row in asked.questions}) == 6
    assert set(asked.prompt_ids.values()) == {prompt.prompt_id for prompt in source.prompts(count=6, seed=0)}
