"""`final`: the test split is evaluated once, apart from the stages, and its record is not replaced."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.scorecard import TRUTH_FIGURES
from csrdata.evaluation.table import markdown
from csrdata.params import Params
from csrdata.pipeline import evaluate_policy, final, match_recall, sample_prompts
from csrdata.pipeline.graph import steps
from csrdata.records import Answer, BiasedAnswer, Kind, Question, Truth
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.microworld.images import read_scenes
from csrdata.sources.microworld.world import TEST, WORLD_VERSION, sample_scenes
from csrdata.storage.tables import hash_path, read_json, read_rows, write_json, write_rows
from tests.pipeline.world import draw_world, real_params, save_tiny_scorers, small_params
from tests.tiny import tiny_llava

SOURCE = {"questions_per_image": 2, "test_images": 3, "test_seed": 7}


def _params(**source: int) -> Params:
    return small_params(evaluate_policy={"max_new_tokens": 6, "batch_size": 8}, source={**SOURCE, **source})


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with models, and with the tables of the stages."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(_params())
    tiny_llava(paths.policy("3"), seed=1)
    save_tiny_scorers()
    write_json(paths.PREPARE_METRICS, {"resolved": {}, "world": WORLD_VERSION})
    Path("stages").mkdir()
    Path("params.yaml").write_text(yaml.safe_dump(_params().model_dump()), encoding="utf-8")


def _evaluate(params: Params) -> Callable[[], object]:
    assert isinstance(params.source, MicroworldSource)
    source = params.source
    return lambda: final.evaluate(params, source)


def test_the_base_and_the_last_policy_answer_about_the_test_split() -> None:
    """Both have every figure on the images of the test seed, the policy with its test against the base, and no pairs."""
    params = _params()
    assert isinstance(params.source, MicroworldSource)
    summary = final.evaluate(params, params.source)
    assert (summary.iterations, list(summary.splits), summary.pairs) == (("base", "3"), [TEST], {})
    assert summary.world == WORLD_VERSION
    for name, policy in summary.splits[TEST].items():
        assert {*TRUTH_FIGURES, "length", "pope_accuracy", "relevance_held_out"} <= set(policy.figures)
        assert (policy.figures["length"].p_vs_base is None) == (name == "base")
        answers = read_rows(final.ANSWERS / f"{name}.parquet", Answer, made_by="")
        assert {answer.question_id.split("/")[0] for answer in answers} == {
            f"test-{number:05d}" for number in range(3)
        }
    scenes = read_scenes(paths.TEST_SCENES / "scenes.parquet")
    assert scenes == sample_scenes(split=TEST, count=3, seed=7)
    assert summary.evaluation is not None
    assert summary.evaluation.sets[TEST].images == 3
    text = markdown(summary, confidence=95)
    assert text.count("## ") == 1
    assert "| CHAIR_S |" in text


def test_the_bias_of_the_setting_split_is_applied_to_the_test_split() -> None:
    """The last policy has the bias that `match_recall` recorded; its figures at that bias are read off its test answers.

    The base keeps a bias of 0, and its figures at its own recall are its plain ones.
    """
    params = small_params(
        evaluate_policy={"max_new_tokens": 6, "batch_size": 8},
        source=SOURCE,
        match_recall={"split": "validation", "low": -1.0, "high": 1.0, "step": 0.5},
    )
    for name in ("base", "3"):
        evaluate_policy.run(params, name)
    # The base names all that is there in its own answer, so that the biases of the others are not all 0.
    _say_on_the_setting_split("base", {0.0: 1})
    for name in ("base", "3"):
        match_recall.run(params, name)
    _say_on_the_setting_split("3", {-1.0: 2, -0.5: 2, 0.0: 0, 0.5: 0, 1.0: 0})
    assert isinstance(params.source, MicroworldSource)
    summary = final.evaluate(params, params.source)
    assert list(summary.splits) == [TEST]
    found = summary.equal_recall
    assert found is not None
    assert (found.split, found.policies["base"].bias, set(found.policies["3"].curve)) == (
        "validation",
        0.0,
        {"validation", TEST},
    )
    bias = found.policies["3"].bias
    assert bias is not None
    assert -0.5 < bias < 0
    rows = read_rows(final.ANSWERS / "3_biased.parquet", BiasedAnswer, made_by="")
    words = {
        point: sum(len(row.text.split()) for row in rows if row.bias == point) / 3 for point in (-0.5, 0.0)
    }
    share = (bias + 0.5) / 0.5
    figures = summary.splits[TEST]["3"].figures
    assert figures["length_at_recall"].value == pytest.approx(
        (1 - share) * words[-0.5] + share * words[0.0], abs=1e-5
    )
    base = summary.splits[TEST]["base"].figures
    assert base["length_at_recall"].value == base["length"].value
    assert "bias on the end of an answer" in markdown(summary, confidence=95)


def _say_on_the_setting_split(name: str, objects: dict[float, int]) -> None:
    """Let a policy's answers about the setting split name so many of the present objects, by bias."""
    truths = {row.image: row for row in read_rows(paths.TRUTH, Truth, made_by="")}
    questions = {row.question_id: row for row in read_rows(paths.QUESTIONS, Question, made_by="")}

    def said(question_id: str, count: int, text: str) -> str:
        question = questions[question_id]
        is_changed = (question.split, question.kind) == ("validation", Kind.DESCRIBE)
        return " ".join(list(truths[question.image].objects)[:count]) if is_changed else text

    if name == "base":
        own = read_rows(paths.answers(name), Answer, made_by="")
        texts = [replace(row, text=said(row.question_id, objects[0.0], row.text)) for row in own]
        write_rows(paths.answers(name), texts, Answer)
        return
    biased = read_rows(paths.biased_answers(name), BiasedAnswer, made_by="")
    write_rows(
        paths.biased_answers(name),
        [replace(row, text=said(row.question_id, objects[row.bias], row.text)) for row in biased],
        BiasedAnswer,
    )


def test_no_stage_reads_or_writes_the_test_split() -> None:
    """Its images and truth are in no input or output of the DAG, and in no table of questions or truth."""
    here = paths.TEST_SCENES.as_posix()
    for step in steps(_params()):
        touched = (*step.node.inputs, *(output.path for output in step.node.outputs))
        assert not [path for path in touched if path.startswith(here) or here.startswith(f"{path}/")]
    assert TEST not in {one.split for one in read_rows(paths.QUESTIONS, Question, made_by="")}
    assert TEST not in {one.split for one in read_rows(paths.TRUTH, Truth, made_by="")}
    assert not [path for path in Path("data/prepare/images").iterdir() if path.name.startswith(TEST)]


def test_the_evaluation_changes_no_table_of_a_stage() -> None:
    """What the stages wrote has the same bytes afterwards."""
    before = {path: hash_path(path) for path in (Path("data/prepare"), Path("data/sample_prompts"))}
    _evaluate(_params())()
    assert {path: hash_path(path) for path in before} == before


def test_a_pipeline_that_is_not_up_to_date_is_refused() -> None:
    """The line names the first stage that has to run; nothing of the test split is drawn."""
    with pytest.raises(UserError) as caught:
        final.run(_params())
    assert str(caught.value) == (
        "prepare: got it has not run, expected a complete run with the settings that are final. "
        "Next: dvc repro, then: python -m csrdata.pipeline.final"
    )
    assert not paths.TEST_SCENES.exists()


def test_a_record_of_other_settings_is_not_replaced() -> None:
    """One line says what differs, and the record stays; a parameter that changes no result is no other setting."""
    settings = final.final_settings(_params())
    assert settings == final.final_settings(_params().model_copy(update={"engine": {"workers": 9}}))
    assert set(settings) == {"params", "base", "policy", "search", "held_out"}
    write_json(paths.FINAL, {"settings": settings})
    for other in (_params(test_seed=8), _params(held_out_images=9)):
        with pytest.raises(UserError, match=r"metrics/final.json: got a record of other settings \(params\)"):
            final.run(other)
    assert read_json(paths.FINAL, made_by="") == {"settings": settings}
    with pytest.raises(UserError, match="prepare: got it has not run"):
        final.run(_params())


def test_other_images_take_another_seed_and_no_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--test-seed` draws the images, and the record states it. With the same settings it is made once, whatever the seed."""
    monkeypatch.setattr(final, "check_current", lambda _params: None)  # as after all stages
    final.run(_params(), test_seed=8)
    record = read_json(paths.FINAL, made_by="")
    assert record["test"] == {"images": 3, "seed": 8}
    assert record["settings"] == final.final_settings(_params(test_seed=8)) != final.final_settings(_params())
    scenes = read_scenes(paths.TEST_SCENES / "scenes.parquet")
    assert scenes == sample_scenes(split=TEST, count=3, seed=8)
    assert "test split: 3 images, seed 8, evaluated once" in final.MARKDOWN.read_text(encoding="utf-8")
    for seed in (None, 8, 9):
        final.run(_params(), test_seed=seed)
        assert read_json(paths.FINAL, made_by="") == record
    with pytest.raises(UserError, match=r"record of other settings \(params\).* --test-seed N"):
        final.run(_params(held_out_images=9), test_seed=9)


@pytest.mark.parametrize("seed", ["-1", "two", "1.0", "", "\u0663", "9" * 5000])
def test_a_seed_that_is_no_seed_is_refused(
    seed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 1, and nothing is drawn."""
    monkeypatch.setattr("sys.argv", ["final", f"--test-seed={seed}"])
    with pytest.raises(SystemExit) as caught:
        final.main()
    assert caught.value.code == 1
    said = capsys.readouterr().err.strip()
    assert "--test-seed: got" in said
    assert "expected a whole number, 0 or more, of at most 9 digits. Next: " in said
    assert "\n" not in said
    assert len(said) < 400
    assert not paths.TEST_SCENES.exists()


def test_a_record_of_other_models_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same parameters on another processor give other models: the line says how to keep both records."""
    settings = final.final_settings(_params())
    there = {"settings": settings | {"base": "0", "policy": "0"}}
    write_json(paths.FINAL, there)
    monkeypatch.setattr(final, "check_current", lambda _params: None)  # as after all stages
    with pytest.raises(UserError) as caught:
        final.run(_params())
    assert "got a record of these parameters with other models (base, policy), expected" in str(caught.value)
    assert read_json(paths.FINAL, made_by="") == there


def test_another_source_has_no_test_split(tmp_path: Path) -> None:
    """Images without known truth have none: one line says what to use."""
    with pytest.raises(
        UserError, match=r"source.kind: got folder, expected microworld: no other source has a"
    ):
        final.run(real_params(tmp_path))
