"""The microworld's `ClaimParser`: which objects a sentence names, and whether the claim is true.

A sentence of the microworld's language is parsed exactly (`parsing`). In any other text, the names of shapes still count as
mentions, as CHAIR counts words, so that broken language does not hide hallucinations. Such a mention has only a shape, no
colour or place.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from csrdata.records import Truth
from csrdata.search.sentences import split
from csrdata.sources.microworld.parsing import Claim, read
from csrdata.sources.microworld.truth import judge_claim
from csrdata.sources.microworld.world import SHAPES, Scene, SceneObject, scene_objects

_SHAPE = re.compile(rf"\b(?:{'|'.join(SHAPES)})(?=(?:e?s)?\b)", re.IGNORECASE)
"""The name of a shape; behind it may be the ending of a plural."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One shape that a sentence names."""

    name: str
    present: bool
    attributes_right: bool | None
    """Whether colour and place of a present shape are right; None if they could not be parsed, or the shape is absent."""
    mistake: str | None
    """For an absent shape, one of `truth.MISTAKE_KINDS`."""
    start: int
    """Where the name begins in the sentence."""

    @property
    def word(self) -> str:
        """What the sentence calls it: a shape has one name."""
        return self.name

    @property
    def end(self) -> int:
        """Where the name ends in the sentence, without the ending of a plural."""
        return self.start + len(self.name)


class MicroworldClaimParser:
    """Parses answers about scenes; a `ClaimParser`."""

    version = "microworld"
    tells_details = True

    def sentences(self, text: str) -> list[str]:
        """Split an answer into its sentences."""
        return split(text)

    def well_formed(self, sentence: str) -> bool:
        """Return whether it is exactly a sentence of the microworld's language."""
        return read(sentence) is not None

    def mentions(self, sentence: str, truth: Truth) -> Sequence[Mention]:
        """Return the shapes that a sentence names, each compared with the scene."""
        scene = to_scene(truth)
        claim = read(sentence)
        found = list(_SHAPE.finditer(sentence))
        if claim is not None:
            (start,) = (name.start() for name in found if name[0].lower() == claim.shape)
            return [_judge(scene, claim, start=start, attributes=True)]
        return [
            _judge(scene, Claim(name[0].lower(), colour="", place=""), start=name.start(), attributes=False)
            for name in found
        ]


def named_shapes(sentence: str) -> list[str]:
    """Return the shapes that a sentence names, each once; it need not be a sentence of the microworld's language."""
    return list(dict.fromkeys(name.lower() for name in _SHAPE.findall(sentence)))


def to_truth(scene: Scene, *, image: str, split: str) -> Truth:
    """Return the truth about a scene's image."""
    detail = {
        "scene_id": scene.scene_id,
        "theme": scene.theme,
        "objects": [asdict(thing) for thing in scene.objects],
    }
    return Truth(image=image, split=split, objects=scene_objects(scene), detail=json.dumps(detail))


def to_scene(truth: Truth) -> Scene:
    """Return the scene of a `Truth`: the inverse of `to_truth`."""
    return _parse(truth.detail)


@lru_cache(maxsize=4096)
def _parse(detail: str) -> Scene:
    raw = json.loads(detail)
    return Scene(raw["scene_id"], raw["theme"], tuple(SceneObject(**thing) for thing in raw["objects"]))


def _judge(scene: Scene, claim: Claim, *, start: int, attributes: bool) -> Mention:
    check = judge_claim(scene, claim)
    right = not check.attribute_error if attributes and check.present else None
    return Mention(claim.shape, check.present, right, check.mistake, start)
