"""Self-rewarding (section 4.1, Table 3): how a policy is asked to judge two answers, and how its verdict is read.

The policy sees the image and both answers, and says which one fits better. It is asked twice, with the answers in both
orders: a policy that prefers a place, not an answer, contradicts itself. `csrdata.search.contests` says which answers.
"""

import re
from dataclasses import dataclass
from functools import cached_property

TABLE_3 = """\
Now you act as a judge, helping me determine which of the two texts I provide is closer to the given image and \
has fewer errors.
*****************************************************************************
Response 1:
{first}
Response 2:
{second}
*****************************************************************************
Please strictly follow the following format requirements when outputting, and don't have any other unnecessary words.
Output Format:
response 1 or response 2."""
"""The paper's prompt."""


@dataclass(frozen=True)
class Judging:
    """How a policy is asked to judge two answers, and what it says of them."""

    pattern: str = TABLE_3
    """The instruction, with `{first}` and `{second}` where the answers stand."""
    verdicts: tuple[str, str] = ("response 1", "response 2")
    """What the policy says if the first or the second answer fits better: two texts of equally many words."""

    def ask(self, first: str, second: str) -> str:
        """Return the instruction to judge two answers, which are shown without the white space around them."""
        return self.pattern.format(first=first.strip(), second=second.strip())

    def read(self, said: str) -> int | None:
        """Return the place, 0 or 1, of the answer that the policy names; None if it names neither or both.

        Case and the amount of white space do not matter.

        Examples: "Response 1." -> 0; "I choose response 2" -> 1; "response 12" -> None; "response 1 or response 2" -> None
        """
        named = [place for place, pattern in enumerate(self._patterns) if pattern.search(said)]
        return named[0] if len(named) == 1 else None

    def swapped(self, said: str) -> str | None:
        """Return what the policy would have said for the other answer; None if its words are not readable.

        Example: "Response 1 fits." -> "Response 2 fits."
        """
        place = self.read(said)
        found = None if place is None else self._patterns[place].search(said)
        if place is None or found is None:
            return None
        own, other = self.verdicts[place].split(), self.verdicts[1 - place].split()
        words = [
            word if mine == theirs else theirs
            for word, mine, theirs in zip(found[0].split(), own, other, strict=True)
        ]
        return f"{said[: found.start()]}{' '.join(words)}{said[found.end() :]}"

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        first, second = map(_pattern, self.verdicts)
        return first, second


def _pattern(verdict: str) -> re.Pattern[str]:
    """Return what finds a verdict in a text: not inside a longer word or number, with any white space between words."""
    words = r"\s+".join(re.escape(word) for word in verdict.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
