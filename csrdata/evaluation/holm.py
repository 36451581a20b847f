"""Holm's correction for several tests: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".

Of m hypotheses with p-values p(1) <= ... <= p(m), the adjusted value of the k-th is

    max over j <= k of min(1, (m - j + 1) * p(j))

Rejecting those whose adjusted value is below a level keeps the chance of one false rejection or more below that level,
however the tests depend on each other.
"""

from collections.abc import Mapping

SIGNIFICANT = 0.05
"""Two-sided level: an adjusted value below it has a star."""


def holm(chances: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the adjusted p-value of each hypothesis of a family, under the same name.

    A hypothesis without a p-value stays a member of the family, as if its p-value were 1: it was declared, too.

    Example: a 0.01, b 0.04, c 0.03 -> a 0.03, b 0.06, c 0.06
    """
    known = {name: chance for name, chance in chances.items() if chance is not None}
    adjusted: dict[str, float | None] = dict.fromkeys(chances)
    highest = 0.0
    for position, (name, chance) in enumerate(sorted(known.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(chances) - position) * chance))
        adjusted[name] = highest
    return adjusted
