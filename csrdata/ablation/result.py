"""The result of one run of an arm: figures, counts per image, cost and origin, as one small JSON file that git keeps.

`measure` reads a finished project; `write_result` and `read_result` are the file. What a table compares is computed from the
counts (`csrdata.ablation.counts`); the figures with their intervals are those of the run's own summary.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.ablation.counts import Counts, count, read_counts, texts_of
from csrdata.ablation.curves import EndCurve, read_curve
from csrdata.evaluation.analyses import likelihood
from csrdata.evaluation.equal_recall import describing
from csrdata.evaluation.false_sides import false_sides
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.evaluation.summarizing import summarize_splits
from csrdata.evaluation.summary import read_summary
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.inputs import read_left_out
from csrdata.pipeline.signal_cards import iteration_cards
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth, source_truths
from csrdata.records import Answer, BiasedAnswer, Pair, Prompt, Question, Truth
from csrdata.storage.disk import read_json, write_json
from csrdata.storage.json_values import JsonValue, open_json
from csrdata.storage.tables import read_rows

SHOWN = (
    "chair_s_at_recall",
    "recall_at_recall",
    "present_per_answer_at_recall",
    "length_at_recall",
    "chair_s",
    "chair_i",
    "recall",
    "present_per_answer",
    "length",
    "attribute_errors",
    "repetition",
    "well_formed",
    "relevance_held_out",
    "pope_accuracy",
    "pope_accuracy_random",
    "pope_accuracy_popular",
    "pope_accuracy_adversarial",
)
"""Figures of the summary that a result keeps."""
PAIR_STAGES = ("generate_beams", "measure_signals", "score_beams", "judge_answers", "select_pairs")
"""What pairs cost: the seconds of these stages."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a result comes from."""

    arm: str
    seed: int
    profile: str
    quick: bool
    changes: Json
    """What the arm changes of the profile: dotted keys and values."""
    params_sha256: str
    """Of the run's parameters."""
    code_sha256: str
    """Of the code behind its stages."""
    revision: str | None
    """The git commit of csrdata at the time of the run, `+changes` if files differed; None outside git."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run of an arm."""

    origin: Origin
    machine: Json
    """What the bits of trained models depend on, as metrics/prepare.json has it."""
    world: int | None
    """The version of the microworld; None where it has none."""
    iterations: tuple[str, ...]
    """The policies that were evaluated, the base first."""
    figures: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    """By policy, split and figure."""
    questions: Mapping[str, str]
    """By split: the hash of its questions and of the truth. Equal hashes mean that two results pair up image by image."""
    counts: Mapping[str, Mapping[str, Counts]]
    """By policy and split: of the greedy answers. Not all policies have them."""
    curves: Mapping[str, EndCurve]
    """By policy: what the figure at the base's recall is made of, where it was measured."""
    match_recall: Json
    """By policy: metrics/match_recall; figures at every bias for the base alone, where the result is about it."""
    pairs: Json
    """By iteration: how many were kept, how often reward, likelihood and relevance prefer the truer answer, percent, the
    mean reward of the chosen and of the rejected sides (Table 10), and by origin their likelihood before training (Fig. 8)
    and how often each side is false.

    "judging" is the `JudgingFigures`, where the policy judged its answers. Older results lack the last four.
    """
    cards: Mapping[str, Json]
    """The report card of each signal in the first iteration's search (`csrdata.evaluation.signal_cards`), by its name; empty
    where nothing was searched or no truth is known, and in results from before cards were kept."""
    models: Json
    """What `prepare` measured of the scorers, by model."""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """By run of a stage, as DVC names it; a run that was killed and continued counts from its last start."""

    @property
    def last(self) -> str:
        """The policy that the arm's figures are of."""
        return self.iterations[-1]


def measure(params: Params, *, policies: Sequence[str], count_for: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a `Result` that the project in the present folder gives.

    Args:
        params: the project's.
        policies: those that were evaluated, the base first.
        count_for: those of them whose counts are kept.

    Raises:
        UserError: a file is missing or damaged.
    """
    sampled = "dvc repro sample_prompts"
    questions = read_rows(paths.QUESTIONS, Question, made_by=sampled)
    truths = read_rows(paths.TRUTH, Truth, made_by=sampled)
    known = known_truth(params.evaluation_sets, open_source(params.source), Asked(questions, truths))
    counted = {
        name: count(questions, texts_of(read_rows(paths.answers(name), Answer, made_by="dvc repro")), known)
        for name in count_for
    }
    asked = describing(questions, known)
    left_out = read_left_out()
    tokens = params.evaluate_policy.max_new_tokens
    sets = describe_evaluation(questions, known, left_out=left_out, max_new_tokens=tokens).sets
    prepared = read_json(paths.PREPARE_METRICS, made_by="dvc repro prepare")
    return {
        "machine": prepared.get("machine", {}),
        "world": prepared.get("world"),
        "iterations": tuple(policies),
        "figures": _figures(params, policies, questions, known),
        "questions": {
            split: hash_of([one.questions_sha256, one.truth_sha256, one.rules]) for split, one in sets.items()
        },
        "counts": counted,
        "curves": {
            name: _end_curve(name, asked, known, split=params.match_recall.split)
            for name in count_for
            if params.match_recall is not None and name != paths.BASE
        },
        "match_recall": _match_recall(policies),
        "pairs": _pairs(params, policies[1:], source_truths(params.evaluation_sets, truths)),
        "cards": _cards(params, policies[1:]),
        "models": {name: value for name, value in prepared.items() if name in {"scorer", "held_out_scorer"}},
        "cpu_seconds": _cpu_seconds(),
    }


def _figures(
    params: Params, policies: Sequence[str], questions: Sequence[Question], known: Mapping[str, Known]
) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return the figures to keep, by policy and split: those of the summary, or of the base where nothing was trained."""
    if len(policies) > 1:
        splits = read_summary(paths.SUMMARY).splits
    else:
        (base,) = policies
        answers = read_rows(paths.answers(base), Answer, made_by="dvc repro evaluate_base")
        cards = {base: scorecards(questions, answers, known, made_by="dvc repro evaluate_base")}
        splits = summarize_splits(cards, **params.summarize.model_dump())
    return {
        name: {
            split: {key: one for key, one in found[name].figures.items() if key in SHOWN}
            for split, found in splits.items()
        }
        for name in policies
    }


def _end_curve(name: str, asked: Sequence[Question], known: Mapping[str, Known], *, split: str) -> EndCurve:
    """Return the counts of a policy's descriptions at every bias."""
    by_bias: dict[float, dict[str, str]] = {}
    for answer in read_rows(
        paths.biased_answers(name), BiasedAnswer, made_by=f"dvc repro match_recall@{name}"
    ):
        by_bias.setdefault(answer.bias, {})[answer.question_id] = answer.text
    counted = {bias: count(asked, by_bias[bias], known) for bias in sorted(by_bias)}
    splits = dict.fromkeys(question.split for question in asked)
    return EndCurve(
        split=split,
        biases=tuple(counted),
        false={one: tuple(found[one].false for found in counted.values()) for one in splits},
        named=tuple(found[split].named for found in counted.values()),
    )


def write_result(path: Path, result: Result) -> None:
    """Write a result atomically."""
    write_json(path, as_json(result))


def as_json(result: Result) -> dict[str, Any]:
    """Return a result in the form of the file; figures without the p-values, which are those of the run's summary."""
    return {
        **{one.name: getattr(result, one.name) for one in fields(result)},
        "origin": asdict(result.origin),
        "iterations": list(result.iterations),
        "figures": {
            name: {
                split: {key: [one.value, one.low, one.high] for key, one in figures.items()}
                for split, figures in splits.items()
            }
            for name, splits in result.figures.items()
        },
        "counts": _counts_as_json(result.counts),
        "curves": {name: one.as_json() for name, one in result.curves.items()},
        "cpu_seconds": dict(result.cpu_seconds),
    }


def read_result(path: Path) -> Result:
    """Read the file of a result.

    Raises:
        UserError: the file is missing or damaged, or of another version of csrdata.
    """
    parts = open_json(path, made_by="python -m csrdata.ablation run").fields(
        *(one.name for one in fields(Result))
    )
    origin = parts["origin"].fields(*(one.name for one in fields(Origin)))
    return Result(
        origin=Origin(
            arm=origin["arm"].text(),
            seed=origin["seed"].count(),
            profile=origin["profile"].text(),
            quick=origin["quick"].value is True,
            changes=_plain(origin["changes"]),
            params_sha256=origin["params_sha256"].text(),
            code_sha256=origin["code_sha256"].text(),
            revision=None if origin["revision"].value is None else origin["revision"].text(),
        ),
        machine=_plain(parts["machine"]),
        world=None if parts["world"].value is None else parts["world"].count(),
        iterations=tuple(parts["iterations"].texts()),
        figures={
            name: {
                split: {key: _figure(one) for key, one in figures.items().items()}
                for split, figures in splits.items().items()
            }
            for name, splits in parts["figures"].items().items()
        },
        questions={split: one.text() for split, one in parts["questions"].items().items()},
        counts=_counts(parts["counts"]),
        curves={name: read_curve(one) for name, one in parts["curves"].items().items()},
        match_recall=_plain(parts["match_recall"]),
        pairs=_plain(parts["pairs"]),
        cards=_plain(parts["cards"]),
        models=_plain(parts["models"]),
        cpu_seconds={name: one.number() for name, one in parts["cpu_seconds"].items().items()},
    )


def cpu_seconds_a_pair(result: Result) -> float | None:
    """Return the seconds of CPU that a pair cost, over all iterations; None if no pair was made or no time is known."""
    kept = sum(entry.get("kept", 0) for entry in result.pairs.values())
    spent = [seconds for name, seconds in result.cpu_seconds.items() if name.partition("@")[0] in PAIR_STAGES]
    return sum(spent) / kept if kept and spent else None


def hash_of(value: object) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _match_recall(policies: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of `match_recall` by policy; figures at every bias where they are all there is."""
    files = {name: paths.stage_metrics("match_recall", name) for name in policies}
    found = {name: read_json(path, made_by="dvc repro") for name, path in files.items() if path.is_file()}
    if len(policies) > 1:
        for metrics in found.values():
            metrics.pop("curves", None)
    return found


def _pairs(params: Params, iterations: Sequence[str], truths: Mapping[str, Truth]) -> dict[str, Any]:
    """Return what summary, analyses and truth say of the pairs of each iteration; empty where nothing was trained."""
    if not iterations:
        return {}
    summary, likelihoods = read_json(paths.SUMMARY, made_by="dvc repro summarize"), _likelihoods()
    found = {}
    for name in iterations:
        entry = summary["pairs"][name]
        preference = entry["truth_preference"] or {}
        found[name] = {key: entry[key] for key in ("kept", "chosen_reward", "rejected_reward")}
        found[name] |= {f"{key}_prefers_truer": preference.get(key) for key in PREFERENCES}
        found[name]["likelihood"] = likelihoods.get(name, {})
        found[name]["false"] = _false_sides(params, name, truths)
        if "judging" in entry:
            found[name]["judging"] = entry["judging"]
    return found


def _likelihoods() -> dict[str, Any]:
    """Return what plots/pair_likelihood.csv says by iteration and origin, nats per token.

    "chosen" and "rejected" are means over the pairs, "chosen_preferred" how often the chosen side is the likelier one,
    percent. Empty where the file is not there.
    """
    path = paths.PLOTS / f"{likelihood.NAME}.csv"
    found: dict[str, Any] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["measure"] == "token":
                own = found.setdefault(row["iteration"], {}).setdefault(row["origin"], {})
                own[row["answer"]] = float(row["mean"])
                if row["answer"] == "chosen":
                    own |= {"pairs": int(row["count"]), "chosen_preferred": float(row["preferred"])}
    return found


def _false_sides(params: Params, name: str, truths: Mapping[str, Truth]) -> dict[str, Any]:
    """Return how often each side of an iteration's pairs is false, by origin; empty where no truth is known."""
    parser = open_source(params.source).claim_parser()
    if parser is None:
        return {}
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    known = {one.prompt_id: truths[one.image] for one in prompts if one.image in truths}
    pairs = read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}")
    return {origin: asdict(one) for origin, one in false_sides(pairs, known, parser).items()}


def _cards(params: Params, iterations: Sequence[str]) -> dict[str, Any]:
    """Return the card of each signal in the first iteration's search, by its name; empty where no truth is known."""
    if not iterations or open_source(params.source).claim_parser() is None:
        return {}
    cards = [asdict(card) for card in iteration_cards(params, iterations[0])]
    return {card.pop("name"): card for card in cards}


PREFERENCES = ("reward", "likelihood", "relevance")


def _cpu_seconds() -> dict[str, float]:
    """Return the seconds of CPU by run of a stage, from the log: the last run of each counts."""
    found: dict[str, float] = {}
    path = paths.STAGE_LOG
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("event") == "stage":
            name = f"{event['stage']}@{event['name']}" if event.get("name") else event["stage"]
            found[name] = event["cpu_seconds"]
    return found


def _counts_as_json(counts: Mapping[str, Mapping[str, Counts]]) -> dict[str, Any]:
    return {name: {split: one.as_json() for split, one in splits.items()} for name, splits in counts.items()}


def _counts(value: JsonValue) -> dict[str, dict[str, Counts]]:
    return {
        name: {split: read_counts(one) for split, one in splits.items().items()}
        for name, splits in value.items().items()
    }


def _figure(value: JsonValue) -> Figure:
    numbers = value.value
    if not isinstance(numbers, list) or len(numbers) != 3:
        value.refuse("value, low and high")
    for number in numbers:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            value.refuse("value, low and high")
    return Figure(numbers[0], numbers[1], numbers[2], None)


def _plain(value: JsonValue) -> dict[str, Any]:
    return {name: one.value for name, one in value.items().items()}
