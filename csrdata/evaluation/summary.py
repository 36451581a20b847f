"""The summary that others read: every figure with its interval, and each iteration's pairs, as records and as stable JSON.

    {"iterations": ["base", "1", ...],
     "splits": {SPLIT: {"base": {FIGURE: {"value", "low", "high", "p_vs_base"}, ...,
                              "false_by_kind": {KIND: n}}, "1": ...}, ...},
     "pairs": {"1": {"kept", "dropped": {REASON: n}, "chosen_reward", ..., "truth_preference": {...}}, ...},
     "training": {"1": {...}, ...}, "prepared": {"machine": {...}, ...}, "evaluation": {"sets": {SPLIT: {...}}, ...},
     "equal_recall": {"split": SPLIT, "policies": {"base": {"bias", "low", "high", "outside", "reason",
                      "curve": {SPLIT: [{"bias", "recall", "chair_s"}, ...]}}, "1": ...}},
     "world": 2,
     "stopped": [{"iteration": "2", "reason": "...", "not_run": ["3", ...]}, ...]}

"iterations" is the order of all tables: the base policy, then the iterations as params.yaml has them. FIGURE is a name of
`scorecard.FIGURES`; a figure that was not measured is absent. "p_vs_base" is
uncorrected (`csrdata.evaluation.corrected`). Percentages are 0 to 100; what does not exist is null, as
are the two parts that need the truth about the images ("false_by_kind", "truth_preference") where it is unknown.
"evaluation" (`csrdata.evaluation.record`) is absent from a summary that an earlier version wrote, "equal_recall"
(`csrdata.evaluation.equal_recall`) where it was not measured. "world" is the version of the microworld that drew the
images, absent for other images: figures of two versions are not comparable. "stopped" says where a limit of `stop_when`
stopped the loop, and which iterations did not run; it is absent where none did.
An iteration's "with_pairs",
the number of prompts with a pair, is absent where each pair is of another prompt.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.record import EvaluationRecord, read_record
from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.truth_preference import TruthPreference
from csrdata.storage.json_values import JsonValue, open_json

BASE = "base"
"""The base's name among the iterations."""
HEADLINE_SPLIT = "held_out"
PAIR_MEANS = ("chosen_reward", "rejected_reward", "chosen_reward_held_out", "rejected_reward_held_out")
"""Scores of `PairScores` whose means are fields of `PairSummary`."""

Numbers = Mapping[str, float | None]
"""What a stage measured, by name; each in the unit that the stage states."""


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """One policy on one split."""

    figures: Mapping[str, Figure]
    """By names of `FIGURES`; those that were measured."""
    false_by_kind: Mapping[str, float] | None
    """Absent objects named per 100 answers, by kind of mistake; None where the truth is unknown."""

    def value(self, name: str) -> float | None:
        """Return a figure without its interval; None where it was not measured or does not exist."""
        return self.figures[name].value if name in self.figures else None

    def as_json(self) -> dict[str, object]:
        """Return the figures with "false_by_kind" among them, as in the file."""
        kinds = None if self.false_by_kind is None else dict(self.false_by_kind)
        return {**{name: asdict(figure) for name, figure in self.figures.items()}, "false_by_kind": kinds}


@dataclass(frozen=True, slots=True)
class PairSummary:
    """The pairs of one iteration: prompts with a pair + dropped = prompts."""

    kept: int
    """Pairs."""
    with_pairs: int
    """Prompts with a pair or more."""
    dropped: Mapping[str, int]
    """Prompts without a pair, by the `DropReason`s that occur."""
    chosen_reward: float | None
    """Here and below: the mean over the pairs with that score, on the scale of `score_beams`; None without any."""
    rejected_reward: float | None
    chosen_reward_held_out: float | None
    rejected_reward_held_out: float | None
    truth_preference: TruthPreference | None
    """None where the truth is unknown."""
    judging: JudgingFigures | None = None
    """None where the policy did not judge its answers; the file then has no such key."""

    def as_json(self) -> dict[str, object]:
        """Return the entry in the form of the file."""
        absent = {"with_pairs"} if self.with_pairs == self.kept else set()
        absent |= {"judging"} if self.judging is None else set()
        return {name: value for name, value in asdict(self).items() if name not in absent}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the bits of trained models depend on."""

    processor: str
    instructions: str
    """The set that torch uses, such as AVX2."""
    threads: int
    torch: str
    """Its version."""
    python: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The models that `prepare` trained."""

    machine: Machine
    models: Mapping[str, Numbers]
    """By model: "policy" is the base."""

    def as_json(self) -> dict[str, object]:
        """Return the models with "machine" among them, as in the file."""
        return {**{name: dict(model) for name, model in self.models.items()}, "machine": asdict(self.machine)}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A policy on one split at one end-of-sequence bias."""

    bias: float
    """Nats."""
    recall: float | None
    """Percent of objects."""
    chair_s: float | None
    """Percent of answers."""


@dataclass(frozen=True, slots=True)
class BiasSummary:
    """The end-of-sequence bias that gives one policy the base's recall, and the curve on which it was found."""

    bias: float | None
    """Nats; None where the curve does not have the base's recall."""
    low: float | None
    high: float | None
    outside: int
    """Draws of the bootstrap without a bias."""
    reason: str | None
    """Why there is no bias, or no interval."""
    curve: Mapping[str, tuple[CurvePoint, ...]]
    """By split, the biases ascending."""


@dataclass(frozen=True, slots=True)
class EqualRecall:
    """How the figures at the base's recall were found."""

    split: str
    """The split on which the biases were set."""
    policies: Mapping[str, BiasSummary]
    """By iteration, the base among them: its bias is 0."""


@dataclass(frozen=True, slots=True)
class StoppedLoop:
    """Where a limit of `stop_when` stopped the loop."""

    iteration: str
    """The last one that ran, or that made pairs."""
    reason: str
    not_run: tuple[str, ...]
    """The iterations without a policy because of it."""

    def words(self) -> str:
        """Return it as a sentence."""
        left = f" Not run: {', '.join(self.not_run)}." if self.not_run else ""
        return f"The loop stopped at iteration {self.iteration}: {self.reason}.{left}"


@dataclass(frozen=True, slots=True)
class Summary:
    """All of `metrics/summary.json`."""

    iterations: tuple[str, ...]
    """The base first."""
    splits: Mapping[str, Mapping[str, PolicySummary]]
    """By split, then by iteration."""
    pairs: Mapping[str, PairSummary]
    """By iteration; the base has none."""
    training: Mapping[str, Numbers]
    """By iteration; the base has none."""
    prepared: Prepared | None
    """None where the models come from elsewhere."""
    evaluation: EvaluationRecord | None = None
    """What all policies were evaluated on; None in a summary of an earlier version."""
    equal_recall: EqualRecall | None = None
    """None where figures at equal recall were not measured."""
    world: int | None = None
    """The version of the microworld that drew the images, 2 or more; None for other images, and for version 1."""
    stopped: tuple[StoppedLoop, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the summary in the form of the file."""
        return {
            "iterations": list(self.iterations),
            "splits": {
                split: {name: policy.as_json() for name, policy in policies.items()}
                for split, policies in self.splits.items()
            },
            "pairs": {name: entry.as_json() for name, entry in self.pairs.items()},
            "training": {name: dict(run) for name, run in self.training.items()},
            "prepared": None if self.prepared is None else self.prepared.as_json(),
            **({} if self.evaluation is None else {"evaluation": self.evaluation.as_json()}),
            **({} if self.equal_recall is None else {"equal_recall": asdict(self.equal_recall)}),
            **({} if self.world is None else {"world": self.world}),
            **({"stopped": [asdict(one) for one in self.stopped]} if self.stopped else {}),
        }


@dataclass(frozen=True, slots=True)
class Headline:
    """The ten figures that one steers by: the last iteration on held-out images, and the base where it matters.

    A figure is None where it does not exist or needs a truth that is unknown.
    """

    chair_s: float | None
    """Percent of answers."""
    chair_s_base: float | None
    pairs: int | None
    """Kept in the last iteration."""
    pope_accuracy: float | None
    """Percent."""
    prefers_truer: float | None
    """Percent of compared answers in which the reward prefers the truer one."""
    recall: float | None
    """Percent of objects."""
    recall_base: float | None
    relevance_held_out: float | None
    """0..100, by the scorer that the search never used."""
    repetition: float | None
    """Percent of sentences."""
    words: float | None
    """Per answer."""
    world: int | None
    """The version of the microworld, so that `dvc metrics diff` shows where it changed; None without a microworld."""

    def as_json(self) -> dict[str, float | None]:
        """Return the headline in the form of the file; a world that is None is left out."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("world", None)}


def headline(summary: Summary) -> Headline:
    """Return the headline. A figure is that of the split "held_out", or else of the first split by name that has it."""
    last = summary.iterations[-1]
    names = sorted(summary.splits, key=lambda name: (name != HEADLINE_SPLIT, name))
    pairs = summary.pairs.get(last)
    preference = None if pairs is None else pairs.truth_preference

    def value(policy: str, figure: str) -> float | None:
        for name in names:
            policies = summary.splits[name]
            if any(figure in one.figures for one in policies.values()):
                return policies[policy].value(figure) if policy in policies else None
        return None

    return Headline(
        chair_s=value(last, "chair_s"),
        chair_s_base=value(BASE, "chair_s"),
        pairs=None if pairs is None else pairs.kept,
        pope_accuracy=value(last, "pope_accuracy"),
        prefers_truer=None if preference is None else preference.reward,
        recall=value(last, "recall"),
        recall_base=value(BASE, "recall"),
        relevance_held_out=value(last, "relevance_held_out"),
        repetition=value(last, "repetition"),
        words=value(last, "length"),
        world=summary.world,
    )


def read_summary(path: Path) -> Summary:
    """Read a summary that `summarize` of this version wrote.

    Raises:
        UserError: the file is missing or damaged, or a key, a name or a value is not what `summarize` writes.
    """
    file = open_json(path, made_by="dvc repro summarize")
    optional = ("evaluation", "equal_recall", "world", "stopped")
    absent = {name for name in optional if name not in file.items()}
    parts = file.fields(*(name for name in _names(Summary) if name not in absent))
    iterations = parts["iterations"].texts()
    if iterations[:1] != [BASE] or len(set(iterations)) != len(iterations):
        parts["iterations"].refuse("base, then the iterations, each once")
    prepared = parts["prepared"]
    return Summary(
        iterations=tuple(iterations),
        splits={
            split: {name: _policy(value) for name, value in _known(policies, iterations).items()}
            for split, policies in parts["splits"].items().items()
        },
        pairs={name: _pairs(value) for name, value in _known(parts["pairs"], iterations[1:]).items()},
        training={
            name: read_numbers(value) for name, value in _known(parts["training"], iterations[1:]).items()
        },
        prepared=None if prepared.value is None else read_prepared(prepared),
        evaluation=read_record(parts["evaluation"]) if "evaluation" in parts else None,
        equal_recall=_equal_recall(parts["equal_recall"], iterations) if "equal_recall" in parts else None,
        world=parts["world"].count() if "world" in parts else None,
        stopped=tuple(map(_stopped, parts["stopped"].array())) if "stopped" in parts else (),
    )


def _stopped(value: JsonValue) -> StoppedLoop:
    parts = value.fields(*_names(StoppedLoop))
    return StoppedLoop(parts["iteration"].text(), parts["reason"].text(), tuple(parts["not_run"].texts()))


def read_prepared(value: JsonValue) -> Prepared | None:
    """Return what `prepare` says of the models that it trained; None if it resolved models of others.

    Raises:
        UserError: the machine or the base policy is missing, or a value is not a number.
    """
    if "resolved" in value.items():
        return None
    models = value.items(needs=("machine", "policy"))
    models.pop("world", None)
    machine = models.pop("machine").fields(*_names(Machine))
    return Prepared(
        machine=Machine(
            processor=machine["processor"].text(),
            instructions=machine["instructions"].text(),
            threads=machine["threads"].count(),
            torch=machine["torch"].text(),
            python=machine["python"].text(),
        ),
        models={name: read_numbers(model) for name, model in models.items()},
    )


def read_world(value: JsonValue) -> int | None:
    """Return the version of the microworld whose images `prepare` drew; None for other images, and for version 1.

    Raises:
        UserError: it is not a whole number.
    """
    world = value.items().get("world")
    return None if world is None else world.count()


def read_numbers(value: JsonValue, *, needs: tuple[str, ...] = ()) -> Numbers:
    """Return numbers by name; those of a training that diverged need not be finite.

    Raises:
        UserError: a name of `needs` is missing, or a value is not a number.
    """
    return {name: one.number_or_none(finite=False) for name, one in value.items(needs=needs).items()}


def _policy(value: JsonValue) -> PolicySummary:
    found = value.items(needs=("false_by_kind",))
    kinds = found.pop("false_by_kind")
    for name, figure in found.items():
        if name not in FIGURES:
            figure.refuse(f"one of {', '.join(FIGURES)}", got="an unknown figure")
    return PolicySummary(
        figures={name: _figure(figure) for name, figure in found.items()},
        false_by_kind=None
        if kinds.value is None
        else {kind: number.number() for kind, number in kinds.items().items()},
    )


def _figure(value: JsonValue) -> Figure:
    return Figure(**{name: part.number_or_none() for name, part in value.fields(*_names(Figure)).items()})


def _pairs(value: JsonValue) -> PairSummary:
    found = value.items()
    same, is_judged = "with_pairs" not in found, "judging" in found
    absent = {name for name in ("with_pairs", "judging") if name not in found}
    parts = value.fields(*(name for name in _names(PairSummary) if name not in absent))
    preference = parts["truth_preference"]
    return PairSummary(
        kept=parts["kept"].count(),
        with_pairs=parts["kept" if same else "with_pairs"].count(),
        dropped={reason: count.count() for reason, count in parts["dropped"].items().items()},
        **{name: parts[name].number_or_none() for name in PAIR_MEANS},
        truth_preference=None if preference.value is None else _truth_preference(preference),
        judging=_judging(parts["judging"]) if is_judged else None,
    )


def _judging(value: JsonValue) -> JudgingFigures:
    parts = value.fields(*_names(JudgingFigures))
    return JudgingFigures(
        judged=parts["judged"].count(),
        agreed=parts["agreed"].number_or_none(),
        compared=parts["compared"].count(),
        accuracy=parts["accuracy"].number_or_none(),
    )


def _truth_preference(value: JsonValue) -> TruthPreference:
    parts = value.fields(*_names(TruthPreference))
    comparisons = parts.pop("comparisons").count()
    return TruthPreference(comparisons, **{name: part.number_or_none() for name, part in parts.items()})


def _equal_recall(value: JsonValue, iterations: list[str]) -> EqualRecall:
    parts = value.fields(*_names(EqualRecall))
    return EqualRecall(
        split=parts["split"].text(),
        policies={name: _bias(one) for name, one in _known(parts["policies"], iterations).items()},
    )


def _bias(value: JsonValue) -> BiasSummary:
    parts = value.fields(*_names(BiasSummary))
    return BiasSummary(
        **{name: parts[name].number_or_none() for name in ("bias", "low", "high")},
        outside=parts["outside"].count(),
        reason=None if parts["reason"].value is None else parts["reason"].text(),
        curve={split: tuple(map(_point, one.array())) for split, one in parts["curve"].items().items()},
    )


def _point(value: JsonValue) -> CurvePoint:
    parts = value.fields(*_names(CurvePoint))
    bias = parts.pop("bias").number()
    return CurvePoint(bias, **{name: part.number_or_none() for name, part in parts.items()})


def _known(value: JsonValue, iterations: list[str]) -> dict[str, JsonValue]:
    """Return an object's values by iteration; another key is refused."""
    found = value.items()
    for name, entry in found.items():
        if name not in iterations:
            entry.refuse(f"one of {', '.join(iterations)}", got="an unknown iteration")
    return found


def _names(record: type) -> list[str]:
    return [field.name for field in fields(record)]
