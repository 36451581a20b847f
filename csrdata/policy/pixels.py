"""The smallest and largest image that a processor of dynamic resolution hands to the model, in pixels."""

from typing import Any

from transformers import ProcessorMixin

from csrdata.errors import UserError


def limit_pixels(
    processor: ProcessorMixin, *, min_pixels: int | None, max_pixels: int | None, place: str
) -> None:
    """Set a processor's limits of pixels, in place; images are scaled to be within them, and their tokens follow.

    Transformers keeps the limits in the image processor's `size`, whose names say edges and whose values are areas. Only
    processors that merge square groups of patches (Qwen2-VL and later ones) have both.

    Args:
        processor: of a policy.
        min_pixels: least width times height; None for the processor's own.
        max_pixels: most width times height; None for the processor's own.
        place: the parameters, for the error's first words: `params.yaml: prepare.policy`.

    Raises:
        UserError: the processor has no such limits, or the least is more than the most.
    """
    if min_pixels is None and max_pixels is None:
        return
    images: Any = getattr(processor, "image_processor", None)
    size: Any = getattr(images, "size", None)
    least, most = getattr(size, "shortest_edge", None), getattr(size, "longest_edge", None)
    if not hasattr(images, "merge_size") or least is None or most is None:
        raise UserError(
            place,
            got=f"min_pixels {min_pixels}, max_pixels {max_pixels}",
            expected=f"null for both: {type(images).__name__} has a fixed resolution",
            do="set both to null in params.yaml, then: dvc repro",
        )
    least, most = least if min_pixels is None else min_pixels, most if max_pixels is None else max_pixels
    if not 0 < least <= most:
        raise UserError(
            place,
            got=f"min_pixels {least}, max_pixels {most}",
            expected="min_pixels of 1 or more, and at most max_pixels",
            do="fix params.yaml, then: dvc repro",
        )
    images.size = type(size)(shortest_edge=least, longest_edge=most)
