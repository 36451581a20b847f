"""What every source of real data shares: no truth is known about its images, and evaluation sets ask the questions.

Licences are not known either: params.yaml or the options of `csrdata push` state them.
"""

from csrdata.records import Question, Truth
from csrdata.search.judging import Judging


class Unannotated:
    """The members of `csrdata.sources.base.Source` that are the same for images without annotations."""

    @property
    def origin(self) -> None:
        return None

    def questions(self, *, seed: int) -> list[Question]:
        """Return no questions: an evaluation set asks them."""
        del seed
        return []

    def truths(self) -> list[Truth]:
        return []

    def claim_parser(self) -> None:
        return None

    def judging(self) -> Judging:
        """Return the paper's prompt."""
        return Judging()
