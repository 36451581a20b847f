"""Keys of a set that `csrdata evaluate` and `csrdata compare` are given on the command line (docs/evaluation.md)."""

from typing import Annotated, Literal

from pydantic import Field

from csrdata.sections.evaluation import CocoChairSet, PopeBuiltSet, PopeSet
from csrdata.sections.values import PathText, PathTexts, Section, Strategy


class RepopeSet(Section):
    kind: Literal["repope"]
    file: PathText
    strategy: Strategy
    pope: PathText | None = None


class DashBSet(Section):
    kind: Literal["dash_b"]
    negatives: PathText
    positives: PathText


class PopeSplitsSet(Section):
    kind: Literal["pope_splits"]
    random: PathText
    popular: PathText
    adversarial: PathText


class RepopeSplitsSet(Section):
    kind: Literal["repope_splits"]
    random: PathText
    popular: PathText
    adversarial: PathText
    pope: PathTexts | None = None
    """POPE's files in the same order."""


class HallusionBenchSet(Section):
    kind: Literal["hallusion_bench"]
    file: PathText


class ObjectHalBenchSet(Section):
    kind: Literal["object_halbench"]
    file: PathText
    instances: PathTexts
    captions: PathTexts
    synonyms: PathText | None = None


class AmberSet(Section):
    kind: Literal["amber"]
    annotations: PathText
    queries: PathText
    relation: PathText
    safe_words: PathText
    part: Literal["all", "generative", "discriminative", "existence", "attribute", "relation"] = "all"


PackSet = Annotated[
    AmberSet
    | CocoChairSet
    | DashBSet
    | HallusionBenchSet
    | ObjectHalBenchSet
    | PopeBuiltSet
    | PopeSet
    | PopeSplitsSet
    | RepopeSet
    | RepopeSplitsSet,
    Field(discriminator="kind"),
]
KINDS = (
    "amber",
    "coco_chair",
    "dash_b",
    "hallusion_bench",
    "object_halbench",
    "pope",
    "pope_built",
    "pope_splits",
    "repope",
    "repope_splits",
)
"""What `--set` may be besides a name of the project."""


class GivenSet(Section):
    """A set from the command line."""

    set: PackSet
