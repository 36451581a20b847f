"""A scene small enough to check by eye, and answers about it."""

from csrdata.records import Truth
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser, to_truth
from csrdata.sources.microworld.world import Scene, SceneObject

READER = MicroworldClaimParser()

# A garden (its stereotypes: purple heart left, yellow circle top left, red house bottom right) without its heart.
SCENE = Scene(
    "held_out-00000",
    "garden",
    (
        SceneObject("circle", "yellow", "top left"),
        SceneObject("star", "blue", "bottom"),
    ),
)
TRUTH: Truth = to_truth(SCENE, image="images/0.png", split="held_out")

CIRCLE = "There is a yellow circle at the top left."
STAR = "A blue star sits at the bottom."
WRONG_COLOUR = "There is a red star at the bottom."
WRONG_PLACE = "There is a blue star at the top."
HEART = "There is a purple heart on the left."
RING = "There is a green ring at the top left."
BROKEN = "There is is a heart at circle the."


def text(*sentences: str) -> str:
    """Join sentences into an answer."""
    return " ".join(sentences)
