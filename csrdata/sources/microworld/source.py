"""The microworld as a source: drawn scenes with known truth. Files are read only when rows are requested."""

from dataclasses import dataclass
from pathlib import Path

from csrdata.records import Prompt, Question, Truth
from csrdata.search.judging import Judging
from csrdata.sources.base import ClaimParser, Corruption, Origin
from csrdata.sources.microworld import sampling
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser, named_shapes
from csrdata.sources.microworld.corruption import corrupt
from csrdata.sources.microworld.images import IMAGES_FOLDER, SCENES_FILE
from csrdata.sources.microworld.language import JUDGE_ANSWERS, JUDGE_PATTERN, shape_question
from csrdata.sources.microworld.world import WORLD_VERSION

ORIGIN = Origin(
    licence="apache-2.0",
    images="drawings of coloured shapes by csrdata's microworld, under the licence of the dataset. "
    "They show no person and no work of a third party.",
    outputs="written by small models that csrdata trained on the microworld, under the licence of the dataset.",
    limits=(
        "The images are synthetic: coloured shapes, drawn to test the method. Results on them do not show how the "
        "method does on photographs.",
    ),
    languages=("en",),
    tags=("synthetic",),
)


@dataclass(frozen=True)
class Microworld:
    """A `Source` over the scenes that `prepare` drew."""

    folder: Path
    """The folder of `scenes.parquet` and `images/`."""
    questions_per_image: int
    """Yes/no questions about an evaluation image, even, 0 or more."""
    seed: int
    """Selects objects and wordings of the questions; 0 or more."""
    made_by: str = "dvc repro prepare"
    """The command that draws them, as an error's next command."""

    @property
    def origin(self) -> Origin:
        return ORIGIN

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        return sampling.sample_prompts(self._pictures(), count=count, seed=seed)

    def questions(self) -> list[Question]:
        return sampling.sample_questions(self._pictures(), per_image=self.questions_per_image, seed=self.seed)

    def truths(self) -> list[Truth]:
        return sampling.truths(self._pictures())

    def claim_parser(self) -> ClaimParser:
        return MicroworldClaimParser()

    def checks(self, sentence: str) -> list[str]:
        """Return the yes/no question about each shape that a sentence names: the one that the policy was trained on.

        It was trained on no yes/no question about a colour or a place.
        """
        return [shape_question(shape) for shape in named_shapes(sentence)]

    def judging(self) -> Judging:
        """Return the question that the base policy was taught (`csrdata.sources.microworld.lessons`)."""
        return Judging(JUDGE_PATTERN, JUDGE_ANSWERS)

    def corruption(self) -> Corruption:
        return corrupt

    def files(self) -> list[Path]:
        return [self.folder / SCENES_FILE, self.folder / IMAGES_FOLDER]

    def revision(self) -> str:
        return f"microworld version {WORLD_VERSION}"

    def _pictures(self) -> list[sampling.Picture]:
        return sampling.read_pictures(self.folder / SCENES_FILE, made_by=self.made_by)
