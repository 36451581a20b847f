"""The results of lmms-eval, checked: its file of figures, and its file of answers for each task.

What it writes is outside input. A figure must be a finite number, a standard error one of 0 or more, and each task must have
as many answers as it says. lmms-eval catches an error of the model and goes on with an empty answer, which counts as wrong:
an answer without a token is therefore refused.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.harness.process import HARNESS, is_task_name
from csrdata.evaluation.measured import Value
from csrdata.evaluation.pack.base import sha256
from csrdata.storage.json_values import JsonValue, open_json
from csrdata.storage.lines import read_json_lines

MOST_BYTES = 50_000_000
"""Of the file of figures."""
MOST_TASKS = 1_000
MOST_FIGURES = 1_000
MOST_NAME = 200
AGAIN = "csrdata evaluate --harness lmms-eval, with a version that the extra lmms-eval allows"
NO_ERROR = "N/A"
"""What the file has where no standard error exists."""
CONFIDENCE, HALF_WIDTH = 95.0, 1.959963984540054
"""Percent, and standard errors on each side of a figure (normal approximation)."""
STDERRS = {"_stderr_clustered": "clustered", "_stderr_clt": "scores", "_stderr": "figure"}
"""Kinds of standard errors by the end of their key: of the mean of the questions' scores in clusters; of that mean; and of
the figure itself, whatever it is. Only the last makes an interval."""


@dataclass(frozen=True, slots=True)
class Estimate(Value):
    """A figure of the harness, on the harness's scale."""

    stderr: float | None
    """Of the figure; None where the harness gives none."""
    stderr_of_scores: Mapping[str, float]
    """Of the mean of the questions' scores, by kind: `scores`, `clustered`."""


@dataclass(frozen=True, slots=True)
class HarnessProtocol:
    """How the figures of one task were made."""

    measure: str
    rules: str
    """Harness, version, and version of the task."""
    task: str
    task_version: str
    questions: int
    questions_sha256: str
    """Of number, prompt and right answer of each question, in order."""
    prompt: str
    max_new_tokens: str
    decoding: str
    generation: str
    """The settings of the task, JSON."""
    shots: int
    model: str
    model_sha256: str
    """Of the merged model folder."""
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the protocol as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task's figures and how it asked."""

    task: str
    version: str
    questions: int
    questions_sha256: str
    empty_answers: int
    generation: Mapping[str, Any]
    shots: int
    figures: Mapping[str, Estimate]
    """By name, and by filter where the task has several: `exact_match`, `exact_match,flexible-extract`."""


def read_results(folder: Path, tasks: Sequence[str]) -> list[TaskResult]:
    """Return the results below a folder, one for each task that has questions; a group is its tasks.

    Args:
        folder: what `run_harness` wrote to.
        tasks: names that were asked for.

    Raises:
        UserError: there is no file of figures or several, a value is malformed, a task that was asked for is missing,
            answers are missing, or the model failed on a question.
    """
    files = sorted(folder.rglob("*_results.json"))
    if len(files) != 1:
        raise UserError(f"results of {HARNESS}", got=f"{len(files)} files", expected="one", do=AGAIN)
    if files[0].stat().st_size > MOST_BYTES:
        raise UserError(
            f"results of {HARNESS}", got="a larger file", expected=f"at most {MOST_BYTES:,} bytes", do=AGAIN
        )
    parts = open_json(files[0], made_by=AGAIN).items(
        needs=("results", "group_subtasks", "configs", "versions", "n-samples", "n-shot")
    )
    results, counts = parts["results"].items(), parts["n-samples"].items()
    known = {*results, *parts["group_subtasks"].items()}
    for task in tasks:
        if task not in known:
            parts["results"].refuse(f"the figures of {task}", got="another task")
    leaves = [name for name in results if name in counts]
    if wrong := next((name for name in leaves if not is_task_name(name)), None):
        parts["results"].refuse("names of tasks", got=wrong)
    if not 0 < len(leaves) <= MOST_TASKS:
        parts["n-samples"].refuse(f"1 to {MOST_TASKS:,} tasks", got=f"{len(leaves):,} tasks")
    return [_task(name, results[name], parts, files[0]) for name in leaves]


def _task(name: str, figures: JsonValue, parts: Mapping[str, JsonValue], file: Path) -> TaskResult:
    counts = parts["n-samples"].items()[name].items(needs=("original", "effective"))
    asked = counts["effective"].count()
    if asked == 0 or asked != counts["original"].count():
        counts["effective"].refuse("all questions of the task")
    config = parts["configs"].items(needs=(name,))[name].items()
    texts, empty = _answers(name, file, expected=asked)
    return TaskResult(
        task=name,
        version=_version(config.get("metadata"), parts["versions"].items(needs=(name,))[name]),
        questions=asked,
        questions_sha256=sha256(texts),
        empty_answers=empty,
        generation=_plain(config.get("generation_kwargs")),
        shots=parts["n-shot"].items(needs=(name,))[name].count(),
        figures=_figures(figures),
    )


def _figures(found: JsonValue) -> dict[str, Estimate]:
    """Return the figures of one task; a value that is not a number is a description of the task."""
    values = found.items()
    if len(values) > MOST_FIGURES:
        found.refuse(f"at most {MOST_FIGURES:,} values", got=f"{len(values):,}")
    errors: dict[str, dict[str, float]] = {}
    numbers: dict[str, float] = {}
    for key, value in values.items():
        name, _, rule = key.partition(",")
        if not rule:
            continue  # `alias` and the like
        if len(key) > MOST_NAME:
            value.refuse(f"a name of at most {MOST_NAME} characters", got=f"{len(key):,} characters")
        ending = next((one for one in STDERRS if name.endswith(one)), None)
        if ending is not None:
            if value.value != NO_ERROR and value.value is not None:
                stderr = float(value.number())
                if stderr < 0:
                    value.refuse("a standard error of 0 or more")
                errors.setdefault(f"{name.removesuffix(ending)},{rule}", {})[STDERRS[ending]] = stderr
        elif value.value is not None and value.value != "":
            numbers[key] = float(value.number())
    if not numbers:
        found.refuse("one figure or more", got="none")
    return {
        key.removesuffix(",none"): _estimate(key.removesuffix(",none"), number, errors.get(key, {}))
        for key, number in numbers.items()
    }


def _estimate(title: str, value: float, errors: Mapping[str, float]) -> Estimate:
    stderr = errors.get("figure")
    half = None if stderr is None else HALF_WIDTH * stderr
    low, high = (None, None) if half is None else (value - half, value + half)
    others = {kind: one for kind, one in errors.items() if kind != "figure"}
    return Estimate(title, "", value, low, high, None, stderr, others)


def _answers(name: str, file: Path, *, expected: int) -> tuple[list[str], int]:
    """Return a line for each question of a task, in order, and the number of answers without words.

    Raises:
        UserError: the file is missing or has another number of answers, or the model failed on a question.
    """
    paths = sorted(file.parent.glob(f"*_samples_{name}.jsonl"))
    if len(paths) != 1:
        raise UserError(
            f"answers of {HARNESS} to {name}", got=f"{len(paths)} files", expected="one", do=AGAIN
        )
    lines: dict[int, str] = {}
    empty = 0
    for place, row in read_json_lines(paths[0]):
        number = row.get("doc_id")
        if not isinstance(number, int) or isinstance(number, bool) or number in lines:
            raise UserError(
                f"{place}: doc_id", got=number, expected="the number of a question, once", do=AGAIN
            )
        texts = list(_texts(row.get("resps")))
        if not any(text.strip() for text in texts):
            empty += 1
            if not _tokens(row.get("token_counts")):
                do = "see what it prints: python -m lmms_eval --verbosity DEBUG"
                got, wanted = "no answer: the model failed", "one token or more"
                raise UserError(f"{place}: question {number}", got=got, expected=wanted, do=do)
        lines[number] = f"{number}\t{row.get('input')}\t{row.get('target')}"
    if len(lines) != expected:
        got = f"{len(lines):,} answers"
        raise UserError(str(paths[0].name), got=got, expected=f"{expected:,}, one per question", do=AGAIN)
    return [lines[number] for number in sorted(lines)], empty


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of an answer: it is a text, a list of them, or lists in a list."""
    for one in value if isinstance(value, list) else [value]:
        for part in one if isinstance(one, list) else [one]:
            yield "" if part is None else str(part)


def _tokens(counts: object) -> bool:
    """Return whether a question has an answer of one token or more."""
    rows = counts if isinstance(counts, list) else []
    return any(isinstance(row, dict) and isinstance(row.get("output_tokens"), int) for row in rows)


def _version(metadata: JsonValue | None, fallback: JsonValue) -> str:
    """Return the version that a task states; what the harness says where it states none."""
    raw = None if metadata is None else metadata.value
    stated = [
        one["version"]
        for one in (raw if isinstance(raw, list) else [raw])
        if isinstance(one, dict) and isinstance(one.get("version"), str | int | float)
    ]
    found = str(stated[0] if stated else fallback.value)
    if len(found) > MOST_NAME:
        fallback.refuse("a short version", got=f"{len(found):,} characters")
    return found


def _plain(value: JsonValue | None) -> dict[str, Any]:
    """Return the settings as plain values of a bounded size; a task that compares likelihoods has none."""
    if value is None or value.value is None:
        return {}
    text = json.dumps({key: one.value for key, one in value.items().items()}, sort_keys=True)
    if len(text) > MOST_BYTES // 1000:
        value.refuse("a few settings", got=f"{len(text):,} characters")
    found: dict[str, Any] = json.loads(text)
    return found
