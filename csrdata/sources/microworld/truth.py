"""Whether what a sentence claims is so, and what kind of mistake it is when it is not."""

from __future__ import annotations

from dataclasses import dataclass

from csrdata.sources.microworld.parsing import Claim
from csrdata.sources.microworld.world import SIMILAR_SHAPES, Scene, stereotypes_of

MISTAKE_KINDS = ("stereotype", "look_alike", "other")


@dataclass(frozen=True)
class ClaimCheck:
    """The truth about one claim."""

    present: bool
    """An object of this shape is in the scene."""
    colour_right: bool
    """It is, and has this colour."""
    place_right: bool
    """It is, and is at this place."""
    mistake: str | None
    """None where the shape is present, else one of MISTAKE_KINDS."""

    @property
    def true(self) -> bool:
        """The whole claim is so."""
        return self.present and self.colour_right and self.place_right

    @property
    def attribute_error(self) -> bool:
        """A present object in a wrong colour or at a wrong place."""
        return self.present and not self.true


def judge_claim(scene: Scene, claim: Claim) -> ClaimCheck:
    """Hold a claim against the scene. An *object* is a shape, as in CHAIR."""
    for thing in scene.objects:
        if thing.shape == claim.shape:
            return ClaimCheck(True, thing.colour == claim.colour, thing.place == claim.place, None)
    return ClaimCheck(False, False, False, mistake_kind(scene, claim))


def mistake_kind(scene: Scene, claim: Claim) -> str:
    """Why an absent shape may have been named.

    "stereotype": the theme suggests it; "look_alike": something that is there was taken for it, an object at the same
    place or one of a similar shape and the same colour; "other": neither.
    """
    if claim.shape in {thing.shape for thing in stereotypes_of(scene)}:
        return "stereotype"
    for thing in scene.objects:
        similar = any({thing.shape, claim.shape} <= family for family in SIMILAR_SHAPES)
        if thing.place == claim.place or (similar and thing.colour == claim.colour):
            return "look_alike"
    return "other"
