"""params.yaml: every key typed, bounded and commented; a wrong one is refused in one line."""

from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.params import Params, load_params

ROOT = Path(__file__).parents[1]


def edited(folder: Path, old: str, new: str) -> Path:
    """A copy of params.yaml with one edit."""
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
            "score_beams:\n  image_weight: 0.9",
            "score_beams:\n  image_weight: 1.7",
            "params.yaml: score_beams.image_weight: got 1.7, expected a value less than or equal to 1. "
            "Next: mend params.yaml, then: dvc repro",
        ),
        (
            "  keep_best:",
            "  keep_bset:",
            "params.yaml: generate_beams.keep_bset: got an unknown key, expected generate_beams.keep_best. "
            "Next: mend params.yaml, then: dvc repro",
        ),
        (
            "    kind: reward ",
            "    kind: clip ",
            "params.yaml: generate_beams.guidance.kind: got clip, expected a value 'reward', 'likelihood' or 'none'. "
            "Next: mend params.yaml, then: dvc repro",
        ),
        (
            "  margin: 0.1 ",
            "  margin: lots ",
            "params.yaml: select_pairs.margin: got lots, expected a valid number. Next: mend params.yaml, then: dvc repro",
        ),
        (
            "  beta: 0.1 ",
            "  # beta: 0.1 ",
            "params.yaml: train_dpo.beta: got no such key, expected a value. Next: mend params.yaml, then: dvc repro",
        ),
        (
            '"2": {previous: "1"}',
            '"2": {previous: "7"}',
            "params.yaml: iterations.2.previous: got 7, expected one of base, 1. Next: mend params.yaml, then: dvc repro",
        ),
        (
            '"3": {previous: "2"}',
            '"5": {previous: "2"}',
            'params.yaml: iterations.5: got 5, expected "3". Next: mend params.yaml, then: dvc repro',
        ),
    ],
)
def test_a_wrong_key_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Place, value, expectation and next command, for unknown, missing, out-of-range, mistyped and misplaced keys."""
    assert line(edited(tmp_path, old, new)) == words


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    """A missing file and one that is no YAML are one line each."""
    path = tmp_path / "params.yaml"
    assert line(path).startswith("params.yaml: got no such file, expected the pipeline's parameters")
    path.write_text("compute: [1, 2\n", encoding="utf-8")
    assert line(path) == (
        "params.yaml: line 2: got expected ',' or ']', but got '<stream end>', expected YAML 1.2. "
        "Next: mend params.yaml, then: dvc repro"
    )
    path.write_text("just words", encoding="utf-8")
    assert line(path).startswith("params.yaml: got just words, expected sections of keys")
