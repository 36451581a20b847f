"""Wiring of `csrdata gate`: a file of limits in, each limit with its figure out; no stage."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.summary import read_summary
from csrdata.inspection.gate import Checked, check, flat, parse_limits
from csrdata.pipeline.figures import stats_of
from csrdata.strict_yaml import read_yaml

HELP = "csrdata gate --help"


def gate(file: Path, source: str | None, iteration: str | None) -> list[Checked]:
    """Return the limits of a file with their figures. Figures of which no limit speaks are not computed.

    Args:
        file: YAML: `stats`, `summary` or both.
        source, iteration: see `csrdata.pipeline.figures.stats_of`; `summary` is the project's alone.

    Raises:
        UserError: the file or a source is missing or invalid, or there is no figure of a name.
    """
    if not file.is_file():
        raise UserError(str(file), got="no such file", expected="a YAML file of limits", do=HELP)
    place = str(file)
    limits = parse_limits(read_yaml(file), place=place)
    groups = dict.fromkeys(limit.figure.partition(".")[0] for limit in limits)
    readers: dict[str, Callable[[], object]] = {
        "stats": lambda: asdict(stats_of(source, iteration)),
        "summary": lambda: read_summary(paths.SUMMARY).as_json(),
    }
    figures: dict[str, float | None] = {}
    for group in groups:
        if group not in readers:
            raise UserError(f"{place}: {group}", got="no such group", expected="stats or summary", do=HELP)
        if group == "summary" and source is not None:
            raise UserError(
                f"{place}: summary", got=f"SOURCE {source}", expected="this project, without SOURCE", do=HELP
            )
        figures |= flat(readers[group](), group)
    return check(limits, figures, place=place)
