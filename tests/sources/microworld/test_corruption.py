"""One change makes an answer false: exactly one claim differs, everything else stays, and no truth is read."""

import random
from collections import Counter

import pytest

from csrdata.search.sentences import split
from csrdata.sources.microworld.corruption import corrupt
from csrdata.sources.microworld.language import true_caption
from csrdata.sources.microworld.parsing import Claim, read
from csrdata.sources.microworld.truth import judge_claim
from csrdata.sources.microworld.world import COLOURS, SHAPES, sample_scenes


def claims(text: str) -> list[Claim]:
    found = [read(sentence) for sentence in split(text)]
    assert None not in found, text
    return [claim for claim in found if claim is not None]


def kind(before: list[Claim], after: list[Claim]) -> str:
    """Return what differs between two lists of claims: `more`, or the one field of the one claim that changed."""
    if len(after) == len(before) + 1:
        assert not Counter(before) - Counter(after)
        return "more"
    ((old, new),) = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    (field,) = [name for name in ("shape", "colour", "place") if getattr(old, name) != getattr(new, name)]
    return field


def test_one_claim_changes_and_becomes_false() -> None:
    """A true caption that names every object gets exactly one false claim, of all four kinds, in the same words."""
    kinds: Counter[str] = Counter()
    for seed, scene in enumerate(sample_scenes(split="train", count=80, seed=0)):
        before = " " + " ".join(true_caption(scene, random.Random(seed)))
        after = corrupt(before, random.Random(seed))
        assert after is not None
        assert after.startswith(" ")
        kinds[kind(claims(before), claims(after))] += 1
        assert [judge_claim(scene, claim).true for claim in claims(after)].count(False) == 1
        assert corrupt(before, random.Random(seed)) == after
    assert min(kinds[name] for name in ("shape", "colour", "place", "more")) >= 8


def test_the_rest_stays_as_it_is() -> None:
    """A sentence outside of the language is never touched; white space stays; only a sentence can be added to it."""
    broken = " The the red.  Sits circle here.\n"
    for seed in range(10):
        after = corrupt(broken, random.Random(seed))
        assert after is not None
        (added,) = [sentence for sentence in split(after) if read(sentence) is not None]
        assert "circle" not in added
        assert after in {
            f" The the red. {added}  Sits circle here.\n",
            f" The the red.  Sits circle here. {added}\n",
        }


def test_a_swap_names_no_shape_twice() -> None:
    """An answer that names all shapes changes in colour or place only."""
    answer = " ".join(f"I can see a {COLOURS[0]} {shape} at the top." for shape in SHAPES)
    for seed in range(12):
        after = corrupt(answer, random.Random(seed))
        assert after is not None
        assert kind(claims(answer), claims(after)) in {"colour", "place"}


@pytest.mark.parametrize("answer", ["", "  ", " ".join(SHAPES)])
def test_nothing_to_change_is_none(answer: str) -> None:
    """Without a sentence, or with all shapes in broken language, no change is possible."""
    assert corrupt(answer, random.Random(0)) is None
