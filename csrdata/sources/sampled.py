"""From sampled prompts to those that every stage sees: excluded and unreadable images leave, and the rest is written down.

An image is read to its end once, here; what is written of it (its hash) is what later stages hold it to.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.images import BadImage, describe_image
from csrdata.progress import progress
from csrdata.records import ImageFile, LeaveReason, LeftOut, Prompt
from csrdata.sources.exclusion import Exclusion
from csrdata.storage.disk import hash_path


@dataclass(frozen=True, slots=True)
class Unusable:
    """An image that cannot be used."""

    problem: UserError
    sha256: str
    """Of the file's bytes; empty where there is no such file, or it is too large."""


class ImageReader:
    """Reads each image under a folder once, whoever asks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, ImageFile | Unusable] = {}

    def read(self, path: str) -> ImageFile | Unusable:
        """Return what an image is; `path` is relative to the folder."""
        if path not in self._read:
            self._read[path] = self._describe(path)
        return self._read[path]

    def files(self, paths: Iterable[str]) -> list[ImageFile]:
        """Return the usable images among some paths, each once, in the order of their paths."""
        found = (self.read(path) for path in sorted(set(paths)))
        return [image for image in found if isinstance(image, ImageFile)]

    def _describe(self, path: str) -> ImageFile | Unusable:
        try:
            return describe_image(path, root=self._root, place="sample_prompts")
        except BadImage as problem:  # the file is there
            return Unusable(problem, hash_path(self._root / path))
        except UserError as problem:
            return Unusable(problem, "")


@dataclass(frozen=True, slots=True)
class Sampled:
    """What became of the sampled prompts: prompts + left out = sampled."""

    prompts: list[Prompt]
    left_out: list[LeftOut]
    images: list[ImageFile]
    """Those of `prompts`, in the order of their paths."""
    excluded: frozenset[str] = frozenset()
    """The excluded ids and hashes that named one of them."""

    def counts(self) -> dict[str, object]:
        """Return the figures of the sample, by name."""
        return {
            "sampled": len(self.prompts) + len(self.left_out),
            "prompts": len(self.prompts),
            "images": len(self.images),
            "left_out": count_reasons(self.left_out),
        }


def keep_usable(prompts: Sequence[Prompt], *, images: ImageReader, exclusion: Exclusion) -> Sampled:
    """Leave out prompts that are excluded or whose images cannot be read; describe the images of the others.

    Args:
        prompts: as sampled.
        images: reads the images.
        exclusion: ids and image hashes that leave.

    Raises:
        UserError: no prompt is left.
    """
    kept: list[Prompt] = []
    left_out: list[LeftOut] = []
    excluded: set[str] = set()
    for prompt in progress(prompts, title="read images", unit="prompt"):
        image = images.read(prompt.image)
        why = why_left_out(image, prompt.prompt_id, exclusion=exclusion)
        excluded |= exclusion.matching(prompt.prompt_id, image.sha256)
        if why is None:
            kept.append(prompt)
        else:
            left_out.append(LeftOut(prompt.prompt_id, None, prompt.image, *why))
    if not kept:
        raise UserError(
            "sample_prompts",
            got=f"no prompt that can be used of {len(prompts)}; {in_words(left_out[0])}",
            expected="1 or more with a readable image under images.root",
            do="check images.root and source in params.yaml, then: dvc repro",
        )
    return Sampled(kept, left_out, images.files(prompt.image for prompt in kept), frozenset(excluded))


def why_left_out(
    image: ImageFile | Unusable, *ids: str, exclusion: Exclusion
) -> tuple[LeaveReason, str] | None:
    """Return reason and detail if a prompt or question must leave: an id or the image is excluded, or unreadable."""
    if exclusion.covers(*ids):
        return LeaveReason.EXCLUDED, "its id is excluded"
    if exclusion.covers(image.sha256):
        return LeaveReason.EXCLUDED, f"its image is excluded: {image.sha256}"
    if isinstance(image, Unusable):
        return LeaveReason.UNREADABLE_IMAGE, f"got {image.problem.got}"
    return None


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """Return the number of rows for each reason, those without a row included."""
    reasons = Counter(row.reason for row in left_out)
    return {reason.value: reasons[reason.value] for reason in LeaveReason}


def in_words(row: LeftOut) -> str:
    """Return a row as text. Example: `p3: image 3.png: got an empty file`."""
    return f"{row.record_id}: image {row.image}: {row.detail}"
