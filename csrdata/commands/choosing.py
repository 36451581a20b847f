"""The commands that judge and choose pairs: `sweep`, `gate`, `curate` and `scorers`."""

from pathlib import Path
from typing import Annotated

import typer

from csrdata.commands.app import IterationOption, JsonOption, app, examples
from csrdata.entry import say
from csrdata.text import json_text, printable


@app.command(
    short_help="The pairs that other weights would select.",
    epilog=examples(
        "csrdata sweep --image-weight 0:1:0.1",
        "csrdata sweep --image-weight 0.5,0.9 --scale zscore --scale rank --json",
    ),
)
def sweep(
    *,
    image_weight: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH:STEP", help="Weights, 0 to 1; or numbers with commas."),
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As score_beams.scale; may be repeated.")
    ] = None,
    aggregate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As score_beams.aggregate; may be repeated.")
    ] = None,
    margin: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH:STEP", help="Margins, 0 or more; or numbers with commas.")
    ] = None,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Select pairs again over a grid of settings, without a model: which pairs change, and which are truer.

    What is not given is as in params.yaml. The first row is the present setting.
    """
    from csrdata.pipeline.sweep import sweep as rows_of

    name, rows = rows_of(
        iteration, image_weights=image_weight, scales=scale or [], aggregates=aggregate or [], margins=margin
    )
    say(f"iteration {name}")
    if as_json:
        from dataclasses import asdict

        print(json_text({"iteration": name, "rows": [asdict(row) for row in rows]}))
        return
    from csrdata.inspection.page import Screen
    from csrdata.inspection.sweep_report import sweep_report

    Screen().print(sweep_report(rows, iteration=name))


@app.command(
    short_help="Limits on any figure.",
    epilog=examples("csrdata gate gate.yaml", "csrdata gate gate.yaml pairs.parquet --json"),
)
def gate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: figures with min, max or both.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="As for csrdata stats; by default this project.", show_default=False
        ),
    ] = None,
    *,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check figures of `csrdata stats` and of metrics/summary.json against limits; exit code 1 if one does not hold."""
    from csrdata.inspection.gate import line
    from csrdata.pipeline.gate import gate as check

    checked = check(file, source, iteration)
    failed = [one for one in checked if not one.holds]
    if as_json:
        from dataclasses import asdict

        print(json_text({"holds": not failed, "limits": [asdict(one) for one in checked]}))
    else:
        print("\n".join(printable(line(one)) for one in checked))
    if failed:
        say(f"{len(failed)} of {len(checked)} limits do not hold")
        raise typer.Exit(1)


@app.command(
    short_help="Take pairs out by labels or a condition.",
    epilog=examples(
        "csrdata curate --labels labels.csv",
        "csrdata curate --labels labels.csv --drop-labels bad --drop-labels unsure",
        "csrdata curate --where 'margin >= 0.5 and chosen_words < 40'",
        "csrdata curate --clear",
    ),
)
def curate(
    *,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV with prompt_id, number, iteration, label (good, bad, unsure)."
        ),
    ] = None,
    drop_labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL", help="Pairs with this label are taken out; may be repeated. Default: bad."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Pairs of which this is not true are taken out; '' for none."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take no pair out by hand any more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write labels and a condition into params.yaml (select_pairs.curation); `dvc repro` then makes the pairs again.

    docs/inspection.md says what a condition may be.
    """
    from csrdata.params import load_params
    from csrdata.pipeline.curate import set_curation
    from csrdata.pipeline.dag import CODE, write_project_files

    said = set_curation(labels=labels, drop_labels=drop_labels or [], where=where, clear=clear)
    params = load_params()
    if CODE.is_file():
        write_project_files(params)
        say(f"{said}. Next: dvc repro")
    else:
        say(f"{said}. Next: make dag, then: dvc repro")
    if as_json:
        now = params.select_pairs.curation
        print(json_text({"curation": None if now is None else now.model_dump(mode="json")}))


@app.command(
    short_help="What each scorer knows of the truth.",
    epilog=examples("csrdata scorers", "csrdata scorers search held_out --json"),
)
def scorers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Signals such as search and held_out; by default all.", show_default=False
        ),
    ] = None,
    *,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare scorers on an iteration's candidates: with the truth where it is known, each other, and length."""
    from csrdata.pipeline.scorer_cards import scorer_cards

    name, cards = scorer_cards(iteration, names or [])
    say(f"iteration {name}")
    if as_json:
        from dataclasses import asdict

        print(json_text({"iteration": name, "scorers": [asdict(card) for card in cards]}))
        return
    from csrdata.inspection.page import Screen
    from csrdata.inspection.scorer_report import scorer_report

    Screen().print(scorer_report(cards, iteration=name))
