"""Exports, loaded by the command or code that each one prints, in the steps of each trainer's loader; TRL trains."""

import dataclasses
import hashlib
import json
import os
import resource
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from datasets import Image, List, load_dataset
from PIL import Image as Pillow

from csrdata.errors import UserError
from csrdata.publishing.export.formats import FORMATS
from csrdata.publishing.export.writing import Exported, export
from csrdata.records import Pair
from tests.inspection.made import PAIR
from tests.scores import without_scores
from tests.tiny import pictures, tiny_llava

NAMES = ("train-00000", "train-00017", "test-00002")
"""Ids of prompts as they are shipped: `datasets` reads splits out of such words in names of files."""

PAIRS = [
    dataclasses.replace(PAIR, prompt_id=NAMES[0], image="data/images/train-00000.png"),
    dataclasses.replace(
        PAIR, prompt_id=NAMES[1], image="data/images/test-00001.png", chosen=' Ein „grüner"\nStern.'
    ),
    dataclasses.replace(PAIR, prompt_id=NAMES[2], image="data/images/train-00000.png", rejected=" A fog. "),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root, as the current folder, with two images."""
    pictures(tmp_path / "made", 2)
    (tmp_path / "data/images").mkdir(parents=True)
    for made, name in zip(sorted((tmp_path / "made").iterdir()), ("train-00000", "test-00001"), strict=True):
        made.rename(tmp_path / f"data/images/{name}.png")
    (tmp_path / "made").rmdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("to", [name for name, known in FORMATS.items() if not known.viewer])
def test_pairs_without_scores_are_exported_alike(root: Path, to: str) -> None:
    """Exports for trainers hold no score and no origin: pairs that have none give the same bytes."""
    scored = _export(to).folder.rename(root / "scored")
    bare = _export(to, [without_scores(pair) for pair in PAIRS]).folder
    file = FORMATS[to].file
    assert (scored / file).read_bytes() == (bare / file).read_bytes()


def _export(to: str, pairs: list[Pair] = PAIRS, folder: str = "out", **more: Any) -> Exported:
    return export(pairs, to=to, folder=Path(folder), root=Path(), name="csrdata_iteration_1", **more)


def _hash_name(pair: Pair) -> str:
    return f"images/{hashlib.sha256(Path(pair.image).read_bytes()).hexdigest()}.png"


def _load_trl(usage: str, cache: Path) -> Any:
    """Run the code that the export printed."""
    names: dict[str, Any] = {}
    exec(usage.replace('split="train"', f'split="train", cache_dir={str(cache)!r}'), names)  # noqa: S102 - our own lines
    return names["train_dataset"]


def _words(usage: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment and the options of a printed shell command."""
    words = shlex.split(usage)
    environment = dict(word.split("=", 1) for word in words if "=" in word.split("/")[0])
    options = {
        word.removeprefix("--"): value
        for word, value in zip(words, [*words[1:], ""], strict=True)
        if word.startswith("--")
    }
    return environment, options


def _json_rows(file: Path, cache: Path) -> Any:
    return load_dataset("json", data_files=str(file), split="train", cache_dir=str(cache))


def _as_llama_factory(usage: str, cache: Path) -> list[tuple[Any, Any, list[Path]]]:
    """Return prompt, response and images as LLaMA-Factory 0.9.5 reads them (parser.py, converter.py, mm_plugin.py)."""
    _, options = _words(usage)
    folder = Path(options["dataset_dir"])
    described = json.loads((folder / "dataset_info.json").read_text())[options["dataset"]]
    assert (described["formatting"], described["ranking"]) == ("sharegpt", True)
    columns = described["columns"]
    found = []
    for row in _json_rows(folder / described["file_name"], cache):
        turns = row[columns["messages"]]
        for position, turn in enumerate(turns):
            assert turn["from"] in (("human", "observation"), ("gpt", "function_call"))[position % 2]
        assert len(turns) % 2 == 1
        answers = [row[columns["chosen"]], row[columns["rejected"]]]
        assert all(isinstance(answer, dict) and answer["from"] == "gpt" for answer in answers)
        images = [folder / image for image in row[columns["images"]]]  # media_dir defaults to dataset_dir
        for answer in answers:
            text = "".join(message["value"] for message in [*turns, answer])
            assert text.count("<image>") == len(images)
            assert text.count("<video>") == text.count("<audio>") == 0
        found.append((turns[0]["value"], [answer["value"] for answer in answers], images))
    return found


def _as_ms_swift(usage: str, cache: Path) -> list[tuple[Any, Any, list[Path]]]:
    """Return prompt, answers and images as ms-swift 4.6.0 reads them (preprocessor/core.py, template/base.py)."""
    environment, options = _words(usage)
    assert (options["rlhf_type"], Path(options["dataset"]).is_file()) == ("dpo", True)
    found = []
    for row in _json_rows(Path(options["dataset"]), cache):
        messages = row["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert all(set(message) == {"role", "content"} and message["content"] for message in messages)
        assert row["rejected_response"] is not None
        assert row["rejected_response"] != messages[-1]["content"]
        for answer in (messages[1]["content"], row["rejected_response"]):
            assert (messages[0]["content"] + answer).count("<image>") == len(row["images"])
        # vision_utils.py tries the path from the current folder before ROOT_IMAGE_DIR: names must not be shared.
        assert not any(Path(image).exists() for image in row["images"])
        images = [Path(environment["ROOT_IMAGE_DIR"]) / image for image in row["images"]]
        found.append((messages[0]["content"], [messages[1]["content"], row["rejected_response"]], images))
    return found


def _as_llava(usage: str, cache: Path) -> list[tuple[Any, Any, list[Path]]]:
    """Return prompt, answers and images as LLaVA's `LazySupervisedDataset` reads them."""
    _, options = _words(usage)
    found = []
    for entry in json.loads(Path(options["data_path"]).read_text(encoding="utf-8")):
        both = [entry["conversations"], entry["rejected_conversations"]]
        for human, gpt in both:
            assert (human["from"], gpt["from"]) == ("human", "gpt")
            assert human["value"].count("<image>") == 1
            assert "<image>" not in gpt["value"]
        assert both[0][0] == both[1][0]
        image = Path(os.path.join(options["image_folder"], entry["image"]))  # noqa: PTH118 - as LLaVA does
        found.append((both[0][0]["value"], [gpt["value"] for _, gpt in both], [image]))
    return found


LOADERS = {
    "llava": (_as_llava, "<image>\n"),
    "llama-factory": (_as_llama_factory, "<image>"),
    "ms-swift": (_as_ms_swift, "<image>"),
}


@pytest.mark.parametrize("folder", ["out", "my train/test 'set'", ".hidden/out"])
@pytest.mark.parametrize("to", LOADERS)
def test_the_printed_command_loads_the_pairs(root: Path, to: str, folder: str) -> None:
    """The trainer's own steps, given the printed options, yield each pair's texts and image bytes."""
    load, opening = LOADERS[to]
    rows = load(_export(to, folder=folder).usage, root / "cache")
    for (prompt, answers, images), pair in zip(rows, PAIRS, strict=True):
        assert prompt == opening + pair.prompt
        assert answers == [pair.chosen.strip(), pair.rejected.strip()]
        assert [image.read_bytes() for image in images] == [Path(pair.image).read_bytes()]


@pytest.mark.parametrize("folder", ["out", "my train/test 'set'", ".hidden/out"])
def test_the_printed_code_loads_the_pairs_for_trl(root: Path, folder: str) -> None:
    """The lines printed for TRL, run as they are, give the shipped ids, messages and decoded images."""
    rows = _load_trl(_export("trl", folder=folder).usage, root / "cache")
    assert rows.features["images"] == List(Image())
    for row, pair in zip(rows, PAIRS, strict=True):
        assert row["prompt_id"] == pair.prompt_id
        assert row["prompt"] == [{"role": "user", "content": pair.prompt}]
        assert row["chosen"] == [{"role": "assistant", "content": pair.chosen.strip()}]
        assert row["rejected"] == [{"role": "assistant", "content": pair.rejected.strip()}]
        with Pillow.open(pair.image) as picture:
            assert row["images"][0].tobytes() == picture.tobytes()


def test_trl_trains_on_it(root: Path) -> None:
    """A DPO step of a LLaVA on the loaded rows moves its weights by a finite loss."""
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    rows = _load_trl(_export("trl").usage, root / "cache")
    base = tiny_llava(root / "llava")
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(base),
        args=DPOConfig(
            output_dir="trained",
            max_steps=2,
            per_device_train_batch_size=3,
            learning_rate=1e-2,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            max_length=None,
            save_strategy="no",
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=rows,
        processing_class=AutoProcessor.from_pretrained(base),
        peft_config=LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj)"),
    )
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # ln 2: policy and reference agree
    assert losses[1] < losses[0]


@pytest.mark.parametrize("to", FORMATS)
def test_a_folder_can_be_moved(root: Path, to: str) -> None:
    """Images are copies, equal ones once, named by the hash of their bytes; no path leads out of the folder."""
    done = _export(to)
    assert (done.pairs, done.images) == (3, 2)
    assert str(root) not in "".join(file.read_text() for file in done.folder.glob("*.json*"))
    images = set() if FORMATS[to].embedded else {_hash_name(pair) for pair in PAIRS}
    assert {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*.png")} == images


@pytest.mark.parametrize("to", FORMATS)
def test_equal_pairs_give_equal_bytes(root: Path, to: str) -> None:
    """Nothing in an export depends on when or where it was written."""
    first = _export(to).folder.rename(root / "first")
    again = _export(to).folder
    for path in (path for path in first.rglob("*") if path.is_file()):
        assert (again / path.relative_to(first)).read_bytes() == path.read_bytes()


def test_the_name_of_a_copy_is_ours(root: Path) -> None:
    """A file name with spaces, quotes or the wrong ending does not travel: hash and format name the copy."""
    (root / "data/images/train-00000.png").rename(root / "data/images/a 'b' <c>.jpg")
    pair = dataclasses.replace(PAIRS[0], image="data/images/a 'b' <c>.jpg")
    _export("trl", [pair])
    assert (root / "out" / _hash_name(pair)).read_bytes() == (root / pair.image).read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_odd_characters_stay_one_row(root: Path, to: str) -> None:
    """Control characters and Unicode line ends inside an answer neither break a line nor get lost."""
    odd = "A\x00\x07\x1b[31m\x85\u2028\u2029\x7f\u202eb 😀."
    _export(to, [dataclasses.replace(PAIRS[0], chosen=odd), PAIRS[1]])
    text = (root / "out" / FORMATS[to].file).read_text(encoding="utf-8")
    is_lines, key = FORMATS[to].file.endswith(".jsonl"), FORMATS[to].key
    whole = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
    rows = whole if key is None else whole[key]
    assert len(rows) == 2
    assert json.dumps(odd)[1:-1] in json.dumps(rows[0])
    if is_lines:
        loaded = _json_rows(root / "out" / FORMATS[to].file, root / "cache")
        assert json.dumps(odd)[1:-1] in json.dumps(loaded[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": "A fog.", "rejected": " A fog. "}, "pair train-00000: got two equal answers"),
        (
            {"chosen": "An <image> of a star."},
            "chosen: got <image>, expected a text without it: llama-factory replaces it",
        ),
        ({"prompt": "What is on the <video>?"}, "prompt: got <video>"),
        ({"rejected": "\n"}, "rejected: got '\\n', expected a text"),
        ({"rejected": "A \ud800."}, r"rejected: got '\ud800', expected Unicode text"),
        ({"image": "data/link.png"}, "image data/link.png: got a path out of the project"),
        ({"image": "data/images/9.png"}, "image data/images/9.png: got no such file"),
        ({"image": "data/broken.png"}, "image data/broken.png: got another format or a damaged header"),
        ({"image": "../secret.png"}, "got a path out of the project"),
        ({"image": "/etc/motd"}, "got a path out of the project"),
    ],
)
def test_a_pair_that_would_mislead_is_refused(root: Path, change: dict[str, str], message: str) -> None:
    """One line names the pair or the image, and nothing is written, not in part either."""
    (root / "data/broken.png").write_text("no picture")
    pictures(root.parent / "elsewhere", 1)
    (root / "data/link.png").symlink_to(root.parent / "elsewhere/0.png")
    with pytest.raises(UserError) as error:
        _export("llama-factory", [PAIRS[1], dataclasses.replace(PAIRS[0], **change)])
    assert message in str(error.value)
    assert {path.name for path in root.iterdir()} == {"data"}


@pytest.mark.parametrize(
    ("to", "word"), [(to, word) for to, chosen in FORMATS.items() for word in chosen.reserved]
)
def test_what_a_trainer_replaces_is_refused(root: Path, to: str, word: str) -> None:
    """A text with the trainer's placeholder in it would count as one more image or be cut: one line says so."""
    with pytest.raises(UserError, match=f"chosen: got {word}, expected a text without it: {to} replaces it"):
        _export(to, [dataclasses.replace(PAIRS[0], chosen=f"An {word} of a star.")])


@pytest.mark.parametrize("folder", ["a[0-9]", "a*", "hf::x", "line\nend"])
def test_a_path_that_trainers_read_as_a_pattern_is_refused(root: Path, folder: str) -> None:
    """`datasets` would look for other files than those of the folder."""
    with pytest.raises(UserError, match="trainers read those as patterns"):
        _export("ms-swift", folder=folder)
    assert {path.name for path in root.iterdir()} == {"data"}


def test_what_is_there_stays(root: Path) -> None:
    """A folder with content is refused, an empty one is taken, and a neighbour of a similar name is left alone."""
    for folder in ("out", "out.partial"):
        (root / folder).mkdir()
        (root / folder / "thesis.txt").write_text("three years")
    with pytest.raises(UserError, match="got something is there, expected a new or empty folder"):
        _export("trl")
    assert (root / "out/thesis.txt").read_text() == "three years"
    (root / "out/thesis.txt").unlink()
    assert _export("trl").pairs == 3
    assert (root / "out.partial/thesis.txt").read_text() == "three years"
    assert {path.name for path in root.iterdir()} == {"data", "out", "out.partial"}


def test_an_unknown_trainer_is_answered_with_the_known(root: Path) -> None:
    """The error lists the trainers and viewers."""
    with pytest.raises(
        UserError, match="got axolotl, expected one of trl, llava, llama-factory, ms-swift, argilla, "
    ):
        _export("axolotl")


def test_nothing_to_export_is_said(root: Path) -> None:
    """An iteration without pairs makes no folder."""
    with pytest.raises(UserError, match="pairs to export: got none"):
        _export("trl", [])


def test_a_full_disk_leaves_nothing(root: Path) -> None:
    """One line, no folder, not in part either; the same command finishes the job once there is room."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))  # bytes of a file: writing more fails
    try:
        with pytest.raises(UserError, match="got File too large, expected room and the right to write there"):
            _export("llava")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name for path in root.iterdir()} == {"data"}
    assert _export("llava").pairs == 3
