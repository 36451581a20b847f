"""`python -m csrdata.ablation`: run arms, collect their results, tune them, and write the table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from csrdata.ablation.projects import FOLDER, QUICK_SEEDS, RESULTS
from csrdata.entry import leaving_in_words, say
from csrdata.errors import UserError

KEPT = "; what was finished is kept. Next: the same command again"

TUNING = "tuning.json"
"""Of an arm's results: what `tune` tried and chose."""

app = typer.Typer(
    help="The ablation: arms over a profile, run through DVC. `csrdata arms` lists them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Option(metavar="DIR", help="Where projects and the shared DVC cache are.")]
Results = Annotated[Path, typer.Option(metavar="DIR", help="Where result files are.")]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="A profile, or the path of a params file (*.yaml).")
]
ArmsFile = Annotated[
    Path | None, typer.Option("--arms", metavar="FILE", help="Other arms than csrdata's own.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Few arms at small sizes, in a separate folder.")]


@app.command()
def run(
    arms: Annotated[
        list[str] | None, typer.Argument(metavar="ARM...", help="By default all.", show_default=False)
    ] = None,
    *,
    seeds: Annotated[
        str | None, typer.Option(metavar="S,S", help="By default three for a main arm, else one.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at a time.")] = 1,
    quick: Quick = False,
    any_code: Annotated[
        bool, typer.Option("--any-code", help="A result that other code has made counts as done.")
    ] = False,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Keep the files of finished projects that DVC's cache holds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the runs, and which are done.")
    ] = False,
    profile: Profile = "microworld",
    folder: Folder = FOLDER,
    results: Results = RESULTS,
    arms_file: ArmsFile = None,
) -> None:
    """Run arms, and write a result file for each seed. What is done is skipped; after a kill, run it again."""
    from csrdata.ablation.arms import FILE, read_arms
    from csrdata.ablation.projects import open_campaign, runs_of_arms
    from csrdata.ablation.running import Runner

    found = read_arms(arms_file or FILE)
    campaign = open_campaign(found, top=folder, results=results, profile=profile, quick=quick)
    names = arms or (found.quick.arms if quick else found.by_name)
    wanted = _seeds(seeds) if seeds else QUICK_SEEDS if quick else None
    runs = runs_of_arms([found.named(name) for name in names], seeds=wanted)
    for one in runs:
        campaign.params(one)  # refuse a wrong arm before any runs
    runner = Runner(campaign, any_code=any_code, keep_files=keep_files)
    if dry_run:
        print("\n".join(f"{'done' if runner.is_done(one) else 'to run':<7} {one.name}" for one in runs))
        return
    failed = runner.run(runs, jobs=jobs)
    say(f"{len(runs) - len(failed)} of {len(runs)} runs are done")
    if failed:
        raise typer.Exit(1)


@app.command()
def collect(
    arm: Annotated[str, typer.Argument(metavar="ARM")],
    seed: Annotated[int, typer.Argument(metavar="SEED", min=0)],
    *,
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A finished project of the arm, wherever it was run.", show_default=False
        ),
    ] = None,
    quick: Quick = False,
    profile: Profile = "microworld",
    folder: Folder = FOLDER,
    results: Results = RESULTS,
    arms_file: ArmsFile = None,
) -> None:
    """Write the result file of a finished project, such as one that `csrdata init --arm` made on another machine."""
    from csrdata.ablation.arms import FILE, read_arms
    from csrdata.ablation.collecting import collect as result_of
    from csrdata.ablation.projects import Run, open_campaign
    from csrdata.ablation.result import write_result

    found = read_arms(arms_file or FILE)
    campaign = open_campaign(found, top=folder, results=results, profile=profile, quick=quick)
    one = Run(found.named(arm), seed)
    result = result_of(campaign, one, project=project or campaign.project(one), revision=_revision())
    write_result(campaign.result(one), result)
    say(f"{campaign.result(one)}: written")


@app.command()
def tune(
    arms: Annotated[list[str], typer.Argument(metavar="ARM...")],
    *,
    quick: Quick = False,
    profile: Profile = "microworld",
    folder: Folder = FOLDER,
    results: Results = RESULTS,
    arms_file: ArmsFile = None,
) -> None:
    """Choose an arm's settings by the rule of the arms file, the same for every arm, and print what to put into it."""
    from csrdata.ablation.arms import FILE, read_arms
    from csrdata.ablation.projects import open_campaign
    from csrdata.ablation.running import Failed, Runner
    from csrdata.ablation.tuning import REACHED, Trial, read_figures, trials_of, write_record

    found = read_arms(arms_file or FILE)
    campaign = open_campaign(found, top=folder, results=results, profile=profile, quick=quick)
    runner, failed = Runner(campaign), False
    for arm in [found.named(name) for name in arms]:
        runs, trials = trials_of(campaign, arm), []
        try:
            for one, setting in zip(runs, found.tuning.trials(), strict=True):
                project = runner.reach(one, REACHED)
                trials.append(Trial(setting, read_figures(project, "1")))
                base = read_figures(project, "base")
                say(f"{one.name}: {setting} {trials[-1].figures}")
                runner.tidy(one)
        except Failed as error:
            say(f"{arm.name}: failed. {error}")
            failed = True
            continue
        path = campaign.results / arm.name / TUNING
        loss = found.tuning.recall_loss
        chosen = write_record(path, trials, base, recall_loss=loss, revision=_revision())
        print(f"{arm.name}: tuned: {chosen.changes}")
    if failed:
        raise typer.Exit(1)


@app.command()
def table(
    *,
    quick: Quick = False,
    profile: Profile = "microworld",
    folder: Folder = FOLDER,
    results: Results = RESULTS,
    arms_file: ArmsFile = None,
) -> None:
    """Write the table of all results: RESULTS.json, RESULTS.md for docs/results.md, and pictures; it lists missing runs."""
    from csrdata.ablation.arms import FILE, read_arms
    from csrdata.ablation.base_curve import with_base
    from csrdata.ablation.collecting import outdated
    from csrdata.ablation.page import markdown, shown_splits
    from csrdata.ablation.picture import arms_picture, scorer_picture
    from csrdata.ablation.projects import open_campaign
    from csrdata.ablation.result import read_result
    from csrdata.ablation.scorer_curve import scorer_curve
    from csrdata.ablation.table import build
    from csrdata.ablation.tuning import read_record
    from csrdata.storage.disk import atomic_file, write_json

    found = read_arms(arms_file or FILE)
    if quick:
        found = replace(found, by_name={name: found.named(name) for name in found.quick.arms})
    campaign = open_campaign(found, top=folder, results=results, profile=profile, quick=quick)
    where = campaign.results
    read = [read_result(path) for path in sorted(where.glob("*/*.json")) if path.stem.isdigit()]
    old = outdated(campaign, read)
    built = build(found, read, seeds=QUICK_SEEDS if quick else None, outdated=old)
    tuned = {
        name: read_record(where / name / TUNING)
        for name in found.by_name
        if (where / name / TUNING).is_file()
    }
    text = markdown(built, found, tuned=tuned)
    write_json(where.with_suffix(".json"), with_base(built))
    splits = shown_splits(built)
    curves = {split: scorer_curve(built, found.weaker_scorers, split) for split in splits}
    pages = {".md": text, ".svg": arms_picture(built, splits)}
    if any(len(points) > 1 for points in curves.values()):
        pages[".scorers.svg"] = scorer_picture(curves)
    for suffix, content in pages.items():
        with atomic_file(where.with_suffix(suffix)) as partial:
            partial.write_text(content, encoding="utf-8")
    print(text, end="")


def _revision() -> str | None:
    """Return the git commit of csrdata; None for an installed package."""
    from csrdata.publishing.release.provenance import commit

    root = Path(__file__).parents[2]
    return commit(root, within="csrdata") if (root / ".git").exists() else None


def _seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of an option: `0,1,2`."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UserError(
            "--seeds", got=text, expected="whole numbers with commas, such as 0,1,2", do="try again"
        )
    return tuple(dict.fromkeys(map(int, parts)))


def main() -> None:
    """Run the command line."""
    with leaving_in_words("ablation", kept=KEPT):
        app(prog_name="python -m csrdata.ablation")


if __name__ == "__main__":
    main()
