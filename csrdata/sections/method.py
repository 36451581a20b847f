"""Sections of params.yaml from the search to training: what an arm changes (docs/arms.md)."""

from typing import Annotated, Literal

from pydantic import Field

from csrdata.sections.values import (
    Count,
    Line,
    NotNegative,
    PathText,
    Positive,
    ScaleName,
    Section,
    Seed,
    Share,
    Tokens,
    matching,
)


class Guidance(Section):
    kind: Literal["reward", "likelihood", "none"]
    image_weight: Share
    scale: Literal[ScaleName, "mean_log"]
    repetition_threshold: Share | None


class GroupProposal(Section):
    kind: Literal["groups"]
    groups: Count
    diversity_penalty: NotNegative


class SentenceSampling(Section):
    kind: Literal["sample"]
    count: Count
    temperature: Positive
    seed: Seed


class AnswerSampling(Section):
    kind: Literal["answers"]
    count: Annotated[int, Field(ge=2, le=10**9)]
    temperature: Positive
    seed: Seed


class ServedSampling(Section):
    """Sentences that a server samples, and that the policy here scores again."""

    kind: Literal["served"]
    count: Count
    temperature: Positive
    seed: Seed
    server: Annotated[
        str,
        Field(max_length=300),
        matching(r"[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}", "a host and a port: HOST:PORT"),
    ]
    tolerance: Positive
    in_flight: Annotated[int, Field(ge=1, le=4096)]
    patience: Positive


AnyProposal = Annotated[
    GroupProposal | SentenceSampling | AnswerSampling | ServedSampling, Field(discriminator="kind")
]
"""The ways to propose candidates."""


class GenerateBeams(Section):
    proposal: AnyProposal
    keep_best: Count
    keep_worst: Annotated[int, Field(ge=0, le=10**9)]
    rank_by: Literal["sentence", "cumulative"]
    max_sentence_tokens: Tokens
    max_response_tokens: Tokens
    max_sentences: Count
    prompts_per_shard: Count
    prompts_at_once: Count
    guidance: Guidance


class ScoreBeams(Section):
    signal: Line
    image_weight: Share
    scale: ScaleName
    repetition_threshold: Share | None
    aggregate: Literal["sum", "mean", "mean_plus_one"]


class Curation(Section):
    labels: PathText | None
    drop_labels: Annotated[list[Literal["good", "bad", "unsure"]], Field(max_length=3)]
    where: Line | None


class Curated(Section):
    """What all ways to make pairs have in common; a part of a mix has none."""

    curation: Curation | None = None


class AnswerPairs(Curated):
    """Pairs of whole answers of the search."""

    kind: Literal["answers"]
    order: Literal["reward", "random", "truth"]
    margin: NotNegative
    max_length_gap: Share
    length_balance: NotNegative | None
    per_prompt: Count
    seed: Seed


class RankedPairs(Curated):
    """Every two of an ordered list of whole answers of the search."""

    kind: Literal["ranked"]
    answers: Annotated[int, Field(ge=2, le=8)]
    margin: NotNegative
    max_length_gap: Share


class SentencePairs(Curated):
    """Pairs of sentences that continue the same beginning of an answer."""

    kind: Literal["sentences"]
    order: Literal["relevance", "evidence", "reward", "random", "truth"]
    min_gap: NotNegative
    chosen_share: Share
    rejected_share: Share
    repetition_threshold: Share | None
    per_prompt: Count
    ends: Literal["none", "stop", "evidence"]
    end_gap: NotNegative
    ends_per_prompt: Count | None = None
    seed: Seed


class MixedPairs(Curated):
    """Pairs of several kinds from the same search."""

    kind: Literal["mixed"]
    parts: Annotated[
        list[Annotated[AnswerPairs | SentencePairs, Field(discriminator="kind")]],
        Field(min_length=2, max_length=8),
    ]


class JudgedPairs(Curated):
    """Pairs of two answers, of which the policy itself judges which one fits the image better (Table 3)."""

    kind: Literal["judged"]


class CorruptedPairs(Curated):
    """Pairs of the best answer and the same answer with one change that makes it false."""

    kind: Literal["corrupted"]
    seed: Seed


class ImportedPairs(Curated):
    """Pairs from elsewhere, as `csrdata import` wrote them."""

    kind: Literal["imported"]
    folder: PathText


AnyPairs = Annotated[
    AnswerPairs | RankedPairs | SentencePairs | MixedPairs | JudgedPairs | CorruptedPairs | ImportedPairs,
    Field(discriminator="kind"),
]
"""The ways to make pairs."""


class TrainDpo(Section):
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "apo_zero", "hinge", "robust"]
    dpo_weight: NotNegative
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    ld_alpha: Share | None
    margin: Literal["none", "weight", "target"]
    margin_scale: Positive
    beta: Positive
    sft_weight: NotNegative
    learning_rate: Positive
    epochs: Positive
    batch_size: Count
    accumulation: Count
    warmup_share: Share
    lora_rank: Count
    lora_alpha: Positive
    lora_dropout: Share
    reference_tolerance: Positive
    gradient_checkpointing: bool
    checkpoint_every: Count | None
    seed: Seed
