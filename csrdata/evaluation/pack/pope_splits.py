"""POPE as papers print it: accuracy and F1 of its three splits, and their mean (arXiv 2305.10355; the paper's Table 6).

`pope_splits` reads the three published files; answers name a question by split and number: `random/1`, or a row's `split`
and `question_id`. `mean_figures` gives the same for a split of a project whose questions are of all three kinds. A mean is
over splits, not over questions; its interval draws images, with all questions about an image together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from csrdata.evaluation.contrast import Formula, Measured
from csrdata.evaluation.intervals import Numbers, Ratio, percentage
from csrdata.evaluation.pack.base import Bench, Check, Item, plain_key
from csrdata.evaluation.pack.yes_no import KEYWORD, RULES
from csrdata.evaluation.pope import YesNoAnswer, YesNoReply, accuracy_by_kind, figures_of, parse_yes_no
from csrdata.evaluation.scorecard import Label
from csrdata.evaluation_sets.pope_file import PopeFile
from csrdata.records import Side
from csrdata.storage.values import NEGATIVES

FIGURES = {"accuracy": "accuracy", "f1": "F1"}


def pope_splits(files: Mapping[str, Path]) -> Bench:
    """Return the benchmark of POPE's three files.

    Args:
        files: by name of the split: random, popular, adversarial.

    Raises:
        UserError: a file is missing or malformed.
    """
    items: list[Item] = []
    facts: list[tuple[str, str, str, Side]] = []
    for strategy, file in files.items():
        for one in PopeFile(strategy, ".", file, strategy).ask([]).questions:
            key = f"{strategy}/{int(one.question_id.removeprefix(f'{strategy}-'))}"
            items.append(Item(key, one.image, one.text))
            facts.append((strategy, key, one.image, Side(str(one.answer))))
    images = list(dict.fromkeys(item.image for item in items))

    def measure(texts: Mapping[str, str]) -> Measured:
        found: dict[str, Ratio | Formula] = {}
        for prefix, (rule, _) in RULES.items():
            splits = {
                strategy: figures_of(
                    [
                        YesNoAnswer(image, right, rule(texts[key]))
                        for own, key, image, right in facts
                        if own == strategy
                    ],
                    images,
                )
                for strategy in files
            }
            for name in FIGURES:
                parts = {strategy: figures[name] for strategy, figures in splits.items()}
                found |= {f"{strategy}_{prefix}{name}": part for strategy, part in parts.items()}
                found[f"mean_{prefix}{name}"] = mean_over(list(parts.values()))
        return found

    return Bench(
        kind="pope_splits",
        title="POPE, three splits",
        variant=None,
        rules="three rules for yes/no, a mean over splits",
        items=tuple(items),
        truth=tuple(f"{key}\t{right}" for _, key, _, right in facts),
        labels={
            f"{part}_{prefix}{name}": Label(f"{words}, {part}, {title}", "%")
            for prefix, (_, title) in RULES.items()
            for name, words in FIGURES.items()
            for part in (*files, "mean")
        },
        checks={f"{part}_{KEYWORD}{name}": Check.RULE for name in FIGURES for part in (*files, "mean")},
        measure=measure,
        keys_of=split_key,
    )


def mean_figures(replies: Sequence[YesNoReply], images: Sequence[str]) -> dict[str, Ratio | Formula]:
    """Return the F1 of each kind of question, and the means of accuracy and F1 over the kinds, by `parse_yes_no`.

    Args:
        replies, images: as in `csrdata.evaluation.pope.accuracy_by_kind`, which says which questions are of a kind.

    Returns:
        By name, such as `pope_f1_random` and `pope_f1_mean`; nothing unless all three kinds are asked.
    """
    accuracy = accuracy_by_kind(replies, images)
    if set(accuracy) != set(NEGATIVES):
        return {}

    def count(holds: Callable[[YesNoReply], bool]) -> dict[str, Numbers]:
        """Count the replies of each kind for which something holds, [images]."""
        marked = [replace(one, text=one.right if holds(one) else "") for one in replies]
        return {kind: part.numerators for kind, part in accuracy_by_kind(marked, images).items()}

    hits = count(lambda one: one.right == Side.YES == parse_yes_no(one.text))
    false = count(lambda one: one.right == Side.NO and parse_yes_no(one.text) == Side.YES)
    asked = count(lambda one: one.right == Side.YES)
    f1 = {
        kind: percentage((2 * hits[kind]).tolist(), (hits[kind] + false[kind] + asked[kind]).tolist())
        for kind in accuracy
    }
    return {
        **{f"pope_f1_{kind}": part for kind, part in f1.items()},
        "pope_accuracy_mean": mean_over(list(accuracy.values())),
        "pope_f1_mean": mean_over(list(f1.values())),
    }


LABELS = {
    **{f"pope_f1_{kind}": Label(f"POPE F1, {kind} objects", "%") for kind in NEGATIVES},
    "pope_accuracy_mean": Label("POPE accuracy, mean of the three kinds", "%"),
    "pope_f1_mean": Label("POPE F1, mean of the three kinds", "%"),
}
"""Titles of what `mean_figures` gives."""


def mean_over(parts: Sequence[Ratio]) -> Formula:
    """Return the mean of ratios over the same images."""
    return Formula(tuple(parts), _over_last)


def _over_last(values: Numbers) -> Numbers:
    found: Numbers = np.asarray(values.mean(-1))
    return found


def split_key(row: Mapping[str, Any]) -> str | None:
    """Return the key of a row that names a split and a number: `random/1`; None if it names no question."""
    split, key = row.get("split"), plain_key(row)
    return f"{split}/{key}" if isinstance(split, str) and key is not None and "/" not in key else key
