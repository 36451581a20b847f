"""What the policy is taught about an image, drawn anew at every step.

- a description, in which absent stereotypes of the theme are named with chance `stereotype_rate`;
- questions: yes or no, where an absent stereotype is affirmed with the same chance; and where an object is, or of which
  colour, as looking up is learned from answers that have more to tell than yes;
- which of two descriptions fits the image better.

Questions come several to an image, as turns of one conversation: an image costs more tokens than a question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.sources.microworld.language import (
    DESCRIBE_PROMPTS,
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
    """One request and the answer that is taught."""

    request: str
    answer: str
    weight: float
    """Of each token of the answer in the loss."""


@dataclass(frozen=True)
class Lesson:
    """A conversation about one image."""

    scene: int
    """Row of the image."""
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
    """One lesson on one of the scenes.

    `question_share`, `judging_share`: chance of such a lesson, 0..1; the rest describe.
    `short_answer_weight`: of the tokens of "Yes.", "No.", "A.", "B."; a description's weigh 1.
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
    """Questions about different shapes, each with the answer that is taught.

    Of the present objects one half is asked for by yes or no, beside as many absent shapes, and the other half by place
    or colour. An absent stereotype is affirmed with chance `stereotype_rate`.
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
    """A request to judge two descriptions, and its true answer.

    Both name the same number of objects (1 .. `longest`), one of them with an object that is absent.
    """
    size = rng.randint(1, min(longest, len(scene.objects)))
    right = rng.sample(scene.objects, size)
    wrong = rng.sample(scene.objects, size)
    shape, _ = absent_shape(scene, rng, kind=rng.choice(NEGATIVE_KINDS))
    usual = {thing.shape: thing for thing in stereotypes_of(scene)}
    like = wrong[spoilt := rng.randrange(size)]
    wrong[spoilt] = usual.get(shape, SceneObject(shape, like.colour, like.place))
    answers = [join([any_sentence(thing, rng) for thing in things]) for things in (right, wrong)]
    if rng.random() < 0.5:
        return judge_prompt(answers[0], answers[1]), "A."
    return judge_prompt(answers[1], answers[0]), "B."
