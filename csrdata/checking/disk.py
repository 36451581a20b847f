"""Disk space against an estimate of what the stages write: candidates, answers, pairs and adapters.

Candidates are most of it: each depth of the search gives so many rows for each live answer. A row's size is that of its
tokens and its text in Parquet, and a fixed part for its other columns.
"""

import shutil
from pathlib import Path

from csrdata.checking.findings import Finding, error, ok, warning
from csrdata.checking.units import size

ROW_BYTES, TOKEN_BYTES = 60, 5
"""A candidate's fixed part, and what a token adds with its text: on the safe side. The shipped microworld run takes 3.7 kB
for the candidates of a prompt, because its few sentences compress well; texts of real models do not."""
OTHER_TABLES = 0.8
"""Answers, signals, pairs and evaluation, as a share of the candidates; 0.7 in the shipped microworld run."""


def shard_bytes(
    prompts: int,
    *,
    iterations: int,
    roots: int,
    candidates: int,
    keep: int,
    max_sentences: int,
    max_sentence_tokens: int,
    max_response_tokens: int,
) -> int:
    """Return the most bytes that the tables of all iterations take.

    Args:
        prompts, iterations: their numbers.
        roots: empty answers that the search of a prompt starts from.
        candidates: of each live answer.
        keep: live answers of a prompt.
        max_sentences, max_sentence_tokens, max_response_tokens: the limits of an answer.
    """
    depths = min(max_sentences, max(1, max_response_tokens))
    rows = candidates * (roots + keep * (depths - 1))
    tokens = min(max_sentence_tokens, max_response_tokens)
    of_iteration = prompts * rows * (ROW_BYTES + TOKEN_BYTES * tokens)
    return round(iterations * of_iteration * (1 + OTHER_TABLES))


def adapter_bytes(adapter_parameters: int, *, iterations: int) -> int:
    """Return the bytes of all policies: each holds its own adapter, in float32, and those of the policies before it."""
    return 4 * adapter_parameters * iterations * (iterations + 1) // 2


def check_disk(folder: Path, *, tables: int, adapters: int, free: int | None = None) -> list[Finding]:
    """Compare the free space of a folder's disk with what the stages will write; DVC's cache may hold it a second time.

    Args:
        folder: the project.
        tables, adapters: estimates, in bytes.
        free: free bytes; None for those of the folder's disk.
    """
    free = shutil.disk_usage(folder).free if free is None else free
    once = tables + adapters
    words = (
        f"{size(free)} free, at most {size(once)} to write (tables {size(tables)}, adapters {size(adapters)})"
    )
    if once > free:
        do = "free some space, or lower sample_prompts.prompts or generate_beams.max_sentences in params.yaml"
        return [error("disk", f"{words}: got less than expected", do=f"{do}, then: csrdata check")]
    if 2 * once > free:
        do = "let DVC link files instead of copying them: dvc config cache.type reflink,hardlink,symlink"
        return [warning("disk", f"{words}: DVC's cache may hold it a second time", do=do)]
    return [ok("disk", words)]
