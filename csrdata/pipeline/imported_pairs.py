"""Wiring of imported pairs: the folder of an import in, pairs or reasons out, with their own prompts and images.

No policy of the project wrote the texts. They get the white space with which the policy's answers begin, so that training
reads them as it reads an answer of the policy.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE, Params
from csrdata.pipeline.batches import Select
from csrdata.pipeline.inputs import images_folder, need_policy
from csrdata.records import Dropped, DropReason, ImageFile, Pair, Prompt
from csrdata.search.pairs import Outcome
from csrdata.sections.method import ImportedPairs
from csrdata.sources.imported.folder import read


def selector(prompts: Sequence[Prompt], settings: ImportedPairs, *, params: Params, name: str) -> Select:
    """Return what returns all imported pairs, and the reasons for rows of their files that have none.

    Args:
        prompts: not used: imported pairs bring their own.
        settings: the section `select_pairs`.
        params: the whole file.
        name: not used: every iteration has the same pairs.

    Raises:
        UserError: there is no import in the folder, or it is not under the images root.
    """
    from csrdata.policy.loading import load_processor
    from csrdata.policy.prompting import answer_opening, special_texts

    del prompts, name
    brought = read(Path(settings.folder))
    below = _below_root(settings, params)
    processor = load_processor(need_policy(paths.BASE))
    opening, special = answer_opening(processor), special_texts(processor)
    outcomes: list[Outcome] = [*brought.dropped]
    by_prompt: dict[str, list[Pair]] = {}
    for pair in brought.pairs:
        by_prompt.setdefault(pair.prompt_id, []).append(pair)
    for prompt_id, pairs in by_prompt.items():
        tokens = [_spelled_out(pair, special) for pair in pairs]
        kept = [pair for pair, token in zip(pairs, tokens, strict=True) if token is None]
        for number, pair in enumerate(kept):
            image = (below / pair.image).as_posix()
            chosen, rejected = opening + pair.chosen, opening + pair.rejected
            outcomes.append(replace(pair, number=number, image=image, chosen=chosen, rejected=rejected))
        if not kept:
            detail = f"a text spells out {tokens[0]}, a special token of the policy"
            outcomes.append(Dropped(prompt_id, DropReason.BAD_ROW.value, detail))
    return lambda _: outcomes


def _spelled_out(pair: Pair, special: Collection[str]) -> str | None:
    """Return a special token that a text of the pair spells out; None if there is none."""
    texts = (pair.prompt, pair.chosen, pair.rejected)
    return next((token for token in special for text in texts if token in text), None)


def count(settings: ImportedPairs) -> int:
    """Return the number of pairs in the folder; a text with a special token of the policy may still leave some out."""
    return len(read(Path(settings.folder)).pairs)


def images(settings: ImportedPairs, *, params: Params) -> list[ImageFile]:
    """Return the images of the pairs, with their paths under the images root."""
    below = _below_root(settings, params)
    brought = read(Path(settings.folder))
    return [replace(file, image=(below / file.image).as_posix()) for file in brought.images]


def _below_root(settings: ImportedPairs, params: Params) -> Path:
    """Return the path of the import's folder under the images root."""
    root = images_folder(params).resolve()
    folder = Path(settings.folder).resolve()
    if not folder.is_relative_to(root):
        raise UserError(
            f"{FILE}: select_pairs.folder",
            got=settings.folder,
            expected=f"a folder under images.root, {params.images.root}",
            do="import again into one: csrdata import FILE --folder DIR, then set select_pairs.folder",
        )
    return folder.relative_to(root)
