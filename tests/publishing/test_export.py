"""Exports, read the way each trainer's public documentation says; TRL's by training on it."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import Image, List, load_dataset
from PIL import Image as Pillow

from csrdata.errors import UserError
from csrdata.publishing.export import Exported, export, image_names
from csrdata.publishing.formats import FORMATS
from csrdata.records import Pair
from tests.inspection.made import PAIR
from tests.tiny import pictures, tiny_llava

PAIRS = [
    dataclasses.replace(PAIR, prompt_id="train-00000", image="data/images/0.png"),
    dataclasses.replace(
        PAIR, prompt_id="train-00001", image="data/images/1.png", chosen=' Ein „grüner"\nStern.'
    ),
    dataclasses.replace(PAIR, prompt_id="train-00002", image="data/images/0.png", rejected=" A fog. "),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "data/images", 2)
    return tmp_path


def _export(root: Path, to: str, pairs: list[Pair] = PAIRS) -> Exported:
    return export(pairs, to=to, folder=root / "out", root=root, name="csrdata_iteration_1")


def _rows(root: Path, file: str, cache: Path) -> Any:
    """Load a file of rows as LLaMA-Factory and ms-swift do: with datasets' JSON reader."""
    return load_dataset("json", data_files=str(root / "out" / file), split="train", cache_dir=str(cache))


def _is_picture(path: Path, pair: Pair, root: Path) -> bool:
    return path.read_bytes() == (root / pair.image).read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_a_folder_stands_on_its_own(root: Path, to: str) -> None:
    """Each image is copied once, no path leads out of the folder, and it reads the same after a move."""
    done = _export(root, to)
    assert (done.pairs, done.images) == (3, 2)
    assert str(root) not in "".join(file.read_text() for file in done.folder.glob("*.json*"))
    assert {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*.png")} == {
        "images/0.png",
        "images/1.png",
    }


@pytest.mark.parametrize("to", FORMATS)
def test_equal_pairs_give_equal_bytes(root: Path, to: str) -> None:
    """Nothing in an export depends on when or where it was written."""
    first = _export(root, to).folder.rename(root / "first")
    again = _export(root, to).folder
    for path in (path for path in first.rglob("*") if path.is_file()):
        assert (again / path.relative_to(first)).read_bytes() == path.read_bytes()


def test_llava_reads_two_conversations(root: Path) -> None:
    """A list of entries; human and gpt take turns, one placeholder an image, the image below --image_folder."""
    folder = _export(root, "llava").folder
    entries = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    for entry, pair in zip(entries, PAIRS, strict=True):
        assert entry["id"] == pair.prompt_id
        assert _is_picture(Path(os.path.join(folder, entry["image"])), pair, root)  # noqa: PTH118 - as LLaVA does
        for key, answer in (("conversations", pair.chosen), ("rejected_conversations", pair.rejected)):
            human, gpt = entry[key]
            assert (human["from"], gpt["from"]) == ("human", "gpt")
            assert human["value"] == f"<image>\n{pair.prompt}"
            assert gpt["value"] == answer.strip()


def test_llama_factory_finds_the_set_by_its_name(root: Path, tmp_path: Path) -> None:
    """dataset_info.json leads to a ranking in the sharegpt format: odd turns, two answers, as many images as placeholders."""
    folder = _export(root, "llama-factory").folder
    info = json.loads((folder / "dataset_info.json").read_text())["csrdata_iteration_1"]
    assert (info["formatting"], info["ranking"]) == ("sharegpt", True)
    columns = info["columns"]
    rows = _rows(root, info["file_name"], tmp_path / "cache")
    assert set(columns.values()) <= set(rows.column_names)
    for row, pair in zip(rows, PAIRS, strict=True):
        turns, images = row[columns["messages"]], row[columns["images"]]
        assert [turn["from"] for turn in turns] == ["human"]
        assert sum(turn["value"].count("<image>") for turn in turns) == len(images) == 1
        assert turns[0]["value"] == f"<image>{pair.prompt}"
        assert row[columns["chosen"]] == {"from": "gpt", "value": pair.chosen.strip()}
        assert row[columns["rejected"]] == {"from": "gpt", "value": pair.rejected.strip()}
        assert _is_picture(folder / images[0], pair, root)  # media_dir defaults to dataset_dir


def test_ms_swift_reads_messages_and_what_lost(root: Path, tmp_path: Path) -> None:
    """User and assistant take turns, the losing answer differs from the last message, images lie below ROOT_IMAGE_DIR."""
    folder = _export(root, "ms-swift").folder
    for row, pair in zip(_rows(root, "pairs.jsonl", tmp_path / "cache"), PAIRS, strict=True):
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"] == f"<image>{pair.prompt}"
        assert assistant["content"] == pair.chosen.strip()
        assert row["rejected_response"] == pair.rejected.strip() != assistant["content"]
        assert user["content"].count("<image>") == len(row["images"]) == 1
        assert _is_picture(folder / row["images"][0], pair, root)


def test_trl_trains_on_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_dataset gives decoded images and messages, and a DPO step on a LLaVA moves its weights by a finite loss."""
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    monkeypatch.chdir(root)
    _export(root, "trl")
    rows = load_dataset("imagefolder", data_dir="out", split="train", cache_dir=str(root / "cache"))
    assert rows.features["images"] == List(Image())
    for row, pair in zip(rows, PAIRS, strict=True):
        assert row["prompt"] == [{"role": "user", "content": pair.prompt}]
        assert row["chosen"] == [{"role": "assistant", "content": pair.chosen.strip()}]
        assert row["rejected"] == [{"role": "assistant", "content": pair.rejected.strip()}]
        with Pillow.open(pair.image) as picture:
            assert row["images"][0].tobytes() == picture.tobytes()
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


def test_names_stay_apart() -> None:
    """What all paths share is left out, what tells them apart is kept."""
    assert image_names(["a/coco/train/1.jpg", "a/coco/val/1.jpg", "a/coco/val/1.jpg"]) == {
        "a/coco/train/1.jpg": "train/1.jpg",
        "a/coco/val/1.jpg": "val/1.jpg",
    }
    assert image_names(["1.jpg"]) == {"1.jpg": "1.jpg"}
    assert image_names(["a/1.jpg", "a/b/1.jpg"]) == {"a/1.jpg": "1.jpg", "a/b/1.jpg": "b/1.jpg"}


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
        ({"image": "data/images/9.png"}, "image data/images/9.png: got no such file"),
        ({"image": "data/broken.png"}, "image data/broken.png: got cannot identify image file"),
        ({"image": "../secret.png"}, "got a path out of the project"),
        ({"image": "/etc/motd"}, "got a path out of the project"),
    ],
)
def test_a_pair_that_would_mislead_is_refused(root: Path, change: dict[str, str], message: str) -> None:
    """One line names the pair or the image, and nothing is written, not in part either."""
    (root / "data/broken.png").write_text("no picture")
    with pytest.raises(UserError) as error:
        _export(root, "llama-factory", [dataclasses.replace(PAIRS[0], **change)])
    assert message in str(error.value)
    assert {path.name for path in root.iterdir()} == {"data"}


def test_trl_has_no_placeholder(root: Path) -> None:
    """TRL's messages are plain: a text that names a placeholder is a text like any other."""
    assert _export(root, "trl", [dataclasses.replace(PAIRS[0], chosen="An <video>.")]).pairs == 1


def test_what_is_there_stays(root: Path) -> None:
    """A folder with something in it is refused; an empty one is taken."""
    (root / "out").mkdir()
    (root / "out/thesis.txt").write_text("three years")
    with pytest.raises(UserError, match="got something is there, expected a new or empty folder"):
        _export(root, "trl")
    (root / "out/thesis.txt").rename(root / "thesis.txt")
    assert _export(root, "trl").pairs == 3


def test_an_unknown_trainer_is_answered_with_the_known(root: Path) -> None:
    """The four names stand in the error."""
    with pytest.raises(UserError, match="got axolotl, expected one of trl, llava, llama-factory, ms-swift"):
        _export(root, "axolotl")


def test_nothing_to_export_is_said(root: Path) -> None:
    """An iteration without pairs makes no folder."""
    with pytest.raises(UserError, match="pairs to export: got none"):
        _export(root, "trl", [])


def test_a_full_disk_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, no folder, not in part either; the same command finishes the job once there is room."""

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as disk:
        disk.setattr(shutil, "copyfile", full)
        with pytest.raises(UserError, match="got No space left on device"):
            _export(root, "llava")
    assert {path.name for path in root.iterdir()} == {"data"}
    assert _export(root, "llava").pairs == 3
