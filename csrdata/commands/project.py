"""The commands that make and run a project: `init`, `dag`, `check` and `run`."""

from pathlib import Path
from typing import Annotated

import typer

from csrdata.commands.app import JsonOption, app, examples
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.text import json_text


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
    short_help="What would fail later, before it takes time.",
    epilog=examples("csrdata check", "csrdata check --all-images --json"),
)
def check(
    *,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Read every image, not a sample of 100.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take two prompts the whole way; check models, limits, images, disk, memory and time; write dvc.yaml for params.yaml.

    Exit code 1: a stage would fail.
    """
    from csrdata.checking.findings import as_json as to_json
    from csrdata.checking.findings import fails
    from csrdata.params import load_params
    from csrdata.pipeline.check import check as findings_of
    from csrdata.pipeline.dag import CODE, write_project_files

    params = load_params()
    if CODE.is_file():  # what an edit of params.yaml changes in the DAG
        for path in write_project_files(params):
            say(f"{path}: written for params.yaml")
    findings = findings_of(params, all_images=all_images)
    print(json_text(to_json(findings)) if as_json else "\n".join(finding.line() for finding in findings))
    if fails(findings):
        raise typer.Exit(1)


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
