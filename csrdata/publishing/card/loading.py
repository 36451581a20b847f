"""The code of a dataset's card: it loads the pairs, and trains on them with TRL."""

import json

from csrdata.publishing.card.markdown import Markdown, fenced
from csrdata.publishing.release.layout import SPLIT, config
from csrdata.publishing.release.manifest import Manifest

AS_TEXT = (
    "",
    "def as_text(row):",
    '    """The chat template once, then the beginning of the answer; an end only where a side ends the answer."""',
    '    said = {"type": "text", "text": row["prompt"][0]["content"]}',
    '    user = {"role": "user", "content": [{"type": "image"}, said]}',
    "    prompt = processor.apply_chat_template([user], add_generation_prompt=True, tokenize=False)",
    "    end = processor.tokenizer.eos_token",
    '    sides = {side: row[side][0]["content"] + end * row[f"{side}_complete"] for side in ("chosen", "rejected")}',
    '    return {"prompt": prompt + row["context"], **sides}',
    "",
    "pairs = pairs.map(as_text)",
)
"""Pairs that continue an answer, as TRL's columns of plain text: its conversations would end every side."""


def loading(manifest: Manifest) -> Markdown:
    """Return the code that loads the pairs of the last iteration and shows one."""
    show = 'pairs[0]["images"][0], ' if manifest.images == "embed" else ""
    lines = [
        "from datasets import load_dataset",
        "",
        _load_lines(manifest),
        f'print({show}pairs[0]["chosen"], pairs[0]["margin"])',
    ]
    return fenced("\n".join(lines), "python")


def training(manifest: Manifest, *, continued: bool) -> Markdown:
    """Return the code that trains on them with TRL; `continued`: some pairs are not two whole answers."""
    lines = [
        "from datasets import load_dataset",
        "from transformers import AutoModelForImageTextToText, AutoProcessor",
        "from trl import DPOConfig, DPOTrainer",
        "",
        _load_lines(manifest),
        *([] if manifest.images == "embed" else ["# add the column of images as above"]),
        'model = AutoModelForImageTextToText.from_pretrained("YOUR/MODEL")',
        'processor = AutoProcessor.from_pretrained("YOUR/MODEL")',
        *(AS_TEXT if continued else ()),
        "# max_length=None: truncation could remove answers, or tokens of the image",
        'args = DPOConfig(output_dir="policy", max_length=None)',
        "DPOTrainer(model=model, args=args, train_dataset=pairs, processing_class=processor).train()",
    ]
    return fenced("\n".join(lines), "python")


def _load_lines(manifest: Manifest) -> str:
    last = config(manifest.iterations[-1].name)
    revision = f", revision={_literal(manifest.tag)}" if manifest.tag else ""
    return f'pairs = load_dataset({_literal(manifest.repo_id)}, {_literal(last)}{revision}, split="{SPLIT}")'


def _literal(text: str) -> str:
    """Return a text as a Python literal in double quotes."""
    return json.dumps(text)
