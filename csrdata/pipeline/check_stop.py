"""Wiring of `check_stop`: a policy's figures and the limits of `stop_when` in; whether the loop stops there, out.

The file has no limit in it, so that another limit which does not fire either changes nothing after it:

    {"stopped": null, "figures": {"recall": 91.2, ...}}    or    {"stopped": {"iteration": "2", "reason": "..."}, ...}
"""

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.stop_rules import FIGURES, figures_of, reasons_to_stop
from csrdata.params import FILE, Params
from csrdata.pipeline.answers import evaluated_by
from csrdata.sections.stopping import StopWhen
from csrdata.storage.json_values import JsonValue, open_json
from csrdata.storage.tables import write_json

FIX = f"fix {FILE}, then: dvc repro"


def run(params: Params, name: str) -> None:
    """Compare a policy with the limits, and write whether the loop stops after it.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration. The base never stops the loop; its figures are checked instead.

    Raises:
        UserError: `stop_when` is null, metrics are missing or damaged, or the base lacks a figure that a limit is about.
    """
    settings = params.stop_when
    if settings is None:
        raise UserError(f"{FILE}: stop_when", got="null", expected="split and limits", do=FIX)
    own = _evaluated(settings, name)
    reasons = []
    if name == paths.BASE:
        _need(settings, own)
    else:
        base = _evaluated(settings, paths.BASE)
        previous = _compared(params.iterations[name].previous)
        reasons = reasons_to_stop(base, previous, own, **_limits(settings))
        if reasons and len(figures_of(**_limits(settings))) > 0:
            reasons[0] = f"on {settings.split}, {reasons[0]}"
        reasons += _few(settings, name)
    stopped = {"iteration": name, "reason": "; ".join(reasons)} if reasons else None
    write_json(paths.stage_metrics("check_stop", name), {"stopped": stopped, "figures": own})


def _limits(settings: StopWhen) -> dict[str, float | None]:
    return settings.model_dump(exclude={"split", "least_pairs"})


def _evaluated(settings: StopWhen, name: str) -> dict[str, float | None]:
    """Return the figures of a policy on the split of the limits, from the metrics of `evaluate_policy`."""
    metrics = open_json(paths.stage_metrics("evaluate_policy", name), made_by=evaluated_by(name)).items()
    split = metrics.get(settings.split)
    return dict.fromkeys(FIGURES) if split is None else _figures(split)


def _compared(name: str) -> dict[str, float | None]:
    """Return the figures of a policy that this stage compared before."""
    made_by = f"dvc repro {'check_base' if name == paths.BASE else f'check_stop@{name}'}"
    metrics = open_json(paths.stage_metrics("check_stop", name), made_by=made_by)
    return _figures(metrics.items(needs=("figures",))["figures"])


def _figures(value: JsonValue) -> dict[str, float | None]:
    found = value.items()
    return {figure: found[figure].number_or_none() if figure in found else None for figure in FIGURES}


def _need(settings: StopWhen, base: dict[str, float | None]) -> None:
    """Check that the base has every figure that a limit is about."""
    missing = [figure for figure in figures_of(**_limits(settings)) if base[figure] is None]
    if missing:
        expected = f"a split on which {', '.join(missing)} of the base is measured"
        raise UserError(f"{FILE}: stop_when.split", got=settings.split, expected=expected, do=FIX)


def _few(settings: StopWhen, name: str) -> list[str]:
    """Return the reason if the iteration's pairs are too few."""
    if settings.least_pairs is None:
        return []
    made_by = f"dvc repro select_pairs@{name}"
    metrics = open_json(paths.stage_metrics("select_pairs", name), made_by=made_by)
    kept = metrics.items(needs=("kept",))["kept"].count()
    return [few_pairs(kept, settings.least_pairs)] if kept < settings.least_pairs else []


def few_pairs(kept: int, least: int) -> str:
    """Return the reason for which an iteration with too few pairs stops the loop, in words."""
    return f"{'no pair' if not kept else f'{kept:,} pairs' if kept > 1 else '1 pair'}, fewer than {least:,}"
