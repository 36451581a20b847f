"""Wiring of `report`: the tables of all iterations, the summary and the plots in; the page out. No model runs.

`project_content` is also what `csrdata report` shows of a project; `csrdata.pipeline.report_sources` adds other sources.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from csrdata import paths
from csrdata.evaluation.scorecard import Known
from csrdata.evaluation.summary import read_summary
from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.pipeline.stopping import has_pairs
from csrdata.pipeline.tables import project_tables
from csrdata.pipeline.truth import source_truths
from csrdata.records import ImageFile, Truth
from csrdata.report.drift import drift
from csrdata.report.figures import figure_tables
from csrdata.report.series import Series
from csrdata.report.writing import Content, write_report
from csrdata.storage.disk import hash_path
from csrdata.storage.tables import read_rows

SAMPLED = "dvc repro sample_prompts"


def run(params: Params) -> None:
    """Write the report of all iterations into `paths.REPORT`; it replaces an earlier one."""
    write_report(project_content(params), paths.REPORT, form=None)


def project_content(
    params: Params, *, root: Path = Path(), names: Sequence[str] | None = None, label: str = "iteration {}"
) -> Content:
    """Return what a report shows of the project in the current folder.

    Args:
        params: of the project.
        root: the project's folder, as the paths of the tables begin; it must be the current one by another name.
        names: the iterations; None takes those that have pairs.
        label: of a series, with a place for the iteration's name.
    """
    wanted = list(params.iterations) if names is None else names
    made = [name for name in wanted if names is not None or has_pairs(name)]
    known = _known(params)
    return Content(
        series=[
            Series(
                label.format(name),
                source=label.format("").strip(", "),
                tables=project_tables(name, root=root),
                signals=root / paths.signals(name) if paths.signals(name).is_dir() else None,
                known=known,
            )
            for name in made
        ],
        images=_images(params, root),
        drift=drift(read_summary(paths.SUMMARY)) if paths.SUMMARY.is_file() else None,
        figures=figure_tables(paths.PLOTS),
        parameters=_parameters(params),
        hashes=_hashes(made),
        version=version("csrdata"),
    )


def _known(params: Params) -> Known | None:
    """Return what is known about the prompts' images; None where that is nothing."""
    parser = open_source(params.source).claim_parser()
    if parser is None or not paths.TRUTH.is_file():
        return None
    truths = source_truths(params.evaluation_sets, read_rows(paths.TRUTH, Truth, made_by=SAMPLED))
    return Known(truths, parser)


def _images(params: Params, root: Path) -> ImageRoot | Path | None:
    """Return the images, with their hashes where the prompts were sampled here; None where there is no folder of them."""
    folder = root / params.images.root
    if not folder.is_dir():
        return None
    listed = [paths.IMAGES, *(paths.pair_images(name) for name in params.iterations)]
    files: Mapping[str, ImageFile] = {
        row.image: row
        for path in listed
        if path.is_file()
        for row in read_rows(path, ImageFile, made_by=SAMPLED)
    }
    return ImageRoot(folder, files) if files else folder


def _parameters(params: Params) -> str:
    """Return the parameters that the results depend on, as YAML: not the number of workers, not the place of the images."""
    sections: dict[str, Any] = {
        "compute": params.compute,
        "source": params.source,
        "prepare": params.prepare,
        "scorers": params.scorers,
        "sample_prompts": params.sample_prompts,
        "evaluation_sets": params.evaluation_sets,
        "generate_beams": params.generate_beams,
        "score_beams": params.score_beams,
        "select_pairs": params.select_pairs,
        "train_dpo": params.train_dpo,
        "evaluate_policy": params.evaluate_policy,
        "match_recall": params.match_recall,
        "summarize": params.summarize,
        "iterations": params.iterations,
    }
    plain = Params.model_dump(params, mode="json", include=set(sections))
    return yaml.safe_dump(
        {name: plain[name] for name in sections}, sort_keys=False, allow_unicode=True, width=100
    )


def _hashes(names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each table and of the summary, by path."""
    tables = [
        path
        for name in names
        for path in (
            paths.candidates(name),
            paths.signals(name),
            paths.responses(name),
            paths.pairs(name),
            paths.dropped(name),
        )
    ]
    wanted = [paths.PROMPTS, *tables, paths.SUMMARY]
    return {path.as_posix(): hash_path(path) for path in wanted if path.exists()}
