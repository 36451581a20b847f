"""params.yaml as frozen, typed sections.

Configuration objects are used here and in the stages only: all other code takes plain keyword arguments. The comments in
params.yaml state the meaning, unit, range and source of each key, and a test checks that none is missing.
"""

from csrdata.params.evaluation import AnySet, MatchRecall
from csrdata.params.method import (
    AnswerPairs,
    AnyPairs,
    AnyProposal,
    CorruptedPairs,
    GenerateBeams,
    ImportedPairs,
    JudgedPairs,
    MixedPairs,
    ScoreBeams,
    SentencePairs,
    TrainDpo,
)
from csrdata.params.models import (
    AnyScorer,
    DetectorScorer,
    EnsembleScorer,
    HubModel,
    MicroworldModels,
    OpenClipNameScorer,
    OpenClipScorer,
    PretrainedModels,
    Scorers,
    SelfCheckScorer,
    SingleScorer,
)
from csrdata.params.reading import FILE, check_params, load_params
from csrdata.params.sources import AnySource, MicroworldSource
from csrdata.params.values import Dtype, Line, NotNegative, Section
from csrdata.params.whole import Compute, Params

__all__ = [
    "FILE",
    "AnswerPairs",
    "AnyPairs",
    "AnyProposal",
    "AnyScorer",
    "AnySet",
    "AnySource",
    "Compute",
    "CorruptedPairs",
    "DetectorScorer",
    "Dtype",
    "EnsembleScorer",
    "GenerateBeams",
    "HubModel",
    "ImportedPairs",
    "JudgedPairs",
    "Line",
    "MatchRecall",
    "MicroworldModels",
    "MicroworldSource",
    "MixedPairs",
    "NotNegative",
    "OpenClipNameScorer",
    "OpenClipScorer",
    "Params",
    "PretrainedModels",
    "ScoreBeams",
    "Scorers",
    "Section",
    "SelfCheckScorer",
    "SentencePairs",
    "SingleScorer",
    "TrainDpo",
    "check_params",
    "load_params",
]
