"""What the cards say about training and truth: the project's summary and truth, as far as they are about these pairs.

A pulled project has neither and brings the figures along in `metrics/published.json`. Figures that are not about the
project's present pairs are left out, and why is said: a card without them is true, one with old ones is not.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.corrected import corrected
from csrdata.evaluation.summarizing import mean_score
from csrdata.evaluation.summary import BASE, Summary, read_summary, read_world
from csrdata.evaluation.truth_preference import false_share
from csrdata.params import Params
from csrdata.pipeline.inputs import images_folder
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import source_truths
from csrdata.publishing.release.provenance import behind, check_run
from csrdata.publishing.release.results import Results, TruthShare, measured, parse_results
from csrdata.publishing.release.writing import published_pairs
from csrdata.records import Pair, Truth
from csrdata.sources.base import ClaimParser
from csrdata.storage.dvc_lock import read_lock
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import read_json, read_rows

PUBLISHED = Path("metrics/published.json")
"""The results of the release that a project was pulled from."""

LOCK = Path("dvc.lock")


def find_results(params: Params, names: Sequence[str]) -> Results | None:
    """Return what is known about some iterations' pairs and the policies that they trained; None if nothing is.

    Raises:
        UserError: a table or a figure cannot be read.
    """
    if not all(paths.pairs(name).is_file() for name in names):
        return None
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        hashes = {
            name: published_pairs(paths.pairs(name), root=images_folder(params), folder=Path(scratch))
            for name in names
        }
    if PUBLISHED.is_file():
        raw = read_json(PUBLISHED, made_by="csrdata pull OWNER/NAME@TAG")
        published = parse_results(raw, place=str(PUBLISHED))
        if published.pairs == hashes:
            return published
    parser = open_source(params.source).claim_parser()
    truth = (
        {}
        if parser is None or not paths.TRUTH.is_file()
        else {name: _truth(params, name, parser) for name in hashes}
    )
    summary = _summary(params, list(hashes))
    if not truth and summary is None:
        return None
    if summary is None:
        return Results(pairs=hashes, truth=truth, world=world_of_project())
    previous = [params.iterations[name].previous for name in names]
    wanted = {BASE, *names, *(one for one in previous if one != paths.BASE)}
    policies = [BASE, *(name for name in params.iterations if name in wanted)]
    return Results(
        pairs=hashes,
        truth=truth,
        confidence=params.summarize.confidence,
        splits=measured(corrected(summary).splits, policies),
        world=summary.world,
    )


def world_of_project() -> int | None:
    """Return the version of the microworld that drew the project's images; None for other images, and for version 1.

    Raises:
        UserError: a file cannot be read.
    """
    if paths.PREPARE_METRICS.is_file():
        return read_world(open_json(paths.PREPARE_METRICS, made_by="dvc repro prepare"))
    if PUBLISHED.is_file():
        raw = read_json(PUBLISHED, made_by="csrdata pull OWNER/NAME@TAG")
        return parse_results(raw, place=str(PUBLISHED)).world
    return None


def _truth(params: Params, name: str, parser: ClaimParser) -> TruthShare:
    """Count an iteration's pairs by which of the two answers is truer."""
    rows = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    truths = source_truths(params.evaluation_sets, rows)
    counts = dict.fromkeys(("chosen", "rejected", "equal", "unknown"), 0)
    for pair in read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}"):
        known = truths.get(pair.image)
        chosen, rejected = (
            None if known is None else false_share(text, known, parser)
            for text in (pair.chosen, pair.rejected)
        )
        if chosen is None or rejected is None:
            counts["unknown"] += 1
        elif chosen == rejected:
            counts["equal"] += 1
        else:
            counts["chosen" if chosen < rejected else "rejected"] += 1
    return TruthShare(**counts)


def _summary(params: Params, names: Sequence[str]) -> Summary | None:
    """Return the project's summary; None, with the reason on stderr, if it is missing or describes other pairs."""
    if not paths.SUMMARY.is_file():
        return None
    try:
        summary = read_summary(paths.SUMMARY)
        _check_greedy(summary)
        for name in names:
            _check_about(summary, name)
        if LOCK.is_file():
            check_run(LOCK, [paths.SUMMARY.as_posix()], params=params.model_dump(), root=Path())
            _check_chain(LOCK)
    except UserError as error:
        sys.stderr.write(f"the card has no figures of training: {error}\n")
        return None
    return summary


def _check_greedy(summary: Summary) -> None:
    """Check that a summary's figures are of the policies alone."""
    decoding = "greedy" if summary.evaluation is None else summary.evaluation.decoding
    if decoding != "greedy":
        raise UserError(
            f"{paths.SUMMARY}: evaluation.decoding",
            got=decoding,
            expected="greedy: figures of the policies, not of the search",
            do="set evaluate_policy.decoding to greedy, then: dvc repro",
        )


def _check_about(summary: Summary, name: str) -> None:
    """Compare a summary's counts and mean rewards with an iteration's table of pairs."""
    pairs = read_rows(paths.pairs(name), Pair, made_by=f"dvc repro select_pairs@{name}")
    entry = summary.pairs.get(name)
    stated = None if entry is None else (entry.kept, entry.chosen_reward, entry.rejected_reward)
    present = (len(pairs), mean_score(pairs, "chosen_reward"), mean_score(pairs, "rejected_reward"))
    if stated != present:
        raise UserError(
            f"{paths.SUMMARY}: pairs of iteration {name}",
            got="nothing" if stated is None else f"{stated}",
            expected=f"{present}, as in {paths.pairs(name)} (pairs, mean rewards)",
            do="dvc repro summarize",
        )


def _check_chain(lock: Path) -> None:
    """Check that each stage behind the summary read what the stage before it wrote last."""
    stages = behind(read_lock(lock), [paths.SUMMARY.as_posix()])
    wrote = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    for name, stage in stages.items():
        for dep in stage.get("deps", []):
            if dep["path"] in wrote and dep.get("md5") != wrote[dep["path"]]:
                raise UserError(
                    f"{lock}: {name}",
                    got=f"made from an older {dep['path']}",
                    expected="the present one",
                    do="dvc repro summarize",
                )
