"""From the microworld's scenes to the pipeline's records: prompts, questions, truth.

A stable hash of (seed, scene) selects scenes and wordings. A larger number of prompts therefore includes the earlier ones,
and no row depends on another. Images of prompts are of the split `train`, a pool from which the seed of the prompts chooses;
evaluation images are of other splits, and their questions depend on the seed of the scenes alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.records import Kind, Prompt, Question, Side, Truth
from csrdata.sources.microworld.claim_parser import to_truth
from csrdata.sources.microworld.images import read_table_of_scenes
from csrdata.sources.microworld.language import NEGATIVE_KINDS, describe_prompts
from csrdata.sources.microworld.language import questions as yes_no_questions
from csrdata.sources.microworld.world import (
    OUT_OF_DISTRIBUTION,
    TEST,
    Scene,
    SceneObject,
    stable_number,
    stable_random,
)

TRAIN = "train"
EVALUATION_SPLITS = ("validation", "held_out", OUT_OF_DISTRIBUTION, TEST)
"""Only `csrdata.pipeline.final` draws images of the last one, into a table that no stage reads."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A scene and its image file."""

    scene: Scene
    split: str
    image: str
    """Path of the image file, POSIX, relative to the project, which is the images root here."""


def read_pictures(path: Path, *, made_by: str) -> list[Picture]:
    """Read `scenes.parquet`: columns scene_id, split, image, theme, objects (a list of shape, colour, place).

    Args:
        path: relative to the project's root; the table names images relative to its own folder.
        made_by: the command that makes the table, as an error's next command.

    Raises:
        UserError: the file is missing, unreadable or changed, or a column is missing or of another type.
    """
    table = read_table_of_scenes(path, made_by=made_by)
    return [
        Picture(
            scene=Scene(
                row["scene_id"], row["theme"], tuple(SceneObject(**thing) for thing in row["objects"])
            ),
            split=row["split"],
            image=(path.parent / row["image"]).as_posix(),
        )
        for row in table.iter_rows(named=True)
    ]


def sample_prompts(pictures: Sequence[Picture], *, count: int, seed: int) -> list[Prompt]:
    """Sample `count` training images, with a wording for each, in the order of their ids.

    Raises:
        UserError: there are fewer than `count` training images.
    """
    training = [picture for picture in pictures if picture.split == TRAIN]
    if count > len(training):
        raise UserError(
            "params.yaml: sample_prompts.prompts",
            got=count,
            expected=f"at most the {len(training)} training images",
            do="lower it or raise source.train_images, then: dvc repro",
        )
    drawn = sorted(training, key=lambda picture: stable_number("prompt", seed, picture.scene.scene_id))[
        :count
    ]
    return [
        Prompt(prompt_id=picture.scene.scene_id, image=picture.image, text=_wording(picture.scene, seed))
        for picture in sorted(drawn, key=lambda picture: picture.scene.scene_id)
    ]


def sample_questions(pictures: Sequence[Picture], *, per_image: int, seed: int) -> list[Question]:
    """Return the questions about every evaluation image: one description, and as many "yes" as "no" questions.

    Args:
        per_image: yes/no questions per image, even, 0..6; an image of two objects gets at most four.

    Raises:
        UserError: `per_image` is more than twice the number of kinds of absent objects.
    """
    most = 2 * len(NEGATIVE_KINDS)
    if per_image > most:
        raise UserError(
            "params.yaml: source.questions_per_image",
            got=per_image,
            expected=f"at most {most}, as absent objects are of {len(NEGATIVE_KINDS)} kinds",
            do="lower it, then: dvc repro",
        )
    return [
        question
        for picture in pictures
        if picture.split in EVALUATION_SPLITS
        for question in _ask(picture, pairs=per_image // 2, seed=seed)
    ]


def truths(pictures: Sequence[Picture]) -> list[Truth]:
    """Return what is known about every image, including the images of prompts."""
    return [to_truth(picture.scene, image=picture.image, split=picture.split) for picture in pictures]


def _ask(picture: Picture, *, pairs: int, seed: int) -> list[Question]:
    scene = picture.scene
    describe = Question(
        question_id=f"{scene.scene_id}/describe",
        split=picture.split,
        kind=Kind.DESCRIBE,
        image=picture.image,
        text=_wording(scene, seed),
        answer=None,
        negative=None,
    )
    yes_no = [
        Question(
            question_id=f"{scene.scene_id}/yes_no-{number}",
            split=picture.split,
            kind=Kind.YES_NO,
            image=picture.image,
            text=asked.text,
            answer=Side.YES if asked.answer else Side.NO,
            negative=None if asked.answer else asked.kind,
        )
        for number, asked in enumerate(yes_no_questions(scene, seed=seed, pairs=pairs) if pairs else [])
    ]
    return [describe, *yes_no]


def _wording(scene: Scene, seed: int) -> str:
    return stable_random("wording", seed, scene.scene_id).choice(describe_prompts())
