"""Whether the images of the prompts can be read: a seeded sample, or all of them."""

import random
from collections.abc import Callable, Sequence

from PIL.Image import Image

from csrdata.checking.findings import Finding, error, ok, warning
from csrdata.errors import UserError
from csrdata.images import BadImage

SAMPLE = 100
"""Images that are read unless all are asked for."""
NAMED = 3
"""Images that a finding names."""


def check_images(
    images: Sequence[str], *, load: Callable[[str], Image], all_images: bool, sampled: bool = True
) -> list[Finding]:
    """Return whether images can be read.

    An image that does not decode costs its prompts: a warning, and an error if no image decodes. So does a missing image
    before prompts are sampled; afterwards it stops a stage: an error.

    Args:
        images: the paths of all images, each once.
        load: reads one, and raises as `csrdata.images.load_image` does.
        all_images: read all of them, not a sample of `SAMPLE`.
        sampled: whether `sample_prompts` has listed these images.
    """
    chosen = list(images)
    if not all_images and len(chosen) > SAMPLE:
        chosen = sorted(random.Random(0).sample(chosen, SAMPLE))
    of = f"{len(chosen)} of {len(images)}"
    missing: list[UserError] = []
    unreadable: list[UserError] = []
    for image in chosen:
        try:
            load(image)
        except BadImage as problem:
            unreadable.append(problem)
        except UserError as problem:
            missing.append(problem)
    findings = []
    if not sampled:
        unreadable, missing = [*missing, *unreadable], []
    if missing:
        words = f"{len(missing)} of {len(chosen)} images read cannot be opened, such as {_named(missing)}"
        findings.append(error("images", words, do=missing[0].do))
    if unreadable and len(unreadable) == len(chosen):
        words = f"none of {of} images can be used, such as {_named(unreadable)}"
        findings.append(error("images", words, do=unreadable[0].do))
    elif unreadable:
        cost = f"{len(unreadable)} of {len(chosen)} images read cannot be used and cost their prompts"
        words = f"{cost}, such as {_named(unreadable)}"
        do = "replace them, or list them in a file that source.exclude names"
        findings.append(warning("images", words, do=f"{do}: csrdata check --all-images counts all"))
    return findings or [ok("images", f"{of} images are readable")]


def _named(problems: Sequence[UserError]) -> str:
    return "; ".join(f"{one.place}: got {one.got}, expected {one.expected}" for one in problems[:NAMED])
