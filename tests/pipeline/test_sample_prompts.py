"""`sample_prompts`: from drawn scenes to prompts, questions and truth."""

from collections import Counter
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params, load_params
from csrdata.pipeline import sample_prompts
from csrdata.pipeline.inputs import images_folder, need_images
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import ImageFile, Kind, LeftOut, Prompt, Question, Side, Truth, Wording
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser
from csrdata.sources.microworld.language import describe_prompts
from csrdata.sources.microworld.sampling import Picture
from csrdata.sources.microworld.sampling import sample_prompts as draw_prompts
from csrdata.sources.microworld.world import WORLD_VERSION, Scene
from csrdata.storage.tables import hash_path, read_json, read_rows
from tests.pipeline.world import PARAMS, SIZES, draw_world, real_params, small_params
from tests.tiny import picture


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
    """The tables follow from scenes and seeds: another prompt seed gives other prompts and the same questions."""
    tables = (paths.PROMPTS, paths.QUESTIONS, paths.TRUTH, paths.QUESTION_WORDINGS)
    sample_prompts.run(small_params())
    first = [table.read_bytes() for table in tables]
    sample_prompts.run(small_params())
    assert [table.read_bytes() for table in tables] == first
    sample_prompts.run(small_params(sample_prompts={"seed": 1}))
    assert [table.read_bytes() == before for table, before in zip(tables, first, strict=True)] == [
        False,
        True,
        True,
        True,
    ]
    sample_prompts.run(small_params(source={"seed": 1}))
    assert paths.QUESTIONS.read_bytes() != first[1]


def test_another_prompt_seed_trains_on_other_images() -> None:
    """At the shipped sizes, most images of one seed are not in another's prompts, and common images get new wordings."""
    source, count = small_params().source, load_params(PARAMS).sample_prompts.prompts
    assert isinstance(source, MicroworldSource)
    pool = [
        Picture(Scene(f"train-{number:05d}", "night", ()), "train", f"{number}.png")
        for number in range(source.train_images)
    ]
    one, other = (
        {prompt.image: prompt.text for prompt in draw_prompts(pool, count=count, seed=seed)}
        for seed in (0, 1)
    )
    common = one.keys() & other.keys()
    assert 0 < len(common) < 0.4 * count
    alike = sum(one[image] == other[image] for image in common) / len(common)
    assert abs(alike - 1 / len(describe_prompts())) < 0.1


def test_too_many_prompts_are_refused() -> None:
    """The error says how many training images there are, and nothing is written."""
    with pytest.raises(UserError) as caught:
        sample_prompts.run(small_params(sample_prompts={"prompts": 7}))
    assert str(caught.value) == (
        "params.yaml: sample_prompts.prompts: got 7, expected at most the 6 training images. "
        "Next: lower it or raise source.train_images, then: dvc repro"
    )
    assert not paths.PROMPTS.exists()


def test_too_many_questions_are_refused() -> None:
    """More questions than can be balanced are refused before anything is written."""
    with pytest.raises(UserError, match=r"questions_per_image: got 8, expected at most 6"):
        sample_prompts.run(small_params(source={"questions_per_image": 8}))
    assert not paths.PROMPTS.exists()


def test_no_questions_are_fine() -> None:
    """With 0 questions an image there are descriptions only."""
    sample_prompts.run(small_params(source={"questions_per_image": 0}))
    assert {question.kind for question in _questions()} == {Kind.DESCRIBE}


def test_missing_scenes_are_named() -> None:
    """Without scenes the error names the table and the stage that makes it."""
    (paths.SCENES / "scenes.parquet").unlink()
    with pytest.raises(UserError, match=r"scenes.parquet: got no such table.*dvc repro prepare"):
        sample_prompts.run(small_params())


def test_the_images_in_use_are_written_down() -> None:
    """One row for each image of a prompt, and in another table of a question: its hash is the file's."""
    sample_prompts.run(small_params())
    users = [prompt.image for prompt in _prompts()], [question.image for question in _questions()]
    for table, used in zip((paths.IMAGES, paths.QUESTION_IMAGES), users, strict=True):
        files = read_rows(table, ImageFile, made_by="")
        assert [file.image for file in files] == sorted(set(used))
        assert all(file.sha256 == hash_path(Path(file.image)) for file in files)
    assert read_rows(paths.LEFT_OUT, LeftOut, made_by="") == []
    found = read_json(paths.SOURCE_RECORD, made_by="")
    assert (found["kind"], found["revision"]) == ("microworld", f"microworld version {WORLD_VERSION}")
    assert list(found["files"]) == ["data/prepare/images", "data/prepare/scenes.parquet"]


def test_the_microworld_stays_in_its_project(tmp_path: Path) -> None:
    """Another images root would name images that are not there."""
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r'images.root: got elsewhere, expected ".": the microworld draws'):
        sample_prompts.run(small_params(images={"root": "elsewhere"}))


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images outside the project, one of them damaged, and a file of what is excluded inside it."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(10):
        picture(number).save(root / f"{number}.png")
    (root / "3.png").write_bytes(b"no image")
    Path("exclude.txt").write_text(f"5.png\n{hash_path(root / '7.png')}\n")
    return root


def test_images_outside_the_project_stay_there(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths are relative to the images root, every sampled prompt is accounted for, and no image is copied."""
    before = sorted(path for path in Path().rglob("*.png"))
    params = real_params(photos, exclude="exclude.txt", count=10)
    sample_prompts.run(params)
    kept, left = _prompts(), read_rows(paths.LEFT_OUT, LeftOut, made_by="")
    assert [one.image for one in kept] == [f"{number}.png" for number in (0, 1, 2, 4, 6, 8, 9)]
    assert {one.record_id: one.reason for one in left} == {
        "3.png": "unreadable_image",
        "5.png": "excluded",
        "7.png": "excluded",
    }
    assert (_questions(), _truths()) == ([], {})
    assert sorted(path for path in Path().rglob("*.png")) == before
    assert read_json(paths.SAMPLING_METRICS, made_by="") == {
        "sampled": 10,
        "prompts": 7,
        "images": 7,
        "left_out": {"excluded": 2, "unreadable_image": 1},
        "questions": {},
    }
    assert list(read_json(paths.SOURCE_RECORD, made_by="")["files"]) == ["exclude.txt"]
    said = capsys.readouterr().err
    assert "7 of 10 prompts; left out: 1 unreadable_image, 2 excluded (listed in data/sample_prompts" in said
    assert "match no prompt" not in said


def test_an_excluded_image_leaves_the_evaluation_too(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the id of its prompt or its hash; what is left out is listed and counted, and a misspelt name is reported."""
    exclude = Path("exclude.txt")
    exclude.write_text(exclude.read_text() + "# asked for by mail\n7.pgn\n")
    raw = real_params(photos, exclude="exclude.txt", count=2).model_dump()
    raw["evaluation_sets"] = {"unseen": {"kind": "prompts", "count": 8, "seed": 0}}
    sample_prompts.run(Params.model_validate(raw))
    left = read_rows(paths.LEFT_OUT, LeftOut, made_by="")
    reasons = {
        f"{number}.png": reason
        for number, reason in ((3, "unreadable_image"), (5, "excluded"), (7, "excluded"))
    }
    assert {one.image: one.reason for one in left} == reasons
    asked = {one.image for one in _questions()}
    assert asked | {one.image for one in _prompts()} | reasons.keys() == {f"{n}.png" for n in range(10)}
    assert asked.isdisjoint(reasons)
    assert [one.image for one in read_rows(paths.QUESTION_IMAGES, ImageFile, made_by="")] == sorted(asked)
    gone = [one for one in left if one.split is not None]
    assert {(one.split, one.record_id) for one in gone} == {("unseen", f"unseen-{one.image}") for one in gone}
    counts = read_json(paths.SAMPLING_METRICS, made_by="")["questions"]["unseen"]
    assert (counts["sampled"], counts["questions"]) == (8, 8 - len(gone))
    assert sum(counts["left_out"].values()) == len(gone) > 0
    said = capsys.readouterr().err
    assert f"{8 - len(gone)} of 8 evaluation questions; left out: " in said
    words = "exclude.txt: 1 of 3 names match no prompt, question or image of the sample: 7.pgn (line 4)\n"
    assert words in said


def test_later_stages_need_the_images_in_use(photos: Path) -> None:
    """One that is not listed or not there is named, with the command that samples again; the folder may have moved."""
    params = real_params(photos, count=9)
    (photos / "3.png").unlink()
    sample_prompts.run(params)
    moved = photos.rename(photos.with_name("moved"))
    with pytest.raises(UserError, match=r"images.root: got .*photos\d+, expected a folder"):
        images_folder(params)
    params = real_params(moved, count=9)
    assert set(need_images(params, ["2.png", "0.png", "2.png"]).files) == {"0.png", "2.png"}
    with pytest.raises(UserError, match=r"images.parquet: got no row for 3.png.*dvc repro -f sample_prompts"):
        need_images(params, ["3.png"])
    (moved / "2.png").unlink()
    with pytest.raises(
        UserError, match=r"2.png: got no such file.*put the image back, or sample again: dvc repro -f"
    ):
        need_images(params, ["2.png"])
