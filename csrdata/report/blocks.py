"""Blocks of the page's data: of a range of prompts, the columns that are filtered and sorted, and the details to show.

A page loads the columns of all blocks at once, and the details of a block when a pair of it is seen. `COLUMNS` and the
functions below say what both hold; csrdata/report/assets/store.js reads them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csrdata.records import Pair, Prompt, Response, Sentence
from csrdata.report.series import Range, Series
from csrdata.report.sides import AbsentObjects, key, side

COLUMNS = (
    "series",
    "prompt",
    "number",
    "reason",
    "origin",
    "margin",
    "chosen_reward",
    "rejected_reward",
    "chosen_relevance",
    "rejected_relevance",
    "chosen_held_out",
    "rejected_held_out",
    "chosen_likelihood",
    "rejected_likelihood",
    "chosen_words",
    "rejected_words",
    "chosen_absent",
    "rejected_absent",
    "chosen_key",
    "rejected_key",
)
"""Of each item, a pair or a prompt without one.

`prompt` counts within the block. `reason` and `origin` are places in the page's lists, -1 for none. `likelihood` is the mean
log-probability of a token, nats. `held_out` is the reward by the held-out scorer. `absent` counts mentions of absent
objects. A value that is unknown is null.
"""

_FATES = {
    "kept_best": "b",
    "kept_worst": "w",
    "pruned": "p",
    "finished": "f",
    "cut": "c",
    "refused": "r",
}
"""A letter for each `Fate`: a tree has one text of them, not a list."""


@dataclass(slots=True)
class Names:
    """Texts that occur again and again, each with its number."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


@dataclass(frozen=True, slots=True)
class Block:
    """A block's two parts, fit for JSON."""

    index: dict[str, object]
    details: dict[str, object]


def build_block(
    ids: Sequence[str], read: Sequence[tuple[Series, Range]], *, reasons: Names, origins: Names, images: Names
) -> Block:
    """Return the block of a range of prompts.

    Args:
        ids: the prompts, in order.
        read: every series with its rows of this range.
        reasons, origins, images: names so far; new ones are added.
    """
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    pictures: list[int] = []
    details: list[dict[str, object]] = []
    finders = {id(series.known): AbsentObjects(series.known) for series, _ in read}
    for place, prompt_id in enumerate(ids):
        prompt = next(
            (rows.prompts[prompt_id] for _, rows in read if prompt_id in rows.prompts),
            Prompt(prompt_id, "", ""),
        )
        pictures.append(images.number(prompt.image) if prompt.image else -1)
        shown: dict[str, object] = {}
        for number, (series, rows) in enumerate(read):
            found = _of_series(prompt_id, rows, finders[id(series.known)])
            if found is not None:
                shown[str(number)] = found.details
                for item in found.items:
                    for name in COLUMNS:
                        columns[name].append(item.get(name))
                    columns["series"][-1], columns["prompt"][-1] = number, place
                    columns["reason"][-1] = (
                        -1 if item["reason"] is None else reasons.number(str(item["reason"]))
                    )
                    columns["origin"][-1] = (
                        -1 if item["origin"] is None else origins.number(str(item["origin"]))
                    )
        details.append(
            {"image": prompt.image, "text": prompt.text, "truth": _objects(prompt, read), "series": shown}
        )
    return Block({"ids": list(ids), "images": pictures, **columns}, {"prompts": details})


@dataclass(frozen=True, slots=True)
class _Found:
    items: list[dict[str, object]]
    details: dict[str, object]


def _objects(prompt: Prompt, read: Sequence[tuple[Series, Range]]) -> list[str] | None:
    """Return the objects of a prompt's image; None where they are unknown."""
    for series, _ in read:
        if series.known is not None and prompt.image in series.known.truths:
            return list(series.known.truths[prompt.image].objects)
    return None


def _of_series(prompt_id: str, rows: Range, absent: AbsentObjects) -> _Found | None:
    """Return a prompt in one series; None if the series does not have it."""
    pairs, dropped = rows.pairs.get(prompt_id, []), rows.dropped.get(prompt_id)
    if not pairs and dropped is None:
        return None
    sentences = rows.sentences.get(prompt_id, [])
    nodes = {sentence.node_id: sentence for sentence in sentences}
    items, shown = [], []
    for pair in sorted(pairs, key=lambda one: one.number):
        item, detail = _pair(pair, nodes, absent)
        items.append(item)
        shown.append(detail)
    if dropped is not None:
        items.append({"number": 0, "reason": dropped.reason, "origin": None})
    image = rows.prompts[prompt_id].image if prompt_id in rows.prompts else ""
    tree = _tree(sentences, rows.held_out, image=image, absent=absent)
    return _Found(
        items,
        {
            "pairs": shown,
            "dropped": None if dropped is None else dropped.detail,
            "tree": tree,
            "answers": _answers(rows.responses.get(prompt_id, [])),
        },
    )


def _pair(
    pair: Pair, nodes: Mapping[int, Sentence], absent: AbsentObjects
) -> tuple[dict[str, object], dict[str, object]]:
    """Return a pair's item and its details."""
    scores = pair.scores
    item: dict[str, object] = {
        "number": pair.number,
        "reason": None,
        "origin": pair.origin,
        "margin": rounded(scores.margin),
    }
    detail: dict[str, object] = {"context": pair.context}
    for name in ("chosen", "rejected"):
        text, complete = getattr(pair, name), getattr(pair, f"{name}_complete")
        leaf = getattr(scores, f"{name}_leaf")
        cut = side(text, context=pair.context, leaf=leaf, tree=nodes, image=pair.image, absent=absent)
        words, tokens, logprob = (
            getattr(scores, f"{name}_{what}") for what in ("words", "tokens", "logprob")
        )
        item |= {
            f"{name}_reward": rounded(getattr(scores, f"{name}_reward")),
            f"{name}_relevance": rounded(getattr(scores, f"{name}_relevance")),
            f"{name}_held_out": rounded(getattr(scores, f"{name}_reward_held_out")),
            f"{name}_likelihood": rounded(logprob / tokens) if tokens and logprob is not None else None,
            f"{name}_words": len(text.split()) if words is None else words,
            f"{name}_absent": None if cut.absent is None else len(cut.absent),
            f"{name}_key": key(pair.context, text, complete=complete),
        }
        detail[name] = {
            "text": cut.text,
            "spans": cut.spans,
            "absent": cut.absent,
            "complete": complete,
            "leaf": leaf,
        }
    return item, detail


def _tree(
    sentences: Sequence[Sentence],
    held_out: Mapping[tuple[str, int], float | None],
    *,
    image: str,
    absent: AbsentObjects,
) -> dict[str, object] | None:
    """Return a search tree by columns, in the order of its nodes; None if it is missing."""
    if not sentences:
        return None
    return {
        "node": [one.node_id for one in sentences],
        "parent": [one.parent_id for one in sentences],
        "text": [one.text for one in sentences],
        "logprob": [rounded(one.logprob) for one in sentences],
        "tokens": [len(one.token_ids) for one in sentences],
        "relevance": [rounded(one.relevance) for one in sentences],
        "held_out": [rounded(held_out.get((one.prompt_id, one.node_id))) for one in sentences],
        "repetition": [rounded(one.repetition) for one in sentences],
        "reward": [rounded(one.guidance_reward) for one in sentences],
        "fate": "".join(_FATES[one.fate] for one in sentences),
        "stop": [one.stop for one in sentences],
        "absent": [len(absent(one.text, image=image) or ()) for one in sentences],
    }


def _answers(responses: Sequence[Response]) -> dict[str, object]:
    """Return a prompt's whole answers by columns."""
    return {
        "leaf": [one.leaf_id for one in responses],
        "reward": [rounded(one.reward) for one in responses],
        "relevance": [rounded(one.relevance) for one in responses],
        "words": [one.words for one in responses],
        "finished": [one.finished for one in responses],
    }


def rounded(value: float | None) -> float | None:
    """Return a value with five significant digits: what a page shows. None for anything but a finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
