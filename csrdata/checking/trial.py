"""Two prompts go through search, score, pair and two training steps, by the stages' own functions.

The stages come in as functions with the project's parameters, so that this module has no knobs of theirs. What they write
goes to a temporary folder. If two prompts give no pair, any two of their answers make one: the step must be tried.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from csrdata.checking.findings import Finding, error, ok, refusal, warning
from csrdata.errors import UserError
from csrdata.records import Dropped, Fate, Pair, PairScores, Prompt, Response, Sentence

PROMPTS = 2
SENTENCES = 3
"""The most sentences of an answer."""

Search = Callable[[Sequence[Prompt]], tuple[list[Sentence], float]]
"""The candidates of some prompts, and the seconds that it took, without the choice of a path."""
Train = Callable[[Sequence[Pair]], "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """Two training steps."""

    loss: float
    """Of the first one."""
    reference_gap: float | None
    """Nats; None if no stored log-probability was compared."""
    seconds: float
    """Of the second step, per pair: forward and backward pass and the optimiser."""
    preflight_seconds: float
    """Of the reference log-probabilities, per pair."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What the search of the two prompts gave."""

    findings: tuple[Finding, ...]
    sentences: tuple[Sentence, ...] = ()
    seconds_of_one: float = 0.0
    seconds_of_all: float = 0.0

    @property
    def depth(self) -> int:
        """Sentences of the longest answer; 0 without any."""
        return max((row.depth for row in self.sentences if row.fate != Fate.REFUSED), default=0)

    @property
    def sentence_tokens(self) -> float:
        """Mean tokens of a candidate; 0 without any."""
        return fmean([len(row.token_ids) for row in self.sentences if row.token_ids] or [0])


def try_search(prompts: Sequence[Prompt], search: Search) -> Searched:
    """Search the answers to the prompts, then to the first alone, so that the time of a prompt can be told apart.

    Args:
        prompts: 2, or 1 where a project has no more.
        search: `generate_beams` of a shard, with `SENTENCES`.
    """
    try:
        rows, _ = search(prompts)
        _, alone = search(prompts[:1])
        rows, together = search(prompts)
    except UserError as problem:
        return Searched((refusal("search", problem),))
    except Exception as problem:  # noqa: BLE001 - a model's code can raise any error; the stage shows its traceback
        return Searched((_failed("search", problem, stage="generate_beams"),))
    refused = [row for row in rows if row.fate == Fate.REFUSED]
    if len(refused) == len(prompts):
        words = f"the policy takes none of {len(prompts)} prompts: {refused[0].text}"
        do = "change what is named, or leave such prompts out, then: csrdata check"
        return Searched((error("search", words, do=do),))
    found = Searched((), tuple(rows), alone, together)
    return replace(found, findings=tuple(_about(found, refused)))


def _about(found: Searched, refused: Sequence[Sentence]) -> list[Finding]:
    rows = [row for row in found.sentences if row.fate != Fate.REFUSED]
    words = (
        f"{len(rows)} candidates of up to {found.depth} sentences, {found.sentence_tokens:.1f} tokens each"
    )
    findings = [ok("search", words)]
    findings += [
        warning("search", f"the policy does not take prompt {row.prompt_id}: {row.text}") for row in refused
    ]
    cut = sum(row.relevance_truncated for row in rows)
    if cut:
        do = "lower generate_beams.max_sentence_tokens, or take a scorer that reads longer texts"
        words = f"{cut} of {len(rows)} candidates are longer than the scorer's text limit: only their beginning is scored"
        findings.append(warning("search", words, do=do))
    leaves = [row for row in rows if row.fate in (Fate.FINISHED, Fate.CUT)]
    if leaves and not any(row.canonical for row in leaves):
        do = "train on a tokenizer that reads its own text back: see csrdata stats"
        words = f"none of {len(leaves)} answers gives its own tokens again when its text is read"
        findings.append(error("search", words, do=do))
    return findings


def try_pairs(
    prompts: Sequence[Prompt],
    sentences: Sequence[Sentence],
    *,
    score: Callable[[Sequence[Sentence]], list[Response]],
    select: Callable[[Prompt, Sequence[Sentence], Sequence[Response]], Sequence[Pair | Dropped]],
) -> tuple[list[Pair], list[Finding]]:
    """Score the answers and select a pair for each prompt; make one from any two answers if none is selected.

    Args:
        prompts: as searched.
        sentences: the search's rows.
        score: `score_beams` of a shard.
        select: `select_pairs` of one prompt, given its candidates and its answers.
    """
    try:
        responses = score(sentences)
    except UserError as problem:
        return [], [refusal("score", problem)]
    except Exception as problem:  # noqa: BLE001 - as in `try_search`
        return [], [_failed("score", problem, stage="score_beams")]
    findings = [ok("score", f"{len(responses)} answers")]
    outcomes = [
        outcome
        for one in prompts
        for outcome in select(
            one,
            [row for row in sentences if row.prompt_id == one.prompt_id],
            [row for row in responses if row.prompt_id == one.prompt_id],
        )
    ]
    pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
    if pairs:
        with_pairs = len({pair.prompt_id for pair in pairs})
        said = f"{with_pairs} of {len(prompts)} prompts give {len(pairs)} pair{'s' * (len(pairs) > 1)}"
        return pairs, [*findings, ok("pairs", said)]
    reasons = "; ".join(
        sorted({f"{one.reason}, {one.detail}" for one in outcomes if isinstance(one, Dropped)})
    )
    pairs = [pair for one in prompts if (pair := _any_pair(one, responses))]
    said = f"{len(prompts)} prompts with at most {SENTENCES} sentences give no pair ({reasons})"
    if pairs:
        return pairs, [*findings, ok("pairs", f"{said}; the training step takes any two of their answers")]
    words = f"{said}, and no two different answers: no training step was tried"
    do = "change generate_beams.proposal in params.yaml, then: csrdata check"
    return [], [*findings, warning("pairs", words, do=do)]


def _any_pair(prompt: Prompt, responses: Sequence[Response]) -> Pair | None:
    """Return a pair of two different answers, finished or not; its margin is 1, and its references are not compared."""
    texts = list(dict.fromkeys(row.text for row in responses if row.prompt_id == prompt.prompt_id))
    texts = [text for text in texts if text.strip()]
    if len(texts) < 2:
        return None
    return Pair(
        prompt.prompt_id,
        prompt.image,
        prompt.text,
        texts[0],
        texts[-1],
        "check",
        scores=PairScores(margin=1.0),
    )


def try_training(pairs: Sequence[Pair], train: Train) -> tuple[Step | None, list[Finding]]:
    """Train two steps on the pairs.

    Args:
        pairs: 1 or more.
        train: `train_dpo` of two steps, into a temporary folder.
    """
    try:
        step = train(pairs)
    except UserError as problem:
        return None, [refusal("training", problem)]
    except Exception as problem:  # noqa: BLE001 - as in `try_search`
        return None, [_failed("training", problem, stage="train_dpo")]
    if math.isnan(step.loss):
        do = "take compute.dtype bfloat16 or float32 in params.yaml, then: csrdata check"
        return step, [error("training", "got a loss that is not a number, expected a finite one", do=do)]
    gap = "" if step.reference_gap is None else f", references within {step.reference_gap:.2g} nats"
    return step, [ok("training", f"two steps of {len(pairs)} pairs: loss {step.loss:.3f}{gap}")]


def _failed(subject: str, problem: Exception, *, stage: str) -> Finding:
    """Return the finding for an error that is not a mistake of the user, or for a lack of memory."""
    lines = str(problem).strip().splitlines()
    got = f"{type(problem).__name__}: {lines[0] if lines else ''}"
    if "OutOfMemory" in type(problem).__name__ or "not enough memory" in got:
        do = "lower generate_beams.prompts_at_once or train_dpo.batch_size, or set compute.dtype to bfloat16"
        return error(subject, f"got {got}, expected to fit the device", do=f"{do}, then: csrdata check")
    do = f"see its traceback: csrdata run {stage} --iteration 1"
    return error(subject, f"got {got}, expected {stage} to run", do=do)
