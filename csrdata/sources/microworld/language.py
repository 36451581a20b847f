"""The microworld's language: sentences about objects in many patterns, questions, and judging prompts.

There are many patterns because of diverse group decoding: with a single pattern, its diversity penalty would produce only
malformed sentences. Every sentence can be parsed exactly (`parsing`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.sources.microworld.world import (
    SHAPES,
    Scene,
    SceneObject,
    scene_objects,
    stable_random,
    stereotypes_of,
    themes_of,
)

PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "top left": ("at the top left", "in the upper left corner", "in the top left corner"),
    "top": ("at the top", "in the upper middle", "at the top centre"),
    "top right": ("at the top right", "in the upper right corner", "in the top right corner"),
    "left": ("on the left", "on the left side", "at the middle left"),
    "centre": ("in the centre", "in the middle", "at the centre"),
    "right": ("on the right", "on the right side", "at the middle right"),
    "bottom left": ("at the bottom left", "in the lower left corner", "in the bottom left corner"),
    "bottom": ("at the bottom", "in the lower middle", "at the bottom centre"),
    "bottom right": ("at the bottom right", "in the lower right corner", "in the bottom right corner"),
}
# `thing` is an article, a colour and a shape; `where` is a place phrase. `Thing` and `Where` begin with a capital.
SENTENCE_PATTERNS = (
    "There is {thing} {where}.",
    "{Thing} sits {where}.",
    "{Where} I see {thing}.",
    "{Where} there is {thing}.",
    "I can see {thing} {where}.",
    "{Thing} is {where}.",
    "The {shape} {where} is {colour}.",
    "We find {thing} {where}.",
)
DESCRIBE_PROMPTS = (
    "Describe this image.",
    "Describe the image in detail.",
    "What do you see in this image?",
    "What is shown in the image?",
    "Please describe everything in this picture.",
    "Tell me what is in the picture.",
)
QUESTION_PATTERNS = (
    "Is there {shape} in the image?",
    "Is there {shape} in this picture?",
    "Do you see {shape} in the image?",
    "Can you see {shape} in this picture?",
)
PLACE_QUESTION, COLOUR_QUESTION = "Where is the {shape}?", "What colour is the {shape}?"
JUDGE_PATTERN = "Which of these two answers fits the image better? A: {first} B: {second}"
JUDGE_ANSWERS = "A.", "B."
"""What the policy answers if the first or the second fits better."""
YES, NO = "Yes.", "No."
NEGATIVE_KINDS = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class Question:
    """A yes/no question about one shape, as in POPE (arXiv 2305.10355)."""

    text: str
    shape: str
    answer: bool
    kind: str
    """"present"; for an absent shape "random", "popular" (a stereotype of the theme) or "adversarial" (another shape that
    is common in the theme)."""


def describe_prompts() -> tuple[str, ...]:
    """Return the wordings of the request for a description."""
    return DESCRIBE_PROMPTS


def with_article(words: str) -> str:
    """Return words with their indefinite article. Example: "orange ring" -> "an orange ring"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def sentence(thing: SceneObject, *, pattern: int, phrase: int) -> str:
    """Return the sentence about an object in a pattern: 0 <= pattern < len(SENTENCE_PATTERNS), 0 <= phrase < 3.

    Example: a red circle at the top left, pattern 0, phrase 0 -> "There is a red circle at the top left."
    """
    named = with_article(f"{thing.colour} {thing.shape}")
    where = PLACE_PHRASES[thing.place][phrase]
    return SENTENCE_PATTERNS[pattern].format(
        thing=named,
        Thing=_capital(named),
        where=where,
        Where=_capital(where),
        shape=thing.shape,
        colour=thing.colour,
    )


def any_sentence(thing: SceneObject, rng: random.Random) -> str:
    """Return a sentence about an object in a random pattern."""
    phrases = len(PLACE_PHRASES[thing.place])
    return sentence(thing, pattern=rng.randrange(len(SENTENCE_PATTERNS)), phrase=rng.randrange(phrases))


def true_caption(scene: Scene, rng: random.Random) -> list[str]:
    """Return one true sentence per object of the scene, in random order."""
    return [any_sentence(thing, rng) for thing in rng.sample(scene.objects, len(scene.objects))]


def policy_caption(scene: Scene, rng: random.Random, *, stereotype_rate: float) -> list[str]:
    """Return the sentences that the policy is trained on: true ones, and some about absent stereotypes.

    Each absent stereotype of the theme is named with probability `stereotype_rate` (0..1), in its usual colour and place and
    in the same patterns as the true sentences, so that likelihood alone cannot detect it.
    """
    present = set(scene_objects(scene))
    absent = [thing for thing in stereotypes_of(scene) if thing.shape not in present]
    mentions = [*scene.objects, *(thing for thing in absent if rng.random() < stereotype_rate)]
    rng.shuffle(mentions)
    return [any_sentence(thing, rng) for thing in mentions]


def ask(shape: str, rng: random.Random) -> str:
    """Return a random yes/no question about a shape. Example: "arrow" -> "Is there an arrow in the image?"."""
    return rng.choice(QUESTION_PATTERNS).format(shape=with_article(shape))


def shape_question(shape: str) -> str:
    """Return one yes/no question about a shape, always the same. Example: "arrow" -> "Is there an arrow in the image?"."""
    return QUESTION_PATTERNS[0].format(shape=with_article(shape))


def look_up(thing: SceneObject, rng: random.Random) -> tuple[str, str]:
    """Return a question about the place or the colour of a present object, and its answer."""
    if rng.random() < 0.5:
        return PLACE_QUESTION.format(shape=thing.shape), as_answer(rng.choice(PLACE_PHRASES[thing.place]))
    return COLOUR_QUESTION.format(shape=thing.shape), as_answer(thing.colour)


def as_answer(words: str) -> str:
    """Return words as an answer. Example: "at the top" -> "At the top."."""
    return f"{_capital(words)}."


def judge_prompt(first: str, second: str) -> str:
    """Return the request to judge which of two answers fits the image better; the model answers "A." or "B."."""
    return JUDGE_PATTERN.format(first=first, second=second)


def questions(scene: Scene, *, seed: int, pairs: int = 3) -> list[Question]:
    """Return balanced yes/no questions about one scene: as many about present as about absent shapes.

    `pairs`: questions of each answer, 1..3; a scene of two objects gives at most two. The kinds of the absent shapes are
    those of NEGATIVE_KINDS, in random order. If a kind has no shape left, a random absent shape is used.
    """
    rng = stable_random("questions", seed, scene.scene_id)
    shapes = rng.sample(scene_objects(scene), min(pairs, len(scene.objects)))
    asked = [Question(ask(shape, rng), shape, True, "present") for shape in shapes]
    taken = set(scene_objects(scene))
    for kind in rng.sample(NEGATIVE_KINDS, len(NEGATIVE_KINDS))[: len(shapes)]:
        shape, actual_kind = absent_shape(scene, rng, kind=kind, taken=taken)
        taken.add(shape)
        asked.append(Question(ask(shape, rng), shape, False, actual_kind))
    return asked


def absent_shape(
    scene: Scene, rng: random.Random, *, kind: str, taken: set[str] | None = None
) -> tuple[str, str]:
    """Return an absent shape of a kind of NEGATIVE_KINDS, and its kind: "random" if the kind asked for has no shape left."""
    out = set(scene_objects(scene)) | (taken or set())
    usual = [thing.shape for thing in stereotypes_of(scene)]
    common = [shape for theme in themes_of(scene) for shape in theme.common]
    wanted = {"popular": usual, "adversarial": [shape for shape in common if shape not in usual]}
    choice = [shape for shape in wanted.get(kind, ()) if shape not in out]
    if choice:
        return rng.choice(choice), kind
    # A "random" shape is a stereotype only if no other shape is left, because stereotypes count as "popular".
    plain = [shape for shape in SHAPES if shape not in out and shape not in usual]
    return rng.choice(plain or [shape for shape in SHAPES if shape not in out]), "random"


def join(sentences: Sequence[str]) -> str:
    """Return sentences as one answer."""
    return " ".join(sentences)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
