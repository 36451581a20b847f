"""Figures that compare two versions of a preference dataset: what they have in common and how they differ.

A version is the pairs and dropped prompts of one iteration, from any place. Prompts are matched by id; two prompts
with the same id but another image or text do not match. Rewards and margins are on the scale of each version's own
`score_beams`, so that they are comparable only if the scales are equal. Percentages are 0 to 100; a mean over nothing
is None.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.inspection.stats import Distribution, distribution, mean, words
from csrdata.records import Dropped, DropReason, Pair
from csrdata.storage.tables import read_table

NO_PROMPT = "no_such_prompt"
"""Reason for a lost or added pair: the other side does not have the prompt."""
OTHER_PROMPT = "other_question"
"""Reason for a lost or added pair: the other side has a pair under this id, of another image or text."""

REASONS = (*(reason.value for reason in DropReason), OTHER_PROMPT, NO_PROMPT)


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a comparison: pairs + dropped prompts = prompts."""

    label: str
    """The name that is shown: `iteration 2`, `revision v1.0, iteration 2`."""
    pairs: pl.DataFrame
    dropped: pl.DataFrame
    world: int | None = None
    """The version of the microworld that drew its images; None for other images, and for version 1."""


@dataclass(frozen=True, slots=True)
class Sides:
    """A count on both sides."""

    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Worlds:
    """The microworld's version on both sides; None for other images, and for version 1.

    Where they differ, prompts with equal ids show different scenes: no pair is comparable.
    """

    a: int | None
    b: int | None


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """Numbers of prompts, with or without a pair, matched by id."""

    a: int
    b: int
    both: int
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Numbers of pairs: a = same + flipped + changed + lost, b = same + flipped + changed + added."""

    a: int
    b: int
    same: int
    """Both answers are the same."""
    rescored: int
    """Those of `same` whose margin differs."""
    flipped: int
    """Chosen and rejected are swapped."""
    changed: int
    """A pair on both sides, with another answer."""
    lost: int
    """A pair in a only."""
    added: int
    """A pair in b only."""


@dataclass(frozen=True, slots=True)
class ChangedCounts:
    """Numbers of changed pairs, by which answer is another text."""

    chosen: int
    rejected: int
    both: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why pairs were lost or added: numbers of prompts, for each of `REASONS`."""

    lost: dict[str, int]
    added: dict[str, int]


@dataclass(frozen=True, slots=True)
class MeanChanges:
    """Means of b - a over the prompts with a pair on both sides; rewards on the scale of `score_beams`."""

    prompts: int
    mean_margin_change: float | None
    mean_chosen_reward_change: float | None
    mean_rejected_reward_change: float | None
    mean_chosen_words_change: float | None
    """Words."""
    mean_rejected_words_change: float | None
    """Words."""


@dataclass(frozen=True, slots=True)
class DistributionSides:
    """One distribution on both sides, with the same bins; None for a side without values."""

    a: Distribution | None
    b: Distribution | None


@dataclass(frozen=True, slots=True)
class MovedIds:
    """Ids of the prompts whose pair is not the same: in the order of a, those of added pairs in the order of b."""

    flipped: list[str]
    changed: list[str]
    lost: list[str]
    added: list[str]


@dataclass(frozen=True, slots=True)
class Diff:
    """How b differs from a."""

    a: str
    """The label of version a."""
    b: str
    worlds: Worlds
    prompts: PromptCounts
    pairs: PairCounts
    changed: ChangedCounts
    why: Why
    dropped: dict[str, Sides]
    """Numbers of prompts without a pair, for every `DropReason`."""
    paired: MeanChanges
    distributions: dict[str, DistributionSides]
    """By name: margins and rewards on the scale of `score_beams`, relevance 0..100, lengths in words."""
    ids: MovedIds


def read_version(
    label: str, *, pairs: Path, dropped: Path, made_by: str, world: int | None = None
) -> Version:
    """Read the tables of one side.

    Args:
        label: the name of the side in the output.
        pairs: path of the table of pairs.
        dropped: path of the table of dropped prompts.
        made_by: the command that makes the tables, for errors.
        world: the version of the microworld that drew the images, if it did.

    Raises:
        UserError: a table is missing or damaged, or a prompt is in the tables more than once.
    """
    version = Version(
        label,
        pairs=read_table(pairs, Pair, made_by=made_by),
        dropped=read_table(dropped, Dropped, made_by=made_by),
        world=world,
    )
    ids = pl.concat([version.pairs["prompt_id"], version.dropped["prompt_id"]])
    twice = ids.filter(ids.is_duplicated())
    if len(twice):
        raise UserError(
            f"{label}: prompt {twice[0]}",
            got="more than one row",
            expected="one pair, or one reason for none",
            do=made_by,
        )
    return version


def diff(a: Version, b: Version) -> Diff:
    """Return how `b` differs from `a`."""
    both = _both(a.pairs, b.pairs)
    same, flipped = both.filter(pl.col("same")), both.filter(pl.col("flipped"))
    changed = both.filter(~pl.col("same") & ~pl.col("flipped"))
    lost, added = _without(a.pairs, both), _without(b.pairs, both)
    return Diff(
        a=a.label,
        b=b.label,
        worlds=Worlds(a.world, b.world),
        prompts=_prompts(a, b),
        pairs=PairCounts(
            a=len(a.pairs),
            b=len(b.pairs),
            same=len(same),
            rescored=len(same.filter(pl.col("margin").ne_missing(pl.col("margin_b")))),
            flipped=len(flipped),
            changed=len(changed),
            lost=len(lost),
            added=len(added),
        ),
        changed=_changed(changed),
        why=Why(lost=_why(lost, b), added=_why(added, a)),
        dropped=_dropped(a, b),
        paired=_paired(both),
        distributions=_distributions(a.pairs, b.pairs),
        ids=MovedIds(*(pairs["prompt_id"].to_list() for pairs in (flipped, changed, lost, added))),
    )


def _both(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of matching prompts in the order of `a`; the columns of `b` end in `_b`."""
    joined = a.join(b, on="prompt_id", suffix="_b", maintain_order="left").filter(
        (pl.col("image") == pl.col("image_b")) & (pl.col("prompt") == pl.col("prompt_b"))
    )
    chosen_stays, rejected_stays = (pl.col(side) == pl.col(f"{side}_b") for side in ("chosen", "rejected"))
    crossed = (pl.col("chosen") == pl.col("rejected_b")) & (pl.col("rejected") == pl.col("chosen_b"))
    return joined.with_columns(same=chosen_stays & rejected_stays, flipped=crossed)


def _without(pairs: pl.DataFrame, both: pl.DataFrame) -> pl.DataFrame:
    return pairs.join(both, on="prompt_id", how="anti", maintain_order="left")


def _prompts(a: Version, b: Version) -> PromptCounts:
    left, right = _ids(a), _ids(b)
    return PromptCounts(
        a=len(left),
        b=len(right),
        both=len(left & right),
        only_a=len(left - right),
        only_b=len(right - left),
    )


def _ids(version: Version) -> set[str]:
    return {*version.pairs["prompt_id"], *version.dropped["prompt_id"]}


def _changed(changed: pl.DataFrame) -> ChangedCounts:
    chosen, rejected = (changed[side] != changed[f"{side}_b"] for side in ("chosen", "rejected"))
    return ChangedCounts(
        chosen=int((chosen & ~rejected).sum()),
        rejected=int((~chosen & rejected).sum()),
        both=int((chosen & rejected).sum()),
    )


def _why(pairs: pl.DataFrame, other: Version) -> dict[str, int]:
    """Count why these pairs have no counterpart on the other side; reasons that do not occur are 0."""
    ids = pairs.select("prompt_id")
    reasons = ids.join(other.dropped, on="prompt_id")["reason"].value_counts()
    found: Mapping[str, int] = dict(reasons.iter_rows())
    otherwise = len(ids.join(other.pairs, on="prompt_id", how="semi"))
    missing = len(ids) - sum(found.values()) - otherwise
    return {reason: found.get(reason, 0) for reason in REASONS} | {
        OTHER_PROMPT: otherwise,
        NO_PROMPT: missing,
    }


def _dropped(a: Version, b: Version) -> dict[str, Sides]:
    left, right = (dict(version.dropped["reason"].value_counts().iter_rows()) for version in (a, b))
    return {
        reason.value: Sides(left.get(reason.value, 0), right.get(reason.value, 0)) for reason in DropReason
    }


def _paired(both: pl.DataFrame) -> MeanChanges:
    return MeanChanges(
        prompts=len(both),
        mean_margin_change=mean(both["margin_b"] - both["margin"]),
        mean_chosen_reward_change=mean(both["chosen_reward_b"] - both["chosen_reward"]),
        mean_rejected_reward_change=mean(both["rejected_reward_b"] - both["rejected_reward"]),
        mean_chosen_words_change=mean(words(both, "chosen_b") - words(both, "chosen")),
        mean_rejected_words_change=mean(words(both, "rejected_b") - words(both, "rejected")),
    )


def _distributions(a: pl.DataFrame, b: pl.DataFrame) -> dict[str, DistributionSides]:
    return {
        name: DistributionSides(distribution(left, other=right), distribution(right, other=left))
        for name, left, right in _sides(_figures(a), _figures(b))
    }


def _sides(
    a: Mapping[str, pl.Series], b: Mapping[str, pl.Series]
) -> Iterator[tuple[str, pl.Series, pl.Series]]:
    """Yield each figure's name and its values on both sides, without nulls."""
    for name, values in a.items():
        yield name, values.drop_nulls(), b[name].drop_nulls()


def _figures(pairs: pl.DataFrame) -> dict[str, pl.Series]:
    chosen_words, rejected_words = words(pairs, "chosen"), words(pairs, "rejected")
    return {
        "margin": pairs["margin"],
        "held_out_margin": pairs["chosen_reward_held_out"] - pairs["rejected_reward_held_out"],
        "chosen_reward": pairs["chosen_reward"],
        "rejected_reward": pairs["rejected_reward"],
        "chosen_relevance": pairs["chosen_relevance"],
        "rejected_relevance": pairs["rejected_relevance"],
        "chosen_words": chosen_words,
        "rejected_words": rejected_words,
        "length_gap": chosen_words - rejected_words,
    }
