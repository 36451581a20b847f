"""One change to an answer about a scene that makes it false, without knowledge of the scene.

Another shape, colour or place in one sentence, or one more sentence about a shape that the answer does not name: the
corruptions of POVID (arXiv 2402.11411), by rule. The answer's own claims are taken to be true. Where one is false, the
change may make it true by chance, and the added shape may be in the scene.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import product

from csrdata.search.sentences import split
from csrdata.sources.microworld.claim_parser import named_shapes
from csrdata.sources.microworld.language import PLACE_PHRASES, SENTENCE_PATTERNS, any_sentence, sentence
from csrdata.sources.microworld.parsing import read
from csrdata.sources.microworld.world import COLOURS, PLACES, SHAPES, SceneObject


def corrupt(answer: str, rng: random.Random) -> str | None:
    """Return an answer with one claim changed or added, the rest as it was; None if no change is possible.

    The kind of change is drawn first, from those that are possible: a shape that the answer does not name, another colour,
    another place, or a further sentence behind one of the sentences.

    Args:
        answer: sentences of the microworld; others stay as they are.
        rng: draws the kind, the sentence and the change.

    Example: "There is a red circle at the top." -> "There is a red star at the top."
    """
    for change in rng.sample(_CHANGES, len(_CHANGES)):
        corrupted = change(answer, rng)
        if corrupted is not None:
            return corrupted
    return None


def _other_shape(answer: str, rng: random.Random) -> str | None:
    return _with_other(answer, rng, "shape", _unnamed(answer))


def _other_colour(answer: str, rng: random.Random) -> str | None:
    return _with_other(answer, rng, "colour", COLOURS)


def _other_place(answer: str, rng: random.Random) -> str | None:
    return _with_other(answer, rng, "place", PLACES)


def _one_more(answer: str, rng: random.Random) -> str | None:
    """Return the answer with a sentence about a shape that it does not name."""
    shapes, ends = _unnamed(answer), [end for _, end in _spans(answer)]
    if not shapes or not ends:
        return None
    thing = SceneObject(rng.choice(shapes), rng.choice(COLOURS), rng.choice(PLACES))
    end = rng.choice(ends)
    return f"{answer[:end]} {any_sentence(thing, rng)}{answer[end:]}"


_CHANGES: tuple[Callable[[str, random.Random], str | None], ...] = (
    _other_shape,
    _other_colour,
    _other_place,
    _one_more,
)


def _with_other(answer: str, rng: random.Random, field: str, values: tuple[str, ...]) -> str | None:
    """Return the answer with another value of `field` in one of its claims, in the same words otherwise."""
    found = [(span, claim) for span in _spans(answer) if (claim := read(answer[slice(*span)])) is not None]
    if not found or not values:
        return None
    (start, end), claim = rng.choice(found)
    thing = SceneObject(**asdict(claim))
    others = [value for value in values if value != getattr(thing, field)]
    pattern, phrase = _form(answer[start:end], thing)
    changed = replace(thing, **{field: rng.choice(others)})
    return f"{answer[:start]}{sentence(changed, pattern=pattern, phrase=phrase)}{answer[end:]}"


def _unnamed(answer: str) -> tuple[str, ...]:
    """Return the shapes that an answer does not name."""
    named = named_shapes(answer)
    return tuple(shape for shape in SHAPES if shape not in named)


def _spans(answer: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence, without the white space around it."""
    end = 0
    for text in split(answer):
        start = answer.index(text, end)
        end = start + len(text)
        yield start, end


def _form(text: str, thing: SceneObject) -> tuple[int, int]:
    """Return the pattern and the phrase of a sentence about an object: the inverse of `sentence`."""
    forms = product(range(len(SENTENCE_PATTERNS)), range(len(PLACE_PHRASES[thing.place])))
    return next(form for form in forms if sentence(thing, pattern=form[0], phrase=form[1]) == text)
