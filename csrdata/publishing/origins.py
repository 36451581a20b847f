"""What a card must say of where images come from: licences and limits, by the kind of source (`build_seed.kind`).

Of a source that csrdata does not make itself, the user says it: a licence is never guessed.
"""

import re
from dataclasses import dataclass

from csrdata.errors import UserError


@dataclass(frozen=True, slots=True)
class Origin:
    """Licences and limits that follow from the source of the images and from nothing else."""

    licence: str
    """Of the data set, by its name on the Hub: `apache-2.0`, `cc-by-4.0`, ..."""
    images: str
    """What the images are, and under which licence: sentences, Markdown."""
    limits: tuple[str, ...] = ()
    """Sentences, Markdown."""
    languages: tuple[str, ...] = ()
    """Of the texts: ISO 639-1."""
    tags: tuple[str, ...] = ()


KNOWN = {
    "microworld": Origin(
        licence="apache-2.0",
        images="The images are drawings of coloured shapes, made by csrdata's microworld. They show no person and no work "
        "of a third party, and stand under the licence of the data set.",
        limits=(
            "The microworld is synthetic: small images of coloured shapes, a vocabulary of some dozen words, a policy of a "
            "few million parameters. It is made to test the method; what is learned from it says nothing about photographs.",
        ),
        languages=("en",),
        tags=("synthetic",),
    )
}


def origin(kind: str, *, licence: str | None = None, images: str | None = None) -> Origin:
    """Return what the card says of a source; what the user says goes before what is known.

    Args:
        kind: `build_seed.kind`.
        licence: of the data set, by its name on the Hub.
        images: what the images are and under which licence.

    Raises:
        UserError: something is neither known nor said, or the licence is no name that the Hub could know.
    """
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise UserError(
            "--license", got=licence, expected="a name such as cc-by-4.0", do="csrdata push --help"
        )
    known = KNOWN.get(kind)
    for option, said in (("--license", licence), ("--image-license", images)):
        if said is None and known is None:
            raise UserError(
                option,
                got="none",
                expected=f"one, as images are of the kind {kind}",
                do="csrdata push --help",
            )
    return Origin(
        licence=licence or (known.licence if known else ""),
        images=images or (known.images if known else ""),
        limits=known.limits if known else (),
        languages=known.languages if known else (),
        tags=known.tags if known else (),
    )
