"""Cases to read: what each policy says of the same images, and pairs, with the absent objects marked (Figures 7 and 9).

    cases.csv    case,kind,split,image,instruction,iteration,side,begins,text,absent

`kind` is `description` (one row per policy) or `pair` (a chosen and a rejected row). `begins` is the number of characters
that both sides of a pair share before they continue differently; 0 for whole answers. `absent` is JSON: a list of
{"start", "end", "object", "mistake"}, where `text[start:end]` is the word, in characters; empty where the truth is unknown.

The cases are drawn by a hash of the seed and the ids: nobody chose them for what they show.
"""

import json
from collections.abc import Mapping, Sequence

from csrdata.evaluation.mentions import marks
from csrdata.evaluation.plots import Row
from csrdata.evaluation.scorecard import Known
from csrdata.records import Answer, Kind, Pair, Question
from csrdata.search.pairs import hashed

NAME = "cases"
COLUMNS = ("case", "kind", "split", "image", "instruction", "iteration", "side", "begins", "text", "absent")
PER_SPLIT = 8
"""Images of each split, and prompts with pairs: two to four screens for a reader."""
TRAIN = "train"
"""The split of the prompts."""


def case_rows(
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[Answer]],
    pairs: Mapping[str, Sequence[Pair]],
    known: Mapping[str, Known],
    *,
    prompts: Known | None,
    seed: int,
    per_split: int = PER_SPLIT,
) -> list[Row]:
    """Return the rows of all cases: the descriptions split by split, then the pairs.

    Args:
        questions: of all splits.
        answers: by policy, in the order of the table: one for each question.
        pairs: by iteration, in the order of the table.
        known: what is known about the images, by split.
        prompts: what is known about the images of the prompts; None where that is nothing.
        seed: draws the cases.
        per_split: how many.
    """
    texts = {name: {answer.question_id: answer.text for answer in own} for name, own in answers.items()}
    rows: list[Row] = []
    case = 0
    for question in _drawn_questions(questions, seed=seed, per_split=per_split):
        for name, own in texts.items():
            text = own[question.question_id]
            rows.append(
                {
                    "case": case,
                    "kind": "description",
                    "split": question.split,
                    "image": question.image,
                    "instruction": question.text,
                    "iteration": name,
                    "side": None,
                    "begins": 0,
                    "text": text,
                    "absent": _absent(text, question.image, known.get(question.split)),
                }
            )
        case += 1
    for iteration, own_pairs in pairs.items():
        for pair in _drawn_pairs(own_pairs, seed=seed, count=per_split):
            for side in ("chosen", "rejected"):
                text = pair.context + getattr(pair, side)
                rows.append(
                    {
                        "case": case,
                        "kind": "pair",
                        "split": TRAIN,
                        "image": pair.image,
                        "instruction": pair.prompt,
                        "iteration": iteration,
                        "side": side,
                        "begins": len(pair.context),
                        "text": text,
                        "absent": _absent(text, pair.image, prompts),
                    }
                )
            case += 1
    return rows


def _drawn_questions(questions: Sequence[Question], *, seed: int, per_split: int) -> list[Question]:
    """Return the drawn descriptions of each split, the splits in their order."""
    describing = [question for question in questions if question.kind == Kind.DESCRIBE]
    return [
        question
        for split in dict.fromkeys(question.split for question in describing)
        for question in sorted(
            (question for question in describing if question.split == split),
            key=lambda question: hashed(seed, question.question_id),
        )[:per_split]
    ]


def _drawn_pairs(pairs: Sequence[Pair], *, seed: int, count: int) -> list[Pair]:
    """Return the first pair of each drawn prompt: the same prompts in every iteration, as far as they have pairs."""
    first = (pair for pair in pairs if pair.number == 0)
    return sorted(first, key=lambda pair: hashed(seed, pair.prompt_id))[:count]


def _absent(text: str, image: str, known: Known | None) -> str | None:
    """Return the marks of a text as JSON; None where the truth about its image is unknown."""
    if known is None or image not in known.truths:
        return None
    return json.dumps(
        [
            {"start": mark.start, "end": mark.end, "object": mark.object, "mistake": mark.mistake}
            for mark in marks(text, known.truths[image], known.parser)
        ],
        ensure_ascii=False,
    )
