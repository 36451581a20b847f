"""Rules for the values of tables, by record and column; they are checked whenever a table is read.

A schema says that a column holds numbers. It does not say that a probability is at most 1, that a text is short enough to
be tokenised, or that a search tree has no loops. `RULES` says this for every record. A rule is a polars expression over
whole columns: a million sentences take less than a second. The first broken rule is reported with its row and column.

Relations between tables (does a pair's leaf exist?) are checked by the code that reads both.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from csrdata.errors import UserError
from csrdata.records import (
    BY_HAND,
    CSR_SEARCH,
    NO_PARENT,
    Answer,
    BiasedAnswer,
    Dropped,
    DropReason,
    Fate,
    ImageAttention,
    ImageFile,
    Kind,
    LeaveReason,
    LeftOut,
    Pair,
    Prompt,
    Question,
    Record,
    Response,
    Sentence,
    Side,
    Signal,
    Stop,
    Truth,
    Verdict,
    Winner,
    Wording,
)
from csrdata.storage.rules import (
    Rule,
    at_most,
    between,
    blank,
    has_null,
    items_at_most,
    once,
    one_of,
    whole,
)

MAX_NAME = 256
"""The most characters of an id or a split's name: they occur in file names (at most 255 bytes) and in error lines."""
MAX_PATH = 1024
"""The most characters of an image's path: file systems allow 4,096 bytes, and a character takes up to 4."""
MAX_PROMPT = 16_384
"""The most characters of an instruction: about 4,000 English tokens, the whole context of LLaVA-1.5. Memory grows with the
square of the number of tokens: a prompt of 1 MB took 8 GB and ten minutes."""
MAX_TOKENS = 16_384
"""The most tokens of a sentence or an answer: 16 times the paper's limit (1,024)."""
MAX_TEXT = 131_072
"""The most characters of a sentence, an answer or a detail: 8 per token of `MAX_TOKENS`; English has 4 to 5 per token."""
MAX_OBJECTS = 1000
"""The most objects of one image: photographs of COCO have at most about 90."""
ROUNDING = 1e-4
"""How far a score may exceed its range: the cosine of two float32 vectors of length 1 can be 1.000001."""
LOGPROB_ROUNDING = 1e-6
"""Nats by which a log-probability may exceed 0: the rounding error of a softmax for a token of probability 1."""

NEGATIVES = ("random", "popular", "adversarial")
"""How the absent object of a "no" question was chosen (POPE)."""


def check_values(table: pl.DataFrame, record: Record, *, place: str, made_by: str) -> None:
    """Validate the values of a table that has its record's columns and types.

    Args:
        table: the rows of one file, or of all files of a folder in the order of their names, as rules on order and
            uniqueness hold for a whole table.
        record: the type of its rows.
        place: the file, for the error.
        made_by: the command that makes the table, as an error's next command.

    Raises:
        UserError: a value breaks a rule (the error counts rows from 0), or the table is empty and must not be.
    """
    if not len(table):
        if record in NEVER_EMPTY:
            raise UserError(place, got="no rows", expected=f"1 {record.__name__.lower()} or more", do=made_by)
        return
    rules = [(column, rule) for column, own in RULES[record].items() for rule in own]
    broken = table.select(
        rule.broken(rule.tested(column)).fill_null(value=False).any().alias(str(number))
        for number, (column, rule) in enumerate(rules)
    ).row(0)
    for (column, rule), is_broken in zip(rules, broken, strict=True):
        if is_broken:
            rows = table.select(rule.broken(pl.col(column)).fill_null(value=False)).to_series()
            row = int(rows.arg_true()[0])
            value = table[column][row]
            got = rule.show(value.to_list() if isinstance(value, pl.Series) else value)
            raise UserError(
                f"{place}: row {row}: column {column}", got=got, expected=rule.expected, do=made_by
            )


def _parent(column: str) -> pl.Expr:
    """Return the value of a column in the row of each sentence's parent; for a first sentence, the value is meaningless.

    Node ids count up from 0 within a prompt, so a parent is `node_id - parent_id` rows above.
    """
    row = pl.int_range(pl.len()) - pl.col("node_id") + pl.col("parent_id")
    return pl.col(column).gather(row.clip(0, pl.len().cast(pl.Int64) - 1))


def _only_where(known: str) -> Rule:
    """Return the rule that a column is null where another one is."""
    return Rule(f"null where {known} is null", lambda column: column.is_not_null() & pl.col(known).is_null())


def _continuation(complete: str) -> Rule:
    """Return the rule that a side of a pair has words; the end of an answer that was begun has none."""
    return Rule(
        f"a text with words in it, or an empty one where {complete} is true and context has words",
        lambda column: blank(column) & ~(pl.col(complete) & (column == "") & ~blank(pl.col("context"))),
    )


def _end(complete: str) -> Rule:
    """Return the rule that a side of a pair that does not end the answer has no token that ended it."""
    return Rule(f"null where {complete} is false", lambda column: column.is_not_null() & ~pl.col(complete))


_IS_FIRST = pl.col("parent_id") == NO_PARENT
_HAS_WORDS = ~blank(pl.col("text"))
_REFUSALS = [Stop.BAD_IMAGE.value, Stop.TOO_LONG.value]
_IS_REFUSED = pl.col("fate") == Fate.REFUSED.value
_IS_SCORED = _HAS_WORDS & ~_IS_REFUSED
_STARTS_TREE = (pl.col("prompt_id") != pl.col("prompt_id").shift(1)).fill_null(value=True)
_CONTINUED = [Fate.KEPT_BEST.value, Fate.KEPT_WORST.value]
_IS_YES_NO = pl.col("kind") == Kind.YES_NO.value

WORDS = Rule("a text with words in it", blank)
NO_NUL = Rule("a text without NUL characters", lambda column: column.str.contains("\0", literal=True))
PLAIN = Rule("no control characters", lambda column: column.str.contains(r"\p{Cc}"), alone=True)
ID = (Rule("an id", blank, alone=True), PLAIN, at_most(MAX_NAME, alone=True))
PATH = (Rule("the path of an image", blank), PLAIN, at_most(MAX_PATH))
NAME = (
    Rule("a name of letters, digits, _, - and .", lambda column: ~column.str.contains(r"^\w[\w.-]*$")),
    at_most(MAX_NAME),
)
TEXT = (at_most(MAX_TEXT),)
"""Text of a policy: any Unicode character, even NUL, which a byte-level tokenizer can produce."""
COUNT = (whole(0),)
TOKENS = (whole(1, MAX_TOKENS),)
FINITE = (Rule("a finite number", lambda column: ~column.is_finite()),)
SCORE = (between(0, 100, "a number of 0..100", rounding=ROUNDING),)
SHARE = (between(0, 1, "a number of 0..1", rounding=ROUNDING),)
LOGPROB = (
    Rule(
        "a finite log-probability, at most 0",
        lambda column: ~column.is_finite() | (column > LOGPROB_ROUNDING),
    ),
)

_SCORE_TOO = Rule("a score", lambda column: column.is_null() & pl.col("relevance").is_not_null())
"""For columns behind `relevance`, whose own rule says where a score is due."""

NEVER_EMPTY: frozenset[Record] = frozenset({Prompt})
"""Tables that must have rows. Any other table may be empty, for example if no prompt gave a pair, or no truth is known."""

RULES: Mapping[Record, Mapping[str, Sequence[Rule]]] = {
    Prompt: {
        "prompt_id": (
            *ID,
            Rule("ids in ascending order, each once", lambda column: column <= column.shift(1)),
        ),
        "image": PATH,
        "text": (WORDS, at_most(MAX_PROMPT), NO_NUL),
    },
    Wording: {
        "text": (WORDS, at_most(MAX_PROMPT), NO_NUL, once("text")),
        "rendered": (
            at_most(MAX_TEXT),
            Rule(
                "a prompt with the instruction in it",
                lambda column: ~column.str.contains(pl.col("text").str.strip_chars(), literal=True),
            ),
        ),
    },
    LeftOut: {
        "record_id": (*ID, once("record_id", "split")),
        "split": NAME,
        "image": PATH,
        "reason": (one_of(LeaveReason),),
        "detail": TEXT,
    },
    ImageFile: {
        "image": (*PATH, once("image")),
        "sha256": (
            Rule("64 hex digits in lower case", lambda column: ~column.str.contains("^[0-9a-f]{64}$")),
        ),
        "bytes": (whole(1),),
        "width": (whole(1),),
        "height": (whole(1),),
    },
    Sentence: {
        "prompt_id": (
            *ID,
            Rule(
                "prompts in ascending order, each with all its rows", lambda column: column < column.shift(1)
            ),
        ),
        "node_id": (
            Rule(
                "0 in a prompt's first row, and 1 more in each row after it",
                lambda column: column != pl.when(_STARTS_TREE).then(0).otherwise(column.shift(1) + 1),
            ),
        ),
        "stop": (one_of(Stop),),
        "fate": (
            one_of(Fate),
            Rule(
                f"{Fate.FINISHED.value} where stop is {Stop.END.value}, and nowhere else",
                lambda column: (column == Fate.FINISHED.value) != (pl.col("stop") == Stop.END.value),
            ),
            Rule(
                f"{Fate.REFUSED.value} where stop is {' or '.join(_REFUSALS)}, and nowhere else",
                lambda column: (column == Fate.REFUSED.value) != pl.col("stop").is_in(_REFUSALS),
            ),
            Rule(
                f"no other row of the prompt where fate is {Fate.REFUSED.value}",
                lambda _: _IS_REFUSED & (~_STARTS_TREE | ~_STARTS_TREE.shift(-1).fill_null(value=True)),
            ),
        ),
        "parent_id": (
            Rule(
                f"the node_id of an earlier sentence, or {NO_PARENT}",
                lambda column: (column < NO_PARENT) | (column >= pl.col("node_id")),
            ),
            Rule(
                "a sentence that was kept",
                lambda _: ~_IS_FIRST & ~_parent("fate").is_in(_CONTINUED),
            ),
        ),
        "depth": (
            Rule(
                "1 for a first sentence, else 1 more than its parent's",
                lambda column: column != pl.when(_IS_FIRST).then(1).otherwise(_parent("depth") + 1),
            ),
        ),
        "group": COUNT,
        "text": TEXT,
        "token_ids": (
            Rule(
                f"1 token or more, and none where fate is {Fate.REFUSED.value}",
                lambda column: (column.list.len() == 0) != _IS_REFUSED,
            ),
            items_at_most(MAX_TOKENS, "tokens"),
            Rule("token ids of 0 or more", lambda column: column.list.min() < 0),
            Rule("no nulls", has_null),
        ),
        "logprob": LOGPROB,
        "relevance": (
            *SCORE,
            Rule(
                f"null where the text is empty or fate is {Fate.REFUSED.value}, else a score",
                lambda column: column.is_null() == _IS_SCORED,
            ),
        ),
        "repetition": (*SHARE, _SCORE_TOO),
        "guidance_reward": (*FINITE, _SCORE_TOO),
        "canonical": (
            Rule(
                f"null where fate is {Fate.REFUSED.value}, else true or false",
                lambda column: column.is_null() != _IS_REFUSED,
            ),
        ),
    },
    Response: {
        "prompt_id": ID,
        "leaf_id": (*COUNT, once("prompt_id", "leaf_id")),
        "text": TEXT,
        "words": COUNT,
        "sentences": COUNT,
        "tokens": TOKENS,
        "logprob": LOGPROB,
        "reward": FINITE,
        "likelihood": FINITE,
        "relevance": SCORE,
        "relevance_held_out": SCORE,
        "reward_held_out": FINITE,
        "end": (
            Rule(
                "null for an answer that is not finished",
                lambda column: column.is_not_null() & ~pl.col("finished"),
            ),
            *COUNT,
        ),
    },
    Signal: {
        "prompt_id": (*ID, once("prompt_id", "node_id", "name")),
        "node_id": COUNT,
        "name": NAME,
        "value": SCORE,
    },
    Verdict: {
        "prompt_id": (*ID, once("prompt_id")),
        "first_leaf": COUNT,
        "second_leaf": (
            *COUNT,
            Rule("another leaf than first_leaf", lambda leaf: leaf == pl.col("first_leaf")),
        ),
        "forward": (one_of(Winner),),
        "backward": (one_of(Winner),),
        "forward_margin": (*FINITE, _only_where("forward")),
        "backward_margin": (*FINITE, _only_where("backward")),
    },
    Pair: {
        "prompt_id": (*ID, once("prompt_id", "number")),
        "number": (
            *COUNT,
            Rule("0, 1, ... for the pairs of a prompt", lambda column: column >= pl.len().over("prompt_id")),
        ),
        "image": PATH,
        "prompt": (WORDS, at_most(MAX_PROMPT), NO_NUL),
        "context": TEXT,
        "chosen": (_continuation("chosen_complete"), *TEXT),
        "rejected": (
            _continuation("rejected_complete"),
            *TEXT,
            Rule(
                "another text than chosen",
                lambda column: (
                    (column.str.strip_chars() == pl.col("chosen").str.strip_chars())
                    & (pl.col("chosen_complete") == pl.col("rejected_complete"))
                ),
            ),
        ),
        "origin": (
            Rule(
                "a name of a-z, 0-9 and _ that begins with a letter, at most 64 characters",
                lambda column: ~column.str.contains(r"^[a-z][a-z0-9_]{0,63}$"),
            ),
        ),
        "chosen_leaf": COUNT,
        "rejected_leaf": (
            *COUNT,
            Rule("another leaf than chosen_leaf", lambda leaf: leaf == pl.col("chosen_leaf")),
        ),
        "chosen_reward": FINITE,
        "rejected_reward": FINITE,
        "margin": (
            *FINITE,
            Rule("0 or more", lambda column: column < 0),
            Rule(
                f"chosen_reward - rejected_reward where origin is {CSR_SEARCH}",
                lambda column: (
                    ~column.is_close(pl.col("chosen_reward") - pl.col("rejected_reward"), abs_tol=1e-9)
                    & (pl.col("origin") == CSR_SEARCH)
                ),
            ),
        ),
        "chosen_reward_held_out": FINITE,
        "rejected_reward_held_out": FINITE,
        "chosen_relevance": SCORE,
        "rejected_relevance": SCORE,
        "chosen_logprob": LOGPROB,
        "rejected_logprob": LOGPROB,
        "chosen_tokens": TOKENS,
        "rejected_tokens": TOKENS,
        "chosen_words": COUNT,
        "rejected_words": COUNT,
        "chosen_end": (_end("chosen_complete"), *COUNT),
        "rejected_end": (_end("rejected_complete"), *COUNT),
    },
    Dropped: {
        "prompt_id": (
            *ID,
            Rule(
                "one row for each prompt_id, or one for each pair that curation took out",
                lambda column: (
                    pl.when(pl.col("reason").is_in([reason.value for reason in BY_HAND]).all().over(column))
                    .then(~pl.struct(column, "detail").is_first_distinct())
                    .otherwise(~column.is_first_distinct())
                ),
            ),
        ),
        "reason": (one_of(DropReason),),
        "detail": TEXT,
    },
    Truth: {
        "image": (*PATH, once("image", "split")),
        "split": NAME,
        "objects": (
            items_at_most(MAX_OBJECTS, "objects"),
            Rule(
                f"names of 1 to {MAX_NAME} characters",
                lambda column: (
                    (column.list.eval(pl.element().str.len_chars()).list.min() == 0)
                    | (column.list.eval(pl.element().str.len_chars()).list.max() > MAX_NAME)
                    | has_null(column)
                ),
            ),
        ),
        "detail": TEXT,
    },
    Question: {
        "question_id": (*ID, once("question_id")),
        "split": NAME,
        "kind": (one_of(Kind),),
        "image": PATH,
        "text": (WORDS, at_most(MAX_PROMPT), NO_NUL),
        "answer": (
            Rule(
                "yes or no for a yes/no question, else null",
                lambda column: (
                    pl.when(_IS_YES_NO)
                    .then(~column.fill_null("").is_in([side.value for side in Side]))
                    .otherwise(column.is_not_null())
                ),
            ),
        ),
        "negative": (
            Rule(
                f"one of {', '.join(NEGATIVES)} for a question whose answer is no, else null",
                lambda column: (
                    column.is_not_null()
                    & ~(column.is_in(NEGATIVES) & (pl.col("answer").fill_null("") == Side.NO.value))
                ),
            ),
        ),
    },
    Answer: {
        "question_id": (*ID, once("question_id")),
        "text": TEXT,
        "tokens": (whole(0, MAX_TOKENS),),
        "logprob_base": LOGPROB,
        "relevance": SCORE,
        "relevance_held_out": SCORE,
    },
    BiasedAnswer: {
        "question_id": (*ID, once("question_id", "bias")),
        "bias": FINITE,
        "text": TEXT,
        "tokens": (whole(0, MAX_TOKENS),),
    },
    ImageAttention: {
        "question_id": (*ID, once("question_id", "of", "position")),
        "of": NAME,
        "position": (whole(0, MAX_TOKENS),),
        "share": SHARE,
    },
}
"""The rules of every column of every record, in the order in which they are checked. Boolean columns need none."""
