"""Training examples for the policy, sampled anew at every step.

- a description, which names absent stereotypes of the theme with probability `stereotype_rate`;
- questions: yes/no questions, whose answer affirms an absent stereotype with the same probability, and questions about the
  place or colour of an object, because their answers teach the policy more about the image than yes or no;
- a comparison: which of two descriptions fits the image better.

A conversation asks several questions about one image, because an image takes more tokens than a question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.sources.microworld.language import (
    DESCRIBE_PROMPTS,
    JUDGE_ANSWERS,
    NEGATIVE_KINDS,
    NO,
    YES,
    absent_shape,
    any_sentence,
    ask,
    join,
    judge_prompt,
    look_up,
    policy_caption,
)
from csrdata.sources.microworld.world import Scene, SceneObject, stereotypes_of


@dataclass(frozen=True)
class Turn:
    """One request, and the answer to train on."""

    request: str
    answer: str
    weight: float
    """Weight of each token of the answer in the loss."""


@dataclass(frozen=True)
class Lesson:
    """A conversation about one image."""

    scene: int
    """Index of the scene."""
    turns: tuple[Turn, ...]


def draw_lesson(
    scenes: Sequence[Scene],
    rng: random.Random,
    *,
    stereotype_rate: float,
    question_share: float,
    judging_share: float,
    short_answer_weight: float,
) -> Lesson:
    """Return a lesson about a random scene.

    `question_share`, `judging_share`: probability of a lesson of questions or of judging, 0..1; other lessons describe.
    `short_answer_weight`: weight of the tokens of all answers but descriptions, whose tokens have weight 1.
    """
    row = rng.randrange(len(scenes))
    scene = scenes[row]
    kind = rng.random()
    if kind < question_share:
        said = questions_of(scene, rng, stereotype_rate=stereotype_rate)
    elif kind < question_share + judging_share:
        said = [judging(scene, rng)]
    else:
        caption = join(policy_caption(scene, rng, stereotype_rate=stereotype_rate))
        return Lesson(row, (Turn(rng.choice(DESCRIBE_PROMPTS), caption, 1.0),))
    return Lesson(row, tuple(Turn(request, answer, short_answer_weight) for request, answer in said))


def questions_of(scene: Scene, rng: random.Random, *, stereotype_rate: float) -> list[tuple[str, str]]:
    """Return questions about different shapes, each with the answer to train on.

    Half of the present objects get a yes/no question, and so do as many absent shapes; the other half get a question about
    place or colour. An absent stereotype is affirmed with probability `stereotype_rate`.
    """
    present = rng.sample(scene.objects, len(scene.objects))
    confirmed = present[: (len(present) + 1) // 2]
    said = [(ask(thing.shape, rng), YES) for thing in confirmed]
    said += [look_up(thing, rng) for thing in present[len(confirmed) :]]
    usual = {thing.shape for thing in stereotypes_of(scene)}
    out: set[str] = set()
    for _ in confirmed:
        shape, _ = absent_shape(scene, rng, kind=rng.choice(NEGATIVE_KINDS), taken=out)
        out.add(shape)
        said.append((ask(shape, rng), YES if shape in usual and rng.random() < stereotype_rate else NO))
    rng.shuffle(said)
    return said


def judging(scene: Scene, rng: random.Random, *, longest: int = 3) -> tuple[str, str]:
    """Return a request to judge two descriptions, and the right answer, "A." or "B.".

    Both descriptions name the same number of objects, 1..`longest`; one of them names an absent object.
    """
    size = rng.randint(1, min(longest, len(scene.objects)))
    right = rng.sample(scene.objects, size)
    wrong = rng.sample(scene.objects, size)
    shape, _ = absent_shape(scene, rng, kind=rng.choice(NEGATIVE_KINDS))
    usual = {thing.shape: thing for thing in stereotypes_of(scene)}
    like = wrong[replaced := rng.randrange(size)]
    wrong[replaced] = usual.get(shape, SceneObject(shape, like.colour, like.place))
    answers = [join([any_sentence(thing, rng) for thing in things]) for things in (right, wrong)]
    if rng.random() < 0.5:
        return judge_prompt(answers[0], answers[1]), JUDGE_ANSWERS[0]
    return judge_prompt(answers[1], answers[0]), JUDGE_ANSWERS[1]
