"""Wiring of `csrdata export`: the pairs of one or more iterations in, a folder for another trainer or a viewer out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.looking import images_root, iteration
from csrdata.pipeline.stopping import has_pairs
from csrdata.pipeline.wordings import read_wordings
from csrdata.publishing.export.formats import FORMATS, Texts
from csrdata.publishing.export.writing import Exported, Options, continues, export
from csrdata.records import Pair
from csrdata.storage.tables import read_rows


def export_pairs(folder: Path, *, to: str, iterations: Sequence[str], options: Options) -> Exported:
    """Write the pairs of iterations in a trainer's or viewer's format.

    Of equal pairs of several iterations, the first is kept.

    Pairs that continue an answer become plain text with the chat template of the base policy, which is loaded without its
    weights.

    Args:
        folder: new or empty.
        to: the trainer or viewer.
        iterations: one or more names, each once.
        options: scores, Parquet, a split.

    Raises:
        UserError: see `csrdata.publishing.export.writing.export`; or TRL would read a pair as other tokens than were
            generated.
    """
    rows = {
        name: read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}")
        for name in iterations
    }
    merged: dict[tuple[object, ...], tuple[str, Pair]] = {}
    for name, own in rows.items():
        for number, pair in enumerate(own):
            # Within one iteration nothing is left out: its rows are as they were selected.
            key = (number,) if len(rows) == 1 else _content(pair)
            merged.setdefault(key, (name, pair))
    pairs = [pair for _, pair in merged.values()]
    needed = to in FORMATS and FORMATS[to].text_row is not None and any(map(continues, pairs))
    label = f"iteration_{iterations[0]}" if len(rows) == 1 else f"iterations_{'_'.join(iterations)}"
    return export(
        pairs,
        to=to,
        folder=folder,
        root=images_root(),
        name=f"csrdata_{label}",
        as_texts=plain_text(iterations[0]) if needed else None,
        iterations=None if len(rows) == 1 else [name for name, _ in merged.values()],
        options=options,
    )


def iterations_of(words: str) -> list[str]:
    """Return the iterations that `--iterations` names: `all` are those with pairs, otherwise names with commas between.

    Raises:
        UserError: there is no iteration of a name, one is named twice, or none has pairs.
    """
    known = list(load_params().iterations)
    if words == "all":
        made = [name for name in known if has_pairs(name)]
        if not made:
            raise UserError("pairs to export", got="none", expected="pairs of one iteration", do="dvc repro")
        return made
    names = words.split(",")
    if len(set(names)) != len(names):
        raise UserError(
            "--iterations", got=words, expected="each name once", do="csrdata export --iterations all"
        )
    return [iteration(name) for name in names]


def _content(pair: Pair) -> tuple[object, ...]:
    """Return what makes two pairs the same, whichever iteration made them."""
    sides = (pair.chosen, pair.rejected, pair.chosen_complete, pair.rejected_complete)
    return (pair.image, pair.prompt, pair.context, *sides)


def plain_text(name: str) -> Callable[[Pair], Texts]:
    """Return what turns a pair into plain text for the base policy and the policies trained from it.

    Args:
        name: an iteration, for the next command of an error.
    """
    from csrdata.policy.loading import load_processor
    from csrdata.policy.prompting import completion_text, render_prompt, text_ids
    from csrdata.policy.sides import BOTH, place_of, side_of

    processor = load_processor(need_policy(paths.BASE))
    wordings = read_wordings(paths.WORDINGS)

    def as_texts(pair: Pair) -> Texts:
        prompt = wordings.get(pair.prompt) or render_prompt(processor, pair.prompt)
        context = text_ids(processor, pair.context)
        read_alike = text_ids(processor, prompt + pair.context) == text_ids(processor, prompt) + context
        written = {}
        for which in BOTH:
            side = side_of(pair, which)
            text = completion_text(processor, side.text, end=side.end, complete=side.complete)
            written[which] = text
            read_alike &= text_ids(processor, pair.context + text) == context + text_ids(processor, text)
        if not read_alike:
            raise UserError(
                place_of(pair),
                got="other tokens than were generated, where TRL reads the prompt with the begun answer and its "
                "continuation as two texts",
                expected="a tokenizer that reads both texts alike",
                do=f"train here, where a begun answer is read as one text: dvc repro train_dpo@{name}",
            )
        return Texts(prompt + pair.context, **written)

    return as_texts
