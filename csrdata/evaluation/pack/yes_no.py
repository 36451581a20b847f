"""Yes/no questions of several benchmarks: one set of figures by each rule of reading an answer.

Besides the rules of `csrdata.evaluation.pope`, `parse_substring` is that of RePOPE and DASH-B: any "yes" in the answer, also
inside a word, else any "no". "I do not know" says no by it, and "I see yesterday's paper" yes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.evaluation.intervals import Ratio
from csrdata.evaluation.pope import YesNoAnswer, figures_of, parse_keyword, parse_strict, parse_yes_no
from csrdata.evaluation.scorecard import Label
from csrdata.records import Side

Rule = Callable[[str], Side | None]


@dataclass(frozen=True, slots=True)
class Fact:
    """A yes/no question's right answer, and what it is counted with."""

    key: str
    owner: str
    """The image, or what else is drawn together."""
    right: Side


def parse_substring(text: str) -> Side | None:
    """Return what an answer says by the rule of RePOPE and DASH-B.

    Examples: "Yes, a dog." -> yes; "There is nothing." -> no; "A dog." -> None
    """
    lower = text.lower()
    if "yes" in lower:
        return Side.YES
    return Side.NO if "no" in lower else None


ORIGINAL, KEYWORD, STRICT, OURS = "", "keyword_", "strict_", "word_"
RULES: Mapping[str, tuple[Rule, str]] = {
    KEYWORD: (parse_keyword, "POPE's keyword rule"),
    STRICT: (parse_strict, "strict match"),
    OURS: (parse_yes_no, "csrdata's rule"),
}
"""By the prefix of their figures: the rule and its name."""


def said(facts: Sequence[Fact], texts: Mapping[str, str], rule: Rule) -> list[YesNoAnswer]:
    """Return what each answer says, by a rule."""
    return [YesNoAnswer(fact.owner, fact.right, rule(texts[fact.key])) for fact in facts]


def by_rules(
    facts: Sequence[Fact], texts: Mapping[str, str], *, owners: Sequence[str] | None = None
) -> dict[str, Ratio]:
    """Return accuracy, F1, yes-rate and unreadable answers by each of `RULES`, one entry per owner.

    Args:
        facts: of the questions.
        texts: the answers, by key.
        owners: all of them, in the order of the entries; None: those of the facts.
    """
    owners = list(dict.fromkeys(fact.owner for fact in facts)) if owners is None else owners
    return {
        f"{prefix}{name}": figure
        for prefix, (rule, _) in RULES.items()
        for name, figure in figures_of(said(facts, texts, rule), owners).items()
        if not (rule is parse_keyword and name == "unparsed")
    }


def labels() -> dict[str, Label]:
    """Return the titles of what `by_rules` gives."""
    names = {"accuracy": "accuracy", "f1": "F1", "yes_rate": "yes-rate", "unparsed": "unreadable"}
    return {
        f"{prefix}{name}": Label(f"{words}, {title}", "%")
        for prefix, (_, title) in RULES.items()
        for name, words in names.items()
        if not (prefix == KEYWORD and name == "unparsed")
    }
