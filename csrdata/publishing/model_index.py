"""A leaderboard row: the `model-index` of a model card, with intervals and protocol.

The form is huggingface_hub's (`ModelCardData`, `EvalResult`): a result is a task, a dataset and metrics. The protocol is the
dataset's `args` and its hash the dataset's `revision`, so that figures that were made in two ways stay two results; interval
and unit are a metric's `args`. A card that is there keeps its text, its other metadata and its other results.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.measured import Evaluation, Value
from csrdata.evaluation.pack.base import Check
from csrdata.publishing.release.leaks import find_leak
from csrdata.storage.disk import atomic_file

TASK = "image-text-to-text"
OBJECT_HALBENCH = "object-halbench"
MOST_CHARACTERS = 1_000_000
"""Of a card that is read."""


def write_card(path: Path, found: Evaluation, *, split: str) -> int:
    """Write an evaluation into the `model-index` of a model card; return the number of metrics.

    Args:
        path: of the card, a Markdown file with metadata; a missing one is made.
        found: the evaluation.
        split: what was evaluated on, a name.

    Raises:
        UserError: the file is not a card, its metadata would name a path or a token, or it would have CHAIR and Object
            HalBench.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    results = [EvalResult(**one) for one in _results(found, split)]
    if path.exists():
        card = _read(path)
        known = card.data.to_dict()
        old = list(card.data.eval_results or [])
        same = {(one.unique_identifier, one.metric_type) for one in results}
        kept = [one for one in old if (one.unique_identifier, one.metric_type) not in same]
        name = card.data.model_name or found.protocol.model
        rest = {key: value for key, value in known.items() if key not in {"model-index", "model_name"}}
        _check_apart(path, [*kept, *results])
        data = ModelCardData(model_name=name, eval_results=[*kept, *results], **rest)
        text = card.text
    else:
        data = ModelCardData(model_name=found.protocol.model, eval_results=results)
        text = f"\n# {found.protocol.model}\n"
    metadata = data.to_yaml(line_break="\n")
    leak = find_leak(metadata)
    if leak is not None:
        do = "state another model with --protocol FILE"
        raise UserError(f"{path}: metadata", got=leak.what, expected="no path and no token", do=do)
    content = str(ModelCard(f"---\n{metadata}\n---\n{text}"))
    with atomic_file(path) as partial:
        partial.write_text(content, encoding="utf-8")
    return len(results)


def _check_apart(path: Path, results: Sequence[Any]) -> None:
    """Raise if a card has CHAIR and Object HalBench: their images, questions and rules differ."""
    chair = any(one.metric_type in {"chair_s", "chair_i"} for one in results)
    if chair and any(one.dataset_type.lower() == OBJECT_HALBENCH for one in results):
        expected = "one of the two in a card: their figures are not comparable"
        raise UserError(
            str(path), got="CHAIR and Object HalBench", expected=expected, do="give another file to --card"
        )


def _read(path: Path) -> Any:
    from huggingface_hub import ModelCard

    expected, do = (
        "a model card: Markdown, with YAML metadata between --- lines",
        "give another file to --card",
    )
    try:
        content = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(str(path), got=error, expected=expected, do=do) from None
    if len(content) > MOST_CHARACTERS:
        raise UserError(
            str(path), got=f"{len(content):,} characters", expected=f"at most {MOST_CHARACTERS:,}", do=do
        )
    try:
        card: Any = ModelCard(content)
    except Exception as error:  # noqa: BLE001 - the YAML is a stranger's; the library raises what its parser does
        raise UserError(str(path), got=error, expected=expected, do=do) from None
    for one in card.data.eval_results or []:
        names = (one.task_type, one.dataset_type, one.metric_type)
        if one.metric_value is None or not all(isinstance(name, str) for name in names):
            got, form = (
                f"a result with type {names} and value {one.metric_value}",
                "types as text, and a value",
            )
            raise UserError(f"{path}: model-index", got=got, expected=form, do=do)
    return card


def _results(found: Evaluation, split: str) -> list[dict[str, Any]]:
    """Return the arguments of one `EvalResult` for each figure that exists."""
    protocol = found.protocol.as_json()
    versions = protocol.pop("versions")
    model = protocol.pop("model")
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()
    return [
        {
            "task_type": TASK,
            "dataset_type": found.benchmark.lower().replace(" ", "-"),
            "dataset_name": found.protocol.measure,
            "dataset_split": split,
            "dataset_revision": digest[:16],
            "dataset_args": {
                **{key: value for key, value in protocol.items() if value is not None},
                "versions": versions,
            },
            "metric_type": name,
            "metric_name": _name(one),
            "metric_value": one.value,
            "metric_args": {
                "model": model,
                "low": one.low,
                "high": one.high,
                "confidence": found.confidence,
                **({} if one.check is None else {"check": str(one.check)}),
            },
        }
        for name, one in found.figures.items()
        if one.value is not None
    ]


def _name(one: Value) -> str:
    """Return the name of a metric: title and unit, and whether it is unchecked: a leaderboard shows no `args`."""
    unit = f" ({one.unit})" if one.unit else ""
    return f"{one.title}{unit}{', unchecked against the original' if one.check == Check.UNCHECKED else ''}"
