"""The commands that show data: `stats`, `diff` and `show`."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from csrdata.commands.app import SIDE, IterationOption, JsonOption, app, examples
from csrdata.entry import say
from csrdata.text import json_text


@app.command(
    short_help="Rewards, pairs and cost of an iteration.",
    epilog=examples(
        "csrdata stats",
        "csrdata stats --iteration 1 --json",
        "csrdata stats pairs.parquet --near-duplicates",
        "csrdata stats hf://datasets/me/shapes-csr@v1.0.0",
    ),
)
def stats(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A file of pairs (Parquet, JSON, JSON Lines) or hf://datasets/OWNER/NAME@TAG; by default this project.",
            show_default=False,
        ),
    ] = None,
    *,
    iteration: IterationOption = None,
    near_duplicates: Annotated[
        bool,
        typer.Option("--near-duplicates", help="Count pairs that are nearly equal to an earlier one, too."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the rewards and pairs of an iteration, or of any file of pairs, are distributed, and what they cost.

    docs/inspection.md says what each figure is.
    """
    from csrdata.pipeline.figures import stats_of

    figures = stats_of(source, iteration, near_duplicates=near_duplicates)
    say(f"iteration {figures.iteration}" if source is None or "://" in source else figures.iteration)
    if as_json:
        print(json_text(figures))
        return
    from csrdata.inspection.page import Screen
    from csrdata.inspection.report import report

    Screen().print(report(figures))


@app.command(
    short_help="What changed between two sets of pairs.",
    epilog=examples("csrdata diff 1 2", "csrdata diff v1.0:3 HEAD:3 --json"),
)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other side, in the same form.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show how the pairs of B differ from those of A: lost, added, flipped, changed, and their distributions."""
    from csrdata.inspection.diff import diff as figures_of
    from csrdata.pipeline.looking import version_of

    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        versions = [version_of(a, Path(scratch) / "a"), version_of(b, Path(scratch) / "b")]
    if any(word.startswith("hf://") for word in (a, b)):
        from csrdata.pipeline.looking import images_root
        from csrdata.publishing.release.naming import same_names

        versions = [replace(one, pairs=same_names(one.pairs, root=images_root())) for one in versions]
    figures = figures_of(*versions)
    if as_json:
        print(json_text(figures))
        return
    from csrdata.inspection.diff_report import diff_report
    from csrdata.inspection.page import Screen

    Screen().print(diff_report(figures))


@app.command(
    short_help="The search tree of one prompt.",
    epilog=examples(
        "csrdata show train-00017",
        "csrdata show train-00017 --image",
        "csrdata show train-00017 --iteration 1 --json",
    ),
)
def show(
    prompt_id: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="A prompt, such as train-00017.")],
    *,
    iteration: IterationOption = None,
    image: Annotated[
        bool,
        typer.Option(
            "--image", help="Draw the image where the terminal can (Kitty, iTerm2, sixel); else its path."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the search tree of one prompt: every candidate with its scores and its fate."""
    from csrdata.inspection.search_tree import search_tree
    from csrdata.pipeline.looking import read_project

    read = read_project(iteration)
    tree = search_tree(read, prompt_id)
    say(f"iteration {read.name}")
    if as_json:
        from csrdata.inspection.tree_figures import tree_figures

        print(json_text(tree_figures(tree, iteration=read.name)))
        return
    if image:
        from csrdata.pipeline.looking import drawn_image

        print(drawn_image(tree.prompt.image, place=f"prompt {prompt_id}", to_terminal=sys.stdout.isatty()))
    from csrdata.inspection.page import Screen
    from csrdata.inspection.tree import render_tree

    Screen().print(render_tree(tree))
