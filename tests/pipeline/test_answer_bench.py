"""A policy answers a benchmark; the answers are kept, and a run that was killed ends with the same bytes."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.answers_file import read_answers_file
from csrdata.evaluation.pack.base import Bench
from csrdata.evaluation.pack.repope import repope
from csrdata.pipeline import answer_bench as stage
from csrdata.pipeline.answer_bench import answer_bench
from tests.evaluation.pack.files import POPE, lines
from tests.pipeline.world import small_params
from tests.tiny import picture, tiny_llava


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """RePOPE with five questions about three images, a tiny base policy, and blocks of two images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "IMAGES_AT_ONCE", 2)
    YAML().dump(small_params(evaluate_policy={"max_new_tokens": 5}).model_dump(), Path("params.yaml"))
    tiny_llava(paths.policy("base"))
    Path("images").mkdir()
    for number, name in enumerate("abc"):
        picture(number).convert("RGB").save(f"images/{name}.jpg")
    return repope(lines(Path("q.json"), POPE), strategy="random", pope=None)


def test_a_killed_run_ends_with_the_same_bytes(bench: Bench) -> None:
    """Wherever the file was cut, the run goes on at the first incomplete block; the file has every answer and the protocol."""
    whole, cut = Path("whole.jsonl"), Path("cut.jsonl")
    answer_bench("base", bench, images=Path("images"), path=whole)
    found = read_answers_file(whole, bench)
    assert set(found.texts) == {item.key for item in bench.items}
    assert (found.stated["max_new_tokens"], found.stated["decoding"]) == (5, "greedy")
    raw = whole.read_bytes()
    first_block = len(b"".join(raw.splitlines(keepends=True)[:5]))
    for size in (0, 10, first_block, first_block + 7, len(raw) - 1, len(raw)):
        cut.write_bytes(raw[:size])
        answer_bench("base", bench, images=Path("images"), path=cut)
        assert cut.read_bytes() == raw, size


def test_other_answers_are_not_continued(bench: Bench, tmp_path: Path) -> None:
    """A file of another model or set is refused and stays; so are an unknown policy and a missing folder of images."""
    path = Path("a.jsonl")
    path.write_text('{"protocol": {}}\n', encoding="utf-8")
    with pytest.raises(UserError, match="other answers"):
        answer_bench("base", bench, images=Path("images"), path=path)
    assert path.read_text(encoding="utf-8") == '{"protocol": {}}\n'
    for name, images in (("9", Path("images")), ("base", tmp_path / "none")):
        with pytest.raises(UserError, match="expected"):
            answer_bench(name, bench, images=images, path=Path("new.jsonl"))
