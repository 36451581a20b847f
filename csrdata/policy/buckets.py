"""The sizes that decoding with static shapes rounds up to: a CUDA graph is captured once per size, so there are few.

| what | rounded up to |
|---|---|
| tokens of a prompt | a multiple of 64 |
| tokens of a sentence, and slots of an answer so far | whole pages, of 16 tokens for each group |
| prompts in flight | a half, a quarter, ... of the most so far |
| rows that are fed | four sizes between two powers of 2 |
"""

PROMPT_TOKENS = 64
"""The length of all prompts is a multiple of this."""
PAGE_TOKENS = 16
"""Tokens of each group that one page holds."""


def round_up(count: int, multiple: int) -> int:
    """Return the smallest multiple that is at least `count`.

    Example: 65 and 64 -> 128
    """
    return -(-count // multiple) * multiple


def pages(slots: int, groups: int) -> int:
    """Return the number of pages that hold so many slots.

    Example: 81 slots of 5 groups -> 2 pages of 80
    """
    return -(-slots // (PAGE_TOKENS * groups))


def prompts_in_use(live: int, capacity: int) -> int:
    """Return the prompts that a step is computed for: `capacity` halved as long as the live ones fit.

    Example: 3 live prompts of 20 -> 20 10 5 3 -> 3
    """
    while capacity > 1 and live <= (capacity + 1) // 2:
        capacity = (capacity + 1) // 2
    return capacity


def rows_fed(active: int, most: int) -> int:
    """Return the rows that a step is computed for: `active` rounded up to a quarter of a power of 2, at most `most`.

    Example: 9 rows -> 10, 33 -> 40, 70 -> 80
    """
    step = 1
    while 8 * step < active:
        step *= 2
    return min(round_up(active, step), most)
