"""From sampled prompts to those that every stage sees: excluded and unreadable images leave, and the rest is written down.

An image is read to its end once, here; what is written of it (its hash) is what later stages hold it to.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.images import describe_image
from csrdata.progress import progress
from csrdata.records import ImageFile, LeaveReason, LeftOut, Prompt, Question
from csrdata.sources.rows import MAX_LINE, wrong

MAX_EXCLUDED = 100_000_000
"""Bytes of a file of what is excluded."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What must not be used: ids of prompts and SHA-256 hashes of images."""

    names: frozenset[str] = frozenset()

    def covers(self, *names: str) -> bool:
        """Say whether one of some names, an id or a hash, is excluded."""
        return not self.names.isdisjoint(names)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What became of the sampled prompts: prompts + left out = sampled."""

    prompts: list[Prompt]
    left_out: list[LeftOut]
    images: list[ImageFile]
    """Those of `prompts`, in the order of their paths."""

    def counts(self) -> dict[str, object]:
        """Return the figures of the sample, by name."""
        reasons = Counter(row.reason for row in self.left_out)
        return {
            "sampled": len(self.prompts) + len(self.left_out),
            "prompts": len(self.prompts),
            "images": len(self.images),
            "left_out": {reason.value: reasons[reason.value] for reason in LeaveReason},
        }


def read_exclusion(path: Path) -> Exclusion:
    """Read a file of ids or image hashes (SHA-256, 64 hex digits), one per line; blank lines and `# ...` are comments.

    Raises:
        UserError: the file is missing, too large or not UTF-8.
    """
    if not path.is_file():
        do = "put it there or set source.exclude in params.yaml to null, then: dvc repro"
        raise UserError(str(path), got="no such file", expected="ids or image hashes, one per line", do=do)
    if (size := path.stat().st_size) > MAX_EXCLUDED:
        raise wrong(str(path), f"{size:,} bytes", f"at most {MAX_EXCLUDED:,} bytes")
    names = set()
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        place = f"{path}: line {number}"
        if len(line) > MAX_LINE:
            raise wrong(place, f"{len(line):,} bytes", "an id or an image hash")
        try:
            name = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise wrong(place, f"byte {error.start} is not UTF-8", "UTF-8") from None
        if name and not name.startswith("#"):
            names.add(name.lower() if re.fullmatch("[0-9a-fA-F]{64}", name) else name)
    return Exclusion(frozenset(names))


def keep_usable(prompts: Sequence[Prompt], *, root: Path, exclusion: Exclusion) -> Sampled:
    """Leave out prompts that are excluded or whose images cannot be read; describe the images of the others.

    Args:
        prompts: as sampled.
        root: the folder that image paths are relative to.
        exclusion: ids and image hashes that leave.

    Raises:
        UserError: no prompt is left.
    """
    kept: list[Prompt] = []
    left_out: list[LeftOut] = []
    read: dict[str, ImageFile | UserError] = {}
    for prompt in progress(prompts, title="read images", unit="prompt"):
        if exclusion.covers(prompt.prompt_id):
            left_out.append(_left(prompt, LeaveReason.EXCLUDED, "its id is excluded"))
            continue
        if prompt.image not in read:
            read[prompt.image] = _describe(prompt, root)
        found = read[prompt.image]
        if isinstance(found, UserError):
            left_out.append(_left(prompt, LeaveReason.UNREADABLE_IMAGE, f"got {found.got}"))
        elif exclusion.covers(found.sha256):
            left_out.append(_left(prompt, LeaveReason.EXCLUDED, f"its image is excluded: {found.sha256}"))
        else:
            kept.append(prompt)
    if not kept:
        raise UserError(
            "sample_prompts",
            got=f"no prompt that can be used of {len(prompts)}; {left_out[0].prompt_id}: image {left_out[0].image}: "
            f"{left_out[0].detail}",
            expected="1 or more with a readable image under images.root",
            do="check images.root and source in params.yaml, then: dvc repro",
        )
    used = {prompt.image for prompt in kept}
    images = [file for path, file in sorted(read.items()) if path in used and isinstance(file, ImageFile)]
    return Sampled(kept, left_out, images)


def describe_images(questions: Iterable[Question], *, root: Path) -> list[ImageFile]:
    """Describe each image of the questions once, in the order of their paths.

    Raises:
        UserError: an image cannot be read.
    """
    first = {question.image: question for question in questions}
    return [
        describe_image(path, root=root, place=f"question {first[path].question_id}")
        for path in progress(sorted(first), title="read images of questions", unit="image")
    ]


def _describe(prompt: Prompt, root: Path) -> ImageFile | UserError:
    try:
        return describe_image(prompt.image, root=root, place=f"prompt {prompt.prompt_id}")
    except UserError as error:
        return error


def _left(prompt: Prompt, reason: LeaveReason, detail: str) -> LeftOut:
    return LeftOut(prompt.prompt_id, prompt.image, reason, detail)
