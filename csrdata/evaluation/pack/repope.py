"""RePOPE: POPE's questions with corrected labels (Neuhaus and Hein 2025, arXiv 2504.15707).

Files: `annotations/coco_repope_{random,popular,adversarial}.json` of the repository YanNeu/RePOPE, read at revision
bcf22e5: JSON Lines with POPE's keys `question_id`, `image`, `text` and `label`. Ambiguous questions are left out, so that
the ids have gaps; answers to all of POPE's questions are measured on those that remain, as in the original.

The original rule (`src/eval_utils.py`, `compute_answer` and `compute_results`): see `yes_no.parse_substring`; an answer that
it cannot read leaves the denominators. That raises the accuracy of a model that does not answer, so `unread` is reported
too, and each other rule counts such an answer as wrong. The original says "no" for "not" as well, which "no" contains.
"""

from collections.abc import Mapping
from pathlib import Path

from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.pack import yes_no
from csrdata.evaluation.pack.base import Bench, Item, rows_of, shares, text_at, unique, whole_at
from csrdata.evaluation.pack.yes_no import Fact, parse_substring
from csrdata.evaluation.scorecard import Label
from csrdata.records import Side

WHAT = "questions with question_id, image, text and label, JSON Lines"


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
    spare = frozenset(item.key for item in _read(pope)[0]) if pope else frozenset()

    def measure(texts: Mapping[str, str]) -> Measured:
        read = yes_no.said(facts, texts, parse_substring)
        owners = [one.image for one in read]
        readable = [one.said is not None for one in read]
        yes = [(one.said == Side.YES) for one in read]
        hit = [one.said == one.right == Side.YES for one in read]
        wrong = [one.said is not None and one.said != one.right for one in read]
        return {
            "accuracy": shares(owners, [one.said == one.right for one in read], readable),
            "f1": shares(
                owners, [2 * one for one in hit], [2 * a + b for a, b in zip(hit, wrong, strict=True)]
            ),
            "yes_rate": shares(owners, yes, readable),
            "unread": shares(owners, [not one for one in readable], [1] * len(read)),
            **yes_no.by_rules(facts, texts),
        }

    return Bench(
        kind="repope",
        title=f"RePOPE {strategy}",
        variant=None,
        rules="RePOPE bcf22e5, and three other rules",
        items=items,
        truth=tuple(f"{fact.key}\t{fact.right}" for fact in facts),
        labels={
            "accuracy": Label("accuracy of readable answers, RePOPE's rule", "%"),
            "f1": Label("F1, RePOPE's rule", "%"),
            "yes_rate": Label("yes-rate, RePOPE's rule", "%"),
            "unread": Label("answers that RePOPE's rule leaves out", "%"),
            **yes_no.labels(),
        },
        measure=measure,
        spare=spare - {item.key for item in items},
    )


def _read(path: Path) -> tuple[tuple[Item, ...], list[Fact]]:
    items, facts = [], []
    for place, row in rows_of(path, what=WHAT, lines=True):
        key, image = str(whole_at(row, "question_id", place)), text_at(row, "image", place)
        items.append(Item(key, image, text_at(row, "text", place)))
        facts.append(Fact(key, image, Side(text_at(row, "label", place, among=tuple(Side)))))
    return unique(items, path), facts
