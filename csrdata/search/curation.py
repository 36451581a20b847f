"""Removing pairs by hand: by labels of a reader, and by an expression over the columns of a pair.

An expression is a condition such as `margin >= 0.5 and not "fog" in chosen`: comparisons, `and`, `or`, `not`, `in` (a text
within a text), `+ - * /` on numbers, parentheses, numbers, texts in quotes, and the names of `COLUMNS`. It is parsed into a
tree whose every node is checked; nothing of it is run as Python. A value that a pair does not have is unknown, and so is any
value computed from it; a pair stays only where the condition is true.
"""

import ast
import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from csrdata.errors import UserError
from csrdata.records import Dropped, DropReason, Pair
from csrdata.search.pairs import Outcome, numbered

LONGEST = 1000
"""The most characters of an expression."""
DEEPEST = 50
"""The deepest nesting of an expression."""

TEXTS = ("prompt_id", "image", "prompt", "context", "chosen", "rejected", "origin")
NUMBERS = (
    "number",
    "margin",
    "chosen_reward",
    "rejected_reward",
    "chosen_reward_held_out",
    "rejected_reward_held_out",
    "chosen_relevance",
    "rejected_relevance",
    "chosen_logprob",
    "rejected_logprob",
    "chosen_tokens",
    "rejected_tokens",
    "chosen_words",
    "rejected_words",
)
CONDITIONS = ("chosen_complete", "rejected_complete")
COLUMNS = (*TEXTS, *NUMBERS, *CONDITIONS)

Value = float | str | bool | None
Key = tuple[str, int]
"""A pair by `prompt_id` and `number`."""


class Label(StrEnum):
    """What a reader said of a pair."""

    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"


class Sort(StrEnum):
    """What a part of an expression is."""

    NUMBER = "a number"
    TEXT = "a text"
    CONDITION = "a condition"


@dataclass(frozen=True, slots=True)
class _Part:
    sort: Sort
    of: Callable[[Pair], Value]


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPUTE: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed expression."""

    text: str
    of: Callable[[Pair], Value]
    """Return True, False, or None where it is unknown."""


def parse_condition(text: str, *, place: str, do: str) -> Condition:
    """Return the condition that an expression states.

    Args:
        text: the expression.
        place, do: of an error.

    Raises:
        UserError: it is too long or too deep, not an expression, names an unknown column, or mixes numbers and texts.

    Example: `parse_condition("margin > 0.5", ...).of(pair)` -> True
    """
    error = _Refusal(place, do)
    if len(text) > LONGEST:
        raise error.of(f"{len(text):,} characters", f"at most {LONGEST:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise error.of(text, "a condition, such as margin >= 0.5 and chosen_words < 40") from None
    part = _part(tree.body, error, depth=0)
    if part.sort is not Sort.CONDITION:
        raise error.of(f"{part.sort}: {text}", "a condition, such as margin >= 0.5")
    return Condition(text.strip(), part.of)


@dataclass(frozen=True, slots=True)
class _Refusal:
    place: str
    do: str

    def of(self, got: object, expected: str) -> UserError:
        return UserError(self.place, got=got, expected=expected, do=self.do)


def _part(node: ast.expr, error: _Refusal, *, depth: int) -> _Part:
    """Return what a node means; every kind that is not listed is refused."""
    if depth > DEEPEST:
        raise error.of("deeper nesting", f"at most {DEEPEST} levels")
    match node:
        case ast.Name(id=name):
            return _column(name, error)
        case ast.Constant(value=value):
            return _constant(value, error)
        case ast.UnaryOp() | ast.BoolOp():
            found = _logic(node, error, depth=depth + 1)
        case ast.BinOp() | ast.Compare():
            found = _comparison(node, error, depth=depth + 1)
        case _:
            found = None
    if found is None:
        expected = "columns, numbers, texts, comparisons, and, or, not, in, + - * / and parentheses"
        raise error.of(ast.unparse(node), expected)
    return found


def _inner(node: ast.expr, sort: Sort, error: _Refusal, *, depth: int) -> Callable[[Pair], Value]:
    """Return what a part means, which must be of a sort."""
    part = _part(node, error, depth=depth)
    if part.sort is not sort:
        raise error.of(f"{part.sort}: {ast.unparse(node)}", str(sort))
    return part.of


def _logic(node: ast.UnaryOp | ast.BoolOp, error: _Refusal, *, depth: int) -> _Part | None:
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            condition = _inner(operand, Sort.CONDITION, error, depth=depth)
            return _Part(Sort.CONDITION, lambda pair: None if (got := condition(pair)) is None else not got)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _inner(operand, Sort.NUMBER, error, depth=depth)
            return _Part(Sort.NUMBER, lambda pair: None if (got := number(pair)) is None else -float(got))
        case ast.BoolOp(op=how, values=parts):
            decides = isinstance(how, ast.Or)
            conditions = [_inner(one, Sort.CONDITION, error, depth=depth) for one in parts]
            return _Part(
                Sort.CONDITION, lambda pair: _joined([one(pair) for one in conditions], decides=decides)
            )
    return None


def _comparison(node: ast.BinOp | ast.Compare, error: _Refusal, *, depth: int) -> _Part | None:
    match node:
        case ast.BinOp(left=left, op=how, right=right) if type(how) in _COMPUTE:
            compute = _COMPUTE[type(how)]
            one, other = (_inner(side, Sort.NUMBER, error, depth=depth) for side in (left, right))
            return _Part(Sort.NUMBER, lambda pair: _computed(compute, one(pair), other(pair)))
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as how], comparators=[right]):
            part, whole = (_inner(side, Sort.TEXT, error, depth=depth) for side in (left, right))
            wanted = isinstance(how, ast.In)
            return _Part(Sort.CONDITION, lambda pair: _within(part(pair), whole(pair), wanted=wanted))
        case ast.Compare(left=left, ops=[how], comparators=[right]) if type(how) in _COMPARE:
            sort = _part(left, error, depth=depth).sort
            compare = _COMPARE[type(how)]
            one, other = (_inner(side, sort, error, depth=depth) for side in (left, right))
            return _Part(Sort.CONDITION, lambda pair: _compared(compare, one(pair), other(pair)))
    return None


def _column(name: str, error: _Refusal) -> _Part:
    if name in TEXTS:
        return _Part(Sort.TEXT, operator.attrgetter(name))
    if name in CONDITIONS:
        return _Part(Sort.CONDITION, operator.attrgetter(name))
    if name in NUMBERS:
        where = name if name == "number" else f"scores.{name}"
        return _Part(Sort.NUMBER, operator.attrgetter(where))
    raise error.of(f"the name {name}", f"a column: {', '.join(COLUMNS)}")


def _constant(value: object, error: _Refusal) -> _Part:
    if isinstance(value, str):
        return _Part(Sort.TEXT, lambda _: value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise error.of("a number of hundreds of digits", "a smaller number") from None
        return _Part(Sort.NUMBER, lambda _: number)
    raise error.of(value, "numbers and texts in quotes")


def _joined(values: Sequence[Value], *, decides: bool) -> bool | None:
    """Return `or` (decides=True) or `and` (False): a value that decides settles it, else an unknown one leaves it open."""
    if decides in values:
        return decides
    return None if None in values else not decides


def _computed(compute: Callable[[float, float], float], one: Value, other: Value) -> float | None:
    if one is None or other is None:
        return None
    try:
        return compute(float(one), float(other))
    except ArithmeticError:
        return None


def _compared(compare: Callable[[Any, Any], bool], one: Value, other: Value) -> bool | None:
    return None if one is None or other is None else compare(one, other)


def _within(part: Value, whole: Value, *, wanted: bool) -> bool | None:
    if part is None or whole is None:
        return None
    return (str(part) in str(whole)) is wanted


def curate(
    outcomes: Iterable[Outcome],
    *,
    labels: Mapping[Key, Label],
    drop_labels: Sequence[Label],
    where: Condition | None,
) -> tuple[list[Outcome], dict[str, int]]:
    """Return the outcomes without the pairs that are taken out, and how many were, by reason.

    Each pair that is taken out is a `Dropped` with its reason; the detail has its number before curation. The pairs that a
    prompt keeps get new numbers.

    Args:
        outcomes: of every prompt: pairs, or one reason.
        labels: what a reader said, by prompt and number of the pair.
        drop_labels: pairs with these labels are taken out.
        where: pairs for which this is not true are taken out; None keeps them.
    """
    by_prompt: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_prompt.setdefault(outcome.prompt_id, []).append(outcome)
    found: list[Outcome] = []
    counts: Counter[str] = Counter()
    for own in by_prompt.values():
        pairs = [one for one in own if isinstance(one, Pair)]
        why = [_why_not(pair, labels, drop_labels, where) for pair in pairs]
        counts.update(reason.value for reason, _ in filter(None, why))
        staying = [pair for pair, reason in zip(pairs, why, strict=True) if reason is None]
        found += [one for one in own if isinstance(one, Dropped)]
        found += numbered(staying)
        found += [
            Dropped(pair.prompt_id, reason[0].value, reason[1])
            for pair, reason in zip(pairs, why, strict=True)
            if reason is not None
        ]
    return found, dict(counts)


def _why_not(
    pair: Pair, labels: Mapping[Key, Label], drop_labels: Sequence[Label], where: Condition | None
) -> tuple[DropReason, str] | None:
    """Return why a pair is taken out, with the details; None if it stays."""
    label = labels.get((pair.prompt_id, pair.number))
    if label is not None and label in drop_labels:
        return DropReason.LABEL, f"pair {pair.number} is labelled {label}"
    if where is None or (got := where.of(pair)):
        return None
    state = "unknown" if got is None else "not true"
    return DropReason.WHERE, f"pair {pair.number}: {state}: {where.text}"
