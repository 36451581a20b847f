"""Preference pairs in the words of other trainers: one row each for TRL, LLaVA, LLaMA-Factory and ms-swift.

A format is what the trainer's public documentation says, no more: each row holds the image's path relative to the folder,
the instruction, the answers, and an id that leads back to the pair. Answers are trimmed, because every trainer's template
puts its own space or line break before an answer. Scores stay out: a column such as `margin` means something to some
trainers (a reward model's loss takes it), and not what it means here.

Documentation followed: TRL "Dataset formats" and datasets "Create an image dataset" (ImageFolder with `file_names`);
LLaVA "Finetune_Custom_Data.md" with the `rejected_conversations` of the CSR authors' loader; LLaMA-Factory `data/README.md`
(sharegpt, preference, multimodal image); ms-swift "Custom Dataset" and, for relative paths, ROOT_IMAGE_DIR in "Command Line
Parameters". Seen to read every row of an export: LLaMA-Factory 0.9.5 and ms-swift 4.6.0 (November 2026). TRL 1.16 trains on
one in the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from csrdata.records import Pair

IMAGES = "images"
"""The folder of the copied images."""

PLACEHOLDER = "<image>"
"""Where LLaVA, LLaMA-Factory and ms-swift put the image."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How one trainer wants its pairs."""

    file: str
    """The file of the rows: `.jsonl` holds one row a line, `.json` a list of them."""
    row: Callable[[Pair, str], Row]
    """Turns a pair and its image's path, relative to the folder, into a row."""
    reserved: tuple[str, ...]
    """What the trainer replaces wherever it stands in a text: no instruction or answer may hold it."""
    usage: str
    """How to train on it; `{folder}` and `{name}` are filled in."""
    beside: Callable[[str, str], dict[str, Any]] | None = None
    """Further JSON files by name, made from the data set's name and `file`."""


def trl_row(pair: Pair, image: str) -> Row:
    """Return a row of an image folder's metadata: plain messages, before whose first TRL puts the image.

    `file_names` becomes the column `images` on loading. There is no column `image`: TRL would take it for the picture.

    Example: `{"file_names": ["images/7.png"], "prompt": [{"role": "user", "content": "Describe."}], ...}`
    """
    return {
        "prompt_id": pair.prompt_id,
        "file_names": [image],
        "prompt": [_said("user", pair.prompt)],
        "chosen": [_said("assistant", pair.chosen)],
        "rejected": [_said("assistant", pair.rejected)],
    }


def llava_row(pair: Pair, image: str) -> Row:
    """Return an entry of the JSON that LLaVA reads, with the second conversation of the CSR authors' loader.

    The instruction stands alone: the authors' files hold the whole chat template there, and their loader applies it again.

    Example: `{"id": "train-00007", "image": "images/7.png", "conversations": [{"from": "human",
    "value": "<image>\\nDescribe."}, {"from": "gpt", "value": "A cat."}], "rejected_conversations": [...]}`
    """
    human = {"from": "human", "value": f"{PLACEHOLDER}\n{pair.prompt.strip()}"}
    return {
        "id": pair.prompt_id,
        "image": image,
        "conversations": [human, {"from": "gpt", "value": pair.chosen.strip()}],
        "rejected_conversations": [human, {"from": "gpt", "value": pair.rejected.strip()}],
    }


def llama_factory_row(pair: Pair, image: str) -> Row:
    """Return an entry in the sharegpt format with a ranking: an odd number of turns, then two answers to the last.

    Example: `{"conversations": [{"from": "human", "value": "<image>Describe."}], "chosen": {"from": "gpt",
    "value": "A cat."}, "rejected": {...}, "images": ["images/7.png"], "id": "train-00007"}`
    """
    return {
        "id": pair.prompt_id,
        "conversations": [{"from": "human", "value": PLACEHOLDER + pair.prompt.strip()}],
        "chosen": {"from": "gpt", "value": pair.chosen.strip()},
        "rejected": {"from": "gpt", "value": pair.rejected.strip()},
        "images": [image],
    }


def llama_factory_info(name: str, file: str) -> dict[str, Any]:
    """Return the `dataset_info.json` that LLaMA-Factory looks a data set up in."""
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    described = {"file_name": file, "formatting": "sharegpt", "ranking": True, "columns": columns}
    return {"dataset_info.json": {name: described}}


def ms_swift_row(pair: Pair, image: str) -> Row:
    """Return a line of ms-swift's standard format: the chosen conversation, and the answer that lost.

    Example: `{"messages": [{"role": "user", "content": "<image>Describe."}, {"role": "assistant", "content": "A cat."}],
    "rejected_response": "A dog.", "images": ["images/7.png"], "id": "train-00007"}`
    """
    user, assistant = PLACEHOLDER + pair.prompt.strip(), pair.chosen.strip()
    return {
        "id": pair.prompt_id,
        "messages": [_said("user", user), _said("assistant", assistant)],
        "rejected_response": pair.rejected.strip(),
        "images": [image],
    }


FORMATS = {
    "trl": Format(
        "metadata.jsonl",
        trl_row,
        reserved=(),
        usage='train_dataset = load_dataset("imagefolder", data_dir="{folder}", split="train")',
    ),
    "llava": Format(
        "pairs.json",
        llava_row,
        reserved=(PLACEHOLDER,),
        usage="--data_path {folder}/pairs.json --image_folder {folder}",
    ),
    "llama-factory": Format(
        "pairs.jsonl",
        llama_factory_row,
        reserved=(PLACEHOLDER, "<video>", "<audio>"),
        usage="llamafactory-cli train with stage: dpo, dataset_dir: {folder}, dataset: {name}",
        beside=llama_factory_info,
    ),
    "ms-swift": Format(
        "pairs.jsonl",
        ms_swift_row,
        reserved=(PLACEHOLDER, "<video>", "<audio>", "<ref-object>", "<bbox>"),
        usage="ROOT_IMAGE_DIR={folder} swift rlhf --rlhf_type dpo --dataset {folder}/pairs.jsonl",
    ),
}
"""The trainers, by the name that `csrdata export --to` takes."""


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text.strip()}
