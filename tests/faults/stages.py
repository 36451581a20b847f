"""Every stage of the finished project with the files that it reads and writes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage with the files that it reads and writes; a file's own folder or table is damaged through it."""

    stage: str
    name: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    renames: int
    """How many files it puts in their places when all of them are to be made."""

    def __str__(self) -> str:
        return self.stage + (f"@{self.name}" if self.name else "")


PROMPTS, QUESTIONS, TRUTH, WORDINGS, ASKED = (
    f"data/sample_prompts/{name}.parquet"
    for name in ("prompts", "questions", "truth", "wordings", "question_wordings")
)
IMAGE = "data/prepare/images/train-00000.png"
HELD_OUT_IMAGE = "data/prepare/images/held_out-00000.png"
VALIDATION_IMAGE = "data/prepare/images/validation-00000.png"
BASE = ("policies/base/model.safetensors", "policies/base/config.json", "policies/base/tokenizer.json")
ADAPTER = (
    "policies/1/adapters/1/adapter_model.safetensors",
    "policies/1/adapters/1/adapter_config.json",
    "policies/1/chain.json",
)
SCORERS = tuple(
    f"scorers/{name}/{file}"
    for name in ("search", "held_out")
    for file in ("open_clip_model.safetensors", "open_clip_config.json")
)


def shards(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{file}" for file in ("00000.parquet", "00002.parquet", "manifest.json"))


STAGES = (
    Stage(
        "sample_prompts",
        None,
        ("data/prepare/scenes.parquet", *BASE),
        (PROMPTS, QUESTIONS, TRUTH, WORDINGS, ASKED),
        5,
    ),
    Stage(
        "generate_beams",
        "1",
        (PROMPTS, WORDINGS, *BASE, *SCORERS[:2], IMAGE),
        shards("data/generate_beams/1"),
        6,
    ),
    Stage(
        "measure_signals",
        "1",
        (*shards("data/generate_beams/1"), PROMPTS, *SCORERS, IMAGE),
        shards("data/measure_signals/1"),
        6,
    ),
    Stage(
        "score_beams",
        "1",
        (*shards("data/generate_beams/1"), *shards("data/measure_signals/1"), PROMPTS),
        (*shards("data/score_beams/1"), "metrics/score_beams/1.json"),
        7,
    ),
    Stage(
        "select_pairs",
        "1",
        (*shards("data/score_beams/1"), PROMPTS),
        (
            "data/select_pairs/1/pairs.parquet",
            "data/select_pairs/1/dropped.parquet",
            "metrics/select_pairs/1.json",
        ),
        3,
    ),
    Stage(
        "train_dpo",
        "1",
        ("data/select_pairs/1/pairs.parquet", WORDINGS, *BASE, IMAGE),
        (
            *ADAPTER,
            "data/train_dpo/1/log.parquet",
            "data/train_dpo/1/references.parquet",
            "metrics/train_dpo/1.json",
        ),
        7,
    ),
    Stage(
        "evaluate_policy",
        "1",
        (QUESTIONS, TRUTH, ASKED, *ADAPTER, *BASE, *SCORERS, HELD_OUT_IMAGE),
        (
            "data/evaluate_policy/1/answers.parquet",
            "data/evaluate_policy/1/record.json",
            "data/evaluate_policy/1/absent_mentions.csv",
            "metrics/evaluate_policy/1.json",
        ),
        4,
    ),
    Stage(
        "match_recall",
        "1",
        (
            QUESTIONS,
            TRUTH,
            ASKED,
            "data/evaluate_policy/base/answers.parquet",
            *ADAPTER,
            *BASE,
            HELD_OUT_IMAGE,
        ),
        (
            "data/match_recall/1/answers.parquet",
            "data/match_recall/1/record.json",
            "metrics/match_recall/1.json",
        ),
        3,
    ),
    Stage(
        "measure_attention",
        "1",
        (
            QUESTIONS,
            ASKED,
            "data/evaluate_policy/base/answers.parquet",
            "data/evaluate_policy/1/answers.parquet",
            *ADAPTER,
            *BASE,
            VALIDATION_IMAGE,
        ),
        ("data/measure_attention/1/shares.parquet", "metrics/measure_attention/1.json"),
        2,
    ),
    Stage(
        "summarize",
        None,
        (
            "data/evaluate_policy/1/answers.parquet",
            "data/evaluate_policy/base/answers.parquet",
            "data/evaluate_policy/1/record.json",
            "data/evaluate_policy/base/record.json",
            "data/match_recall/1/answers.parquet",
            "data/match_recall/base/answers.parquet",
            "data/match_recall/1/record.json",
            "data/match_recall/base/record.json",
            "data/measure_attention/1/shares.parquet",
            "data/measure_attention/base/shares.parquet",
            "data/select_pairs/1/pairs.parquet",
            "data/select_pairs/1/dropped.parquet",
            *shards("data/generate_beams/1"),
            *shards("data/score_beams/1"),
            "data/train_dpo/1/references.parquet",
            QUESTIONS,
            TRUTH,
            PROMPTS,
            "metrics/train_dpo/1.json",
            "metrics/prepare.json",
        ),
        ("metrics/summary.json", "metrics/summary.md", "plots/chair_s.csv", "plots/cases.csv"),
        6,
    ),
)
