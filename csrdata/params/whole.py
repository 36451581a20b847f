"""All sections of params.yaml together."""

from typing import Annotated

from pydantic import Field

from csrdata.params.evaluation import AnySet, EvaluatePolicy, MatchRecall, Summarize
from csrdata.params.method import AnyPairs, GenerateBeams, ScoreBeams, TrainDpo
from csrdata.params.models import AnyModels, Scorers
from csrdata.params.sources import AnySource, Images, SamplePrompts
from csrdata.params.values import Count, Dtype, Section


class Compute(Section):
    threads: Count
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
    dtype: Dtype


class Engine(Section):
    workers: Count


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
