"""Two sides compared on all splits that both have: what `csrdata compare` gives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from csrdata.errors import UserError
from csrdata.evaluation.contrast import (
    POWER,
    BySeed,
    Contrast,
    contrasts,
    corrected,
    images_needed,
)
from csrdata.evaluation.holm import SIGNIFICANT
from csrdata.evaluation.intervals import FLIPS, seed_for
from csrdata.evaluation.protocol import Protocol, check_comparable
from csrdata.evaluation.scorecard import Label

DIGITS = 6
"""Decimals kept: smaller differences come from the order of summation."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    name: str
    figures: Mapping[str, BySeed]
    """By split, then by seed."""
    protocols: Mapping[str, Protocol]
    """By split."""
    labels: Mapping[str, Label] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By split, then by figure: how it was compared with the original benchmark."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a split on both sides."""

    split: str
    figure: str
    title: str
    unit: str
    check: str | None
    """How the figure was compared with the original benchmark; None of arms."""
    images: int
    contrast: Contrast
    images_needed: int | None
    """For the difference that was asked about; None if none was, or no image differs from another."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A."""

    a: str
    b: str
    seeds: tuple[int, ...]
    """The seeds that both sides have; one, 0, where nothing else is known."""
    confidence: float
    points: float | None
    """The difference that `images_needed` is about."""
    power: float
    level: float
    unknown: tuple[str, ...]
    """Facts of the protocol that are unknown for a side and were accepted."""
    measures: Mapping[str, str]
    """By split: the benchmark, and whether its rules are the original ones."""
    rows: tuple[Row, ...]
    """Their p-values are corrected together."""

    def as_json(self) -> dict[str, object]:
        """Return the comparison as plain values."""
        return asdict(self)


def compare_sides(
    a: Side,
    b: Side,
    *,
    resamples: int,
    confidence: float,
    seed: int,
    points: float | None,
    accept_unknown: bool,
    flips: int = FLIPS,
) -> Comparison:
    """Return the comparison of B with A on the splits that both have.

    Args:
        a, b: the two sides.
        resamples, confidence, seed, flips: see `contrast.contrasts`.
        points: the difference, above 0, whose number of images is asked; None: not asked.
        accept_unknown: whether a fact that is unknown for a side is accepted.

    Raises:
        UserError: no split, figure or seed is common, or a split's figures were made in different ways.
    """
    splits = [split for split in a.figures if split in b.figures]
    if not splits:
        got = f"{', '.join(a.figures)} and {', '.join(b.figures)}"
        raise UserError(
            f"{a.name}, {b.name}", got=got, expected="a common split", do="csrdata compare --help"
        )
    unknown: list[str] = []
    found: dict[tuple[str, str], Contrast] = {}
    seeds: tuple[int, ...] = ()
    for split in splits:
        unknown += check_comparable(
            a.protocols[split],
            b.protocols[split],
            names=(a.name, b.name),
            accept_unknown=accept_unknown,
            do="compare what was made in one way",
        )
        own, other = a.figures[split], b.figures[split]
        seeds = tuple(one for one in own if one in other)
        if not seeds:
            got = f"seeds {_listed(own)} and {_listed(other)}"
            raise UserError(
                f"{a.name}, {b.name}", got=got, expected="a common seed", do="run both with one seed"
            )
        table = contrasts(
            own, other, resamples=resamples, confidence=confidence, seed=seed_for(seed, split), flips=flips
        )
        found |= {(split, name): one for name, one in table.items()}
    adjusted = corrected({"\x1f".join(key): one for key, one in found.items()})
    labels = {**b.labels, **a.labels}
    return Comparison(
        a=a.name,
        b=b.name,
        seeds=seeds,
        confidence=confidence,
        points=points,
        power=POWER,
        level=SIGNIFICANT,
        unknown=tuple(dict.fromkeys(unknown)),
        measures={split: a.protocols[split].measure for split in splits},
        rows=tuple(
            Row(
                split=split,
                figure=name,
                title=labels[name].title if name in labels else name,
                unit=labels[name].unit if name in labels else "",
                check=a.checks.get(split, {}).get(name),
                images=a.protocols[split].images,
                contrast=_rounded(replace(one, p_holm=adjusted[f"{split}\x1f{name}"])),
                images_needed=images_needed(one.spread, points) if one.spread and points else None,
            )
            for (split, name), one in found.items()
        ),
    )


def _listed(side: BySeed) -> str:
    return ", ".join(map(str, side))


def _rounded(one: Contrast) -> Contrast:
    def near(value: float | None) -> float | None:
        return None if value is None else round(value, DIGITS)

    names: Sequence[str] = ("a", "b", "difference", "low", "high", "p", "p_holm", "effect", "spread")
    return replace(
        one, **{name: near(getattr(one, name)) for name in names}, by_seed=tuple(map(near, one.by_seed))
    )
