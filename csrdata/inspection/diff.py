"""Figures that compare two versions of a preference dataset: what they have in common and how they differ.

A version is the pairs and dropped prompts of one iteration, from any place. Prompts are matched by id; two prompts
with the same id but another image or text do not match. Of a prompt with several pairs, those with the same two sides are
matched first, then the others in their order. Rewards and margins are on the scale of each version's own `score_beams`, so
that they are comparable only if the scales are equal. Percentages are 0 to 100; a mean over nothing is None.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.inspection.stats import Distribution, distribution, mean, words
from csrdata.records import Dropped, DropReason, Pair
from csrdata.storage.dropped import lost_prompts
from csrdata.storage.tables import read_table

NO_PROMPT = "no_such_prompt"
"""Reason for a lost or added pair: the other side does not have the prompt."""
OTHER_PROMPT = "other_question"
"""Reason for a lost or added pair: the other side has a pair under this id, of another image or text."""
FEWER = "fewer_pairs"
"""Reason for a lost or added pair: the other side has fewer pairs of this prompt."""

REASONS = (*(reason.value for reason in DropReason), FEWER, OTHER_PROMPT, NO_PROMPT)

_PROMPT = ("prompt_id", "image", "prompt")
_ALIKE = ("context", "chosen", "chosen_complete", "rejected", "rejected_complete")
_SWAPPED = ("context", "rejected", "rejected_complete", "chosen", "chosen_complete")


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a comparison: a prompt has pairs or is dropped."""

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
    """Context, chosen and rejected are the same."""
    rescored: int
    """Those of `same` whose margin differs."""
    flipped: int
    """Chosen and rejected are swapped."""
    changed: int
    """A pair of the same prompt on both sides, with another answer, sentence or context."""
    lost: int
    """A pair in a only."""
    added: int
    """A pair in b only."""


@dataclass(frozen=True, slots=True)
class ChangedCounts:
    """Numbers of changed pairs, by what is another text. A pair whose sides have a new context is in none of them."""

    chosen: int
    rejected: int
    both: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why pairs were lost or added: numbers of pairs, for each of `REASONS`."""

    lost: dict[str, int]
    added: dict[str, int]


@dataclass(frozen=True, slots=True)
class MeanChanges:
    """Means of b - a over the pairs that both sides have; rewards on the scale of `score_beams`."""

    pairs: int
    """Same, flipped or changed."""
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
    """Ids of the prompts with such a pair, each once: in the order of a, those of added pairs in the order of b."""

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
        UserError: a table is missing or damaged, or a prompt has a pair and is dropped.
    """
    read = read_table(pairs, Pair, made_by=made_by)
    lost = lost_prompts(read_table(dropped, Dropped, made_by=made_by).lazy(), read.lazy())
    version = Version(label, pairs=read, dropped=lost.collect(), world=world)
    twice = version.dropped.join(version.pairs, on="prompt_id", how="semi", maintain_order="left")
    if len(twice):
        raise UserError(
            f"{label}: prompt {twice['prompt_id'][0]}",
            got="pairs and a reason for none",
            expected="one of the two",
            do=made_by,
        )
    return version


def diff(a: Version, b: Version) -> Diff:
    """Return how `b` differs from `a`."""
    both, lost, added = _matched(a.pairs, b.pairs)
    same, flipped, changed = (both.filter(how=how) for how in ("same", "flipped", "changed"))
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
        ids=MovedIds(
            *(
                pairs["prompt_id"].unique(maintain_order=True).to_list()
                for pairs in (flipped, changed, lost, added)
            )
        ),
    )


def _matched(a: pl.DataFrame, b: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the pairs of both sides, those of `a` alone and those of `b` alone.

    Of the first table, the columns of `b` end in `_b`, the rows are in the order of `a`, and `how` is same, flipped or
    changed: a pair is compared with the one that has the same sides, else with the one that has them swapped, else with the
    next one of its prompt that is left.
    """
    left, right = a.with_row_index("row"), b.with_row_index("row")
    found = []
    for how, keys, others in (("same", _ALIKE, _ALIKE), ("flipped", _ALIKE, _SWAPPED), ("changed", (), ())):
        pairs = _counted(left, (*_PROMPT, *keys)).join(
            _counted(right, (*_PROMPT, *others)),
            left_on=(*_PROMPT, *keys, "count"),
            right_on=(*_PROMPT, *others, "count"),
            suffix="_b",
            coalesce=False,
        )
        found.append(pairs.with_columns(how=pl.lit(how)))
        left = left.join(pairs, on="row", how="anti", maintain_order="left")
        right = right.join(pairs, left_on="row", right_on="row_b", how="anti", maintain_order="left")
    return pl.concat(found).sort("row"), left, right


def _counted(pairs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return pairs with the column `count`, which numbers those with equal keys: 0, 1, ..."""
    return pairs.with_columns(count=pl.int_range(pl.len()).over(keys))


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
    ids = pairs.select(_PROMPT)
    reasons = ids.join(other.dropped, on="prompt_id")["reason"].value_counts()
    found: Mapping[str, int] = dict(reasons.iter_rows())
    fewer = len(ids.join(other.pairs, on=_PROMPT, how="semi"))
    otherwise = len(ids.join(other.pairs, on="prompt_id", how="semi")) - fewer
    missing = len(ids) - sum(found.values()) - fewer - otherwise
    return {reason: found.get(reason, 0) for reason in REASONS} | {
        FEWER: fewer,
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
        pairs=len(both),
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
