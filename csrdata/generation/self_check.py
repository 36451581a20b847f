"""A scorer that asks a policy whether a sentence is true of its image, as OSCAR verifies its own sentences.

The source of the images says which question checks a sentence (`csrdata.sources.base.Source.checks`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from PIL.Image import Image

from csrdata.policy.asking import Asker
from csrdata.policy.loading import Policy
from csrdata.relevance.base import Relevance
from csrdata.relevance.word_repetition import word_repetition


@dataclass(frozen=True)
class SelfCheck:
    """A `Scorer` that asks a policy."""

    policy: Callable[[], Policy]
    """Returns the policy; called when images are opened."""
    checks: Callable[[str], Sequence[str]]
    """Returns the yes/no questions that check a sentence; yes means that it is true."""

    def open(self, images: Sequence[Image]) -> "SelfCheckScores":
        """Return the scores of these images; nothing has been asked yet."""
        return SelfCheckScores(self, Asker(self.policy(), images))


@dataclass(frozen=True)
class SelfCheckScores:
    """The `ImageScores` of a self-check; keeps the answers."""

    scorer: SelfCheck
    asker: Asker
    known: dict[str, list[str]] = field(default_factory=dict)
    """The questions of each text."""

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return 100 P(yes) / (P(yes) + P(no)), the mean over a sentence's questions, 0..100.

        It says nothing of a sentence without a question, or with one of the policy's special tokens spelled out.
        """
        asked = [self._questions(text) for text in texts]
        pairs = [(owner, question) for owner, own in zip(owners, asked, strict=True) for question in own]
        shares = iter(self.asker.ask([owner for owner, _ in pairs], [question for _, question in pairs]))
        return [
            Relevance(100 * fmean([next(shares) for _ in own]) if own else None, truncated=False)
            for own in asked
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the largest cosine of the bags of words, 0..1; see `word_repetition`."""
        return word_repetition(texts, earlier)

    def _questions(self, text: str) -> list[str]:
        if text not in self.known:
            questions = [] if not self.asker.can_ask(text) else list(self.scorer.checks(text.strip()))
            self.known[text] = questions
        return self.known[text]
