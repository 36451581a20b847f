"""POPE's questions, built from any object annotation in COCO's form (Li et al. 2023, arXiv 2305.10355).

Half of an image's questions ask for present objects, half for absent ones. Absent objects are chosen in one of three ways:

- random: any absent category;
- popular: the absent categories that most images of the files have;
- adversarial: the absent categories that are most often in one image with the present ones (the sum over them).

Ties are broken by name. All choices follow from seed and image, not from the other images asked about.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from csrdata.evaluation_sets.base import Asked, sampled, stable_number
from csrdata.evaluation_sets.coco import Instances, image_path, read_instances
from csrdata.records import Kind, Prompt, Question, Side


@dataclass(frozen=True)
class PopeBuilt:
    """An `EvaluationSet` of balanced yes/no questions."""

    needs_every_image: ClassVar[bool] = True

    name: str
    folder: str
    """Of the images, relative to the images root."""
    instances: tuple[Path, ...]
    strategy: str
    """random, popular or adversarial."""
    images: int
    per_image: int
    """Questions per image, even, 2 or more."""
    seed: int

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return the questions; `training` does not matter.

        An image can be asked about if half of `per_image` categories are present, and as many absent.
        """
        del training
        known, half = read_instances(self.instances), self.per_image // 2
        most = len(known.categories) - half
        rich = [image for image, objects in known.objects.items() if half <= len(objects) <= most]
        ranks = _Ranks(known)
        questions: list[Question] = []
        for image in sampled(rich, count=self.images, seed=self.seed, name=self.name):
            path = image_path(self.folder, known.files[image], place=f"image {image} of {self.instances[0]}")
            asked = [
                *((name, Side.YES) for name in self._shuffled(known.objects[image], image)[:half]),
                *((name, Side.NO) for name in self._absent(ranks, known, image)[:half]),
            ]
            questions += [
                Question(
                    f"{self.name}-{image:012d}-{number}",
                    self.name,
                    Kind.YES_NO,
                    path,
                    question_text(name),
                    answer=side,
                    negative=self.strategy if side == Side.NO else None,
                )
                for number, (name, side) in enumerate(asked)
            ]
        return Asked(questions, [])

    def claim_parser(self) -> None:
        return None

    def files(self) -> list[Path]:
        return list(self.instances)

    def parser_files(self) -> list[Path]:
        return []

    def _absent(self, ranks: "_Ranks", known: Instances, image: int) -> list[str]:
        """Return the absent categories, the first to be asked first."""
        present = known.objects[image]
        absent = [name for name in known.categories if name not in present]
        if self.strategy == "random":
            return self._shuffled(absent, image)
        scores = ranks.popular if self.strategy == "popular" else ranks.with_objects(present)
        return sorted(absent, key=lambda name: (-scores[name], name))

    def _shuffled(self, names: Iterable[str], image: int) -> list[str]:
        return sorted(names, key=lambda name: (stable_number(self.seed, image, name), name))


class _Ranks:
    """How many images have a category, and how many have two."""

    def __init__(self, known: Instances) -> None:
        self.popular: Counter[str] = Counter()
        self._together: dict[str, Counter[str]] = {name: Counter() for name in known.categories}
        for objects in known.objects.values():
            self.popular.update(objects)
            for name in objects:
                self._together[name].update(objects)

    def with_objects(self, present: Iterable[str]) -> Mapping[str, int]:
        """Return, by category, in how many images it is together with each of some objects, summed over them."""
        total: Counter[str] = Counter()
        for name in present:
            total.update(self._together[name])
        return total


def question_text(name: str) -> str:
    """Return POPE's question about a category.

    Example: "apple" -> "Is there an apple in the image?"
    """
    return f"Is there {'an' if name[0].lower() in 'aeiou' else 'a'} {name} in the image?"
