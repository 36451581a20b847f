"""params.yaml as frozen, typed sections; an unknown key or a value out of range is refused in one line.

Configuration objects are used here and in the stages only: all other code takes plain keyword arguments. The comments
in params.yaml state the meaning, unit, range and source of each key, and a test checks that none is missing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from csrdata.errors import UserError
from csrdata.pinned import Pixels
from csrdata.publishing.release.layout import is_iteration_name, same_split
from csrdata.storage.values import MAX_PATH, MAX_PROMPT, MAX_TOKENS
from csrdata.strict_yaml import read_yaml
from csrdata.validation import explain

FILE = Path("params.yaml")

Count = Annotated[int, Field(ge=1, le=10**9)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
"""Bounded by what a table may hold: a longer answer would be refused when it is read."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""The seeds that torch accepts."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Strategy = Literal["random", "popular", "adversarial"]
NAME = "1 to 32 characters of a-z, 0-9, '-' and '_', the first a letter or digit, and not base"
"""What an iteration may be called, in words; releases define the pattern."""
RESERVED_SETS = ("record", "max_new_tokens")
"""Keys in the metrics of `evaluate_policy` that are no splits."""
Even = Annotated[int, Field(ge=0, le=10**9, multiple_of=2)]
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
PathText = Annotated[str, Field(min_length=1, max_length=MAX_PATH, pattern=PRINTABLE)]
"""A file or folder: relative to the project, or absolute; or, where params.yaml says so, relative to the images root."""
PathTexts = Annotated[list[PathText], Field(min_length=1, max_length=100)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_PATH, pattern=PRINTABLE)]
HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", max_length=200)]
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./-]*$", max_length=200)]
ScaleName = Literal["raw", "unit", "geometric", "rank", "zscore", "sibling_rank"]


class Section(BaseModel):
    """A section of params.yaml: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Dtype = Literal["float32", "bfloat16", "float16"]


class Compute(Section):
    threads: Count
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
    dtype: Dtype


class Engine(Section):
    workers: Count


class Images(Section):
    root: PathText


class MicroworldSource(Section):
    kind: Literal["microworld"]
    seed: Seed
    train_images: Count
    validation_images: Count
    held_out_images: Count
    out_of_distribution_images: Count
    test_images: Count
    test_seed: Seed
    questions_per_image: Even


LicenceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=100)]


class StatedOrigin(Section):
    images: Line | None
    licence: LicenceName | None
    outputs: Line | None
    policy: LicenceName | None


class RealSource(Section):
    """What every source of real data has."""

    exclude: PathText | None
    origin: StatedOrigin


class LlavaSource(RealSource):
    kind: Literal["llava"]
    files: Annotated[list[PathText], Field(min_length=1, max_length=1000)]
    folder: PathText


class TableSource(RealSource):
    kind: Literal["table"]
    file: PathText
    image_column: Line
    prompt_column: Line
    id_column: Line | None
    kind_column: Line | None


class FolderSource(RealSource):
    kind: Literal["folder"]
    folder: PathText
    prompts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]], Field(min_length=1, max_length=1000)
    ]


class HubSource(RealSource):
    kind: Literal["hub"]
    id: HubName
    revision: Revision
    config: Line | None
    split: Line
    image_column: Line
    prompt_column: Line
    id_column: Line | None
    kind_column: Line | None
    folder: PathText


class MicroworldModels(Section):
    kind: Literal["microworld"]
    seed: Seed
    scorer_images: Count
    scorer_steps: Count
    held_out_scorer_steps: Count
    scorer_batch: Annotated[int, Field(ge=2, le=10**9)]
    scorer_learning_rate: Positive
    matrix_learning_rate: Positive
    policy_images: Count
    policy_steps: Count
    policy_batch: Count
    policy_learning_rate: Positive
    stereotype_rate: Share
    question_share: Share
    judging_share: Share
    metric_images: Count


class HubModel(Section):
    """A model of the Hub: `{id: OWNER/NAME, revision: a branch, tag, commit or null}`."""

    id: HubName
    revision: Revision | None


class FolderModel(Section):
    """A model in a folder: `{folder: PATH}`."""

    folder: PathText


def _where(value: object) -> str:
    return (
        "folder"
        if isinstance(value, FolderModel) or (isinstance(value, dict) and "folder" in value)
        else "hub"
    )


class PretrainedModels(Section):
    kind: Literal["pretrained"]
    policy: Annotated[
        Annotated[HubModel, Tag("hub")] | Annotated[FolderModel, Tag("folder")], Discriminator(_where)
    ]
    min_pixels: Pixels | None
    max_pixels: Pixels | None


class OpenClipScorer(Section):
    kind: Literal["open_clip"]
    folder: PathText


class OpenClipNameScorer(Section):
    kind: Literal["open_clip_name"]
    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")]
    tag: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")]


class OpenClipHubScorer(Section):
    kind: Literal["open_clip_hub"]
    id: HubName
    revision: Revision | None


class DetectorScorer(Section):
    kind: Literal["detector"]
    folder: PathText


class SelfCheckScorer(Section):
    kind: Literal["self_check"]


SingleScorer = Annotated[OpenClipScorer | OpenClipNameScorer | OpenClipHubScorer, Field(discriminator="kind")]
"""The kinds of scorer that are one model."""


class Member(Section):
    weight: Positive
    scorer: SingleScorer


class EnsembleScorer(Section):
    kind: Literal["ensemble"]
    members: Annotated[list[Member], Field(min_length=2, max_length=16)]


AnySource = Annotated[
    MicroworldSource | LlavaSource | TableSource | FolderSource | HubSource, Field(discriminator="kind")
]
"""The kinds of source."""
AnyModels = Annotated[MicroworldModels | PretrainedModels, Field(discriminator="kind")]
"""The ways to get the base policy; another one is added in the same way."""
AnyScorer = Annotated[
    OpenClipScorer
    | OpenClipNameScorer
    | OpenClipHubScorer
    | EnsembleScorer
    | DetectorScorer
    | SelfCheckScorer,
    Field(discriminator="kind"),
]
"""The kinds of scorer; another one is added in the same way."""


class Scorers(Section):
    search: AnyScorer
    held_out: AnyScorer | None
    others: dict[str, AnyScorer]


class SamplePrompts(Section):
    prompts: Count
    seed: Seed


class CocoChairSet(Section):
    kind: Literal["coco_chair"]
    folder: PathText
    instances: PathTexts
    captions: PathTexts
    synonyms: PathText | None
    images: Count
    seed: Seed
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, pattern=r"\S")]


class PopeSet(Section):
    kind: Literal["pope"]
    folder: PathText
    file: PathText
    strategy: Strategy


class PopeBuiltSet(Section):
    kind: Literal["pope_built"]
    folder: PathText
    instances: PathTexts
    strategy: Strategy
    images: Count
    per_image: Annotated[int, Field(ge=2, le=160, multiple_of=2)]
    seed: Seed


class PromptsSet(Section):
    kind: Literal["prompts"]
    count: Count
    seed: Seed


AnySet = Annotated[CocoChairSet | PopeSet | PopeBuiltSet | PromptsSet, Field(discriminator="kind")]
"""The kinds of evaluation set; docs/evaluation.md describes their keys."""


class Guidance(Section):
    kind: Literal["reward", "likelihood", "none"]
    image_weight: Share
    scale: ScaleName
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


AnyProposal = Annotated[GroupProposal | SentenceSampling | AnswerSampling, Field(discriminator="kind")]
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


class AnswerPairs(Section):
    """Pairs of whole answers of the search."""

    kind: Literal["answers"]
    order: Literal["reward", "random", "truth"]
    margin: NotNegative
    max_length_gap: Share
    length_balance: NotNegative | None
    per_prompt: Count
    seed: Seed


class SentencePairs(Section):
    """Pairs of sentences that continue the same beginning of an answer."""

    kind: Literal["sentences"]
    order: Literal["relevance", "reward", "truth"]
    min_gap: NotNegative
    repetition_threshold: Share | None
    per_prompt: Count
    ends: Literal["none", "evidence"]
    end_gap: NotNegative
    seed: Seed


class MixedPairs(Section):
    """Pairs of several kinds from the same search."""

    kind: Literal["mixed"]
    parts: Annotated[
        list[Annotated[AnswerPairs | SentencePairs, Field(discriminator="kind")]],
        Field(min_length=2, max_length=8),
    ]


class JudgedPairs(Section):
    """Pairs of two answers, of which the policy itself judges which one fits the image better (Table 3)."""

    kind: Literal["judged"]


class CorruptedPairs(Section):
    """Pairs of the best answer and the same answer with one change that makes it false."""

    kind: Literal["corrupted"]
    seed: Seed


class ImportedPairs(Section):
    """Pairs from elsewhere, as `csrdata import` wrote them."""

    kind: Literal["imported"]
    folder: PathText


AnyPairs = Annotated[
    AnswerPairs | SentencePairs | MixedPairs | JudgedPairs | CorruptedPairs | ImportedPairs,
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
    seed: Seed


class EvaluatePolicy(Section):
    decoding: Literal["greedy", "search"]
    max_new_tokens: Tokens
    batch_size: Count


class MatchRecall(Section):
    split: Line
    low: Annotated[float, Field(le=0, ge=-100)]
    high: Annotated[float, Field(ge=0, le=100)]
    step: Positive


class Summarize(Section):
    resamples: Annotated[int, Field(ge=100, le=10**9)]
    confidence: Annotated[float, Field(gt=0, lt=100)]
    seed: Seed


class Iteration(Section):
    previous: str


class Params(Section):
    """The whole file."""

    compute: Compute
    engine: Engine
    images: Images
    source: AnySource
    prepare: AnyModels
    scorers: Scorers
    sample_prompts: SamplePrompts
    evaluation_sets: dict[str, AnySet]
    generate_beams: GenerateBeams
    score_beams: ScoreBeams
    select_pairs: AnyPairs
    train_dpo: TrainDpo
    evaluate_policy: EvaluatePolicy
    match_recall: MatchRecall | None
    summarize: Summarize
    iterations: dict[str, Iteration]


def load_params(path: Path = FILE) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: the file is missing or is not YAML 1.2; a key is unknown (the nearest valid key is named), missing
            or out of range; an iteration starts from one that is not listed before it; or there is no iteration.
    """
    if not path.is_file():
        raise UserError(
            str(path),
            got="no such file",
            expected="the pipeline's parameters",
            do="run the command in the folder of params.yaml",
        )
    return check_params(read_yaml(path), path)


def check_params(raw: object, path: Path) -> Params:
    """Validate the content of a params file that is named `path`; see `load_params`."""
    if not isinstance(raw, dict):
        got = "an empty file" if raw is None else raw
        raise UserError(str(path), got=got, expected="sections of keys", do=_fix(path))
    _refuse_old_names(raw, path)
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Params, raw, place=str(path), do=_fix(path)) from None
    _check_chain(params.iterations, path)
    _check_sets(params.evaluation_sets, path)
    _check_signals(params, path)
    _check_training(params.train_dpo, path)
    _check_matching(params, path)
    return params


OLD_NAMES = {
    "build_seed": "source (the images), prepare (the models) and scorers (their folders)",
    "repeat_similarity": "repetition_threshold",
    "sample_prompts.questions_per_image": "source.questions_per_image",
    "generate_beams.groups": "generate_beams.proposal.groups",
    "generate_beams.diversity_penalty": "generate_beams.proposal.diversity_penalty",
}
"""Keys of earlier versions, alone or with the sections above them, with their names today."""


def _refuse_old_names(raw: Mapping[object, object], path: Path, *, above: str = "") -> None:
    """Raise if the file has a key of an earlier version, and name the key of today.

    An "unknown key" error would not say where its value goes.
    """
    for key, value in raw.items():
        new = OLD_NAMES.get(f"{above}{key}") or OLD_NAMES.get(str(key))
        if new is not None:
            raise UserError(
                f"{path}: {above}{key}",
                got="a name of an earlier version",
                expected=new,
                do=_fix(path),
            )
        if isinstance(value, dict) and len(above) < 100:
            _refuse_old_names(value, path, above=f"{above}{key}.")


def _fix(path: Path) -> str:
    return f"fix {path}, then: dvc repro"


def _check_sets(sets: Mapping[str, AnySet], path: Path) -> None:
    """Check the names of evaluation sets: they become splits of tables and keys of metrics."""
    for name in sets:
        if not is_iteration_name(name) or name in RESERVED_SETS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {' or '.join(RESERVED_SETS)}"
            raise UserError(f"{path}: evaluation_sets.{name}", got=name, expected=expected, do=_fix(path))


RESERVED_SIGNALS = ("search", "held_out", "elsewhere")
"""Signals that are no entry of `scorers.others`."""


def _check_signals(params: Params, path: Path) -> None:
    """Check the names of scorers, and that the signal of the reward is one that is measured."""
    others = params.scorers.others
    for name in others:
        if not is_iteration_name(name) or name in RESERVED_SIGNALS:
            expected = f"{NAME.removesuffix(', and not base')}, and not {', '.join(RESERVED_SIGNALS)}"
            raise UserError(f"{path}: scorers.others.{name}", got=name, expected=expected, do=_fix(path))
    if params.evaluate_policy.decoding == "search" and params.score_beams.signal != "search":
        place, got = (
            f"{path}: evaluate_policy.decoding",
            f"search, with score_beams.signal {params.score_beams.signal}",
        )
        expected = "greedy: only the search's own signal is measured on evaluation images"
        raise UserError(place, got=got, expected=expected, do=_fix(path))
    if params.score_beams.signal not in {"search", *others}:
        expected = f"one of {', '.join(['search', *others])} (search, or a name of scorers.others)"
        place = f"{path}: score_beams.signal"
        raise UserError(place, got=params.score_beams.signal, expected=expected, do=_fix(path))


def _check_training(section: TrainDpo, path: Path) -> None:
    """Check that there is something to train on, and that no key of `train_dpo` is without effect."""
    dpo, loss = section.dpo_weight, section.loss
    problems = (
        (not dpo and not section.sft_weight, "dpo_weight", dpo, "above 0, or sft_weight above 0"),
        (not dpo and section.margin != "none", "margin", section.margin, "none where dpo_weight is 0"),
        (
            not dpo and section.ld_alpha is not None,
            "ld_alpha",
            section.ld_alpha,
            "null where dpo_weight is 0",
        ),
        (
            section.margin == "target" and loss != "sigmoid",
            "margin",
            section.margin,
            f"none or weight where loss is {loss}",
        ),
        (
            (loss == "robust") != (section.label_smoothing > 0),
            "label_smoothing",
            section.label_smoothing,
            "above 0 where loss is robust, and 0 for any other loss",
        ),
    )
    for is_wrong, key, got, expected in problems:
        if is_wrong:
            raise UserError(f"{path}: train_dpo.{key}", got=got, expected=expected, do=_fix(path))


MOST_BIASES = 1000
"""The most points of a curve: each has an answer to every description."""


def _check_matching(params: Params, path: Path) -> None:
    """Check that the biases of `match_recall` are a grid with 0 on it, and that the answers they belong to are greedy."""
    settings = params.match_recall
    if settings is None:
        return
    for name, value in (("low", settings.low), ("high", settings.high)):
        steps = value / settings.step
        if abs(steps - round(steps)) > 1e-9 * max(1.0, abs(steps)):
            expected = f"a multiple of step, {settings.step:g}: 0 is one of the biases"
            raise UserError(f"{path}: match_recall.{name}", got=value, expected=expected, do=_fix(path))
    biases = round((settings.high - settings.low) / settings.step) + 1
    if biases > MOST_BIASES:
        place, got = f"{path}: match_recall.step", f"{biases:,} biases from low to high"
        raise UserError(place, got=got, expected=f"at most {MOST_BIASES:,}", do=_fix(path))
    if params.evaluate_policy.decoding != "greedy":
        place, got = f"{path}: match_recall", f"evaluate_policy.decoding: {params.evaluate_policy.decoding}"
        expected = "null: the bias is one of greedy answers"
        raise UserError(place, got=got, expected=expected, do=_fix(path))


def _check_chain(iterations: Mapping[str, Iteration], path: Path) -> None:
    """Check the iterations of a file.

    Each needs a name that a folder may have, and starts from the base or from an iteration listed before it.
    """
    do = _fix(path)
    if not iterations:
        expected = 'one iteration or more, such as "1": {previous: base}'
        raise UserError(f"{path}: iterations", got="none", expected=expected, do=do)
    for position, (name, iteration) in enumerate(iterations.items()):
        place = f"{path}: iterations.{name}"
        if name == "base" or not is_iteration_name(name):
            raise UserError(place, got=name, expected=NAME, do=do)
        earlier = ["base", *list(iterations)[:position]]
        if iteration.previous not in earlier:
            raise UserError(
                f"{place}.previous", got=iteration.previous, expected=f"one of {', '.join(earlier)}", do=do
            )
    if alike := same_split(list(iterations)):
        name, earlier_name = alike
        expected = f"a name that differs from {earlier_name} in more than - and _"
        raise UserError(f"{path}: iterations.{name}", got=name, expected=expected, do=do)
