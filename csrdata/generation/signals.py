"""The worker of `measure_signals`: it returns the signals of a shard's candidates, measured after the search.

A signal is a raw value of one candidate sentence. Which one makes the reward, on which scale and with which weight, is
decided afterwards from the stored values (`csrdata.search.responses`). No signal decides what the search keeps: a search
must not be judged only by the score that it maximised.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from csrdata.generation.clock import Clock
from csrdata.images import ImageRoot, load_image
from csrdata.records import Fate, Sentence, Signal
from csrdata.relevance.base import ImageScores, Scorer

ELSEWHERE = "elsewhere"
"""The signal of the search's scorer with images of other prompts: how well a sentence fits any image. A sentence whose R_I
is not above it says little about its own image."""
OTHER_IMAGES = 32
"""The most images of other prompts that `elsewhere` takes. With embeddings, an image costs one product per sentence."""
OTHER_IMAGES_ASKED = 4
"""The same for a scorer that asks a policy: an image costs one question per sentence."""
_ROWS_AT_ONCE = 16_384
"""Texts that `elsewhere` scores in one call, at most; each text counts once for each image."""


def measure(
    sentences: Sequence[Sentence],
    *,
    images: Mapping[str, str],
    root: Path | ImageRoot,
    scorers: Mapping[str, Scorer],
    search: Scorer,
    other_images: int,
    clock: Clock,
) -> list[Signal]:
    """Return the signals of every candidate with a text, candidate by candidate; a refused prompt has none.

    Each image is read once, and embedded once by each scorer, whatever the number of its prompts.

    Args:
        sentences: rows of whole trees; the rows of a prompt are consecutive.
        images: the image file of each prompt, by `prompt_id`.
        root: the folder that image paths are relative to. An `ImageRoot` knows which files are the same image.
        scorers: by name; the signal of that name is R_I by that scorer.
        search: the search's scorer, for `elsewhere`.
        other_images: the most images of other prompts for `elsewhere`, 1 or more.
        clock: receives the time spent on `read` and on each signal.

    Returns:
        For each candidate, a row for each name of `scorers`, in their order, and one of `elsewhere`.

    Raises:
        UserError: an image is missing or unreadable.
    """
    searched = [row for row in sentences if row.fate != Fate.REFUSED]
    files = {row.prompt_id: images[row.prompt_id] for row in searched}
    known = root.files if isinstance(root, ImageRoot) else {}
    hashes = {prompt_id: known[file].sha256 if file in known else file for prompt_id, file in files.items()}
    first = {sha256: prompt_id for prompt_id, sha256 in reversed(hashes.items())}
    distinct = list(dict.fromkeys(hashes.values()))
    places = {sha256: place for place, sha256 in enumerate(distinct)}
    with clock.spend("read"):
        loaded = [
            load_image(files[first[sha256]], root=root, place=f"prompt {first[sha256]}")
            for sha256 in distinct
        ]
    with_text = [row for row in searched if row.relevance is not None]
    owners = [places[hashes[row.prompt_id]] for row in with_text]
    texts = [row.text for row in with_text]
    values: dict[str, list[float | None]] = {}
    for name, scorer in scorers.items():
        with clock.spend(name):
            values[name] = [one.value for one in scorer.open(loaded).relevance(owners, texts)]
    with clock.spend(ELSEWHERE):
        others = [images_elsewhere(sha256, distinct, most=other_images) for sha256 in distinct]
        values[ELSEWHERE] = _means(
            search.open(loaded), texts, [others[owner] for owner in owners], most=other_images
        )
    return [
        Signal(row.prompt_id, row.node_id, name, own[index])
        for index, row in enumerate(with_text)
        for name, own in values.items()
    ]


def images_elsewhere(own: str, shard: Sequence[str], *, most: int) -> list[int]:
    """Return which images of a shard are the others for one image: the same for each of its sentences.

    A hash of both images decides, so that the choice depends on no order. The image itself is never among them.

    Args:
        own: the image's SHA-256, or any other name of it.
        shard: those of the shard's images, each once.
        most: how many to take; all others, if there are fewer.

    Returns:
        Indices in `shard`.
    """
    others = [index for index, sha256 in enumerate(shard) if sha256 != own]
    return sorted(others, key=lambda index: hashlib.sha256(f"{own}/{shard[index]}".encode()).digest())[:most]


def _means(
    scores: ImageScores, texts: Sequence[str], others: Sequence[Sequence[int]], *, most: int
) -> list[float | None]:
    """Return each text's mean R_I over its images, 0..100; None if it has no image, or the scorer says nothing of it.

    Args:
        scores: of the shard's images.
        texts: N texts.
        others: for each text, indices of at most `most` images.
    """
    means: list[float | None] = []
    at_once = max(1, _ROWS_AT_ONCE // most)
    for start in range(0, len(texts), at_once):
        part = range(start, min(start + at_once, len(texts)))
        pairs = [(index, image) for index in part for image in others[index]]
        found = scores.relevance([image for _, image in pairs], [texts[index] for index, _ in pairs])
        known: dict[int, list[float]] = {index: [] for index in part}
        for (index, _), one in zip(pairs, found, strict=True):
            if one.value is not None:
                known[index].append(one.value)
        means += [fmean(values) if values else None for values in known.values()]
    return means
