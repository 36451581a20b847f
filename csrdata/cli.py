"""The command line: parse, one library call, print. Data goes to stdout, messages to stderr.

A user's mistake gives one line and exit code 1. Each command imports the libraries that it needs, so that `--help` is
fast and loads no model library.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from csrdata.commands import choosing, evaluating, exchange, looking, project, reporting
from csrdata.commands.app import UsageError, app
from csrdata.entry import leaving_in_words, say
from csrdata.errors import UserError
from csrdata.text import one_line

__all__ = ["app", "choosing", "evaluating", "exchange", "looking", "main", "project", "reporting"]


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    with leaving_in_words(one_line(" ".join(["csrdata", *words[:1]]), limit=60), reword=_works_here):
        _refuse_bytes(words)
        try:
            code = app(words, prog_name="csrdata", standalone_mode=False)
        except UsageError as error:
            command = "csrdata" if error.ctx is None else error.ctx.command_path
            said = one_line(error.format_message(), limit=400)
            say(f"{one_line(command, limit=60)}: {said} Next: {one_line(command, limit=60)} --help")
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)


def _works_here(error: UserError) -> UserError:
    from csrdata.pipeline import works_here

    return works_here(error)


def _refuse_bytes(words: list[str]) -> None:
    """Raise if an argument is not text: no table, no JSON and no name on the Hub can hold it."""
    for number, word in enumerate(words, start=1):
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"argument {number}", got=word, expected="text in UTF-8", do="csrdata --help"
            ) from None


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        print(version("csrdata"))
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


if __name__ == "__main__":
    main()
