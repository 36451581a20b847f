"""RePOPE: POPE's questions with corrected labels (Neuhaus and Hein 2025, arXiv 2504.15707).

Files: `annotations/coco_repope_{random,popular,adversarial}.json` of the repository YanNeu/RePOPE, read at revision
bcf22e5: JSON Lines with POPE's keys `question_id`, `image`, `text` and `label`. Ambiguous questions are left out, so that
the ids have gaps; answers to all of POPE's questions are measured on those that remain, as in the original.

The original rule (`src/eval_utils.py`, `compute_answer` and `compute_results`): see `yes_no.parse_substring`; an answer that
it cannot read leaves the denominators. That raises the accuracy of a model that does not answer, so `unread` is reported
too, and each other rule counts such an answer as wrong. The original says "no" for "not" as well, which "no" contains.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from csrdata.errors import UserError
from csrdata.evaluation.contrast import Formula, Measured
from csrdata.evaluation.intervals import Ratio
from csrdata.evaluation.pack import yes_no
from csrdata.evaluation.pack.base import Bench, Check, Item, rows_of, shares, text_at, unique, whole_at
from csrdata.evaluation.pack.pope_splits import mean_over, split_key
from csrdata.evaluation.pack.yes_no import Fact, parse_substring
from csrdata.evaluation.scorecard import Label
from csrdata.records import Side

RULES = "RePOPE bcf22e5, and three other rules"
WHAT = "questions with question_id, image, text and label, JSON Lines"

_LABELS = {
    "accuracy": Label("accuracy of readable answers, RePOPE's rule", "%"),
    "f1": Label("F1, RePOPE's rule", "%"),
    "yes_rate": Label("yes-rate, RePOPE's rule", "%"),
    "unread": Label("answers that RePOPE's rule leaves out", "%"),
    **yes_no.labels(),
}
_CHECKS = dict.fromkeys(("accuracy", "f1", "yes_rate"), Check.RULE)


def repope(file: Path, *, strategy: str, pope: Path | None) -> Bench:
    """Return one of RePOPE's three splits.

    Args:
        file: of the split.
        strategy: random, popular or adversarial: which split it is; the file itself does not say.
        pope: the same split of POPE: answers to its questions may be in the answers file; None: only to RePOPE's.

    Raises:
        UserError: a file is missing or malformed, or RePOPE asks what POPE does not.
    """
    items, facts = _read(file)
    spare = _spare(items, pope) if pope else frozenset()
    images = list(dict.fromkeys(item.image for item in items))
    return Bench(
        kind="repope",
        title=f"RePOPE {strategy}",
        variant=None,
        rules=RULES,
        items=items,
        truth=tuple(f"{fact.key}\t{fact.right}" for fact in facts),
        labels=_LABELS,
        checks=_CHECKS,
        measure=lambda texts: dict(_figures(facts, texts, images)),
        spare=spare,
    )


def repope_splits(files: Mapping[str, Path], *, pope: Mapping[str, Path]) -> Bench:
    """Return RePOPE's three splits, and the means over them; answers name a question by split and number: `random/1`.

    Args:
        files: by name of the split: random, popular, adversarial.
        pope: the same splits of POPE, whose answers may be in the answers file; empty: only RePOPE's.

    Raises:
        UserError: a file is missing or malformed, or RePOPE asks what POPE does not.
    """
    items: list[Item] = []
    parts: dict[str, list[Fact]] = {}
    spare: set[str] = set()
    for split, file in files.items():
        own, facts = _read(file)
        items += [Item(f"{split}/{item.key}", item.image, item.prompt) for item in own]
        if split in pope:
            spare |= {f"{split}/{key}" for key in _spare(own, pope[split])}
        parts[split] = [Fact(f"{split}/{fact.key}", fact.owner, fact.right) for fact in facts]
    images = list(dict.fromkeys(item.image for item in items))

    def measure(texts: Mapping[str, str]) -> Measured:
        splits = {split: _figures(facts, texts, images) for split, facts in parts.items()}
        found: dict[str, Ratio | Formula] = {}
        for name in _LABELS:
            own = {f"{split}_{name}": figures[name] for split, figures in splits.items()}
            found |= {**own, f"mean_{name}": mean_over(list(own.values()))}
        return found

    return Bench(
        kind="repope_splits",
        title="RePOPE, three splits",
        variant=None,
        rules=f"{RULES}, a mean over splits",
        items=tuple(items),
        truth=tuple(f"{fact.key}\t{fact.right}" for facts in parts.values() for fact in facts),
        labels={
            f"{part}_{name}": Label(f"{label.title}, {part}", label.unit)
            for name, label in _LABELS.items()
            for part in (*files, "mean")
        },
        checks={f"{part}_{name}": check for name, check in _CHECKS.items() for part in (*files, "mean")},
        measure=measure,
        keys_of=split_key,
        spare=frozenset(spare),
    )


def _figures(facts: Sequence[Fact], texts: Mapping[str, str], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the figures of one split, one entry per image, also for an image that it does not ask about."""
    read = yes_no.said(facts, texts, parse_substring)
    readable = [one.said is not None for one in read]
    hit = [one.said == one.right == Side.YES for one in read]
    wrong = [one.said is not None and one.said != one.right for one in read]

    def over(hits: Sequence[float], of: Sequence[float]) -> Ratio:
        nothing = [0.0] * len(images)
        return shares([*images, *(one.image for one in read)], [*nothing, *hits], [*nothing, *of])

    return {
        "accuracy": over([one.said == one.right for one in read], readable),
        "f1": over([2 * one for one in hit], [2 * a + b for a, b in zip(hit, wrong, strict=True)]),
        "yes_rate": over([one.said == Side.YES for one in read], readable),
        "unread": over([not one for one in readable], [1] * len(read)),
        **yes_no.by_rules(facts, texts, owners=images),
    }


def _spare(items: Sequence[Item], pope: Path) -> frozenset[str]:
    """Return the keys of POPE's questions that RePOPE leaves out.

    Raises:
        UserError: POPE's file does not have one of RePOPE's questions, as that of another split.
    """
    asked = {item.key: item for item in _read(pope)[0]}
    for item in items:
        if asked.get(item.key) != item:
            got = f"no question {item.key} about {item.image}: {item.prompt}"
            raise UserError(
                str(pope), got=got, expected="the same split of POPE", do="give another file as pope"
            )
    return frozenset(asked) - {item.key for item in items}


def _read(path: Path) -> tuple[tuple[Item, ...], list[Fact]]:
    items, facts = [], []
    for place, row in rows_of(path, what=WHAT, lines=True):
        key, image = str(whole_at(row, "question_id", place)), text_at(row, "image", place)
        items.append(Item(key, image, text_at(row, "text", place)))
        facts.append(Fact(key, image, Side(text_at(row, "label", place, among=tuple(Side)))))
    return unique(items, path), facts
