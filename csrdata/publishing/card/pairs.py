"""In words for a card: what a pair is, what decided which side is chosen, and the rule that made the pairs.

What a pair is follows from the rows, so that pairs of a project's own code are described too. The rule follows from the
parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from csrdata.publishing.card.figures import Figures
from csrdata.publishing.card.markdown import Markdown, code, table
from csrdata.records import (
    CORRUPTED,
    CSR_ENDS,
    CSR_SEARCH,
    CSR_SENTENCES,
    ORACLE,
    RANDOM,
    SELF_REWARDING,
)
from csrdata.search.pairs import Form

MEANING = {
    CSR_SEARCH: ("two answers of the search", "a reward"),
    CSR_SENTENCES: ("two sentences of the search after the same beginning", "a score of the sentence"),
    CSR_ENDS: ("a sentence of the search and the end of the answer", "the evidence for the sentence"),
    RANDOM: ("two answers or sentences of the search", "chance"),
    ORACLE: ("two answers or sentences of the search", "the truth about the image"),
    SELF_REWARDING: ("two answers of the search", "the policy's own judgement, the same in both orders"),
    CORRUPTED: (
        "the best answer of the search, and the same answer with one change",
        "a rule that made the other one false",
    ),
}
"""By `Pair.origin`: what the two sides are, and what decided which one is chosen."""
OTHER = ("imported, or made by the project's own code", "not known to csrdata")


def continues(figures: Sequence[Figures]) -> bool:
    """Return whether some pair is more than two whole answers: it continues an answer, or a side of it has no end."""
    return any(count for one in figures for form, count in one.by_form.items() if form != Form.ANSWERS.value)


def what(figures: Sequence[Figures]) -> Markdown:
    """Return what a pair is, and what decided which side is chosen.

    Example: `A pair is an image, an instruction and two answers. What decided which one is chosen: a reward.`
    """
    if not continues(figures):
        sides = "two answers"
    elif any(one.by_form.get(Form.ANSWERS.value) for one in figures):
        sides = "two answers, or the beginning of an answer and two ways to continue it"
    else:
        sides = "the beginning of an answer, which may be empty, and two ways to continue it"
    names = sorted({name for one in figures for name in one.by_origin})
    deciders = "; ".join(dict.fromkeys(_meaning(name)[1] for name in names))
    return Markdown(
        f"A pair is an image, an instruction and {sides}. What decided which one is chosen: {deciders}."
    )


def origins(counts: Mapping[str, Mapping[str, int]]) -> Markdown:
    """Return the table of origins: what the pairs are, what decided, and their numbers.

    Args:
        counts: numbers of pairs by origin, by the heading of their column, such as `iteration 1`.
    """
    names = sorted({name for own in counts.values() for name in own})
    rows = [(code(name), *_meaning(name), *(own.get(name, 0) for own in counts.values())) for name in names]
    return table(("origin", "a pair is", "what decided", *counts), rows)


def rule(selection: Mapping[str, Any]) -> Markdown:
    """Return how pairs were made of candidates and answers.

    Args:
        selection: the section `select_pairs`, or a part of it.
    """
    return Markdown(_rule(selection))


def _rule(selection: Mapping[str, Any]) -> str:
    match selection["kind"]:
        case "answers":
            return _of_answers(selection)
        case "ranked":
            return _of_lists(selection)
        case "sentences":
            return _of_sentences(selection)
        case "mixed":
            return " ".join(_rule(part) for part in selection["parts"])
        case "corrupted":
            return (
                "The chosen answer is the finished one with the highest reward. A rule changed one claim in it, or added "
                f"one (seed {selection['seed']}): that is the rejected answer. The rule did not know what is in the image."
            )
        case kind if kind in WITHOUT_KEYS:
            return WITHOUT_KEYS[kind]
    raise ValueError(f"no words for pairs of kind {selection['kind']}")


WITHOUT_KEYS = {
    "judged": "The policy that wrote the answers judged two answers of a prompt, shown in both orders. Where it named the "
    "same one twice, that one is chosen; the other prompts have no pair.",
    "imported": "The pairs were imported: no policy of this project wrote them.",
}
"""How pairs are made that nothing in params.yaml changes, by kind."""


def _of_answers(selection: Mapping[str, Any]) -> str:
    by = {
        "reward": "Of a prompt's finished answers, the two with the largest difference in reward become the chosen and the "
        "rejected one",
        "random": "Two of a prompt's finished answers become the chosen and the rejected one in random order",
        "truth": "Of a prompt's finished answers, the truest and the least true become the chosen and the rejected one",
    }[selection["order"]]
    again = ""
    if selection["per_prompt"] > 1:
        again = f" The other answers give more pairs by the same rule, up to {selection['per_prompt']} for a prompt."
    excluded = " An answer whose tokens change when its text is tokenized again is excluded."
    return f"{by}{_conditions(selection)}.{again}{excluded}"


def _of_lists(selection: Mapping[str, Any]) -> str:
    return (
        f"Of a prompt's finished answers in the order of their rewards, {selection['answers']} are listed: the best, the "
        f"worst, and evenly spaced ones between. Every two of them make a pair{_conditions(selection)}. An answer whose "
        "tokens change when its text is tokenized again is excluded."
    )


def _conditions(selection: Mapping[str, Any]) -> str:
    """Return the conditions on pairs of answers, in brackets."""
    found = []
    if selection["margin"] and selection.get("order", "reward") == "reward":
        found.append(f"at least {selection['margin']:g} apart")
    if selection["max_length_gap"] < 1:
        found.append(
            f"in words, not more than {100 * selection['max_length_gap']:g}% shorter than the longer"
        )
    if selection.get("length_balance") is not None:
        found.append(f"mean lengths over the set within {selection['length_balance']:g} words")
    return f" ({'; '.join(found)})" if found else ""


def _of_sentences(selection: Mapping[str, Any]) -> str:
    by_evidence = selection["order"] == "evidence"
    again = f"the {selection['per_prompt']} beginnings of a prompt where they differ most give a pair each."
    if by_evidence:
        text = (
            "Evidence for a sentence is its R_I minus its mean R_I with images of other prompts. Of the sentences of the "
            "search that continue the same beginning of an answer, the most probable one with at least "
            f"{selection['chosen_share']:g} of the most evidence becomes the chosen side, and the most probable one with at "
            f"most {selection['rejected_share']:g} of it the rejected side, if they are at least {selection['min_gap']:g} "
            f"apart; {again}"
        )
    else:
        order = {
            "relevance": "relevance R_I",
            "reward": "reward",
            "random": "random number",
            "truth": "truth",
        }
        scaled = selection["order"] not in {"random", "truth"}
        gap = f", at least {selection['min_gap']:g} apart" if scaled else ""
        text = (
            "Of the sentences of the search that continue the same beginning of an answer, the one with the highest and the "
            f"one with the lowest {order[selection['order']]} become the chosen and the rejected side{gap}; {again}"
        )
    if selection["repetition_threshold"] is not None:
        of = "has no evidence" if by_evidence else "is no side"
        text += f" A sentence that repeats an earlier one {of}."
    return text + _of_ends(selection, defined=by_evidence)


def _of_ends(selection: Mapping[str, Any], *, defined: bool) -> str:
    """Return how pairs with the end are made; `defined`: whether the text has said what evidence is."""
    if selection["ends"] == "none":
        return ""
    meaning = "" if defined else ", R_I minus the mean R_I with images of other prompts,"
    wins = (
        f"it wins against the most probable sentence if every sentence's evidence{meaning} is at most "
        f"{-selection['end_gap']:g}"
    )
    loses = f"it loses to the sentence with the most evidence if that is at least {selection['end_gap']:g}"
    rule = f"{wins}; {loses}" if selection["ends"] == "evidence" else wins
    most = selection.get("ends_per_prompt") or selection["per_prompt"]
    return (
        f" Where the policy proposed to end the answer, its end is a side too: {rule}. A prompt has at most {most} of these "
        "pairs."
    )


def _meaning(origin: str) -> tuple[str, str]:
    return MEANING.get(origin, OTHER)
