"""What every source of real data shares: no truth is known about its images, and evaluation sets ask the questions.

Licences are not known either: params.yaml or the options of `csrdata push` state them.
"""

from csrdata.records import Question, Truth
from csrdata.search.judging import Judging
from csrdata.sources.base import plain_check


class Unannotated:
    """The members of `csrdata.sources.base.Source` that are the same for images without annotations."""

    @property
    def origin(self) -> None:
        return None

    def questions(self) -> list[Question]:
        """Return no questions: an evaluation set asks them."""
        return []

    def truths(self) -> list[Truth]:
        return []

    def claim_parser(self) -> None:
        return None

    def checks(self, sentence: str) -> list[str]:
        return [plain_check(sentence)]

    def judging(self) -> Judging:
        """Return the paper's prompt."""
        return Judging()

    def corruption(self) -> None:
        return None
