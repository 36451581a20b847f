"""Answers of any model to a benchmark's questions: a file of JSON Lines, or of one JSON array.

A row names its question (`question_id`, `id`, `image_id`, `image` or `img_id`; HallusionBench's rows by their five keys) and
has the answer under the first of `TEXT_KEYS` that it has; a row may repeat the `prompt`. A row with the key `protocol`
alone states how the answers were made; `PROTOCOL_KEYS` lists what it may say.

Nothing is skipped: each question needs one answer, and an answer needs a question. A missing, doubled or foreign answer
would otherwise change a figure without a word, often for the better.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.pack.base import AGAIN, Bench, Item, facts_of, rows_of, whole
from csrdata.evaluation.protocol import AS_ASKED, UNKNOWN, Protocol
from csrdata.evaluation.record import installed_versions
from csrdata.storage.values import MAX_TEXT

TEXT_KEYS = ("response", "model_prediction", "caption", "answer", "text", "output")
"""Where the answer is. `answer` is before `text`, which some files use for the question."""
PROTOCOL_KEYS = ("model", "prompt", "max_new_tokens", "decoding", "last_sentence", "versions")
WHAT = "answers, one JSON object per line or one JSON array of objects"


@dataclass(frozen=True)
class Brought:
    """The answers of one file, matched with a benchmark's questions."""

    texts: Mapping[str, str]
    """By key of the question; one for each."""
    prompt: str
    """What the rows say of the prompt: `protocol.AS_ASKED`, other words, or `UNKNOWN`."""
    stated: Mapping[str, Any] = field(default_factory=dict)
    """By name of `PROTOCOL_KEYS`."""

    @property
    def empty(self) -> int:
        """The number of answers without words. They count: no object is named, no question is answered."""
        return sum(not text.strip() for text in self.texts.values())


def read_answers_file(path: Path, bench: Bench, *, stated: Path | None = None) -> Brought:
    """Read the answers to a benchmark's questions.

    Args:
        path: of the answers.
        bench: the benchmark.
        stated: a JSON file with an object of `PROTOCOL_KEYS`; it adds to what the answers' file states.

    Raises:
        UserError: a row is malformed, names no question of the benchmark or one that was answered before; a question has
            no answer; or a statement is malformed or contradicts another one.
    """
    texts: dict[str, str] = {}
    prompts: dict[str, str | None] = {}
    facts: dict[str, Any] = {} if stated is None else _facts(whole(stated, what="a protocol"), str(stated))
    asked = {item.key for item in bench.items}
    for place, row in rows_of(path, what=WHAT):
        if set(row) == {"protocol"}:
            facts = _merged(facts, _facts(row["protocol"], f"{place}: protocol"), place)
            continue
        key = _key(row, bench, asked, place)
        if key in texts:
            raise UserError(
                place, got=f"a second answer to {key}", expected="one answer per question", do=AGAIN
            )
        texts[key] = _text(row, place)
        prompts[key] = _prompt(row, place)
    _check_complete(texts, bench.items, path)
    return Brought(
        {item.key: texts[item.key] for item in bench.items}, _prompt_of(prompts, bench.items), facts
    )


def protocol_of(brought: Brought, bench: Bench) -> Protocol:
    """Return the protocol of figures that are measured now on answers from elsewhere; what nobody states is `unknown`."""
    stated: dict[str, Any] = {
        name: str(brought.stated[name]) for name in PROTOCOL_KEYS[:5] if name in brought.stated
    }
    if brought.prompt != UNKNOWN:
        stated["prompt"] = brought.prompt
    versions = dict(brought.stated.get("versions", {}))
    return Protocol(
        **facts_of(bench),
        versions=versions | {"csrdata": installed_versions().get("csrdata", UNKNOWN)},
        **stated,
    )


def _key(row: Mapping[str, Any], bench: Bench, asked: set[str], place: str) -> str:
    found = bench.keys_of(row)
    if found is None:
        expected = "the question's id, such as question_id, id, image_id or image"
        raise UserError(place, got=f"keys {', '.join(map(str, row))}", expected=expected, do=AGAIN)
    key = found if found in asked or found in bench.spare else bench.aliases.get(found, found)
    if key not in asked and key not in bench.spare:
        expected = f"one of the {len(asked):,} questions of {bench.title}: these answers are of another list"
        raise UserError(place, got=key, expected=expected, do="give the set that was asked: --set")
    return key


def _text(row: Mapping[str, Any], place: str) -> str:
    name = next((key for key in TEXT_KEYS if key in row), None)
    if name is None:
        got = f"keys {', '.join(map(str, row))}"
        raise UserError(place, got=got, expected=f"an answer under one of {', '.join(TEXT_KEYS)}", do=AGAIN)
    text = row[name]
    if not isinstance(text, str):
        raise UserError(f"{place}: {name}", got=text, expected="a text", do=AGAIN)
    if len(text) > MAX_TEXT:
        got = f"{len(text):,} characters"
        raise UserError(f"{place}: {name}", got=got, expected=f"at most {MAX_TEXT:,} characters", do=AGAIN)
    return text


def _prompt(row: Mapping[str, Any], place: str) -> str | None:
    prompt = row.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise UserError(f"{place}: prompt", got=prompt, expected="a text", do=AGAIN)
    return prompt


def _check_complete(texts: Mapping[str, str], items: Sequence[Item], path: Path) -> None:
    missing = [item.key for item in items if item.key not in texts]
    if missing:
        got = f"no answer to {len(missing):,} of {len(items):,} questions, the first {missing[0]}"
        raise UserError(str(path), got=got, expected="one answer for each question of the set", do=AGAIN)


def _prompt_of(prompts: Mapping[str, str | None], items: Sequence[Item]) -> str:
    """Say how the rows' prompts differ from the set's: not at all, by one text behind each, or otherwise."""
    given = [(item.prompt, prompts[item.key]) for item in items]
    if all(prompt is None for _, prompt in given):
        return UNKNOWN
    if any(prompt is None for _, prompt in given):
        return "stated for some of the questions"
    behind = {
        prompt.strip().removeprefix(own) if prompt.strip().startswith(own) else None
        for own, prompt in given
        if prompt is not None
    }
    if behind == {""}:
        return AS_ASKED
    only = behind.pop() if len(behind) == 1 else None
    return "others than the set's" if only is None else f"{AS_ASKED}, then {only!r}"


def _facts(value: object, place: str) -> dict[str, Any]:
    """Return a statement's facts, checked."""
    if not isinstance(value, dict):
        raise UserError(place, got=value, expected=f"an object with {', '.join(PROTOCOL_KEYS)}", do=AGAIN)
    for key, fact in value.items():
        if key not in PROTOCOL_KEYS:
            raise UserError(
                f"{place}: {key}", got="an unknown key", expected=", ".join(PROTOCOL_KEYS), do=AGAIN
            )
        if key == "versions":
            right = isinstance(fact, dict) and all(isinstance(one, str) for one in fact.values())
            expected = "an object of texts"
        elif key == "max_new_tokens":
            right = (
                not isinstance(fact, bool)
                and re.fullmatch(r"[1-9]\d{0,8}( and [1-9]\d{0,8})?", str(fact)) is not None
            )
            expected = '1 or more, or two such as "160 and 16" for descriptions and yes/no answers'
        else:
            right = isinstance(fact, str) and bool(fact.strip()) and len(fact) <= MAX_TEXT
            expected = "a text"
        if not right:
            raise UserError(f"{place}: {key}", got=fact, expected=expected, do=AGAIN)
    return {key: value[key] for key in PROTOCOL_KEYS if key in value}


def _merged(facts: Mapping[str, Any], more: Mapping[str, Any], place: str) -> dict[str, Any]:
    for key, value in more.items():
        if facts.get(key, value) != value:
            raise UserError(
                f"{place}: protocol.{key}", got=value, expected=f"{facts[key]}, as stated", do=AGAIN
            )
    return {**facts, **more}


def as_lines(
    brought: Mapping[str, str], items: Sequence[Item], stated: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an answers file: the protocol, then one row per question."""
    yield {"protocol": dict(stated)}
    for item in items:
        yield {
            "question_id": item.key,
            "image": item.image,
            "prompt": item.prompt,
            "response": brought[item.key],
        }
