"""The records that stages exchange: one frozen dataclass and one Parquet schema for each kind of row.

They depend on no model, file or stage. A record's schema is derived from its fields, so the two always agree.
`csrdata.storage.values` defines the allowed values; they are checked whenever a table is read.

Row order: prompts are sorted by id. Sentences are sorted by prompt id, and all rows of a prompt are together. Other tables
have no fixed order; readers match their rows by id.

The search tree is a flat table: each candidate sentence is a row that holds its parent's id (`NO_PARENT` for a first
sentence). A response is a path from a first sentence to a leaf.
"""

from dataclasses import dataclass
from enum import StrEnum

NO_PARENT = -1
"""Parent id of the first sentence of a response."""


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
    BAD_IMAGE = "bad_image"
    """The policy cannot take the prompt: its image does not decode, or the model's processor refuses it."""
    TOO_LONG = "too_long"
    """The policy cannot take the prompt: with image and answer it has more tokens than the model has positions."""


class Fate(StrEnum):
    """What the search did with a candidate at its depth."""

    KEPT_BEST = "kept_best"
    """Among the `keep_best` highest rewards of its depth: the search continues it."""
    KEPT_WORST = "kept_worst"
    """Among the `keep_worst` lowest rewards of its depth: the search continues it, as a plausible rejected answer."""
    PRUNED = "pruned"
    """Between the best and the worst: the search dropped it."""
    FINISHED = "finished"
    """Its response ended with end-of-sequence: never pruned."""
    CUT = "cut"
    """Its response reached a limit of tokens or sentences before it ended: incomplete, never part of a pair."""
    REFUSED = "refused"
    """No candidate: the one row of a prompt that the policy cannot take. `stop` says why, `text` has the figures."""


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
    """Unique, such as `train-00017`. The rows of a table are sorted by it, in ascending order."""
    image: str
    """Path of the image file, POSIX, relative to the images root (`images.root` of params.yaml)."""
    text: str
    """The instruction alone: no image placeholder, no chat template."""


class LeaveReason(StrEnum):
    """Why a sampled prompt or question is not in its table."""

    EXCLUDED = "excluded"
    """Its id or the hash of its image is in the file `source.exclude`."""
    UNREADABLE_IMAGE = "unreadable_image"
    """Its image is missing, damaged, too large or in no known format."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sampled prompt or question that no stage sees, and why: kept + left out = sampled.

    One row for each `record_id` and `split`.
    """

    record_id: str
    """The id of the prompt, or of the question."""
    split: str | None
    """The split of the question; null for a prompt."""
    image: str
    reason: str
    """A `LeaveReason`."""
    detail: str
    """What is wrong, for a reader."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that prompts or questions use, as it was when they were sampled. One row for each `image`."""

    image: str
    """Path of the image file, POSIX, relative to the images root."""
    sha256: str
    """Of the file's bytes: 64 hex digits."""
    bytes: int
    """Size of the file."""
    width: int
    """Pixels of the upright image."""
    height: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """One candidate sentence: a node of its prompt's search tree (Algorithm 1).

    The *end* is the candidate whose first token is end-of-sequence: `text` is empty, `relevance` is null. A prompt that the
    policy cannot take has one row, `refused`, without tokens and scores. A table holds complete trees, sorted by `prompt_id`
    and then by `node_id`.
    """

    prompt_id: str
    node_id: int
    """Position in the prompt's tree: 0, 1, 2, ... in the order of creation."""
    parent_id: int
    """`node_id` of the sentence before it, smaller than its own `node_id`, or `NO_PARENT`. The search kept that sentence."""
    depth: int
    """1 for a first sentence, otherwise the parent's depth plus 1."""
    group: int
    """The row that proposed it, 0 or more: a group of diverse group decoding, or the number of a sampled sentence or answer.
    If several rows of one answer proposed it, the lowest."""
    text: str
    """The sentence as decoded after the sentences before it, with its white space. The texts along a path, joined, are the
    answer."""
    token_ids: list[int]
    """The generated tokens, end-of-sequence included; none where the prompt was refused."""
    logprob: float
    """Sum of the natural-log probabilities of `token_ids`, without the diversity penalty: R_T = exp(logprob), equation 2."""
    relevance: float | None
    """R_I by the search's scorer, 0..100; a CLIP's is max(100 * cosine(image, sentence), 0), equation 3. Null for the end.
    If the scorer says nothing of the sentence: the mean of the other candidates of its prompt and depth."""
    relevance_truncated: bool
    """Whether the sentence was cut at the scorer's text limit (77 tokens for CLIP)."""
    repetition: float | None
    """The largest cosine similarity, 0..1, of its text to an earlier sentence of the same answer, by the search's scorer; 0
    for a first sentence, null for the end."""
    guidance_reward: float | None
    """The reward that ranked it at its depth, on the guidance's scale; null for the end."""
    stop: str
    """A `Stop`."""
    fate: str
    """A `Fate`."""
    canonical: bool | None
    """Whether tokenising the text of the path up to and including this sentence gives exactly the generated tokens, so that
    training uses the tokens that were generated; null only where the prompt was refused."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A raw value of one candidate sentence, measured after the search. One row for each `prompt_id`, `node_id` and `name`.

    A table has the candidates with a text, in the order of the candidates' table.
    """

    prompt_id: str
    node_id: int
    """Of its `Sentence`."""
    name: str
    """`held_out`: R_I by `scorers.held_out`. `elsewhere`: mean R_I, by the search's scorer, with images of other prompts.
    Otherwise a name of `scorers.others`: R_I by that scorer."""
    value: float | None
    """0..100; null where the signal says nothing of the sentence."""


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
    """Mean image term of its sentences, 0..100: the search's R_I, or the signal that `score_beams.signal` names."""
    relevance_held_out: float | None
    """Mean R_I of its sentences by the held-out scorer, which the search does not use, 0..100; null without one."""
    reward_held_out: float | None
    """R(y) with the held-out scorer's R_I in place of the search's; null without such a scorer."""
    finished: bool
    """Whether it ended with end-of-sequence."""
    canonical: bool
    end: int | None = None
    """The token that ended it: a model may list several. Null for an unfinished answer, and where it is not known."""


class Winner(StrEnum):
    """The answer that a policy names when it judges two."""

    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy said when it judged two of its own answers to one prompt, in both orders (self-rewarding, Table 3).

    One row for each `prompt_id` with two different answers.
    """

    prompt_id: str
    first_leaf: int
    """`node_id` of the first answer's last sentence."""
    second_leaf: int
    forward: str | None
    """The `Winner` when the first answer was shown first; null if the policy named neither or both, or was not asked."""
    backward: str | None
    """The `Winner` when the second answer was shown first."""
    forward_margin: float | None
    """Log-odds (nats) of the first answer against the second, at the first token that tells the two verdicts apart; null
    where `forward` is null, or where the verdict's text does not give its tokens again."""
    backward_margin: float | None
    """The same when the second answer was shown first."""


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of a pair's two sides; null where unknown, for example in pairs from a judge, a rule or another project.

    A pair with a context has the scores of its two continuations alone, without the context's.
    """

    chosen_leaf: int | None = None
    """`node_id` of its last sentence in the iteration's search tree: of a whole answer, the `leaf_id` of its `Response`."""
    rejected_leaf: int | None = None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    margin: float | None = None
    """How far apart the two sides are in what ordered them, 0 or more; null if nothing did, as in a random order.

    By `origin`: `csr_search`: chosen_reward - rejected_reward, on the scale and aggregate of `score_beams`. `csr_sentences`:
    the difference of R_I, 0..100, or of rewards. `csr_ends`: the evidence for or against the sentence, 0..100. `oracle`: how
    many false claims rejected has more. Imported: the difference of mean ratings, 0..4, of VLFeedback; else null."""
    chosen_reward_held_out: float | None = None
    rejected_reward_held_out: float | None = None
    chosen_relevance: float | None = None
    rejected_relevance: float | None = None
    chosen_logprob: float | None = None
    """log pi(chosen | prompt, context) as stored at generation: training's reference must give the same."""
    rejected_logprob: float | None = None
    chosen_tokens: int | None = None
    """Generated tokens, end-of-sequence included."""
    rejected_tokens: int | None = None
    chosen_words: int | None = None
    rejected_words: int | None = None
    chosen_end: int | None = None
    """The token that ended it, which training writes behind it; null: the one of the model's chat template."""
    rejected_end: int | None = None


CSR_SEARCH = "csr_search"
"""`Pair.origin` of whole answers of csrdata's search, ordered by their reward."""
CSR_SENTENCES = "csr_sentences"
"""Of two sentences that continue the same beginning, ordered by relevance or reward."""
CSR_ENDS = "csr_ends"
"""Of a sentence and the end, one of which the evidence for the sentence prefers."""
RANDOM = "random"
"""Of whole answers in random order."""
ORACLE = "oracle"
"""Of answers or sentences ordered by the truth about the image: for comparison alone, never published."""
SELF_REWARDING = "self_rewarding"
"""Of two answers that the policy itself judged."""
CORRUPTED = "corrupted"
"""Of the best answer of the search, and the same answer with one change that makes it false."""


OWN_ORIGINS = (CSR_SEARCH, CSR_SENTENCES, CSR_ENDS, RANDOM, ORACLE, SELF_REWARDING, CORRUPTED)
"""What csrdata's own ways to make pairs call theirs; pairs from elsewhere have other names."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: two answers to one prompt, or two ways to continue one answer.

    One row for each `prompt_id` and `number`. The two sides differ in their text, or in whether they end the answer. The
    table is flat: each field of `scores` is a column, and no column is named `scores`.
    """

    prompt_id: str
    image: str
    prompt: str
    chosen: str
    rejected: str
    origin: str
    """How the pair was made: `csr_search`, or another name of a-z, 0-9 and _."""
    number: int = 0
    """Counts the pairs of a prompt, from 0."""
    context: str = ""
    """The beginning of the answer, as generated, which `chosen` and `rejected` continue; empty for whole answers."""
    chosen_complete: bool = True
    """Whether `chosen` ends the answer with end-of-sequence. A sentence inside an answer does not; an empty text that does
    is the end itself."""
    rejected_complete: bool = True
    scores: PairScores = PairScores()


class DropReason(StrEnum):
    """Why a prompt has no pair, or why curation took a pair out."""

    NO_RESPONSE = "no_response"
    """Fewer than two finished answers that have words and are canonical."""
    NO_SIBLINGS = "no_siblings"
    """No two whole, canonical sentences, neither a repetition, continue the same beginning of an answer."""
    EQUAL_TEXTS = "equal_texts"
    """All its answers have the same text."""
    UNDER_MARGIN = "under_margin"
    """Best and worst differ by less than the margin, or by less than `min_gap` where they are sentences."""
    EQUAL_TRUTH = "equal_truth"
    """All its answers, or all sentences that continue the same beginning, have equally many false and true claims."""
    LENGTH_GAP = "length_gap"
    """No two answers of similar enough length differ by the margin."""
    BAD_IMAGE = "bad_image"
    """Its image does not decode, or the model's processor refuses it."""
    TOO_LONG = "too_long"
    """With image and answer it has more tokens than the model has positions."""
    LENGTH_BALANCE = "length_balance"
    """Dropped so that, over all pairs, chosen and rejected answers have about the same mean length."""
    JUDGE_TIE = "judge_tie"
    """The policy judged its two answers, and named another one when they were shown in the other order."""
    JUDGE_UNREADABLE = "judge_unreadable"
    """The policy judged its two answers, and in one order or both it named neither answer or both."""
    BAD_ROW = "bad_row"
    """An imported row lacks a text or an image, has control characters, several turns, or another layout."""
    NO_CHANGE = "no_change"
    """The source's rule cannot change anything in its best answer so that it becomes false."""
    LABEL = "label"
    """A reader labelled the pair as one to take out (`select_pairs.curation`)."""
    WHERE = "where"
    """The condition of `select_pairs.curation` is not true of the pair, or unknown."""


BY_HAND = (DropReason.LABEL, DropReason.WHERE)
"""The reasons of curation: a row with one of them is about a pair; any other row is about a prompt without a pair."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A prompt without a pair, or a pair that curation took out, and the reason.

    A prompt has one row at most, or one row for each pair that curation took out of it; such a prompt may keep other pairs.
    `csrdata.storage.dropped.lost_prompts` returns the prompts without a pair.
    """

    prompt_id: str
    reason: str
    """A `DropReason`."""
    detail: str
    """The numbers behind the reason, as text; of a pair, its number before curation: "pair 2 is labelled bad"."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known to be in an image. It is only for evaluation: no stage that makes pairs reads it.

    One row for each image and split: two splits may know different things about one image. A table has no rows where
    nothing is known.
    """

    image: str
    split: str
    objects: list[str]
    """Names of the objects in the image, as CHAIR defines an object."""
    detail: str
    """Details from the source as JSON, such as attributes and places, for checks that need more than names."""


@dataclass(frozen=True, slots=True)
class Question:
    """One evaluation question about one image. One row for each `question_id`; a table may have no rows."""

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
    """A policy's answer to one evaluation question. One row for each `question_id`, in any order."""

    question_id: str
    text: str
    tokens: int
    """Generated tokens, end-of-sequence included."""
    finished: bool
    """Whether it ended with end-of-sequence, not at the token limit."""
    logprob_base: float | None
    """Natural-log probability of the answer's tokens under the base policy; null for a yes/no question."""
    relevance: float | None
    """Mean R_I of its sentences, 0..100, by the search's scorer; null for a yes/no question or an answer without words."""
    relevance_held_out: float | None
    """The same, by the held-out scorer."""


@dataclass(frozen=True, slots=True)
class BiasedAnswer:
    """A policy's greedy description at one bias on the end of an answer. One row for each `question_id` and `bias`."""

    question_id: str
    bias: float
    """Nats, added to the logit of every token that ends an answer; at 0 the answer is that of the `Answer` table."""
    text: str
    tokens: int
    """Generated tokens, end-of-sequence included."""
    finished: bool
    """Whether it ended with end-of-sequence, not at the token limit."""


@dataclass(frozen=True, slots=True)
class ImageAttention:
    """A policy's attention on the image at one token of an answer. One row for each `question_id`, `of` and `position`."""

    question_id: str
    of: str
    """Whose answer it is: `own`, or `of_base` for the base's answer under another policy."""
    position: int
    """Of the token in the answer, from 0; the end counts."""
    share: float
    """Of the attention weights, 0..1, the mean over layers and heads."""


@dataclass(frozen=True, slots=True)
class Wording:
    """An instruction as the base model's prompt, rendered once, when prompts are sampled. One row for each `text`.

    Every stage reads it: a chat template may print a date, or anything else that differs from one rendering to the next.
    """

    text: str
    """Of prompts and questions."""
    rendered: str
    """With chat template, one image placeholder and the opening of the answer."""


Record = type[
    Wording
    | Prompt
    | LeftOut
    | ImageFile
    | Sentence
    | Signal
    | Verdict
    | Response
    | Pair
    | Dropped
    | Truth
    | Question
    | Answer
    | BiasedAnswer
    | ImageAttention
]
