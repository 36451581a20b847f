"""The commands that make and run a project: `init`, `arms`, `dag`, `check` and `run`."""

from dataclasses import asdict
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
        "csrdata init no-anchor --profile my-csr/params.yaml --arm no-anchor",
    ),
)
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ] = None,
    *,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="The parameters to start from: a profile, or a file (*.yaml).")
    ] = "microworld",
    arm: Annotated[
        str | None,
        typer.Option(
            metavar="ARM",
            help="Change them as an arm of the ablation does: csrdata arms.",
            show_default=False,
        ),
    ] = None,
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
    in_git = project.create(folder, text=_text(profile, arm))
    say(
        f"{folder}: a project with the parameters of {profile}"
        + (f", changed as arm {arm}" if arm else "")
        + ("" if in_git else " (no git repository here)")
    )
    say(f"Next: cd {folder}, edit params.yaml, then: dvc repro (or, without DVC: csrdata run --all)")


def _text(profile: str, arm: str | None) -> str:
    """Return the params.yaml of a new project."""
    from csrdata.pipeline.project import profile_path, profile_text

    text = profile_text(profile)
    if arm is None:
        return text
    from csrdata.ablation.arms import project_text, read_arms
    from csrdata.strict_yaml import read_yaml

    return project_text(text, read_yaml(profile_path(profile)), read_arms().named(arm))


@app.command(
    short_help="List the arms of the ablation.",
    epilog=examples("csrdata arms", "csrdata arms --profile llava15-7b", "csrdata arms --json"),
)
def arms(
    *,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="What they are compared with: a profile, or a file (*.yaml).")
    ] = "microworld",
    as_json: JsonOption = False,
) -> None:
    """List the arms of the ablation: what each is about, and which parameters it changes in a profile."""
    from csrdata.ablation.arms import listing, read_arms
    from csrdata.pipeline.project import profile_path, profile_text
    from csrdata.strict_yaml import read_yaml

    profile_text(profile)
    found = listing(read_arms(), read_yaml(profile_path(profile)))
    if as_json:
        print(json_text({one.name: asdict(one) for one in found}))
        return
    for one in found:
        print(f"{one.name}: {one.about}")
        print(f"  {one.group}, {one.iterations} {'iteration' if one.iterations == 1 else 'iterations'}")
        for line in one.lines():
            print(f"  {line}")


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
    """Try two prompts from start to end; check models, limits, images, disk, memory and time; write dvc.yaml.

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
        "csrdata run generate_beams --iteration 1 --shards 0/8",
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
    shards: Annotated[
        str | None,
        typer.Option(
            "--shards",
            metavar="i/n",
            help="Make every n-th shard, from shard i on (0 to n - 1); other processes make the others (docs/machines.md).",
            show_default=False,
        ),
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
        _run_all(dry_run=dry_run, everything=everything, others=[stage, iteration, shards])
        return
    for option, value in (("--iteration", iteration), ("--shards", shards)):
        if stage is None and value is not None:
            raise UserError(option, got=value, expected="a STAGE before it", do="csrdata run --list")
    if stage is None or list_stages:
        print(pipeline.listing())
    else:
        pipeline.run(stage, iteration, shards=shards)


def _run_all(*, dry_run: bool, everything: bool, others: list[str | None]) -> None:
    """Run what is out of date; a failed stage has said why, and its exit code becomes this process's."""
    from csrdata.pipeline.run_all import StageFailed, run_all

    if not everything:
        raise UserError("--dry-run", got="no --all", expected="--all too", do="csrdata run --all --dry-run")
    if given := [word for word in others if word]:
        raise UserError("--all", got=given[0], expected="a command without it", do="csrdata run --all")
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
