"""Preference pairs as rows for other trainers: TRL, LLaVA, LLaMA-Factory and ms-swift; and the table of all formats.

A row holds the image's path relative to the folder, the instruction, the two answers, and the id of the pair's prompt.
Answers are trimmed, because each trainer's template puts a space or a line break before an answer. Scores are left out
unless asked for, and their columns begin with `score_`: some trainers give a column such as `margin` another meaning.

These rows are conversations: every side is a whole turn and gets an end. Pairs that continue an answer need more. TRL reads
plain text too, in which the chat template, the beginning of the answer and an end are written where they belong; it adds
nothing to it where rows have images. The other trainers have no such rows.

The formats follow the source code of the trainers' loaders: datasets 5.2 and TRL 1.16 (`imagefolder` with
`file_names`), LLaMA-Factory 0.9.5 (`data/{parser,converter,mm_plugin}.py`), ms-swift 4.6.0
(`dataset/preprocessor/core.py`, `template/base.py`), and LLaVA's `LazySupervisedDataset` with the
`rejected_conversations` of the CSR authors' loader. `csrdata.publishing.export.viewers` has the rows of viewers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from csrdata.publishing.export import viewers
from csrdata.records import Pair

IMAGES = "images"
"""The folder of the copied images."""

PLACEHOLDER = "<image>"
"""LLaVA, LLaMA-Factory and ms-swift replace this word with the image, wherever it is in a text."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Texts:
    """A pair as plain text for one model."""

    prompt: str
    """With its chat template, one image placeholder, the opening of the answer and its beginning."""
    chosen: str
    """With the token that ends the answer, where this side ends it."""
    rejected: str


def with_columns(row: Row, details: Mapping[str, Any]) -> Row:
    """Return a row with further columns."""
    return {**row, **details}


@dataclass(frozen=True, slots=True)
class Format:
    """How one trainer or viewer reads pairs."""

    file: str
    """The file of the rows: `.jsonl` holds one row per line, `.json` one list."""
    row: Callable[[Pair, str], Row]
    """Return the row of a pair, given the path of its image relative to the folder."""
    reserved: tuple[str, ...]
    """Words that the trainer replaces in a text; no instruction or answer may contain one."""
    usage: str
    """A template of the command or code that loads the rows. `{python}`, `{python_folder}`: the paths of `file` and of the
    folder as Python literals; `{file}`, `{folder}`: paths quoted for a shell; `{name}`: the name of the dataset."""
    extra_files: Callable[[str, str], dict[str, Any]] | None = None
    """Return further JSON files by name, given the dataset's name and `file`."""
    text_row: Callable[[Pair, str, Texts], Row] | None = None
    """Return the row of a pair as plain text; None for a trainer that reads conversations alone."""
    details: Callable[[Row, Mapping[str, Any]], Row] = with_columns
    """Return a row with the iteration and the scores of its pair."""
    parquet: bool = False
    """Whether the loader reads the rows from a Parquet file too."""
    viewer: bool = False
    """Whether people look at the rows: those of begun answers are shown like others."""
    embedded: bool = False
    """Whether `row` is given the image itself, as a data URI."""
    key: str | None = None
    """The key of the list of rows in a `.json` file that holds an object; None if it holds the list."""
    largest_image: int | None = None
    """Bytes, as they are stored there; here and below, None means no limit."""
    most_images: int | None = None


def trl_row(pair: Pair, image: str) -> Row:
    """Return a row of an image folder's metadata: plain messages; TRL puts the image before the first of them.

    `file_names` becomes the column `images` on loading. No column is called `image`: TRL would read it as the image itself.

    Example: `{"file_names": ["images/7.png"], "prompt": [{"role": "user", "content": "Describe."}], ...}`
    """
    return {
        "prompt_id": pair.prompt_id,
        "file_names": [image],
        "prompt": [_said("user", pair.prompt)],
        "chosen": [_said("assistant", pair.chosen)],
        "rejected": [_said("assistant", pair.rejected)],
    }


def trl_text_row(pair: Pair, image: str, texts: Texts) -> Row:
    """Return the row of a pair as plain text, for a pair that continues an answer.

    Example: `{"file_names": ["images/7.png"], "prompt": "<s>USER: <image>\\nDescribe. ASSISTANT: A cat.", "chosen":
    " It sleeps.", "rejected": " A dog barks.", ...}`
    """
    return {
        "prompt_id": pair.prompt_id,
        "file_names": [image],
        "prompt": texts.prompt,
        "chosen": texts.chosen,
        "rejected": texts.rejected,
    }


def llava_row(pair: Pair, image: str) -> Row:
    """Return one row of the JSON that LLaVA reads, with the second conversation of the CSR authors' loader.

    The first turn is the instruction without a chat template: the loader applies the template.

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
    """Return a row in the sharegpt format with a ranking: an odd number of turns, then two answers to the last.

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
    """Return the `dataset_info.json` that describes the dataset to LLaMA-Factory, by file name."""
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    described = {"file_name": file, "formatting": "sharegpt", "ranking": True, "columns": columns}
    return {"dataset_info.json": {name: described}}


def ms_swift_row(pair: Pair, image: str) -> Row:
    """Return a line of ms-swift's standard format: the conversation with the chosen answer, and the rejected answer.

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
        reserved=(PLACEHOLDER,),  # the processors of LLaVA and SmolVLM count it
        # `data_files` is needed: without it, `datasets` builds splits from image names that begin with "train-".
        usage="from datasets import load_dataset\n\n"
        'train_dataset = load_dataset("imagefolder", data_files={python}, split="train")',
        text_row=trl_text_row,
        parquet=True,
    ),
    "llava": Format(
        "pairs.json",
        llava_row,
        reserved=(PLACEHOLDER,),
        usage="--data_path {file} --image_folder {folder}",
    ),
    "llama-factory": Format(
        "pairs.jsonl",
        llama_factory_row,
        reserved=(PLACEHOLDER, "<video>", "<audio>"),
        usage="llamafactory-cli train --stage dpo --do_train --dataset_dir {folder} --dataset {name} "
        "--model_name_or_path MODEL --template TEMPLATE --output_dir policy",
        extra_files=llama_factory_info,
        parquet=True,
    ),
    "ms-swift": Format(
        "pairs.jsonl",
        ms_swift_row,
        reserved=(
            PLACEHOLDER,
            "<video>",
            "<audio>",
            "<ref-object>",
            "<bbox>",
            "<cot-process>",
            "<start-image>",
        ),
        usage="ROOT_IMAGE_DIR={folder} swift rlhf --rlhf_type dpo --model MODEL --dataset {file}",
        parquet=True,
    ),
    "argilla": Format(
        "records.json",
        viewers.argilla_row,
        reserved=(),
        usage="import argilla as rg\n\n"
        'client = rg.Argilla(api_url="API_URL", api_key="API_KEY")\n'
        'dataset = rg.Dataset.from_disk({python_folder}, workspace="WORKSPACE", client=client)',
        extra_files=viewers.argilla_files,
        details=viewers.argilla_details,
        viewer=True,
        embedded=True,
        largest_image=viewers.ARGILLA_IMAGE,
        most_images=viewers.ARGILLA_IMAGES,
    ),
    "fiftyone": Format(
        "samples.json",
        viewers.fiftyone_row,
        reserved=(),
        usage="import fiftyone as fo\n\n"
        "dataset = fo.Dataset.from_dir(dataset_dir={python_folder}, dataset_type=fo.types.FiftyOneDataset)",
        extra_files=viewers.fiftyone_files,
        details=viewers.fiftyone_details,
        viewer=True,
        key="samples",
    ),
}
"""The trainers and viewers, by the name that `csrdata export --to` takes."""


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text.strip()}
