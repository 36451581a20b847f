"""The command line: parse, one library call, print. Data goes to stdout, commentary to stderr.

A user's mistake is one line and exit code 1. Libraries are imported by the command that needs them, so that `--help` is
quick and loads no model library.
"""

import json
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from csrdata.errors import UserError

if TYPE_CHECKING:
    from csrdata.inspection.iteration import Iteration

app = typer.Typer(
    help="Preference datasets for vision-language models by Calibrated Self-Rewarding.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

IterationOption = Annotated[
    str | None,
    typer.Option(
        "--iteration", metavar="T", help="An iteration of params.yaml; by default the last one made."
    ),
]


def main() -> None:
    """Run the command line."""
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _options(
    *, show_version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False
) -> None:
    if show_version:
        print(version("csrdata"))
        raise typer.Exit


@app.command()
def stats(
    *,
    iteration: IterationOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show how rewards and pairs of an iteration are distributed, and what its search has cost."""
    from csrdata import paths
    from csrdata.inspection.cost import cost
    from csrdata.inspection.stats import stats as figures_of

    read = _read(iteration)
    figures = figures_of(read) | {"search": cost(paths.run_log("generate_beams", read.name))}
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    from rich.console import Console

    from csrdata.inspection.report import report

    Console().print(report(figures))


@app.command()
def show(
    prompt_id: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="A prompt, such as train-00017.")],
    *,
    iteration: IterationOption = None,
) -> None:
    """Show the search tree of one prompt: every candidate, its scores and its fate."""
    from rich.console import Console

    from csrdata.inspection.iteration import search_tree
    from csrdata.inspection.tree import render

    Console().print(render(search_tree(_read(iteration), prompt_id)))


@app.command()
def run(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="A stage of dvc.yaml, such as select_pairs.")],
    *,
    iteration: Annotated[
        str | None,
        typer.Option("--iteration", metavar="T", help="Which iteration; `base` for evaluate_policy."),
    ] = None,
) -> None:
    """Run one stage as its script does, without DVC: what it reads must be there."""
    from csrdata.pipeline import run as run_stage

    run_stage(stage, iteration)


def _read(name: str | None) -> "Iteration":
    """Read the tables of an iteration, by default the last one that has pairs."""
    from csrdata import paths
    from csrdata.inspection.iteration import read_iteration
    from csrdata.params import FILE, load_params

    names = list(load_params().iterations)
    if name is not None and name not in names:
        raise UserError(
            "--iteration", got=name, expected=f"one of {', '.join(names)} ({FILE})", do="csrdata stats"
        )
    made = [one for one in names if paths.pairs(one).is_file()]
    chosen = name or (made or names)[-1]
    print(f"iteration {chosen}", file=sys.stderr)
    return read_iteration(
        chosen,
        prompts=paths.PROMPTS,
        sentences=paths.candidates(chosen),
        responses=paths.responses(chosen),
        pairs=paths.pairs(chosen),
        dropped=paths.dropped(chosen),
    )


if __name__ == "__main__":
    main()
