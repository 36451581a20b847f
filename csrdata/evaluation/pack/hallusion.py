"""HallusionBench by a string rule (Guan et al. 2024, arXiv 2310.14566); the original asks a paid model.

File: `HallusionBench.json` of the repository tianyi-lab/HallusionBench, read at revision 744007c: a JSON array of objects
with `category` (VD or VS), `subcategory`, `set_id`, `figure_id`, `question_id`, `visual_input` (0, 1 or 2), `question`,
`gt_answer` ("1" for yes, "0" for no) and `filename`. The answer of a model is the same row with `model_prediction`.

What is as in the original (`utils.py`): which questions make a figure, a pair, and an easy or hard question; and that an
answer which says neither yes nor no is right where a supplement is asked about without its picture (VS, figure 0). What
differs: yes and no are read by `csrdata.evaluation.pope.parse_yes_no` instead of a model. Figures are therefore not
comparable with published ones. Consistency of two answers, which the original asks the model too, is not measured.

A question's figures and pairs cross images; what is drawn together in intervals is a set (category, subcategory, set_id).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.intervals import Ratio, percentage
from csrdata.evaluation.pack.base import Bench, Check, Item, rows_of, shares, text_at, unique
from csrdata.evaluation.pope import parse_yes_no
from csrdata.evaluation.scorecard import Label
from csrdata.records import Side

PARTS = ("category", "subcategory", "set_id", "figure_id", "question_id")
WHAT = "HallusionBench.json, a JSON array of questions"
MEASURED = ("question", "pair", "figure", "easy", "hard")
"""What the original has an accuracy of. It was not run: it asks a paid model whether an answer is right."""
_SIDES = {"1": Side.YES, "0": Side.NO}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: what it belongs to, and its right answer."""

    key: str
    set: str
    figure: str | None
    """None for a supplement without its picture: no figure is counted."""
    pair: str
    hard: bool
    right: Side
    may_pass: bool
    """Whether an answer that says neither is right."""


def hallusion_bench(file: Path) -> Bench:
    """Return the benchmark.

    Raises:
        UserError: the file is missing or malformed, or has a question twice.
    """
    items, asked = [], []
    for place, row in rows_of(file, what=WHAT, lines=False):
        category = text_at(row, "category", place, among=("VD", "VS"))
        parts = [category, *(_number_or_text(row, name, place) for name in PARTS[1:])]
        visual = _number_or_text(row, "visual_input", place, among=("0", "1", "2"))
        right = _SIDES[_number_or_text(row, "gt_answer", place, among=("0", "1"))]
        key, bare = "_".join(parts), category == "VS" and parts[3] == "0"
        image = "" if row.get("filename") is None else text_at(row, "filename", place)
        items.append(Item(key, image, text_at(row, "question", place)))
        asked.append(
            _Asked(
                key=key,
                set="_".join(parts[:3]),
                figure=None if bare else "_".join(parts[:4]),
                pair="_".join([*parts[:3], parts[4]]),
                hard=visual == "2",
                right=right,
                may_pass=bare,
            )
        )

    def measure(texts: Mapping[str, str]) -> Measured:
        read = [parse_yes_no(texts[one.key]) for one in asked]
        right = [
            said == one.right or (said is None and one.may_pass)
            for one, said in zip(asked, read, strict=True)
        ]
        owners = [one.set for one in asked]
        return {
            "question_accuracy": shares(owners, right, [1] * len(asked)),
            "pair_accuracy": _all_right(asked, right, [one.pair for one in asked]),
            "figure_accuracy": _all_right(asked, right, [one.figure for one in asked]),
            "easy_accuracy": _all_right(asked, right, [None if one.hard else one.pair for one in asked]),
            "hard_accuracy": _all_right(asked, right, [one.pair if one.hard else None for one in asked]),
            "yes_rate": shares(owners, [said == Side.YES for said in read], [1] * len(asked)),
            "unparsed": shares(owners, [said is None for said in read], [1] * len(asked)),
        }

    return Bench(
        kind="hallusion_bench",
        title="HallusionBench",
        variant="answers are read by a string rule, not by GPT-4",
        rules="HallusionBench 744007c, yes/no by csrdata's rule",
        items=unique(items, file),
        truth=tuple(f"{one.key}\t{one.right}\t{one.hard}" for one in asked),
        labels={
            "question_accuracy": Label("accuracy per question (aAcc)", "%"),
            "pair_accuracy": Label("accuracy per question pair (qAcc)", "%"),
            "figure_accuracy": Label("accuracy per figure (fAcc)", "%"),
            "easy_accuracy": Label("accuracy of easy questions", "%"),
            "hard_accuracy": Label("accuracy of hard questions", "%"),
            "yes_rate": Label("yes-rate", "%"),
            "unparsed": Label("neither yes nor no", "%"),
        },
        checks={f"{name}_accuracy": Check.UNCHECKED for name in MEASURED},
        measure=measure,
        keys_of=_key,
    )


def _key(row: Mapping[str, Any]) -> str | None:
    if isinstance(row.get("question_id"), str) and "category" not in row:  # as csrdata writes it
        return str(row["question_id"])
    parts = [row.get(name) for name in PARTS]
    return "_".join(map(str, parts)) if all(isinstance(part, str | int) for part in parts) else None


def _number_or_text(row: Mapping[str, Any], name: str, place: str, *, among: Sequence[str] = ()) -> str:
    """Return an id or a code; the file has texts, and some copies whole numbers."""
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        row = {name: str(value)}
    return text_at(row, name, place, among=among)


def _all_right(asked: list[_Asked], right: list[bool], groups: list[str | None]) -> Ratio:
    """Return the percentage of groups whose questions are all right, one entry per set; None is in no group."""
    sets = list(dict.fromkeys(one.set for one in asked))
    owner: dict[str, str] = {}
    every: dict[str, bool] = {}
    for one, hit, group in zip(asked, right, groups, strict=True):
        if group is not None:
            owner[group] = one.set
            every[group] = every.get(group, True) and hit
    counted = dict.fromkeys(sets, 0)
    whole = dict.fromkeys(sets, 0)
    for group, hit in every.items():
        counted[owner[group]] += 1
        whole[owner[group]] += hit
    return percentage(list(whole.values()), list(counted.values()))
