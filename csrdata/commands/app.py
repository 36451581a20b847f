"""The app that the commands register with, and what several of them share: options, examples, and a closed pipe."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from csrdata.entry import PIPE_CLOSED

UsageError: Any = typer.BadParameter.__base__
"""Typer's error for arguments that do not parse; typer exports only its subclass."""


class Commands(TyperGroup):
    """The commands. A closed pipe (`csrdata stats | head -1`) ends the process, as for any Unix tool."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(PIPE_CLOSED) from None


def examples(*lines: str) -> str:
    """Return the examples that end a command's help; the backspace stops typer from wrapping the lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


app = typer.Typer(
    cls=Commands,
    help="Preference datasets for vision-language models by Calibrated Self-Rewarding.",
    epilog=examples("csrdata run --list", "csrdata stats", "csrdata show train-00017"),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

IterationOption = Annotated[
    str | None,
    typer.Option(
        "--iteration", metavar="T", help="An iteration of params.yaml; by default the last one with pairs."
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

SIDE = "T (an iteration of this project), REV:T (as it was at a git revision) or hf://datasets/OWNER/NAME@TAG[:T]."


def iteration(name: str | None) -> str:
    """Return the iteration that an option names; see `csrdata.pipeline.looking.iteration`."""
    from csrdata.pipeline.looking import iteration

    return iteration(name)
