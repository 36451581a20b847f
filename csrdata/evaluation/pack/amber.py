"""AMBER: descriptions and yes/no questions about 1,004 images (Wang et al. 2023, arXiv 2311.07397).

Files of the repository junyangwang0410/AMBER, read at revision 534babf: `data/annotations.json` (id, type, truth, hallu),
`data/query/query_all.json` (id, image, query), `data/relation.json` (associated words of each word) and
`data/safe_words.txt`. Answers are {"id": ..., "response": ...}.

**Yes/no questions** follow `inference.py` exactly: an answer is right if it is the word "Yes" or "No", nothing else; "no"
is the positive class of precision, recall and F1 (the original adds 0.0001 to a denominator and rounds in between, which
moves F1 by less than 0.1). Types: `discriminative-hallucination` is existence; state, number and action are attributes; the
others are relations. The same figures by csrdata's rule, which takes "No, there is not." as well, are side by side.

**Descriptions are a rule-based variant.** CHAIR is the share of flagged words among those of the word list, Cover the share
of the truth that is named, Hal the share of descriptions with a flagged word, Cog the share of `hallu` that is named. The
original takes nouns from a tagger, and forgives a word that is near a true one in a vector space (similarity above 0.8).
Ours takes every word of the list, in singular or plural, and no vector space: more words are flagged, so that CHAIR and Hal
are higher, and Cover and Cog differ. They are not comparable with published figures.

The score is the paper's, (100 - CHAIR + F1) / 2, over all yes/no questions; the repository's script does not print it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.contrast import Formula, Measured
from csrdata.evaluation.intervals import Numbers, Ratio
from csrdata.evaluation.pack.base import (
    AGAIN,
    Bench,
    Check,
    Item,
    rows_of,
    sha256,
    shares,
    text_at,
    texts_at,
    unique,
    whole,
    whole_at,
)
from csrdata.evaluation.pope import parse_yes_no
from csrdata.evaluation.scorecard import Label
from csrdata.evaluation_sets.synonyms import plural
from csrdata.records import Side
from csrdata.storage.lines import read_lines

GENERATIVE = "generative"
DIMENSIONS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "attribute",
    "discriminative-attribute-number": "attribute",
    "discriminative-attribute-action": "attribute",
    "discriminative-relation": "relation",
    "relation": "relation",
}
"""The dimension of each type of yes/no question."""
PARTS = ("all", GENERATIVE, "discriminative", "existence", "attribute", "relation")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Words:
    """AMBER's word list."""

    association: Mapping[str, tuple[str, ...]]
    safe: frozenset[str]
    """Words that are never flagged."""
    singular: Mapping[str, str]
    """From each form of a word of the list, singular or plural, to the word."""

    def named(self, text: str) -> list[str]:
        """Return the words of the list that a text has, in order, as often as they occur."""
        found = (self.singular.get(word) for word in _WORD.findall(text.lower()))
        return [word for word in found if word is not None]


@dataclass(frozen=True, slots=True)
class Description:
    """What is known about one image."""

    key: str
    image: str
    truth: tuple[str, ...]
    hallu: tuple[str, ...]
    """Objects that models tend to make up there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A yes/no question."""

    key: str
    image: str
    dimension: str
    right: Side


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts of one description."""

    words: int
    flagged: int
    covered: int
    """Entries of the truth that are named."""
    truth: int
    imagined: int
    """Entries of `hallu` that are named."""
    hallu: int


def amber(annotations: Path, queries: Path, relation: Path, safe_words: Path, *, part: str) -> Bench:
    """Return the benchmark or a part of it; answers to its other parts may be in the answers file.

    Args:
        annotations, queries, relation, safe_words: its four files.
        part: one of `PARTS`.

    Raises:
        UserError: a file is missing or malformed, or a question has no annotation.
    """
    words = _read_words(relation, safe_words)
    known = _annotated(annotations)
    items: list[Item] = []
    described: list[Description] = []
    claims: list[Claim] = []
    spare: set[str] = set()
    for place, row in rows_of(queries, what="a query file of AMBER"):
        number, image = whole_at(row, "id", place), text_at(row, "image", place)
        if number not in known:
            expected = "an annotation of each question"
            raise UserError(
                f"{place}: id", got=f"{number}, which {annotations} lacks", expected=expected, do=AGAIN
            )
        fact = _fact(str(number), image, *known[number])
        if part not in ("all", *_parts_of(fact)):
            spare.add(str(number))
            continue
        items.append(Item(str(number), image, text_at(row, "query", place)))
        if isinstance(fact, Claim):
            claims.append(fact)
        else:
            _check_listed(fact, words, place)
            described.append(fact)
    images = list(dict.fromkeys(item.image for item in items))

    def measure(texts: Mapping[str, str]) -> Measured:
        found: dict[str, Ratio | Formula] = {}
        if described:
            found |= _generative(described, texts, words, images)
        if claims:
            found |= _discriminative(claims, texts, images)
        if described and claims and {claim.dimension for claim in claims} == set(DIMENSIONS.values()):
            found["score"] = Formula((_ratio(found["chair"]), _ratio(found["f1"])), _score)
        return {name: found[name] for name in LABELS if name in found}

    digest = sha256(
        [*(f"{word}\t{' '.join(more)}" for word, more in words.association.items()), *sorted(words.safe)]
    )
    return Bench(
        kind="amber",
        title="AMBER" if part == "all" else f"AMBER {part}",
        variant="words instead of tagged nouns, no vector space; yes/no as in the original"
        if described
        else None,
        rules=f"AMBER 534babf, words {digest[:16]}",
        items=unique(items, queries),
        truth=(
            *("\t".join((one.key, *one.truth, "|", *one.hallu)) for one in described),
            *(f"{claim.key}\t{claim.dimension}\t{claim.right}" for claim in claims),
        ),
        labels=LABELS,
        checks=CHECKS,
        measure=measure,
        spare=frozenset(spare),
    )


def count_words(text: str, known: Description, words: Words) -> Counted:
    """Count what a description names.

    A word is true if it is in the truth or associated with a word of it. Each true word covers the first such entry; each
    other word is flagged, unless it is safe, and may be one of `hallu` as well.
    """
    true, made_up = _entries(known.truth, words), _entries(known.hallu, words)
    covered: set[int] = set()
    imagined: set[int] = set()
    flagged, named = 0, words.named(text)
    for word in named:
        if word in words.safe:
            continue
        if word in true:
            covered.add(true[word])
            continue
        if word in made_up:
            imagined.add(made_up[word])
        flagged += 1
    return Counted(len(named), flagged, len(covered), len(known.truth), len(imagined), len(known.hallu))


def _entries(listed: Sequence[str], words: Words) -> dict[str, int]:
    """Return the entry that each word names: associated words first, then the entries themselves, as in the original."""
    found: dict[str, int] = {}
    for place, word in enumerate(listed):
        for other in words.association[word]:
            found.setdefault(other, place)
    for place, word in enumerate(listed):
        found.setdefault(word, place)
    return found


def _generative(
    described: Sequence[Description], texts: Mapping[str, str], words: Words, images: Sequence[str]
) -> dict[str, Ratio]:
    rows = [count_words(texts[one.key], one, words) for one in described]
    owners = [one.image for one in described]

    def over(hits: Iterable[float], of: Iterable[float]) -> Ratio:
        return _over(images, owners, list(hits), list(of))

    return {
        "chair": over((row.flagged for row in rows), (row.words for row in rows)),
        "cover": over((row.covered for row in rows), (row.truth for row in rows)),
        "hal": over((row.flagged > 0 for row in rows), [1] * len(rows)),
        "cog": over((row.imagined for row in rows), (row.hallu for row in rows)),
    }


def parse_exact(text: str) -> Side | None:
    """Return what an answer says by AMBER's own rule: "Yes" is yes, "No" is no, with these capitals and nothing else."""
    return {"Yes": Side.YES, "No": Side.NO}.get(text)


def _discriminative(
    claims: Sequence[Claim], texts: Mapping[str, str], images: Sequence[str]
) -> dict[str, Ratio]:
    found: dict[str, Ratio] = {}
    for prefix, rule in (("", parse_exact), ("word_", parse_yes_no)):
        for dimension in ("", *dict.fromkeys(DIMENSIONS.values())):
            rows = [
                (claim.image, claim.right, rule(texts[claim.key]))
                for claim in claims
                if dimension in ("", claim.dimension)
            ]
            if not rows:
                continue
            owners = [image for image, _, _ in rows]
            hit = [right == said == Side.NO for _, right, said in rows]
            denied = [said == Side.NO for _, _, said in rows]
            no = [right == Side.NO for _, right, _ in rows]
            both = [a + b for a, b in zip(denied, no, strict=True)]
            name = f"{prefix}{dimension}{'_' if dimension else ''}"
            right = [one == said for _, one, said in rows]
            found[f"{name}accuracy"] = _over(images, owners, right, [1] * len(rows))
            found[f"{name}precision"] = _over(images, owners, hit, denied)
            found[f"{name}recall"] = _over(images, owners, hit, no)
            found[f"{name}f1"] = _over(images, owners, [2 * one for one in hit], both)
        found[f"{prefix}unparsed"] = _over(
            images, [c.image for c in claims], [rule(texts[c.key]) is None for c in claims], [1] * len(claims)
        )
    return found


def _over(images: Sequence[str], owners: Sequence[str], hits: Sequence[float], of: Sequence[float]) -> Ratio:
    """Return a percentage with one entry per image of the part, also for those without such a question."""
    return shares([*images, *owners], [*([0] * len(images)), *hits], [*([0] * len(images)), *of])


def _score(values: Numbers) -> Numbers:
    """Return (100 - CHAIR + F1) / 2 of the last axis."""
    found: Numbers = (100 - values[..., 0] + values[..., 1]) / 2
    return found


def _ratio(figure: Ratio | Formula) -> Ratio:
    return figure if isinstance(figure, Ratio) else figure.parts[0]


def _labels() -> dict[str, Label]:
    found = {
        "chair": Label("CHAIR, our words", "% of words"),
        "cover": Label("Cover, our words", "% of objects"),
        "hal": Label("Hal, our words", "% of descriptions"),
        "cog": Label("Cog, our words", "% of likely inventions"),
        "score": Label("AMBER score, our CHAIR", "0 to 100"),
    }
    for prefix, rule in (("", "AMBER's rule"), ("word_", "csrdata's rule")):
        for dimension in ("", *dict.fromkeys(DIMENSIONS.values())):
            name = f"{prefix}{dimension}{'_' if dimension else ''}"
            for key, words in (
                ("accuracy", "accuracy"),
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1", "F1"),
            ):
                found[f"{name}{key}"] = Label(f"{dimension or 'all'} {words}, {rule}", "%")
        found[f"{prefix}unparsed"] = Label(f"unreadable, {rule}", "%")
    return found


LABELS = _labels()
"""Every figure, in the order of the table."""
CHECKS = {
    **dict.fromkeys(("chair", "cover", "hal", "cog", "score"), Check.UNCHECKED),
    **{
        f"{dimension}{'_' if dimension else ''}{name}": Check.RULE
        for dimension in ("", *DIMENSIONS.values())
        for name in ("accuracy", "precision", "recall", "f1")
    },
}
"""Tagger and vectors of the original were not run, and its code does not print the score."""


def _annotated(path: Path) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return place and row of each annotation by its id."""
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for place, row in rows_of(path, what="annotations.json"):
        number = whole_at(row, "id", place)
        if number in found:
            expected = f"one annotation of each id; the first is {found[number][0]}"
            raise UserError(f"{place}: id", got=f"{number} twice", expected=expected, do=AGAIN)
        found[number] = (place, row)
    return found


def _parts_of(fact: Description | Claim) -> tuple[str, ...]:
    return (GENERATIVE,) if isinstance(fact, Description) else ("discriminative", fact.dimension)


def _fact(key: str, image: str, place: str, row: Mapping[str, Any]) -> Description | Claim:
    kind = text_at(row, "type", place, among=(GENERATIVE, *DIMENSIONS))
    if kind == GENERATIVE:
        truth, hallu = (tuple(texts_at(row, name, place)) for name in ("truth", "hallu"))
        return Description(key, image, truth, hallu)
    return Claim(key, image, DIMENSIONS[kind], Side(text_at(row, "truth", place, among=tuple(Side))))


def _check_listed(known: Description, words: Words, place: str) -> None:
    for word in (*known.truth, *known.hallu):
        if word not in words.association:
            raise UserError(
                place, got=f"{word}, which the word list lacks", expected="a word of relation.json", do=AGAIN
            )


def _read_words(relation: Path, safe_words: Path) -> Words:
    raw = whole(relation, what="relation.json, an object {word: [words]}")
    if not isinstance(raw, dict):
        raise UserError(str(relation), got=raw, expected="an object {word: [words]}", do=AGAIN)
    association = {word: tuple(texts_at(raw, word, str(relation))) for word in raw}
    if not safe_words.is_file():
        expected, do = "AMBER's safe_words.txt", "put it there, then the same command again"
        raise UserError(str(safe_words), got="no such file", expected=expected, do=do)
    safe = frozenset(line.strip() for _, line in read_lines(safe_words) if line.strip())
    listed = list(dict.fromkeys(word for key, more in association.items() for word in (key, *more)))
    forms = {plural(word): word for word in reversed(listed)} | {word: word for word in listed}
    return Words(association, safe, forms)
