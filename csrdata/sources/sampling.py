"""A seeded sample of a stream of rows: each kind of prompt in proportion, stable when the source grows.

A row's place in the sample follows from a hash of (seed, its id) and from how many rows its kind has. So a larger sample
keeps the smaller one, a source that grows changes the sample only where new rows come in, and the order of rows has no say.

Memory holds `count` rows of each kind and 16 bytes for each id, never the source.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable

from csrdata.errors import UserError
from csrdata.sources.rows import Row, wrong

MAX_KINDS = 1000
"""Kinds of prompt in one source."""


def sample(rows: Iterable[Row], *, count: int, seed: int) -> list[Row]:
    """Return `count` rows in the order of their ids.

    Of a kind's n rows, in the order of their hashes, the i-th (from 0) has the priority (i + 1/2) / n; the rows of lowest
    priority are taken (the Sainte-Laguë method: shares are proportional, and more rows never take one away).

    Args:
        rows: read once, in any order; each id once.
        count: rows to return, 1 or more.
        seed: 0 or more.

    Raises:
        UserError: an id comes twice, there are more than `MAX_KINDS` kinds, or fewer than `count` rows.
    """
    lowest: dict[str, list[tuple[int, str, Row]]] = {}
    sizes: Counter[str] = Counter()
    seen: set[bytes] = set()
    for row in rows:
        name = hashlib.blake2b(row.row_id.encode(), digest_size=16).digest()
        if name in seen:
            raise wrong(f"{row.place}: id", row.row_id, "an id that is used once")
        seen.add(name)
        sizes[row.kind] += 1
        if len(sizes) > MAX_KINDS:
            raise wrong(f"{row.place}: kind", row.kind, f"at most {MAX_KINDS:,} kinds of prompt")
        heap = lowest.setdefault(row.kind, [])
        entry = (-stable_number(seed, row.row_id), row.row_id, row)  # the heap's first entry is the highest
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    if sizes.total() < count:
        raise UserError(
            "params.yaml: sample_prompts.prompts",
            got=count,
            expected=f"at most the {sizes.total():,} prompts of the source",
            do="lower it or add prompts to the source, then: dvc repro",
        )
    ranked = [
        ((position + 0.5) / sizes[kind], -negative, row_id, row)
        for kind, heap in lowest.items()
        for position, (negative, row_id, row) in enumerate(sorted(heap, reverse=True))
    ]
    taken = sorted(ranked, key=lambda entry: entry[:3])[:count]
    return sorted((row for *_, row in taken), key=lambda row: row.row_id)


def stable_number(*parts: object) -> int:
    """Return a number of 64 bits that follows from the parts alone.

    Example: `stable_number(0, "photo-7")` is the same in every process and on every machine.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
