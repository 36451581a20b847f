"""Small datasets for the report: tables as the stages write them, with texts that a test chooses."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from csrdata.evaluation.scorecard import Known
from csrdata.records import (
    NO_PARENT,
    Dropped,
    DropReason,
    Fate,
    Pair,
    PairScores,
    Prompt,
    Response,
    Sentence,
    Stop,
    Truth,
)
from csrdata.report.series import Series
from csrdata.report.writing import Content
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import ShardStore, write_rows

CHOSEN, REJECTED = "A red circle is on the left.", "A blue star is on the right."


def sentence(prompt: str, node: int, parent: int, text: str, *, fate: Fate, reward: float | None) -> Sentence:
    return Sentence(
        prompt, node, parent, 1 if parent == NO_PARENT else 2, 0, text, [1, 2], -1.0, None if reward is None else 30.0 + node,
        False, None if reward is None else 0.0, reward, Stop.SENTENCE_END if text else Stop.END, fate, True,
    )  # fmt: skip


def tree(prompt: str, chosen: str, rejected: str) -> list[Sentence]:
    """Two sentences that were kept, one that was pruned, and the ends of both answers."""
    return [
        sentence(prompt, 0, NO_PARENT, chosen, fate=Fate.KEPT_BEST, reward=1.0),
        sentence(prompt, 1, NO_PARENT, rejected, fate=Fate.KEPT_WORST, reward=-1.0),
        sentence(prompt, 2, NO_PARENT, "A fog.", fate=Fate.PRUNED, reward=0.0),
        sentence(prompt, 3, 0, "", fate=Fate.FINISHED, reward=None),
        sentence(prompt, 4, 1, "", fate=Fate.FINISHED, reward=None),
    ]


def pair(prompt: str, chosen: str, rejected: str, *, margin: float = 2.0) -> Pair:
    scores = PairScores(
        chosen_leaf=3, rejected_leaf=4, chosen_reward=margin / 2, rejected_reward=-margin / 2, margin=margin,
        chosen_reward_held_out=0.2, rejected_reward_held_out=0.1, chosen_relevance=40.0, rejected_relevance=20.0,
        chosen_logprob=-2.0, rejected_logprob=-4.0, chosen_tokens=4, rejected_tokens=4,
        chosen_words=len(chosen.split()), rejected_words=len(rejected.split()),
    )  # fmt: skip
    return Pair(prompt, f"{prompt}.png", "Describe.", chosen, rejected, "csr_search", scores=scores)


def answer(prompt: str, leaf: int, text: str) -> Response:
    return Response(prompt, leaf, text, len(text.split()), 1, 4, -2.0, 1.0, 0.5, 30.0, 31.0, 1.0, True, True)


def write_series(
    folder: Path,
    name: str,
    pairs: Sequence[Pair],
    *,
    dropped: Sequence[Dropped] = (),
    search: bool = True,
    known: Known | None = None,
) -> Series:
    """Write the tables of an iteration; each pair has its own tree, if `search`."""
    root = folder / name
    ids = sorted({one.prompt_id for one in pairs} | {one.prompt_id for one in dropped})
    tables = IterationTables(name, root / "prompts.parquet", root / "candidates", root / "responses", root / "pairs.parquet", root / "dropped.parquet")  # fmt: skip
    write_rows(tables.pairs, pairs, Pair)
    write_rows(tables.dropped, dropped, Dropped)
    if search:
        write_rows(tables.prompts, [Prompt(one, f"{one}.png", "Describe.") for one in ids], Prompt)
        trees = [row for one in pairs for row in tree(one.prompt_id, one.chosen, one.rejected)]
        answers = [
            answer(one.prompt_id, leaf, text)
            for one in pairs
            for leaf, text in ((3, one.chosen), (4, one.rejected))
        ]
        for path, rows, record in (
            (tables.candidates, trees, Sentence),
            (tables.responses, answers, Response),
        ):
            writer = ShardStore(path, record, fingerprint={}, shards=1)
            writer.add(0, writer.write(0, rows))
            writer.finish()
    return Series(f"iteration {name}", "this project", tables, known=known)


def drop(prompt: str) -> Dropped:
    return Dropped(prompt, DropReason.LENGTH_GAP, "gap 12 words")


def truth(ids: Sequence[str]) -> Known:
    """Each image shows a red circle, and nothing else."""
    detail = '{"scene_id": "s", "theme": "harbour", "objects": [{"shape": "circle", "colour": "red", "place": "left"}]}'
    return Known(
        {f"{one}.png": Truth(f"{one}.png", "train", ["circle"], detail) for one in ids},
        MicroworldClaimParser(),
    )


def draw_images(folder: Path, ids: Sequence[str]) -> Path:
    folder.mkdir()
    for one in ids:
        Image.new("RGB", (40, 30), "red").save(folder / f"{one}.png")
    return folder


def content(series: Sequence[Series], *, images: Path | None = None, **more: object) -> Content:
    values: dict[str, object] = {"drift": None, "figures": [], "parameters": "seed: 0\n", "hashes": {"pairs.parquet": "ab" * 32}, "version": "0"}  # fmt: skip
    return Content(series=series, images=images, **(values | more))  # type: ignore[arg-type]
