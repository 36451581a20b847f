"""A folder of images as a source: each image is asked one of a list of prompts.

Which one follows from a hash of seed, image and prompt (the lowest counts): a prompt that is added to a list of k takes its
share, 1 of k + 1, and changes no other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from csrdata.records import Prompt
from csrdata.sources.image_index import image_files
from csrdata.sources.rows import Row, parse_image, parse_text
from csrdata.sources.sampling import sample, stable_number
from csrdata.sources.unannotated import Unannotated
from csrdata.storage.values import MAX_NAME


@dataclass(frozen=True)
class Folder(Unannotated):
    """A `Source` over all images under a folder. A prompt's id is its image's path, relative to the images root."""

    images_root: Path
    folder: str
    """Relative to the images root."""
    wordings: tuple[str, ...]
    """One or more; each is a kind of prompt."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        rows = sample(self._rows(seed), count=count, seed=seed)
        return [Prompt(row.row_id, row.image, row.text) for row in rows]

    def files(self) -> list[Path]:
        """Return no files: the manifest of the images in use identifies the folder."""
        return []

    def revision(self) -> None:
        return None

    def _rows(self, seed: int) -> Iterator[Row]:
        texts = [
            parse_text(text, place=f"params.yaml: source.prompts[{number}]")
            for number, text in enumerate(self.wordings)
        ]
        for file in image_files(self.images_root, self.folder):
            image = parse_image(file, place=f"folder {self.folder}")
            text = min(texts, key=lambda one: stable_number(seed, image, one))
            yield Row(_id(image), kind=text, image=image, text=text, place=f"image {image}")


def _id(image: str) -> str:
    """Return a path as an id; a path that is too long keeps its end, behind a hash of all of it."""
    if len(image) <= MAX_NAME:
        return image
    name = blake2b(image.encode(), digest_size=16).hexdigest()
    return f"{name}-{image[-(MAX_NAME - len(name) - 1) :]}"
