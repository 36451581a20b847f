"""A policy of this project answers a benchmark's questions; the answers are kept in a file, and a killed run goes on.

Answers are written in blocks of images, each block in one go, in a fixed order. A run that was killed loses at most one
block, and ends with the same bytes. Any figure can be computed again from the file without a model.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrdata import paths
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.evaluation.answers_file import as_lines
from csrdata.evaluation.pack.base import Bench, Item
from csrdata.evaluation.protocol import AS_ASKED
from csrdata.evaluation.record import UNFINISHED_SENTENCE, installed_versions
from csrdata.params import load_params
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.runtime import set_up_process
from csrdata.records import Kind, Question

if TYPE_CHECKING:
    from csrdata.policy.shared_answers import SharedAnswers

IMAGES_AT_ONCE = 32
"""Images of a block, whose questions are answered together."""


@dataclass(frozen=True)
class _Block:
    """What is answered and written together."""

    items: tuple[Item, ...]
    start: int
    """Rows of the file before it, the protocol not counted."""


def answer_bench(name: str, bench: Bench, *, images: Path, path: Path) -> None:
    """Write a policy's greedy answers to all questions of a benchmark; what is in the file stays.

    Args:
        name: base, or an iteration of params.yaml.
        bench: the questions.
        images: the folder that the benchmark's image names are relative to.
        path: of the answers, JSON Lines.

    Raises:
        UserError: the policy, an image or the folder is missing; a question has no image; or the file has other answers.
    """
    params = load_params()
    if name not in (paths.BASE, *params.iterations):
        expected = f"one of {', '.join([paths.BASE, *params.iterations])}"
        raise UserError("--iteration", got=name, expected=expected, do="csrdata evaluate --help")
    for item in bench.items:
        if not item.image:
            place, got = f"question {item.key} of {bench.title}", "no image"
            do = "answer it elsewhere, and give the answers with --answers"
            raise UserError(place, got=got, expected="an image: text alone is not asked", do=do)
    if not images.is_dir():
        raise UserError(
            "--images", got=str(images), expected="the folder of the images", do="csrdata evaluate --help"
        )
    limit = params.evaluate_policy.max_new_tokens
    stated = {
        "model": "base" if name == paths.BASE else f"iteration {name}",
        "prompt": AS_ASKED,
        "max_new_tokens": limit,
        "decoding": "greedy",
        "last_sentence": UNFINISHED_SENTENCE,
        "versions": installed_versions(),
    }
    blocks = list(_blocks(bench.items))
    done = _resume(path, blocks, stated)
    if done == len(blocks):
        say(f"{path} has all answers")
        return
    set_up_process(params.compute)
    from csrdata.policy.loading import load_policy
    from csrdata.policy.shared_answers import SharedAnswers

    policy = load_policy(need_policy(name), device=params.compute.device, dtype=params.compute.dtype)
    answering = SharedAnswers(policy, max_new_tokens=limit)
    for number, block in enumerate(blocks[done:], start=done + 1):
        texts = _answers(answering, block.items, images)
        header, *rows = as_lines(texts, block.items, stated)
        _append(path, [header, *rows] if number == 1 else rows)
        say(f"{path}: {block.start + len(block.items):,} of {len(bench.items):,} answers")


def _answers(answering: "SharedAnswers", items: Sequence[Item], images: Path) -> dict[str, str]:
    questions = [
        Question(item.key, "bench", Kind.DESCRIBE, item.image, item.prompt, answer=None, negative=None)
        for item in items
    ]
    replies = answering.answer(questions, root=images, images_at_once=IMAGES_AT_ONCE, progress=False)
    return {item.key: reply.text for item, reply in zip(items, replies, strict=True)}


def _blocks(items: Sequence[Item]) -> Iterator[_Block]:
    """Yield the questions about `IMAGES_AT_ONCE` images at a time, in the order of their first questions."""
    by_image: dict[str, list[Item]] = {}
    for item in items:
        by_image.setdefault(item.image, []).append(item)
    names, start = list(by_image), 0
    for first in range(0, len(names), IMAGES_AT_ONCE):
        block = tuple(item for name in names[first : first + IMAGES_AT_ONCE] for item in by_image[name])
        yield _Block(block, start)
        start += len(block)


def _resume(path: Path, blocks: Sequence[_Block], stated: dict[str, Any]) -> int:
    """Return how many blocks the file has, and cut what is behind them.

    Raises:
        UserError: the file has answers of another policy, another benchmark or another form.
    """
    if not path.exists() or not path.stat().st_size:
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    expected = [item.key for block in blocks for item in block.items]
    keys = [_key(line) for line in whole[1:]]
    if whole and (_value(whole[0]) != {"protocol": stated} or keys != expected[: len(keys)]):
        do = "give another file, or remove this one on purpose"
        raise UserError(
            str(path), got="other answers", expected=f"those of {stated['model']} to this set", do=do
        )
    done = sum(block.start + len(block.items) <= len(keys) for block in blocks)
    kept = whole[: 1 + blocks[done - 1].start + len(blocks[done - 1].items)] if done else []
    with path.open("r+b") as file:
        file.truncate(sum(map(len, kept)))
    return done


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _key(line: bytes) -> object:
    value = _value(line)
    return value.get("question_id") if isinstance(value, dict) else None


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows and wait until the disk has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True)}\n" for row in rows)
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
