"""The vocabulary: what the stages hand to each other, one frozen record and one Parquet schema each.

All other code exchanges these records; they know no model, file or stage. A record's schema is derived from its fields,
so that the two cannot drift apart. `csrdata.storage.values` says what its values must be; every reading checks it.

Order: prompts are in ascending order of their ids, and so are the prompts of sentences, each with all its rows. The rows
of any other table may be in any order; readers match them by id.

The search tree is flat: every candidate sentence is a row with its parent's id (`NO_PARENT` for a first
sentence), never an object that points at others. A response is a path from a first sentence to a leaf.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass
from enum import StrEnum

NO_PARENT = -1
"""Parent id of a sentence that opens its response."""


class Stop(StrEnum):
    """Why the decoding of a sentence stopped."""

    SENTENCE_END = "sentence_end"
    """The text reached the end of a sentence."""
    END = "end"
    """The model chose end-of-sequence: as the first token (the response had ended) or inside the sentence."""
    SENTENCE_LIMIT = "sentence_limit"
    """The sentence reached the limit of tokens for one sentence."""
    RESPONSE_LIMIT = "response_limit"
    """The response reached its limit of tokens."""


class Fate(StrEnum):
    """What became of a candidate at its depth of the search."""

    KEPT_BEST = "kept_best"
    """Among the `keep_best` highest rewards of its depth: later sentences continue it."""
    KEPT_WORST = "kept_worst"
    """Among the `keep_worst` lowest rewards of its depth: later sentences continue it, as a plausible loser."""
    PRUNED = "pruned"
    """Between the best and the worst: the search dropped it."""
    FINISHED = "finished"
    """Its response ended with end-of-sequence: never pruned."""
    CUT = "cut"
    """Its response reached a limit of tokens or sentences before it ended: incomplete, never part of a pair."""


class Kind(StrEnum):
    """What an evaluation question asks for."""

    DESCRIBE = "describe"
    YES_NO = "yes_no"


class Side(StrEnum):
    """The right answer to a yes/no question."""

    YES = "yes"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Prompt:
    """An image and an instruction that the policy answers; the same in every iteration. A table has one row or more."""

    prompt_id: str
    """Unique. The rows of a table are in ascending order of it: `train-00017`."""
    image: str
    """Path of the image file, POSIX, relative to the project's root."""
    text: str
    """The instruction alone: no image placeholder, no chat template."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One candidate sentence: a node of its prompt's search tree (Algorithm 1).

    The *end* is the candidate whose first token is end-of-sequence: `text` is empty, `relevance` is null. A table holds
    whole trees: the prompts in ascending order of their ids, the rows of a prompt together, by `node_id`.
    """

    prompt_id: str
    node_id: int
    """Position in the prompt's tree, 0 upwards in the order of creation, without a gap."""
    parent_id: int
    """`node_id` of the sentence before it, smaller than its own, or `NO_PARENT`. A parent was kept by the search."""
    depth: int
    """1 for a first sentence, else 1 more than its parent's."""
    group: int
    """The row of diverse group decoding that proposed it, 0 upwards (the lowest, where equal ones were merged)."""
    text: str
    """The sentence as decoded after the sentences before it, white space kept; the texts of a path add up to the answer."""
    token_ids: list[int]
    """The tokens generated, end-of-sequence included."""
    logprob: float
    """Sum of the natural-log probabilities of `token_ids`, no diversity penalty: R_T = exp(logprob), equation 2."""
    relevance: float | None
    """R_I = max(100 * cosine(image, sentence), 0), 0..100, equation 3; null for the end."""
    relevance_truncated: bool
    """The scorer's text limit (77 tokens for CLIP) cut the sentence."""
    repetition: float | None
    """Repetition: the largest cosine, 0..1, of its text with that of an earlier sentence of its answer, by the search's
    scorer; 0 for a first sentence, null for the end."""
    guidance_reward: float | None
    """The reward that ranked it at its depth, on the guidance's scale; null for the end."""
    stop: str
    """A `Stop`."""
    fate: str
    """A `Fate`."""
    canonical: bool | None
    """For a leaf: tokenising the answer's text again gives exactly the generated tokens, so that training sees
    what generation saw; null for a sentence that is no leaf."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: the path to one finished or cut leaf, with its scores. One row for each `prompt_id` and `leaf_id`."""

    prompt_id: str
    leaf_id: int
    """`node_id` of its last sentence (the end included)."""
    text: str
    words: int
    """As `csrdata.search.words.word_count` counts them: letters where a script has no spaces."""
    sentences: int
    """Sentences with text on the path."""
    tokens: int
    """Generated tokens, end-of-sequence included."""
    logprob: float
    """Natural-log probability of the whole answer under the policy that generated it."""
    reward: float
    """R(y): the sentences' calibrated rewards (equation 4), aggregated."""
    likelihood: float
    """The same aggregate with image weight 0: the language term alone."""
    relevance: float
    """Mean R_I of its sentences, 0..100."""
    relevance_held_out: float | None
    """Mean R_I of its sentences by the scorer that the search never saw, 0..100; null without such a scorer."""
    reward_held_out: float | None
    """R(y) with the held-out scorer's R_I in place of the search's; null without such a scorer."""
    finished: bool
    """It ended with end-of-sequence."""
    canonical: bool


@dataclass(frozen=True, slots=True)
class PairScores:
    """What is known about a pair's two answers; null is unknown, as in pairs of a judge, a rule or another project."""

    chosen_leaf: int | None = None
    """`leaf_id` of its `Response`: the answer is in the iteration's search tree."""
    rejected_leaf: int | None = None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    margin: float | None = None
    """chosen_reward - rejected_reward, on the scale and aggregate of `score_beams`."""
    chosen_reward_held_out: float | None = None
    rejected_reward_held_out: float | None = None
    chosen_relevance: float | None = None
    rejected_relevance: float | None = None
    chosen_logprob: float | None = None
    """log pi(chosen | prompt) as stored at generation: training's reference must give the same."""
    rejected_logprob: float | None = None
    chosen_tokens: int | None = None
    """Generated tokens, end-of-sequence included."""
    rejected_tokens: int | None = None
    chosen_words: int | None = None
    rejected_words: int | None = None


CSR_SEARCH = "csr_search"
"""`Pair.origin` of the pairs that csrdata's own search makes."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: two answers to one prompt, with different texts. One row for each `prompt_id`.

    Its table is flat: a column for each field of `scores` in the place of one named `scores`.
    """

    prompt_id: str
    image: str
    prompt: str
    chosen: str
    rejected: str
    origin: str
    """Which way made it: `csr_search`, or another name of a-z, 0-9 and _."""
    scores: PairScores = PairScores()


class DropReason(StrEnum):
    """Why a prompt has no pair."""

    NO_RESPONSE = "no_response"
    """Fewer than two finished answers that have words and are canonical."""
    EQUAL_TEXTS = "equal_texts"
    """All its answers have the same text."""
    UNDER_MARGIN = "under_margin"
    """The rewards of best and worst differ by less than the margin."""
    LENGTH_GAP = "length_gap"
    """No two answers of similar enough length differ by the margin."""
    LENGTH_BALANCE = "length_balance"
    """Left out so that, over the set, chosen and rejected are equally long."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A prompt without a pair, and why: kept + dropped = prompts."""

    prompt_id: str
    reason: str
    """A `DropReason`."""
    detail: str
    """The figures behind the reason, for a reader."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known to be in an image; for evaluation only, no stage that makes pairs may read it.

    One row for each image; a table has one row or more.
    """

    image: str
    split: str
    objects: list[str]
    """Names of the objects present: an object in CHAIR's sense."""
    detail: str
    """The source's own account, JSON: attributes and places, for the checks that need more than names."""


@dataclass(frozen=True, slots=True)
class Question:
    """One evaluation question about one image. One row for each `question_id`; a table has one row or more."""

    question_id: str
    split: str
    kind: str
    """A `Kind`."""
    image: str
    text: str
    answer: str | None
    """`yes` or `no` for a yes/no question, null for a description."""
    negative: str | None
    """How the absent object of a "no" question was chosen: random, popular or adversarial (POPE); null otherwise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A policy's greedy answer to one evaluation question. One row for each `question_id`, in any order."""

    question_id: str
    text: str
    tokens: int
    """Generated tokens, end-of-sequence included."""
    finished: bool
    """It ended by itself, not at the token limit."""
    logprob_base: float | None
    """Natural-log probability of the answer's tokens under the base policy; null for a yes/no question."""
    relevance: float | None
    """Mean R_I of its sentences, 0..100, by the search's scorer; null for a yes/no question, and without words."""
    relevance_held_out: float | None
    """The same by the held-out scorer."""


Record = type[Prompt | Sentence | Response | Pair | Dropped | Truth | Question | Answer]

_PRIMITIVES = {str: "String", int: "Int64", float: "Float64", bool: "Boolean"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a record's table: its polars type by name, and whether it may hold nulls."""

    name: str
    dtype: str
    nullable: bool


def columns(record: Record) -> list[Column]:
    """Return the columns of a record's table, in the order of its fields; a record within a record gives its own columns.

    Example: `columns(Dropped)[0]` -> `Column("prompt_id", "String", nullable=False)`
    """
    return _columns(record)


def nested(record: Record) -> dict[str, type]:
    """Return the fields of a record that are records themselves. Example: `nested(Pair)` -> `{"scores": PairScores}`."""
    hints = typing.get_type_hints(record)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and _is_record(hint)}


def _columns(record: type) -> list[Column]:
    found = []
    for name, hint in typing.get_type_hints(record).items():
        found += _columns(hint) if _is_record(hint) else [_column(name, hint)]
    return found


def _is_record(hint: typing.Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _column(name: str, hint: object) -> Column:
    nullable = isinstance(hint, types.UnionType)
    if nullable:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        return Column(name, f"List({_PRIMITIVES[inner]})", nullable)
    return Column(name, _PRIMITIVES[hint], nullable)  # type: ignore[index]
