"""Whether a claim is true of a scene, and the kind of mistake if it is not."""

from __future__ import annotations

from dataclasses import dataclass

from csrdata.sources.microworld.parsing import Claim
from csrdata.sources.microworld.world import SIMILAR_SHAPES, Scene, stereotypes_of

MISTAKE_KINDS = ("stereotype", "look_alike", "other")


@dataclass(frozen=True)
class ClaimCheck:
    """The result of comparing a claim with a scene."""

    present: bool
    """Whether an object of this shape is in the scene."""
    colour_right: bool
    """Whether it is present and has this colour."""
    place_right: bool
    """Whether it is present and at this place."""
    mistake: str | None
    """None if the shape is present, otherwise one of MISTAKE_KINDS."""

    @property
    def true(self) -> bool:
        """Whether the whole claim is true."""
        return self.present and self.colour_right and self.place_right

    @property
    def attribute_error(self) -> bool:
        """Whether the object is present, but in another colour or at another place."""
        return self.present and not self.true


def judge_claim(scene: Scene, claim: Claim) -> ClaimCheck:
    """Compare a claim with the scene. An *object*, as CHAIR counts them, is a shape."""
    for thing in scene.objects:
        if thing.shape == claim.shape:
            return ClaimCheck(True, thing.colour == claim.colour, thing.place == claim.place, None)
    return ClaimCheck(False, False, False, mistake_kind(scene, claim))


def mistake_kind(scene: Scene, claim: Claim) -> str:
    """Return the likely reason why an absent shape was named.

    "stereotype": the theme suggests it; "look_alike": it may be confused with a present object, one at the same place or one
    of a similar shape and the same colour; "other": neither.
    """
    if claim.shape in {thing.shape for thing in stereotypes_of(scene)}:
        return "stereotype"
    for thing in scene.objects:
        similar = any({thing.shape, claim.shape} <= family for family in SIMILAR_SHAPES)
        if thing.place == claim.place or (similar and thing.colour == claim.colour):
            return "look_alike"
    return "other"
