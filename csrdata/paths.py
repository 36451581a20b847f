"""Where each file of a project is, relative to its root; the output folder of a stage has the stage's name.

A policy is named after the iteration that trained it: `base`, then "1", "2", ... The pairs of iteration t come from
the policy before it and train policy t.
"""

from pathlib import Path

BASE = "base"
"""The name of the policy before the first iteration."""

SCENES = Path("data/prepare")
"""The microworld's images and truth: `scenes.parquet`, `images/`."""

PROMPTS = Path("data/sample_prompts/prompts.parquet")
QUESTIONS = Path("data/sample_prompts/questions.parquet")
TRUTH = Path("data/sample_prompts/truth.parquet")
WORDINGS = Path("data/sample_prompts/wordings.parquet")
QUESTION_WORDINGS = Path("data/sample_prompts/question_wordings.parquet")
"""Two tables of `Wording` rows: prompts and questions as the base's chat template renders them."""
IMAGES = Path("data/sample_prompts/images.parquet")
"""A table of `ImageFile` rows: the images of the prompts. What makes pairs depends on it, never on a folder of images."""
QUESTION_IMAGES = Path("data/sample_prompts/question_images.parquet")
"""The same of the questions; a table by itself, so that new questions make no new pairs."""
LEFT_OUT = Path("data/sample_prompts/left_out.parquet")
"""A table of `LeftOut` rows."""
SOURCE_RECORD = Path("data/sample_prompts/source.json")
"""What the prompts were sampled from: kind, exact version, and the hash of every file."""

PREPARE_METRICS = Path("metrics/prepare.json")
SAMPLING_METRICS = Path("metrics/sample_prompts.json")
SUMMARY = Path("metrics/summary.json")
HEADLINE = Path("metrics/headline.json")
"""The ten figures of the last iteration that `dvc metrics show` lists."""
PLOTS = Path("plots")
REPORT = Path("data/report")
"""The folder of the HTML report; `index.html` is the page."""
FINAL = Path("metrics/final.json")
"""The base and the last policy on the test split, and the settings that were final; no output of the DAG."""
TEST_SCENES = Path("data/final")
"""The microworld's test images, their truth and the answers about them: no stage reads it."""
LOGS = Path("logs")
"""Timings and facts about the machine: not outputs of the DAG."""
STAGE_LOG = LOGS / "stages.jsonl"
"""Seconds of each run of a stage, JSON lines."""


def policy(name: str) -> Path:
    """Return the folder of a policy: the base's model, or a later policy's chain of adapters."""
    return Path("policies") / name


def candidates(iteration: str) -> Path:
    """Return the folder of an iteration's shards of `Sentence` rows."""
    return Path("data/generate_beams") / iteration


def replies(iteration: str) -> Path:
    """Return the folder of what a server has sampled for an iteration's candidates, JSON lines, a file for each shard."""
    return candidates(iteration) / "replies"


def signals(iteration: str) -> Path:
    """Return the folder of an iteration's shards of `Signal` rows, one for each shard of `candidates`."""
    return Path("data/measure_signals") / iteration


def verdicts(iteration: str) -> Path:
    """Return the path of an iteration's table of `Verdict` rows."""
    return Path("data/judge_answers") / iteration / "verdicts.parquet"


def recall_curve(name: str) -> Path:
    """Return the folder of a policy's answers at several end-of-sequence biases."""
    return Path("data/match_recall") / name


def biased_answers(name: str) -> Path:
    """Return the path of a policy's table of `BiasedAnswer` rows."""
    return recall_curve(name) / "answers.parquet"


def biased_record(name: str) -> Path:
    """Return the path of what these answers were asked about, JSON."""
    return recall_curve(name) / "record.json"


def image_attention(name: str) -> Path:
    """Return the path of a policy's table of `ImageAttention` rows."""
    return Path("data/measure_attention") / name / "shares.parquet"


def responses(iteration: str) -> Path:
    """Return the folder of an iteration's shards of `Response` rows, one for each shard of `candidates`."""
    return Path("data/score_beams") / iteration


def pairs(iteration: str) -> Path:
    """Return the path of an iteration's table of `Pair` rows."""
    return Path("data/select_pairs") / iteration / "pairs.parquet"


def dropped(iteration: str) -> Path:
    """Return the path of an iteration's table of `Dropped` rows."""
    return Path("data/select_pairs") / iteration / "dropped.parquet"


def pair_images(iteration: str) -> Path:
    """Return the path of the `ImageFile` rows of imported pairs, whose images are not those of the sampled prompts."""
    return pairs(iteration).with_name("images.parquet")


def imported(name: str) -> Path:
    """Return the folder to which pairs of others are imported."""
    return Path("data/import") / name


def references(iteration: str) -> Path:
    """Return the path of the log-probabilities of an iteration's pairs under the policy that training started from."""
    return Path("data/train_dpo") / iteration / "references.parquet"


def unfinished_training(iteration: str) -> Path:
    """Return the folder of what a killed training run leaves to the next one; it is gone when training is finished."""
    return Path("data/train_dpo") / f"{iteration}.partial"


def answers(name: str) -> Path:
    """Return the path of a policy's table of `Answer` rows: its answers to the evaluation questions."""
    return Path("data/evaluate_policy") / name / "answers.parquet"


def absent_mentions(name: str) -> Path:
    """Return the path of the list of a policy's mentions of absent objects, CSV."""
    return answers(name).with_name("absent_mentions.csv")


def evaluation_record(name: str) -> Path:
    """Return the path of what a policy was evaluated on, JSON."""
    return answers(name).with_name("record.json")


def run_log(stage: str, name: str) -> Path:
    """Return the path of a stage's run log: timings of its shards, JSON lines."""
    return LOGS / f"{stage}-{name}.jsonl"


def stage_metrics(stage: str, name: str) -> Path:
    """Return the path of a stage's metrics for one iteration (or the base), JSON."""
    return Path("metrics") / stage / f"{name}.json"
