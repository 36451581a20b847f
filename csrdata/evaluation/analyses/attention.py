"""How much of its attention a policy gives to the image while it describes it, before and after training (Figure 6).

    image_attention.csv             iteration,answers,count,mean,p10,p25,p50,p75,p90
    image_attention_by_token.csv    iteration,answers,token,count,mean,p10,p25,p50,p75,p90

The share, 0..1, is a mean over layers and heads (`csrdata.policy.image_attention`). The first table is about the mean share
of an answer, the second one about a token of the answers, from 1. `answers` is `own`, or `of_base`: the base's answers,
under another policy. On equal texts two policies differ in their weights alone; on own ones also in what they say. A token
that fewer than half of the answers reach is left out: it would be about long answers alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from csrdata.evaluation.analyses.spread import SPREAD_COLUMNS, spread
from csrdata.evaluation.plots import Row
from csrdata.records import ImageAttention

OWN, OF_BASE = "own", "of_base"
"""Whose answers a policy's attention was measured on."""
NAME, BY_TOKEN = "image_attention", "image_attention_by_token"
COLUMNS = ("iteration", "answers", *SPREAD_COLUMNS)
TOKEN_COLUMNS = ("iteration", "answers", "token", *SPREAD_COLUMNS)

Attentions = Mapping[str, Sequence[ImageAttention]]
"""By policy, the base first."""


def attention_rows(found: Attentions) -> list[Row]:
    """Return a row for each policy and kind of answers; the base's answers are the base's own."""
    return [
        {"iteration": name, "answers": of, **spread([fmean(own) for own in answers.values()])}
        for name, of, answers in _answers(found)
    ]


def token_rows(found: Attentions) -> list[Row]:
    """Return a row for each policy, kind of answers and token that half of these answers or more reach."""
    rows: list[Row] = []
    for name, of, answers in _answers(found):
        longest = max(map(len, answers.values()))
        for position in range(longest):
            shares = [own[position] for own in answers.values() if position < len(own)]
            if 2 * len(shares) >= len(answers):
                rows.append({"iteration": name, "answers": of, "token": position + 1, **spread(shares)})
    return rows


def _answers(found: Attentions) -> list[tuple[str, str, dict[str, list[float]]]]:
    """Return, for each policy and kind of answers, the shares of each answer by its question, in the order of its tokens."""
    entries = []
    for name, rows in found.items():
        for of in (OWN, OF_BASE):
            answers = defaultdict(list)
            for row in sorted((row for row in rows if row.of == of), key=lambda row: row.position):
                answers[row.question_id].append(row.share)
            if answers:
                entries.append((name, of, dict(answers)))
    return entries
