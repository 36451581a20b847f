"""The `model-index` of a model card: figures with intervals and protocol, read back by huggingface_hub."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from csrdata.errors import UserError
from csrdata.evaluation.measured import Evaluation, Value
from csrdata.evaluation.protocol import Protocol
from csrdata.publishing.model_index import write_card

PROTOCOL = Protocol(
    "POPE", "r", 3, 5, "i" * 64, "q" * 64, None, "as the set asks", "16", "greedy", "counted", "mine"
)
FOUND = Evaluation(
    "a.jsonl",
    "pope random",
    None,
    PROTOCOL,
    0,
    95.0,
    {
        "f1": Value("F1", "%", 81.5, 79.0, 84.25, "rule"),
        "none": Value("no figure", "%", None, None, None, "own"),
    },
)


def test_a_new_card_is_read_by_the_hubs_library(tmp_path: Path) -> None:
    """One result with value, interval, protocol and its hash; a figure that does not exist is left out."""
    path = tmp_path / "README.md"
    assert write_card(path, FOUND, split="random") == 1
    (found,) = ModelCard.load(path).data.eval_results or []
    assert (found.metric_type, found.metric_value, found.dataset_split) == ("f1", 81.5, "random")
    expected = {"model": "mine", "low": 79.0, "high": 84.25, "confidence": 95.0, "check": "rule"}
    assert found.metric_args == expected
    assert found.dataset_args is not None
    assert found.dataset_args["max_new_tokens"] == "16"
    assert found.dataset_args["images_sha256"] == "i" * 64


def test_a_card_keeps_what_is_not_evaluated(tmp_path: Path) -> None:
    """Text, metadata and other results stay; the same figure is replaced; one of another protocol is added."""
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: mit\nfoo: bar\n---\n# Mine\n\nText --- here.\n", encoding="utf-8")
    write_card(path, FOUND, split="random")
    better = replace(FOUND, figures={"f1": replace(FOUND.figures["f1"], value=90.0)})
    write_card(path, better, split="random")
    write_card(path, replace(FOUND, protocol=replace(PROTOCOL, decoding="beam")), split="random")
    card = ModelCard.load(path)
    assert card.data.to_dict()["license"] == "mit"
    assert card.data.to_dict()["foo"] == "bar"
    assert "# Mine\n\nText --- here.\n" in card.text
    assert sorted(one.metric_value for one in card.data.eval_results or []) == [81.5, 90.0]


@pytest.mark.parametrize("content", ["---\n: [\n---\n", "---\n- a\n- b\n---\n", b"\xff\xfe---"])
def test_a_file_that_is_no_card_is_one_line(tmp_path: Path, content: str | bytes) -> None:
    """Metadata that is no YAML, no mapping or no text is refused, and the file stays as it was."""
    path = tmp_path / "README.md"
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(raw)
    with pytest.raises(UserError, match="a model card") as caught:
        write_card(path, FOUND, split="random")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == raw


@pytest.mark.parametrize(
    ("dataset", "metric", "value"), [("d", "[1]", "1"), ("{a: 1}", "m", "1"), ("d", "m", "null")]
)
def test_a_malformed_result_is_one_line(tmp_path: Path, dataset: str, metric: str, value: str) -> None:
    """A result of the card whose type is not text, or without a value, is refused, and the file stays as it was."""
    path = tmp_path / "README.md"
    result = f"task: {{type: t}}, dataset: {{type: {dataset}, name: n}}"
    metrics = f"metrics: [{{type: {metric}, value: {value}}}]"
    path.write_text(f"---\nmodel-index: [{{name: x, results: [{{{result}, {metrics}}}]}}]\n---\n")
    before = path.read_bytes()
    with pytest.raises(UserError, match="model-index: got a result with type") as caught:
        write_card(path, FOUND, split="random")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_card_names_no_folder(tmp_path: Path) -> None:
    """A model that is stated as a path of this machine is refused."""
    leaking = replace(FOUND, protocol=replace(PROTOCOL, model="/home/someone/checkpoints/a"))
    with pytest.raises(UserError, match="no path and no token"):
        write_card(tmp_path / "README.md", leaking, split="random")
    assert not (tmp_path / "README.md").exists()


def test_chair_and_object_halbench_are_never_in_one_card(tmp_path: Path) -> None:
    """Whichever comes second is refused in one line, and the card stays as it was."""
    path = tmp_path / "README.md"
    chair = replace(FOUND, benchmark="coco_chair", figures={"chair_i": FOUND.figures["f1"]})
    objects = replace(FOUND, benchmark="Object HalBench", figures={"object_hal": FOUND.figures["f1"]})
    for first, second in ((chair, objects), (objects, chair)):
        path.unlink(missing_ok=True)
        write_card(path, first, split="a")
        before = path.read_bytes()
        with pytest.raises(UserError, match="got CHAIR and Object HalBench"):
            write_card(path, second, split="b")
        assert path.read_bytes() == before
