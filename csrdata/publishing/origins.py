"""What a card says about licences and the source of the images.

csrdata knows only the licences of its own sources, which state them (`csrdata.sources.base.Origin`), and of policies that it
trained from nothing. For anything else the user must state them, in params.yaml (`source.origin`) or as options, which come
first; csrdata never guesses a licence. If the user gives one of the options for a dataset, they replace all that a source
states, which may be wrong for other images.
"""

import re
from dataclasses import dataclass

from csrdata.errors import UserError
from csrdata.publishing.card.markdown import Markdown
from csrdata.sources.base import Origin

HELP = "csrdata push --help"
KEYS = {
    "--license": "source.origin.licence",
    "--image-license": "source.origin.images",
    "--output-license": "source.origin.outputs",
}
"""Where params.yaml states what an option says about a dataset."""
POLICY_KEY = "params.yaml: source.origin.policy"
"""Where it states what `--license` says about a policy."""


@dataclass(frozen=True, slots=True)
class StatedOrigin:
    """What the user states in params.yaml: null is unknown."""

    licence: str | None = None
    images: str | None = None
    outputs: str | None = None
    policy: str | None = None
    """The licence of a published policy, by its name on the Hub."""


@dataclass(frozen=True, slots=True)
class CardOrigin:
    """Licences and limits of a release. Plain text comes from the user and is escaped in the card; Markdown is csrdata's."""

    licence: str
    """Licence of the dataset, by its name on the Hub: `apache-2.0`, `cc-by-4.0`, ..."""
    images: str
    """What the images are, and their licence."""
    outputs: str
    """The terms for the policy's answers."""
    limits: tuple[Markdown, ...] = ()
    """Known limits, one or more sentences each."""
    languages: tuple[str, ...] = ()
    """Languages of the texts, as ISO 639-1 codes."""
    tags: tuple[str, ...] = ()


def of_source(known: Origin) -> CardOrigin:
    """Return what a card says about a source if csrdata states everything."""
    return CardOrigin(
        licence=known.licence,
        images=Markdown(known.images),
        outputs=Markdown(known.outputs),
        limits=tuple(Markdown(limit) for limit in known.limits),
        languages=known.languages,
        tags=known.tags,
    )


def origin(
    kind: str,
    known: Origin | None = None,
    *,
    stated: StatedOrigin | None = None,
    licence: str | None = None,
    images: str | None = None,
    outputs: str | None = None,
) -> CardOrigin:
    """Return what the card says about a source: what is known of it, or what the user states instead.

    Args:
        kind: of the source, as in params.yaml.
        known: what csrdata knows about the source; None if it knows nothing.
        stated: what params.yaml says; None if it has no such section. Each of the options below comes before it.
        licence: of the dataset, by its name on the Hub.
        images: what the images are, and their licence.
        outputs: the terms for the policy's answers.

    Raises:
        UserError: something is neither known nor stated, or the licence's name is malformed.
    """
    given = {"--license": licence, "--image-license": images, "--output-license": outputs}
    if known and all(text is None for text in given.values()):
        return of_source(known)
    if stated is not None:
        licence = stated.licence if licence is None else licence
        images = stated.images if images is None else images
        outputs = stated.outputs if outputs is None else outputs
    found = {"--license": licence, "--image-license": images, "--output-license": outputs}
    missing = [option for option, text in found.items() if text is None or not text.strip()]
    if missing and stated is not None:
        raise UserError(
            ", ".join(f"params.yaml: {KEYS[option]} ({option})" for option in missing),
            got="null",
            expected="the licence of the dataset, what the images are and under which licence, and the terms of the "
            "policy's outputs: a card never claims what nobody said",
            do="set it in params.yaml or give the option, then the same command again",
        )
    if missing:
        why = f"licences of the kind {kind} are not known"
        if known:
            why = f"one such option replaces everything that is known about the {kind}"
        raise UserError(
            ", ".join(missing),
            got="none",
            expected=f"the licence of the dataset, of the images and of the policy's outputs ({why})",
            do="csrdata push OWNER/NAME --license cc-by-4.0 --image-license 'my photographs, CC BY 4.0' "
            "--output-license 'the terms of MODEL'",
        )
    return CardOrigin(licence=_checked(licence or ""), images=images or "", outputs=outputs or "")


def model_licence(
    known: Origin | None, *, stated: StatedOrigin | None, licence: str | None, base: str | None
) -> str:
    """Return the licence of a policy, by its name on the Hub: what the user states, or what is known.

    Args:
        known: what csrdata knows about images and policies; None if it knows nothing.
        stated: what params.yaml says; None if it has no such section.
        licence: the option `--license`, which comes first.
        base: the Hub's name of the base; None for a base in a folder.

    Raises:
        UserError: a licence is neither known nor stated, or its name is malformed.
    """
    if licence is None and known is not None:
        return known.licence
    found = licence if licence is not None or stated is None else stated.policy
    if found is None:
        option = "--license"
        raise UserError(
            option if stated is None else f"{POLICY_KEY} ({option})",
            got="none" if stated is None else "null",
            expected="the licence of the policy; that of its base may bind it, and a card never claims what nobody said",
            do=f"see the licence of {base or 'its base'}, then the same command with --license NAME"
            + ("" if stated is None else ", or set it in params.yaml"),
        )
    return _checked(found)


def _checked(licence: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise UserError("--license", got=licence, expected="a name such as cc-by-4.0", do=HELP)
    return licence
