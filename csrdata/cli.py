"""The command line: parse, one library call, print. Data goes to stdout, messages to stderr.

A user's mistake gives one line and exit code 1. Each command imports the libraries that it needs, so that `--help` is
fast and loads no model library.
"""

import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from csrdata.entry import PIPE_CLOSED, leaving_in_words, say
from csrdata.errors import UserError
from csrdata.text import json_text, one_line, printable

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


@app.command(
    short_help="Rewards, pairs and cost of an iteration.",
    epilog=examples(
        "csrdata stats",
        "csrdata stats --iteration 1 --json",
        "csrdata stats hf://datasets/me/shapes-csr@v1.0.0",
    ),
)
def stats(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="hf://datasets/OWNER/NAME@TAG; by default this project.",
            show_default=False,
        ),
    ] = None,
    *,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the rewards and pairs of an iteration are distributed, and what its search cost."""
    from csrdata import paths
    from csrdata.inspection.cost import cost
    from csrdata.inspection.stats import stats as figures_of
    from csrdata.pipeline.looking import read_hub, read_project

    if source is None:
        read = read_project(iteration)
        figures = figures_of(read, search=cost(paths.run_log("generate_beams", read.name)))
    else:
        read = read_hub(source, iteration)
        figures = figures_of(read)
    say(f"iteration {read.name}")
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
    short_help="Pairs and images for another trainer.",
    epilog=examples("csrdata export --to trl out/trl", "csrdata export --to llava out/llava --iteration 2"),
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="TRAINER", help="trl, llava, llama-factory or ms-swift.")
    ],
    iteration: IterationOption = None,
) -> None:
    """Write an iteration's pairs and images in the format of another trainer."""
    from csrdata import paths
    from csrdata.pipeline.looking import images_root
    from csrdata.publishing.export.writing import export as write
    from csrdata.records import Pair
    from csrdata.storage.tables import read_rows

    chosen = _iteration(iteration)
    pairs = read_rows(paths.pairs(chosen), Pair, made_by=f"dvc repro select_pairs@{chosen}")
    done = write(pairs, to=to, folder=folder, root=images_root(), name=f"csrdata_iteration_{chosen}")
    say(f"iteration {chosen}: {done.pairs} pairs, {done.images} images in {done.folder}. To train on it:")
    print(printable(done.usage, keep="\n"))


@app.command(
    short_help="Publish pairs, or a policy, on the Hub.",
    epilog=examples(
        "csrdata push me/shapes-csr --dry-run release",
        "csrdata push me/shapes-csr --tag v1.0.0",
        "csrdata push me/shapes-policy --model --dataset me/shapes-csr@v1.0.0 --tag v1.0.0",
    ),
)
def push(
    repo_id: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The dataset (or model) on the Hub.")],
    *,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="The tag of a new version, such as v1.2.0.")
    ] = None,
    iteration: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="An iteration; may be repeated. By default all that have pairs."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, make it private.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the release to this folder, list its files, send nothing."),
    ] = None,
    images: Annotated[
        str,
        typer.Option(metavar="embed|reference", help="Put the images into the rows, or their paths only."),
    ] = "embed",
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", help="The licence of the dataset (or policy), such as cc-by-4.0."
        ),
    ] = None,
    image_licence: Annotated[
        str | None,
        typer.Option(
            "--image-license", metavar="TEXT", help="For the card: what the images are, and their licence."
        ),
    ] = None,
    output_licence: Annotated[
        str | None,
        typer.Option(
            "--output-license", metavar="TEXT", help="For the card: the terms of use of the policy's answers."
        ),
    ] = None,
    model: Annotated[
        bool, typer.Option("--model", help="Publish the policy of one iteration, instead of pairs.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME@TAG", help="With --model: the published pairs it was trained on."),
    ] = None,
) -> None:
    """Publish pairs, candidates and a card on the Hub in one commit with a tag; with --model, a policy."""
    from csrdata.pipeline.publish import release
    from csrdata.publishing.hub.pushing import check_name, push_folder
    from csrdata.publishing.release.writing import tree

    check_name(repo_id, tag)
    if dataset is not None and not model:
        raise UserError("--dataset", got=dataset, expected="--model too", do="csrdata push --help")
    if model:
        _push_model(
            repo_id,
            tag=tag,
            names=iteration,
            private=private,
            dry_run=dry_run,
            licence=licence,
            dataset=dataset,
        )
        return
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        folder = dry_run or Path(scratch) / "release"
        manifest = release(
            folder,
            repo_id=repo_id,
            tag=tag,
            names=iteration,
            images=images,
            licence=licence,
            image_licence=image_licence,
            output_licence=output_licence,
            hub_may_be_away=dry_run is not None,
        )
        if dry_run is not None:
            files = tree(folder)
            print("\n".join(f"{size:>15,}  {path}" for path, size in files))
            total = f"{len(files)} files, {sum(size for _, size in files):,} bytes"
            print(f"{total}, identity {manifest.identity[:12]}: nothing was sent", file=sys.stderr)
            return
        names = ", ".join(one.name for one in manifest.iterations)
        message = f"{tag or manifest.identity[:12]}: pairs of iteration {names}"
        print(push_folder(folder, repo_id=repo_id, tag=tag, private=private, message=message).url)


@app.command(
    short_help="Download a published dataset.",
    epilog=examples("csrdata pull me/shapes-csr@v1.0.0", "csrdata pull me/shapes-csr@v1.0.0 shapes"),
)
def pull(
    source: Annotated[str, typer.Argument(metavar="OWNER/NAME@TAG", help="A dataset on the Hub, at a tag.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier pull; by default NAME."),
    ] = None,
    *,
    max_size: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest download, such as 500MB or 50GB.")
    ] = "32GB",
) -> None:
    """Download a published dataset as a project's tables and images; your own files are never overwritten."""
    from csrdata.pipeline.pull import pull as bring
    from csrdata.publishing.hub.fetch import parse_size, parse_source

    found = parse_source(source)
    target = folder or Path(found.repo_id.partition("/")[2])
    names = bring(found, target, max_size=parse_size(max_size))
    say(f"iteration {', '.join(names)} of {found}; to look at it, run there: csrdata stats")
    print(printable(target))


@app.command(
    short_help="The search tree of one prompt.",
    epilog=examples("csrdata show train-00017", "csrdata show train-00017 --iteration 1 --json"),
)
def show(
    prompt_id: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="A prompt, such as train-00017.")],
    *,
    iteration: IterationOption = None,
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
    from csrdata.inspection.page import Screen
    from csrdata.inspection.tree import render_tree

    Screen().print(render_tree(tree))


@app.command(
    short_help="Create a project from a profile.",
    epilog=examples(
        "csrdata init --list",
        "csrdata init my-csr",
        "csrdata init my-csr --profile smoke",
    ),
)
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ] = None,
    *,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="The parameters to start from.")
    ] = "microworld",
    list_profiles: Annotated[bool, typer.Option("--list", help="List the profiles and exit.")] = False,
) -> None:
    """Create a ready DVC project: params.yaml, dvc.yaml, code.yaml, .dvc, .gitignore and a README."""
    from csrdata.pipeline import project

    if list_profiles:
        known = project.profiles()
        width = max(map(len, known))
        print("\n".join(f"{name:<{width}}  {about}" for name, about in known.items()))
        return
    if folder is None:
        raise UserError("DIR", got="none", expected="a new or empty folder", do="csrdata init my-csr")
    in_git = project.create(folder, profile=profile)
    say(
        f"{folder}: a project with the parameters of {profile}"
        + ("" if in_git else " (no git repository here)")
    )
    say(f"Next: cd {folder}, edit params.yaml, then: dvc repro (or, without DVC: csrdata run --all)")


@app.command(
    short_help="Write dvc.yaml and code.yaml of a project again.",
    epilog=examples("csrdata dag"),
)
def dag() -> None:
    """Write dvc.yaml and code.yaml for params.yaml and the installed csrdata, after an upgrade or if a stage asks for it."""
    from csrdata.params import load_params
    from csrdata.pipeline.dag import write_project_files
    from csrdata.pipeline.run_all import need_project

    need_project()
    changed = write_project_files(load_params())
    say("\n".join(f"{path}: written" for path in changed) or "dvc.yaml and code.yaml are up to date")


@app.command(
    short_help="Run one stage without DVC, or all that are out of date.",
    epilog=examples(
        "csrdata run --list",
        "csrdata run --all",
        "csrdata run --all --dry-run",
        "csrdata run sample_prompts",
        "csrdata run select_pairs --iteration 2",
        "csrdata run evaluate_policy --iteration base",
    ),
)
def run(
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE",
            help="A stage, such as select_pairs; without one, the stages are listed.",
            show_default=False,
        ),
    ] = None,
    *,
    iteration: Annotated[
        str | None,
        typer.Option("--iteration", metavar="T", help="The iteration; for evaluate_policy also `base`."),
    ] = None,
    list_stages: Annotated[bool, typer.Option("--list", help="List the stages and exit.")] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Run every stage that is out of date, in order, as `dvc repro` does."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --all: only print what would run, and why.")
    ] = False,
) -> None:
    """Run one stage without DVC, as its script does; its inputs must exist. With --all, run all that are out of date."""
    from csrdata import pipeline

    if everything or dry_run:
        _run_all(dry_run=dry_run, everything=everything, others=[stage, iteration])
        return
    if stage is None and iteration is not None:
        raise UserError("--iteration", got=iteration, expected="a STAGE before it", do="csrdata run --list")
    if stage is None or list_stages:
        print(pipeline.listing())
    else:
        pipeline.run(stage, iteration)


def _run_all(*, dry_run: bool, everything: bool, others: list[str | None]) -> None:
    """Run what is out of date; a failed stage has said why, and its exit code becomes this process's."""
    from csrdata.pipeline.run_all import StageFailed, run_all

    if not everything:
        raise UserError("--dry-run", got="no --all", expected="--all too", do="csrdata run --all --dry-run")
    if given := [word for word in others if word]:
        raise UserError("--all", got=given[0], expected="no STAGE and no --iteration", do="csrdata run --all")
    try:
        ran = run_all(dry_run=dry_run)
    except StageFailed as failed:
        raise typer.Exit(failed.code) from None
    say(
        f"{ran} {'run' if ran == 1 else 'runs'} {'would be made' if dry_run else 'done'}, all else is up to date"
    )


def _push_model(
    repo_id: str,
    *,
    tag: str | None,
    names: list[str] | None,
    private: bool,
    dry_run: Path | None,
    licence: str | None,
    dataset: str | None,
) -> None:
    """Publish the policy of one iteration, by default the last, or write it to a folder."""
    from csrdata.pipeline.publish_policy import write_policy
    from csrdata.publishing.hub.fetch import parse_source
    from csrdata.publishing.hub.pushing import push_folder

    if names and len(names) > 1:
        raise UserError(
            "--iteration", got=", ".join(names), expected="one with --model", do="csrdata push --help"
        )
    chosen = _iteration(names[0] if names else None)
    pairs = parse_source(dataset) if dataset else None
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        folder = dry_run or Path(scratch) / "model"
        write_policy(folder, repo_id=repo_id, iteration=chosen, dataset=pairs, tag=tag, licence=licence)
        if dry_run is not None:
            from csrdata.publishing.release.writing import tree

            print("\n".join(f"{size:>15,}  {path}" for path, size in tree(folder)))
            return
        message = f"{tag or 'policy'}: iteration {chosen}"
        done = push_folder(
            folder, repo_id=repo_id, repo_type="model", tag=tag, private=private, message=message
        )
    print(printable(done.url))


def _iteration(name: str | None) -> str:
    from csrdata.pipeline.looking import iteration

    return iteration(name)


if __name__ == "__main__":
    main()
