"""Wiring of `csrdata stats`: an iteration of this project, a published dataset or a file of pairs in, its figures out."""

from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.inspection.cost import cost, pair_cost
from csrdata.inspection.stats import Stats, stats
from csrdata.pipeline.looking import read_hub, read_project
from csrdata.records import Pair, Prompt, Response, Sentence
from csrdata.sources.imported.any_pairs import read_any
from csrdata.sources.imported.reading import SUFFIXES
from csrdata.storage.iteration_tables import LoadedIteration
from csrdata.storage.tables import to_table
from csrdata.storage.unreadable import UNREADABLE


def stats_of(source: str | None, iteration: str | None, *, near_duplicates: bool = False) -> Stats:
    """Return the figures of a source.

    Args:
        source: a file of pairs, or `hf://datasets/OWNER/NAME@TAG`; None means this project.
        iteration: of the project or of the dataset; None means the last one.
        near_duplicates: whether to count pairs that are nearly equal to an earlier one.

    Raises:
        UserError: the source does not exist, is damaged, or has no such iteration.
    """
    if source is None:
        read = read_project(iteration, texts=False)
        return stats(
            read,
            search=cost(paths.run_log("generate_beams", read.name)),
            cost=pair_cost(paths.STAGE_LOG, name=read.name, pairs=len(read.pairs)),
            near_duplicates=near_duplicates,
        )
    if "://" in source:
        return stats(read_hub(source, iteration), near_duplicates=near_duplicates)
    path = Path(source)
    if not path.is_file() or path.suffix.lower() not in SUFFIXES:
        raise UserError(
            "SOURCE",
            got=source,
            expected=f"a file of pairs ({', '.join(SUFFIXES)}) or hf://datasets/OWNER/NAME@TAG",
            do="csrdata stats --help",
        )
    if iteration is not None:
        raise UserError("--iteration", got=iteration, expected="none with a file", do="csrdata stats --help")
    found = read_any(path)
    tables = LoadedIteration(
        path.name,
        prompts=to_table([], Prompt),
        candidates=to_table([], Sentence),
        responses=to_table([], Response),
        pairs=to_table([], Pair),
        dropped=found.dropped,
    )
    try:
        return stats(tables, pairs=found.pairs, near_duplicates=near_duplicates)
    except UNREADABLE as error:  # the rows are read only now
        first = (str(error).splitlines() or [type(error).__name__])[0]
        do = "get the file again, then the same command"
        raise UserError(str(path), got=first, expected="a readable file of pairs", do=do) from None
