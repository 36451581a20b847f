"""`measure_attention`: tiny policies' attention on the images of their own descriptions and of the base's."""

from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline import evaluate_policy, measure_attention, sample_prompts
from csrdata.policy.loading import load_processor
from csrdata.policy.prompting import completion_ids
from csrdata.records import Answer, ImageAttention, Kind, Question
from csrdata.storage.tables import read_json, read_rows
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.tiny import tiny_llava


def _params(**measuring: object) -> Params:
    return small_params(
        evaluate_policy={"max_new_tokens": 6, "batch_size": 8},
        source={"questions_per_image": 2},
        measure_attention={"split": "held_out", "images": 2} | measuring,
    )


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with scenes, questions, two untrained policies and their answers."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(_params())
    tiny_llava(paths.policy("1"), seed=1)
    save_tiny_scorers()
    for name in ("base", "1"):
        evaluate_policy.run(_params(), name)


def _shares(name: str) -> list[ImageAttention]:
    return read_rows(paths.image_attention(name), ImageAttention, made_by="")


def test_each_token_of_own_answers_and_of_the_bases_has_a_share() -> None:
    """The first two descriptions of the split, a row a token; the base has its own answers alone."""
    asked = [
        question.question_id
        for question in read_rows(paths.QUESTIONS, Question, made_by="")
        if (question.split, question.kind) == ("held_out", Kind.DESCRIBE)
    ][:2]
    processor = load_processor(paths.policy("base"))
    tokens = {
        name: {
            row.question_id: len(completion_ids(processor, row.text, complete=row.finished))
            for row in read_rows(paths.answers(name), Answer, made_by="")
        }
        for name in ("base", "1")
    }
    for name, texts in (("base", {"own": "base"}), ("1", {"own": "1", "of_base": "base"})):
        measure_attention.run(_params(), name)
        assert [(row.question_id, row.of, row.position) for row in _shares(name)] == [
            (question, of, position)
            for of, written_by in texts.items()
            for question in asked
            for position in range(tokens[written_by][question])
        ]
        metrics = read_json(paths.stage_metrics("measure_attention", name), made_by="")
        assert set(metrics) == {"answers", *texts}
        own = [row.share for row in _shares(name) if row.of == "own"]
        assert (metrics["answers"], metrics["own"]) == (2, pytest.approx(sum(own) / len(own)))


def test_equal_texts_show_the_weights_alone() -> None:
    """The base's answers under the base and under another policy: the same tokens, other shares."""
    for name in ("base", "1"):
        measure_attention.run(_params(), name)
    base = {(row.question_id, row.position): row.share for row in _shares("base")}
    other = {(row.question_id, row.position): row.share for row in _shares("1") if row.of == "of_base"}
    assert base.keys() == other.keys()
    assert base != other


def test_equal_inputs_give_equal_bytes() -> None:
    """A second run writes the same table and metrics."""
    files = (paths.image_attention("1"), paths.stage_metrics("measure_attention", "1"))
    measure_attention.run(_params(), "1")
    before = [path.read_bytes() for path in files]
    measure_attention.run(_params(), "1")
    assert [path.read_bytes() for path in files] == before


def test_a_split_without_descriptions_is_refused() -> None:
    """The line names the splits that have some; nothing is written."""
    with pytest.raises(UserError) as caught:
        measure_attention.run(_params(split="test"), "1")
    assert str(caught.value) == (
        "params.yaml: measure_attention.split: got test, expected one of validation, held_out, out_of_distribution. "
        "Next: fix params.yaml, then: dvc repro"
    )
    assert not paths.image_attention("1").parent.exists()


def test_a_stage_that_is_off_says_so() -> None:
    """`csrdata run measure_attention` with a null section is one line."""
    with pytest.raises(
        UserError, match=r"params.yaml: measure_attention: got null, expected split and images"
    ):
        measure_attention.run(small_params(), "1")
