"""Pairs that are nearly equal to an earlier pair: MinHash signatures, whose candidates are then compared exactly.

Two pairs are near duplicates if they are about the same image and instruction and at least 80% of their word triples are
the same (the Jaccard index). MinHash (Broder 1997) with 16 bands of 4 rows finds a pair of texts with that index with a
chance of 99.9%, and one with an index of 0.5 with 64%; the exact index then decides.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from csrdata.search.words import words

THRESHOLD = 0.8
"""Smallest Jaccard index, 0..1, of two near duplicates."""
BANDS, ROWS = 16, 4
MOST_COMPARED = 50
"""The most earlier texts of one band that a text is compared with: a set of a million equal texts stays linear."""

_PRIME = np.uint64((1 << 61) - 1)


def near(texts: Iterable[str], *about: Iterable[str | None]) -> int:
    """Return how many texts are nearly equal to an earlier text about the same things.

    Args:
        texts: [N].
        about: what must be equal, [N] each: images, instructions.

    Example: "a red circle on the left" twice, once with another image -> 0; twice with one image -> 1
    """
    generator = np.random.default_rng(0)
    scale, shift = (
        generator.integers(1, 1 << 31, size=BANDS * ROWS, dtype=np.uint64) for _ in ("scale", "shift")
    )
    shingles: list[frozenset[int]] = []
    buckets: dict[bytes, list[int]] = {}
    found = 0
    for number, (text, *keys) in enumerate(zip(texts, *about, strict=True)):
        own = _shingles(words(text or ""))
        shingles.append(own)
        signature = _signature(own, scale, shift)
        about_key = blake2b(repr(keys).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        earlier: dict[int, None] = {}
        for band in range(BANDS):
            part = signature[band * ROWS : (band + 1) * ROWS].tobytes()
            bucket = buckets.setdefault(band.to_bytes(1) + about_key + part, [])
            earlier |= dict.fromkeys(bucket)
            if len(bucket) < MOST_COMPARED:
                bucket.append(number)
        found += any(_jaccard(own, shingles[other]) >= THRESHOLD for other in earlier)
    return found


def _shingles(found: Sequence[str]) -> frozenset[int]:
    """Return 32-bit hashes of the triples of words; of a text with fewer than three words, of the whole."""
    triples = [" ".join(found[at : at + 3]) for at in range(max(1, len(found) - 2))]
    return frozenset(
        int.from_bytes(blake2b(one.encode("utf-8", "surrogatepass"), digest_size=4).digest())
        for one in triples
    )


def _signature(
    shingles: frozenset[int], scale: NDArray[np.uint64], shift: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
    # 32 bits times 31 bits, plus 31 bits, fit into 64.
    hashed = (values[:, None] * scale + shift) % _PRIME
    return np.asarray(hashed.min(axis=0), dtype=np.uint64)


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)
