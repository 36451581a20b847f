"""params.yaml: every key typed, bounded and commented; a wrong one is refused in one line."""

import re
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.params import Params, load_params

ROOT = Path(__file__).parents[1]


def edited(folder: Path, old: str, new: str) -> Path:
    """Write a copy of params.yaml with one edit, and return its path."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert old in text, f"the test's edit fits params.yaml: {old}"
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def line(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_params(path)
    return str(error.value).replace(str(path), "params.yaml")


def test_the_shipped_file_is_valid() -> None:
    """The shipped params load, frozen."""
    params = load_params(ROOT / "params.yaml")
    assert isinstance(params, Params)
    with pytest.raises(ValueError, match="frozen"):
        params.compute.threads = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "  image_weight: 0.9           #",
            "  image_weight: 1.7           #",
            "params.yaml: score_beams.image_weight: got 1.7, expected a value less than or equal to 1. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  signal: search ",
            "  signal: detector ",
            "params.yaml: score_beams.signal: got detector, expected one of search (search, or a name of scorers.others). "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  others: {}",
            "  others: {held_out: {kind: self_check}}",
            "params.yaml: scorers.others.held_out: got held_out, expected 1 to 32 characters of a-z, 0-9, '-' and '_', the "
            "first a letter or digit, and not search, held_out, elsewhere. Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  others: {}",
            "  others: {spots: {kind: detector}}",
            "params.yaml: scorers.others.spots.folder: got no such key, expected a value. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  keep_best:",
            "  keep_bset:",
            "params.yaml: generate_beams.keep_bset: got an unknown key, expected generate_beams.keep_best. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "    kind: reward ",
            "    kind: clip ",
            "params.yaml: generate_beams.guidance.kind: got clip, expected a value 'reward', 'likelihood' or 'none'. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  min_gap: 8.0 ",
            "  min_gap: lots ",
            "params.yaml: select_pairs.min_gap: got lots, expected a valid number. Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  beta: 1.0 ",
            "  # beta: 1.0 ",
            "params.yaml: train_dpo.beta: got no such key, expected a value. Next: fix params.yaml, then: dvc repro",
        ),
        (
            '"2": {previous: "1"}',
            '"2": {previous: "7"}',
            "params.yaml: iterations.2.previous: got 7, expected one of base, 1. Next: fix params.yaml, then: dvc repro",
        ),
        (
            '"3": {previous: "2"}',
            '"3": {previous: "3"}',
            "params.yaml: iterations.3.previous: got 3, expected one of base, 1, 2. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            '"1": {previous: base}',
            "1: {previous: base}",
            'params.yaml: iterations.1: got 1, expected text: "1". Next: fix params.yaml, then: dvc repro',
        ),
        (
            "  image_weight: 0.9 ",
            "  image_wieght: 0.9 ",
            "params.yaml: generate_beams.guidance.image_wieght: got an unknown key, expected "
            "generate_beams.guidance.image_weight. Next: fix params.yaml, then: dvc repro",
        ),
        (
            '"2": {previous: "1"}',
            '"2": {previos: "1"}',
            "params.yaml: iterations.2.previos: got an unknown key, expected iterations.2.previous. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "evaluate_policy:",
            "evaluate_polcy:",
            "params.yaml: evaluate_polcy: got an unknown key, expected evaluate_policy. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "    repetition_threshold: 0.6 ",
            "    repetition_threshold: high ",
            "params.yaml: generate_beams.guidance.repetition_threshold: got high, expected a valid number. "
            "Next: fix params.yaml, then: dvc repro",
        ),
        (
            "    scale: zscore ",
            "    scale: mean_log ",
            "params.yaml: generate_beams.guidance.scale: got mean_log, expected one of raw, unit, geometric, rank, zscore, "
            "sibling_rank where kind is reward (mean_log is for likelihood). Next: fix params.yaml, then: dvc repro",
        ),
        (
            "  scale: zscore               # the same names",
            "  scale: mean_log             # the same names",
            "params.yaml: score_beams.scale: got mean_log, expected a value 'raw', 'unit', 'geometric', 'rank', 'zscore' or "
            "'sibling_rank'. Next: fix params.yaml, then: dvc repro",
        ),
    ],
)
def test_a_wrong_key_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Place, value, expectation and next command, for unknown, missing, out-of-range, mistyped and misplaced keys."""
    assert line(edited(tmp_path, old, new)) == words


@pytest.mark.parametrize("kind", ["likelihood", "none"])
def test_guidance_without_an_image_term_may_have_mean_log(tmp_path: Path, kind: str) -> None:
    """The scale that is refused for a reward is valid for likelihood, and where nothing is ranked."""
    path = edited(tmp_path, "    scale: zscore ", "    scale: mean_log ")
    text = path.read_text(encoding="utf-8").replace("    kind: reward  ", f"    kind: {kind}  ", 1)
    path.write_text(text, encoding="utf-8")
    guidance = load_params(path).generate_beams.guidance
    assert (guidance.kind, guidance.scale) == (kind, "mean_log")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "  low: -4.0 ",
            "  low: -4.2 ",
            "params.yaml: match_recall.low: got -4.2, expected a multiple of step, 0.5: 0 is one of the biases. ",
        ),
        (
            "  high: 4.0 ",
            "  high: 3.75 ",
            "params.yaml: match_recall.high: got 3.75, expected a multiple of step, 0.5: 0 is one of the biases. ",
        ),
        (
            "  step: 0.5 ",
            "  step: 0.005 ",
            "params.yaml: match_recall.step: got 1,601 biases from low to high, expected at most 1,000. ",
        ),
        ("  low: -4.0 ", "  low: 1.0 ", "params.yaml: match_recall.low: got 1.0, expected a value less than or equal to 0. "),
        (
            "  decoding: greedy ",
            "  decoding: search ",
            "params.yaml: match_recall: got evaluate_policy.decoding: search, expected null: the bias is one of greedy "
            "answers. ",
        ),
    ],
)  # fmt: skip
def test_biases_are_a_grid_with_0_on_it(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Low and high are multiples of the step, the grid is no larger than a table takes, and answers are greedy."""
    assert line(edited(tmp_path, old, new)) == f"{words}Next: fix params.yaml, then: dvc repro"


def test_the_searchs_answers_need_the_searchs_signal(tmp_path: Path) -> None:
    """Other signals are measured on training images alone."""
    path = edited(tmp_path, "  decoding: greedy ", "  decoding: search ")
    text = path.read_text(encoding="utf-8")
    other = "  others: {desk: {kind: open_clip, folder: scorers/desk}} "
    text = text.replace("  others: {} ", other).replace("  signal: search ", "  signal: desk ")
    path.write_text(text, encoding="utf-8")
    assert line(path) == (
        "params.yaml: evaluate_policy.decoding: got search, with score_beams.signal desk, expected greedy: only the "
        "search's own signal is measured on evaluation images. Next: fix params.yaml, then: dvc repro"
    )


def test_a_step_that_is_no_binary_fraction_is_a_grid(tmp_path: Path) -> None:
    """0.1 does not divide 4 in floating point; it is a grid all the same. No section, no grid."""
    settings = load_params(edited(tmp_path, "  step: 0.5 ", "  step: 0.1 ")).match_recall
    assert settings is not None
    assert settings.step == 0.1


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (
            {"dpo_weight: 1.0": "dpo_weight: 0", "sft_weight: 30.0": "sft_weight: 0"},
            "dpo_weight: got 0.0, expected above 0, or sft_weight above 0",
        ),
        (
            {"dpo_weight: 1.0": "dpo_weight: 0", "margin: none": "margin: weight"},
            "margin: got weight, expected none where dpo_weight is 0",
        ),
        (
            {"dpo_weight: 1.0": "dpo_weight: 0", "ld_alpha: null": "ld_alpha: 0.5"},
            "ld_alpha: got 0.5, expected null where dpo_weight is 0",
        ),
        (
            {"loss: sigmoid": "loss: ipo", "margin: none": "margin: target"},
            "margin: got target, expected none or weight where loss is ipo",
        ),
        (
            {"loss: sigmoid": "loss: robust"},
            "label_smoothing: got 0.0, expected above 0 where loss is robust, and 0 for any other loss",
        ),
        (
            {"label_smoothing: 0.0": "label_smoothing: 0.1"},
            "label_smoothing: got 0.1, expected above 0 where loss is robust, and 0 for any other loss",
        ),
        (
            {"label_smoothing: 0.0": "label_smoothing: 0.5"},
            "label_smoothing: got 0.5, expected a value less than 0.5",
        ),
        ({"ld_alpha: null": "ld_alpha: 1.5"}, "ld_alpha: got 1.5, expected a value less than or equal to 1"),
        (
            {"loss: sigmoid": "loss: simpo"},
            "loss: got simpo, expected a value 'sigmoid', 'sigmoid_norm', 'ipo', ",
        ),
    ],
)
def test_a_loss_without_effect_is_one_line(tmp_path: Path, edits: dict[str, str], words: str) -> None:
    """A loss of weight 0 in total is refused, and so is a key of the loss that would change nothing."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    start = text.index("train_dpo:")
    for old, new in edits.items():
        place = text.index(f"  {old} ", start)
        text = text[:place] + text[place:].replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert line(path).startswith(f"params.yaml: train_dpo.{words}")
    assert line(path).endswith(". Next: fix params.yaml, then: dvc repro")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  dpo_weight: 1.0", "  dpo_weight: 0"),
        ("  margin: none", "  margin: target"),
        ("  ld_alpha: null", "  ld_alpha: 0"),
        ("  loss: sigmoid ", "  loss: apo_zero "),
    ],
)
def test_the_arms_of_training_load(tmp_path: Path, old: str, new: str) -> None:
    """Fine-tuning alone, a target, a weight of the tokens beyond the shorter answer, and another loss are valid."""
    assert load_params(edited(tmp_path, old, new)) != load_params(ROOT / "params.yaml")


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    """A missing file and one that is no YAML are one line each."""
    path = tmp_path / "params.yaml"
    assert line(path).startswith("params.yaml: got no such file, expected the pipeline's parameters")
    path.write_text("compute: [1, 2\n", encoding="utf-8")
    assert line(path) == (
        "params.yaml: line 2: got expected ',' or ']', but got '<stream end>', expected YAML 1.2. "
        "Next: fix params.yaml, then: dvc repro"
    )
    path.write_text("just words", encoding="utf-8")
    assert line(path).startswith("params.yaml: got just words, expected sections of keys")


@pytest.mark.parametrize(
    ("written", "value"), [("1e-7", 1e-7), ("1E-4", 1e-4), (".5", 0.5), ("1", 1.0), ("5.0e-4", 5e-4)]
)
def test_a_rate_is_written_as_dvc_writes_it(tmp_path: Path, written: str, value: float) -> None:
    """`dvc exp run -S train_dpo.learning_rate=1e-05` leaves a file that loads; a whole number will do."""
    path = edited(tmp_path, "  learning_rate: 1.0e-3", f"  learning_rate: {written}")
    assert load_params(path).train_dpo.learning_rate == value


@pytest.mark.parametrize(
    "written", ["1e400", ".inf", ".nan", "true", '"1e-4"', "yes", "1e-4x", "[1]", "null"]
)
def test_what_is_no_number_is_refused(tmp_path: Path, written: str) -> None:
    """Text and bools are not taken as numbers, and a number is finite."""
    path = edited(tmp_path, "  learning_rate: 1.0e-3", f"  learning_rate: {written}")
    assert line(path).startswith("params.yaml: train_dpo.learning_rate: got ")


@pytest.mark.parametrize("written", ["true", "1.0", "1e2", '"1"', "9" * 300, "0x" + "f" * 300, "-1", "null"])
def test_what_is_no_seed_is_refused(tmp_path: Path, written: str) -> None:
    """A whole number that fits 63 bits, written as one."""
    path = edited(tmp_path, "  seed: 0   ", f"  seed: {written}   ")
    assert line(path).startswith("params.yaml: source.seed: got ")


def test_no_iterations_is_one_line(tmp_path: Path) -> None:
    """A pipeline without an iteration has nothing to do."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.partition("iterations:")[0] + "iterations: {}\n", encoding="utf-8")
    assert line(path) == (
        "params.yaml: iterations: got none, expected one iteration or more, such as "
        '"1": {previous: base}. Next: fix params.yaml, then: dvc repro'
    )


def test_an_empty_file_is_one_line(tmp_path: Path) -> None:
    """An empty file, or one with only comments, is refused."""
    path = tmp_path / "params.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert line(path).startswith("params.yaml: got an empty file, expected sections of keys")


def test_iterations_may_have_any_names(tmp_path: Path) -> None:
    """A name is letters, digits, '-' and '_', and an iteration follows an earlier one: the order is the file's."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("iterations:")[0]
    path = tmp_path / "params.yaml"
    path.write_text(
        f"{text}iterations:\n  b-2: {{previous: base}}\n  a: {{previous: b-2}}\n", encoding="utf-8"
    )
    assert list(load_params(path).iterations) == ["b-2", "a"]


def test_names_that_differ_in_a_dash_alone_are_one_line(tmp_path: Path) -> None:
    """A published split has `_` for `-`, so that two such iterations would share one."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("iterations:")[0]
    path = tmp_path / "params.yaml"
    path.write_text(
        f"{text}iterations:\n  a_b: {{previous: base}}\n  a-b: {{previous: a_b}}\n", encoding="utf-8"
    )
    assert (
        "iterations.a-b: got a-b, expected a name that differs from a_b in more than - and _. Next: fix"
        in line(path)
    )


@pytest.mark.parametrize("name", ["base", "B", "../up", "a" * 33, "-a", "a b"])
def test_an_iteration_with_an_unusable_name_is_one_line(tmp_path: Path, name: str) -> None:
    """A name becomes a folder, so a path, a flag and the base's own name are refused."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("iterations:")[0]
    path = tmp_path / "params.yaml"
    path.write_text(f'{text}iterations:\n  "{name}": {{previous: base}}\n', encoding="utf-8")
    assert (
        "expected 1 to 32 characters of a-z, 0-9, '-' and '_', the first a letter or digit, and not base. Next: fix"
        in line(path)
    )


@pytest.mark.parametrize("key", ["max_sentence_tokens", "max_response_tokens", "max_new_tokens"])
def test_no_answer_may_be_longer_than_a_table_takes(tmp_path: Path, key: str) -> None:
    """A limit above the tables' own is refused before a run writes what reading refuses."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(rf"{key}: \d+", f"{key}: 16385", text), encoding="utf-8")
    assert f"{key}: got 16385, expected a value less than or equal to 16384. Next" in line(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "build_seed: {kind: microworld}",
            "build_seed: got a name of an earlier version, expected source (the images)",
        ),
        (
            "score_beams: {repeat_similarity: 0.6}",
            "score_beams.repeat_similarity: got a name of an earlier version, expected repetition_threshold",
        ),
        (
            "sample_prompts: {questions_per_image: 6}",
            "sample_prompts.questions_per_image: got a name of an earlier version, expected source.questions_per_image",
        ),
    ],
)
def test_old_names_are_refused_with_the_new_ones(tmp_path: Path, old: str, new: str) -> None:
    """For a file of an earlier version, the error says where its values go now."""
    (tmp_path / "params.yaml").write_text(f"{old}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "params.yaml")
    assert new in str(caught.value)


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    """A kind of source that does not exist is refused in one line."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("kind: microworld", "kind: coco", 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(
        UserError, match=r"source.kind: got coco, expected one of 'microworld', 'llava', 'table'"
    ):
        load_params(tmp_path / "params.yaml")
