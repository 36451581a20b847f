"""CHAIR on COCO: descriptions of seeded images, and the objects that segmentation or a human caption names.

From Rohrbach et al. 2018 (arXiv 1809.02156): an object is present if COCO's instances annotate it or if one of the image's
captions names it. The captions are read with the same table of synonyms as the answers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from csrdata.evaluation_sets.base import Asked, malformed, sampled
from csrdata.evaluation_sets.coco import Instances, image_path, read_captions, read_instances
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.evaluation_sets.synonyms import coco_synonyms, read_synonyms
from csrdata.records import Kind, Prompt, Question, Truth


@dataclass(frozen=True)
class CocoChair:
    """An `EvaluationSet` of descriptions, one per image."""

    needs_every_image: ClassVar[bool] = True

    name: str
    folder: str
    """Of the images, relative to the images root."""
    instances: tuple[Path, ...]
    captions: tuple[Path, ...]
    synonyms: Path | None
    """None: our own table."""
    images: int
    seed: int
    prompt: str

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return a question and a row of truth for each sampled image; `training` does not matter."""
        del training
        known = read_instances(self.instances)
        captions = read_captions(self.captions, known.files)
        parser = self.claim_parser()
        self._check_categories(known, parser)
        for image in known.files:
            if image not in captions:
                raise malformed(
                    ", ".join(map(str, self.captions)),
                    f"no caption of image {image}",
                    "captions of every image",
                )
        questions, truths = [], []
        for image in sampled(known.files, count=self.images, seed=self.seed, name=self.name):
            path = image_path(self.folder, known.files[image], place=f"image {image} of {self.instances[0]}")
            questions.append(
                Question(
                    f"{self.name}-{image:012d}",
                    self.name,
                    Kind.DESCRIBE,
                    path,
                    self.prompt,
                    answer=None,
                    negative=None,
                )
            )
            named = {name for caption in captions[image] for name, _ in parser.names(caption)}
            detail = {"segmented": sorted(known.objects[image]), "captioned": sorted(named)}
            objects = sorted(known.objects[image] | named)
            truths.append(Truth(path, self.name, objects, json.dumps(detail)))
        return Asked(questions, truths)

    def claim_parser(self) -> CocoClaimParser:
        return CocoClaimParser(coco_synonyms() if self.synonyms is None else read_synonyms(self.synonyms))

    def files(self) -> list[Path]:
        return [*self.instances, *self.captions, *self.parser_files()]

    def parser_files(self) -> list[Path]:
        return [] if self.synonyms is None else [self.synonyms]

    def _check_categories(self, known: Instances, parser: CocoClaimParser) -> None:
        """Refuse a category that no word names: every mention of its objects would be missed."""
        listed = set(parser.synonyms.categories)
        for name in known.categories:
            if name not in listed:
                place = str(self.synonyms or "csrdata's table of synonyms")
                raise malformed(place, f"no category {name}", f"all categories of {self.instances[0]}")
