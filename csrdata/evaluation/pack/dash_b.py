"""DASH-B: objects that vision-language models see in images without them (Augustin et al. 2025, arXiv 2503.23573).

Files: `images/dash_benchmark_neg.json` and `..._pos.json` of the repository YanNeu/DASH-B, read at revision 1538d01: a JSON
object {dataset: {object: [image file, ...]}}. The object is absent from an image of the first and present in one of the
second. The question is "Can you see a OBJECT in this image? Please answer only with yes or no." (`src/data/dash_b.py`,
prompt 4).

The original rule (`src/eval_utils.py`): see `yes_no.parse_substring`; an answer that it cannot read is wrong. TNR and TPR
are the accuracy where the object is absent and present; the harmonic mean is of the two. A row of an answers file has
`img_id`, `object_name` and `gt`, as the original writes them: an image's name is not unique.

Checked: on the repository's own answers (`output/Paligemma-3b_answers.json`) and their own list of images, which is an
earlier one than the two files', this gives its results: ACC 56.376, TNR 26.398, TPR 86.353, harmonic mean 40.435.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from csrdata.errors import UserError
from csrdata.evaluation.contrast import Formula, Measured
from csrdata.evaluation.intervals import Numbers
from csrdata.evaluation.pack import yes_no
from csrdata.evaluation.pack.base import AGAIN, Bench, Check, Item, shares, texts_at, unique, whole
from csrdata.evaluation.pack.yes_no import Fact, parse_substring
from csrdata.evaluation.scorecard import Label
from csrdata.records import Side

PROMPT = "Can you see a {} in this image? Please answer only with yes or no."
WHAT = "an object {dataset: {object: [image file, ...]}}"


def dash_b(negatives: Path, positives: Path) -> Bench:
    """Return the benchmark.

    Args:
        negatives: the file of images without their object.
        positives: the file of images with their object.

    Raises:
        UserError: a file is missing, malformed or without images, or has an image of an object twice.
    """
    items, facts = [], []
    for path, right, folder in ((negatives, Side.NO, "neg"), (positives, Side.YES, "pos")):
        entries = _entries(path)
        unique([Item(f"{name}/{image}", image, "") for _, name, image in entries], path)
        for dataset, name, image in entries:
            key = f"{right}/{name}/{image}"
            items.append(Item(key, f"{folder}/{dataset}/{name}/{image}", PROMPT.format(name)))
            facts.append(Fact(key, items[-1].image, right))

    def measure(texts: Mapping[str, str]) -> Measured:
        read = yes_no.said(facts, texts, parse_substring)
        owners, right = [one.image for one in read], [one.said == one.right for one in read]
        absent = [one.right == Side.NO for one in read]
        tnr = shares(owners, [a and b for a, b in zip(right, absent, strict=True)], absent)
        tpr = shares(
            owners, [a and not b for a, b in zip(right, absent, strict=True)], [not one for one in absent]
        )
        return {
            "accuracy": shares(owners, right, [1] * len(read)),
            "tnr": tnr,
            "tpr": tpr,
            "harmonic_mean": Formula((tnr, tpr), _harmonic_mean),
            **yes_no.by_rules(facts, texts),
        }

    return Bench(
        kind="dash_b",
        title="DASH-B",
        variant=None,
        rules="DASH-B 1538d01, and three other rules",
        items=tuple(items),
        truth=tuple(f"{fact.key}\t{fact.right}" for fact in facts),
        labels={
            "accuracy": Label("accuracy, DASH-B's rule", "%"),
            "tnr": Label("TNR (object absent), DASH-B's rule", "%"),
            "tpr": Label("TPR (object present), DASH-B's rule", "%"),
            "harmonic_mean": Label("harmonic mean of TNR and TPR", "%"),
            **yes_no.labels(),
        },
        checks=dict.fromkeys(("accuracy", "tnr", "tpr", "harmonic_mean"), Check.REPRODUCED),
        measure=measure,
        keys_of=_key,
    )


def _harmonic_mean(rates: Numbers) -> Numbers:
    """Return 2ab / (a + b) of the last axis; 0 where both are 0."""
    total = rates.sum(-1)
    found: Numbers = np.divide(
        2 * rates.prod(-1), total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0
    )
    return found


def _key(row: Mapping[str, Any]) -> str | None:
    if "question_id" in row and isinstance(row["question_id"], str):  # as csrdata writes it
        return row["question_id"]
    parts = [row.get(name) for name in ("gt", "object_name", "img_id")]
    return "/".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None


def _entries(path: Path) -> list[tuple[str, str, str]]:
    """Return dataset, object and image of each entry."""
    raw = whole(path, what=WHAT)
    found = []
    for dataset, objects in _object(raw, str(path)).items():
        for name in _object(objects, f"{path}: {dataset}"):
            if not name.strip():
                raise UserError(f"{path}: {dataset}", got=name, expected="an object's name", do=AGAIN)
            found += [(dataset, name, image) for image in texts_at(objects, name, f"{path}: {dataset}")]
    return found


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(place, got=value, expected=WHAT, do=AGAIN)
    return value
