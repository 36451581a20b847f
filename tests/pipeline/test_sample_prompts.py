"""`sample_prompts`: from drawn scenes to prompts, questions and truth."""

from collections import Counter
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline import sample_prompts
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Kind, Prompt, Question, Side, Truth, Wording
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser
from csrdata.sources.microworld.language import describe_prompts
from csrdata.storage.tables import read_rows
from tests.pipeline.world import SIZES, draw_world, small_params


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose scenes are drawn."""
    monkeypatch.chdir(tmp_path)
    draw_world()


def _prompts() -> list[Prompt]:
    return read_rows(paths.PROMPTS, Prompt, made_by="")


def _questions() -> list[Question]:
    return read_rows(paths.QUESTIONS, Question, made_by="")


def _truths() -> dict[str, Truth]:
    return {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by="")}


def test_prompts_are_training_images_in_order() -> None:
    """As many prompts as asked for, all of the split `train`, by id, each with a file and a known wording."""
    sample_prompts.run(small_params())
    prompts, truths = _prompts(), _truths()
    assert len(prompts) == 4
    assert [prompt.prompt_id for prompt in prompts] == sorted({prompt.prompt_id for prompt in prompts})
    assert {truths[prompt.image].split for prompt in prompts} == {"train"}
    assert all(Path(prompt.image).is_file() and prompt.text in describe_prompts() for prompt in prompts)


def test_every_instruction_is_rendered_once() -> None:
    """Prompts and questions have a table each, which holds every text once, as the base's chat template renders it."""
    sample_prompts.run(small_params())
    for path, asked in ((paths.WORDINGS, _prompts()), (paths.QUESTION_WORDINGS, _questions())):
        texts = {one.text for one in asked}
        rows = read_rows(path, Wording, made_by="")
        assert rows == [Wording(text, f"<s>USER: <image>\n{text} ASSISTANT:") for text in sorted(texts)]
        assert read_wordings(path) == {row.text: row.rendered for row in rows}


def test_a_base_without_a_template_is_refused_at_sampling() -> None:
    """The line names the folder; no table is written."""
    (paths.policy("base") / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"policies/base: chat template: .* does not have a chat template"):
        sample_prompts.run(small_params())
    assert not paths.PROMPTS.exists()


def test_more_prompts_keep_the_earlier_ones() -> None:
    """Raising the number adds prompts and changes none."""
    sample_prompts.run(small_params())
    few = _prompts()
    sample_prompts.run(small_params(sample_prompts={"prompts": 6}))
    assert set(few) < set(_prompts())


def test_every_evaluation_image_is_described_once_and_asked_in_balance() -> None:
    """One description and as many yes as no questions an image; the seed's training images are never asked about."""
    sample_prompts.run(small_params())
    questions = _questions()
    assert len({question.question_id for question in questions}) == len(questions)
    described = Counter(question.split for question in questions if question.kind == Kind.DESCRIBE)
    assert described == {split: size for split, size in SIZES.items() if split != "train"}
    for image in {question.image for question in questions}:
        sides = Counter(q.answer for q in questions if q.image == image and q.kind == Kind.YES_NO)
        assert sides[Side.YES] == sides[Side.NO] >= 2


def test_the_right_answers_are_right() -> None:
    """The shape that a question names is in the image if and only if the answer is yes; only a no has a kind."""
    sample_prompts.run(small_params())
    reader, truths = MicroworldClaimParser(), _truths()
    asked = [question for question in _questions() if question.kind == Kind.YES_NO]
    assert asked
    for question in asked:
        (mention,) = reader.mentions(question.text, truths[question.image])
        assert mention.present == (question.answer == Side.YES)
        assert (question.negative is None) == mention.present


def test_the_truth_is_about_all_images() -> None:
    """Every scene of every split has a row, the prompts' too: reward accuracy is measured on them."""
    sample_prompts.run(small_params())
    assert Counter(truth.split for truth in _truths().values()) == SIZES


def test_equal_seeds_give_equal_bytes() -> None:
    """The tables follow from scenes and seed; another seed gives others."""
    tables = (paths.PROMPTS, paths.QUESTIONS, paths.TRUTH)
    sample_prompts.run(small_params())
    first = [table.read_bytes() for table in tables]
    sample_prompts.run(small_params())
    assert [table.read_bytes() for table in tables] == first
    sample_prompts.run(small_params(sample_prompts={"seed": 1}))
    assert paths.QUESTIONS.read_bytes() != first[1]


def test_too_many_prompts_are_refused() -> None:
    """The error says how many training images there are, and nothing is written."""
    with pytest.raises(UserError) as caught:
        sample_prompts.run(small_params(sample_prompts={"prompts": 7}))
    assert str(caught.value) == (
        "params.yaml: sample_prompts.prompts: got 7, expected at most the 6 training images. "
        "Next: lower it or raise prepare.train_images, then: dvc repro"
    )
    assert not paths.PROMPTS.exists()


def test_too_many_questions_are_refused() -> None:
    """More questions than can be balanced are refused before anything is written."""
    with pytest.raises(UserError, match=r"questions_per_image: got 8, expected at most 6"):
        sample_prompts.run(small_params(sample_prompts={"questions_per_image": 8}))
    assert not paths.PROMPTS.exists()


def test_no_questions_are_fine() -> None:
    """With 0 questions an image there are descriptions only."""
    sample_prompts.run(small_params(sample_prompts={"questions_per_image": 0}))
    assert {question.kind for question in _questions()} == {Kind.DESCRIBE}


def test_missing_scenes_are_named() -> None:
    """Without scenes the error names the table and the stage that makes it."""
    (paths.SCENES / "scenes.parquet").unlink()
    with pytest.raises(UserError, match=r"scenes.parquet: got no such table.*dvc repro prepare"):
        sample_prompts.run(small_params())
