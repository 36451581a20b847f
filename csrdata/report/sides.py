"""One side of a pair, cut for display: where each sentence begins and ends, and which words name an absent object.

Places are counted in UTF-16 code units, as JavaScript counts them.
"""

import re
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.evaluation.mentions import marks
from csrdata.evaluation.scorecard import Known
from csrdata.records import NO_PARENT, Sentence
from csrdata.search.sentences import split

Place = tuple[int, int, str, str | None]
"""Begin, end, object and kind of mistake of a mention."""
NO_NODE = -1
"""The node of a sentence that the search did not store."""
_LONGEST = 100_000
"""Characters; a longer text is neither split nor parsed."""
_WIDE = re.compile("[\U00010000-\U0010ffff]")
"""Characters of two UTF-16 code units."""


@dataclass(frozen=True, slots=True)
class Side:
    """A text, its sentences and its made-up objects."""

    text: str
    spans: list[tuple[int, int, int]]
    """Begin, end, node of each sentence, in order."""
    absent: list[Place] | None
    """Begin, end, object and kind of mistake of each mention of an absent object; None where no truth is known."""


class AbsentObjects:
    """Finds the mentions of absent objects in texts about one image after the other, each text once.

    Args:
        known: the truth about the images; None finds nothing.
    """

    def __init__(self, known: Known | None) -> None:
        self._known = known
        self._image = ""
        self._found: dict[str, list[Place]] = {}

    def __call__(self, text: str, *, image: str) -> list[Place] | None:
        """Return the mentions, in characters; None where nothing is known of the image."""
        truth = None if self._known is None else self._known.truths.get(image)
        if self._known is None or truth is None or len(text) > _LONGEST:
            return None
        if image != self._image:
            self._image, self._found = image, {}
        if text not in self._found:
            self._found[text] = [
                (one.start, one.end, one.object, one.mistake)
                for one in marks(text, truth, self._known.parser)
            ]
        return self._found[text]


def side(
    text: str,
    *,
    context: str,
    leaf: int | None,
    tree: Mapping[int, Sentence],
    image: str,
    absent: AbsentObjects,
) -> Side:
    """Return a side of a pair.

    Args:
        text: the side, without its context.
        context: the beginning of the answer that it continues.
        leaf: its last node in the tree, if there is one.
        tree: the prompt's sentences by node.
        image: the prompt's.
        absent: finds the made-up objects.
    """
    spans = _stored(text, context, _path(leaf, tree)) or _split(text)
    found = absent(text, image=image)
    place = _places(text)
    return Side(
        text,
        [(place(begin), place(end), node) for begin, end, node in spans],
        None if found is None else [(place(a), place(b), name, mistake) for a, b, name, mistake in found],
    )


def key(context: str, text: str, *, complete: bool) -> int:
    """Return a number that two sides share if they are equal: a CRC-32 of the context, the text and whether it ends."""
    return zlib.crc32(f"{context}\0{text}\0{complete}".encode())


def _path(leaf: int | None, tree: Mapping[int, Sentence]) -> list[Sentence]:
    """Return the sentences from the first one to a leaf; empty if the tree does not have them."""
    path: list[Sentence] = []
    while leaf is not None and leaf != NO_PARENT:
        if leaf not in tree:
            return []
        path.append(tree[leaf])
        leaf = tree[leaf].parent_id
    return path[::-1]


def _stored(text: str, context: str, path: Sequence[Sentence]) -> list[tuple[int, int, int]]:
    """Return the place of each stored sentence in a side; empty if the texts differ."""
    joined, whole = "".join(sentence.text for sentence in path), context + text
    if not path or joined.strip() != whole.strip():
        return []
    at = len(whole) - len(whole.lstrip()) - (len(joined) - len(joined.lstrip())) - len(context)
    spans = []
    for sentence in path:
        begin, at = at, at + len(sentence.text)
        if sentence.text and at > 0:
            spans.append((max(begin, 0), min(at, len(text)), sentence.node_id))
    return [span for span in spans if span[0] < span[1]]


def _split(text: str) -> list[tuple[int, int, int]]:
    """Return the place of each sentence of a text without stored sentences."""
    spans, at = [], 0
    for sentence in split(text) if len(text) <= _LONGEST else [text]:
        begin = text.find(sentence, at)
        if begin < 0:
            return [(0, len(text), NO_NODE)]
        at = begin + len(sentence)
        spans.append((begin, at, NO_NODE))
    return spans


class _Places:
    """Turns places in characters into places in UTF-16 code units."""

    def __init__(self, text: str) -> None:
        self._wide = [match.start() for match in _WIDE.finditer(text)]

    def __call__(self, place: int) -> int:
        return place + bisect_left(self._wide, place)


def _places(text: str) -> _Places:
    return _Places(text if len(text) <= _LONGEST else "")
