"""What two versions of a preference dataset have in common and how they differ, as plain figures.

A version is one iteration's pairs and dropped prompts, wherever they came from. Prompts are matched by id; one that asks
something else under the same id (another image or another text) is not the same prompt. Rewards and margins are on the
scale of each version's own `score_beams`: where that differs, so do they. Percentages are 0 to 100, means over nothing None.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.errors import UserError
from csrdata.inspection.stats import distribution, words
from csrdata.records import Dropped, DropReason, Pair
from csrdata.storage.tables import read_table

NO_PROMPT = "no_such_prompt"
"""Why a prompt has no pair on the other side: it is not there."""
OTHER_PROMPT = "other_question"
"""Why a prompt's pair has no counterpart: the other side has a pair under this id, of another image or text."""

REASONS = (*(reason.value for reason in DropReason), OTHER_PROMPT, NO_PROMPT)


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a comparison: kept + dropped = prompts."""

    label: str
    """Its name in the output: `iteration 2`, `v1.0: iteration 2`."""
    pairs: pl.DataFrame
    dropped: pl.DataFrame


def read_version(label: str, *, pairs: Path, dropped: Path, made_by: str) -> Version:
    """Read one side's tables.

    Raises:
        UserError: a table is missing or not what its record says, or a prompt is in it more than once.
    """
    version = Version(
        label,
        pairs=read_table(pairs, Pair, made_by=made_by),
        dropped=read_table(dropped, Dropped, made_by=made_by),
    )
    ids = pl.concat([version.pairs["prompt_id"], version.dropped["prompt_id"]])
    twice = ids.filter(ids.is_duplicated())
    if len(twice):
        raise UserError(
            f"{label}: prompt {twice[0]}",
            got="more than one outcome",
            expected="a pair or a reason",
            do=made_by,
        )
    return version


def diff(a: Version, b: Version) -> dict[str, Any]:
    """Return how `b` differs from `a`; a stable form, fit for JSON.

    `pairs`: of the prompts with a pair on both sides, the answers are the `same` two (`rescored`: with another margin),
    `flipped` (chosen and rejected have changed places) or `changed` otherwise; `lost` and `added` have a pair on one side
    only. So same + flipped + changed + lost = a, and with added in place of lost, b. `ids` lists the prompts of all but
    the same; `why` gives the reason why the side without the pair has none.
    """
    both = _both(a.pairs, b.pairs)
    same, flipped = both.filter(pl.col("same")), both.filter(pl.col("flipped"))
    changed = both.filter(~pl.col("same") & ~pl.col("flipped"))
    lost, added = _without(a.pairs, both), _without(b.pairs, both)
    return {
        "a": a.label,
        "b": b.label,
        "prompts": _prompts(a, b),
        "pairs": {
            "a": len(a.pairs),
            "b": len(b.pairs),
            "same": len(same),
            "rescored": len(same.filter(pl.col("margin").ne_missing(pl.col("margin_b")))),
            "flipped": len(flipped),
            "changed": len(changed),
            "lost": len(lost),
            "added": len(added),
        },
        "changed": _changed(changed),
        "why": {"lost": _why(lost, b), "added": _why(added, a)},
        "dropped": _dropped(a, b),
        "paired": _paired(both),
        "distributions": _distributions(a.pairs, b.pairs),
        "ids": {
            "flipped": flipped["prompt_id"].to_list(),
            "changed": changed["prompt_id"].to_list(),
            "lost": lost["prompt_id"].to_list(),
            "added": added["prompt_id"].to_list(),
        },
    }


def _both(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs that both sides have of one and the same prompt, in the order of `a`; those of `b` end in `_b`."""
    joined = a.join(b, on="prompt_id", suffix="_b", maintain_order="left").filter(
        (pl.col("image") == pl.col("image_b")) & (pl.col("prompt") == pl.col("prompt_b"))
    )
    chosen_stays, rejected_stays = (pl.col(side) == pl.col(f"{side}_b") for side in ("chosen", "rejected"))
    crossed = (pl.col("chosen") == pl.col("rejected_b")) & (pl.col("rejected") == pl.col("chosen_b"))
    return joined.with_columns(same=chosen_stays & rejected_stays, flipped=crossed)


def _without(pairs: pl.DataFrame, both: pl.DataFrame) -> pl.DataFrame:
    return pairs.join(both, on="prompt_id", how="anti", maintain_order="left")


def _prompts(a: Version, b: Version) -> dict[str, int]:
    left, right = _ids(a), _ids(b)
    return {
        "a": len(left),
        "b": len(right),
        "both": len(left & right),
        "only_a": len(left - right),
        "only_b": len(right - left),
    }


def _ids(version: Version) -> set[str]:
    return {*version.pairs["prompt_id"], *version.dropped["prompt_id"]}


def _changed(changed: pl.DataFrame) -> dict[str, int]:
    """Count which answers of the changed pairs differ in text."""
    chosen, rejected = (changed[side] != changed[f"{side}_b"] for side in ("chosen", "rejected"))
    return {
        "chosen": int((chosen & ~rejected).sum()),
        "rejected": int((~chosen & rejected).sum()),
        "both": int((chosen & rejected).sum()),
    }


def _why(pairs: pl.DataFrame, other: Version) -> dict[str, int]:
    """Count what the other side has in place of these pairs; reasons that do not occur are 0."""
    ids = pairs.select("prompt_id")
    reasons = ids.join(other.dropped, on="prompt_id")["reason"].value_counts()
    found: Mapping[str, int] = dict(reasons.iter_rows())
    otherwise = len(ids.join(other.pairs, on="prompt_id", how="semi"))
    missing = len(ids) - sum(found.values()) - otherwise
    return {reason: found.get(reason, 0) for reason in REASONS} | {
        OTHER_PROMPT: otherwise,
        NO_PROMPT: missing,
    }


def _dropped(a: Version, b: Version) -> dict[str, dict[str, int]]:
    counts = {
        side: dict(version.dropped["reason"].value_counts().iter_rows())
        for side, version in (("a", a), ("b", b))
    }
    return {
        reason.value: {side: found.get(reason.value, 0) for side, found in counts.items()}
        for reason in DropReason
    }


def _paired(both: pl.DataFrame) -> dict[str, Any]:
    """Return mean differences over the prompts with a pair on both sides: b minus a."""
    changes = {
        "margin": both["margin_b"] - both["margin"],
        "chosen_reward": both["chosen_reward_b"] - both["chosen_reward"],
        "rejected_reward": both["rejected_reward_b"] - both["rejected_reward"],
        "chosen_words": words(both, "chosen_b") - words(both, "chosen"),
        "rejected_words": words(both, "rejected_b") - words(both, "rejected"),
    }
    means = {f"mean_{name}_change": change.mean() for name, change in changes.items()}
    return {"prompts": len(both), **means}


def _distributions(a: pl.DataFrame, b: pl.DataFrame) -> dict[str, Any]:
    """Return both sides' distribution of each figure, over a common axis."""
    return {
        name: {
            "a": distribution(left, beside=right),
            "b": distribution(right, beside=left),
        }
        for name, left, right in _sides(_figures(a), _figures(b))
    }


def _sides(
    a: Mapping[str, pl.Series], b: Mapping[str, pl.Series]
) -> Iterator[tuple[str, pl.Series, pl.Series]]:
    """Yield each figure's known values on both sides."""
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
