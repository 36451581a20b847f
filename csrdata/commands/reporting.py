"""The command `report`: the page that shows a dataset."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from csrdata.commands.app import JsonOption, app, examples
from csrdata.entry import say
from csrdata.text import json_text

SOURCE = "T (an iteration), REV:T, hf://datasets/OWNER/NAME@TAG[:T], or the folder of a project; by default this project."


@app.command(
    short_help="A page for a browser: pairs, search trees and figures.",
    epilog=examples(
        "csrdata report",
        "csrdata report 2 --output iteration-2.html",
        "csrdata report --against v1.0:3 --output report",
    ),
)
def report(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="A file that ends in .html, or a folder for a page with its data and images as files; by default "
            "report.html, above 150 MB the folder report.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="A further source to compare with; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page that shows the pairs, how they were searched and how they changed. It opens without a network."""
    from csrdata.pipeline.report_sources import report_content
    from csrdata.report.writing import Form, write_report

    form = None
    if output is not None:
        form = Form.FILE if output.suffix == ".html" else Form.FOLDER
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        content = report_content(source, against or [], scratch=Path(scratch))
        written = write_report(content, output or Path("report.html"), form=form)
    if written.images_missing:
        say(f"{written.images_missing:,} images are missing; their pairs are shown without")
    if as_json:
        print(json_text(written))
        return
    print(written.path)
