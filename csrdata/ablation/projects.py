"""A run of an arm is a project: its parameters, its folder, and the file of its result.

.ablation/cache/         the DVC cache of all projects
.ablation/stages/        finished runs of stages, for other projects (`csrdata.ablation.sharing`)
.ablation/ARM/SEED/      a project of `csrdata init`; log.txt is what DVC and the stages said
metrics/ablation/ARM/SEED.json    the result, small enough for git
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrdata.ablation.arms import Arm, Arms, apply, checked, project_text, seeding, settings
from csrdata.params import FILE, Params, load_params
from csrdata.pipeline.dag import project_files
from csrdata.pipeline.project import create, profile_path, profile_text
from csrdata.storage.disk import atomic_file
from csrdata.strict_yaml import read_yaml

FOLDER = Path(".ablation")
RESULTS = Path("metrics/ablation")
QUICK_ITERATIONS = 1
QUICK_SEEDS = (0,)


@dataclass(frozen=True, slots=True)
class Run:
    """One arm with one seed."""

    arm: Arm
    seed: int
    trial: int | None = None
    """The number of a tuning run, from 1; None: a run of the ablation."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What a tuning run tries, applied after the arm's changes."""

    @property
    def name(self) -> str:
        """Such as `no-anchor/0`, or `no-anchor/trial-2`."""
        return f"{self.arm.name}/{self.seed if self.trial is None else f'trial-{self.trial}'}"


@dataclass(frozen=True, slots=True)
class Campaign:
    """All runs over one params file."""

    top: Path
    """The folder of all campaigns, absolute."""
    results: Path
    """Absolute: the folder of result files."""
    profile: str
    """The name of a profile, or the path of a params file as it was given."""
    text: str
    """The params file that the arms change."""
    raw: Mapping[str, Any]
    """Its content."""
    arms: Arms
    quick: bool = False

    @property
    def folder(self) -> Path:
        """The folder of projects and cache; quick runs have their own."""
        return self.top / "quick" if self.quick else self.top

    @property
    def cache(self) -> Path:
        """The DVC cache."""
        return self.folder / "cache"

    @property
    def store(self) -> Path:
        """Finished runs of stages."""
        return self.folder / "stages"

    def project(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / run.name

    def result(self, run: Run) -> Path:
        """Return the file of a run's result."""
        return self.results / f"{run.name}.json"

    def changes(self, run: Run) -> dict[str, Any]:
        """Return all changes of a run: its arm's, sizes, what a tuning run tries, and the seed.

        Raises:
            UserError: the arm does not fit the params file.
        """
        # No result has figures of attention.
        own: dict[str, Any] = {"measure_attention": None} if self.raw.get("measure_attention") else {}
        # An arm may replace a section that has a size: sizes come first.
        own |= self.arms.quick.changes if self.quick else {}
        own |= settings(run.arm, self.raw)
        if self.quick:
            names = list(self.raw["iterations"])[:QUICK_ITERATIONS]
            own |= {"iterations": {name: self.raw["iterations"][name] for name in names}}
        own |= run.changes
        return own | seeding(apply(self.raw, own, place=f"arm {run.arm.name}"), run.seed)

    def params(self, run: Run) -> tuple[Params, dict[str, Any]]:
        """Return the parameters of a run, and the same as plain values, without making its project.

        Raises:
            UserError: the arm does not fit the params file.
        """
        place, changes = f"arm {run.arm.name}", self.changes(run)
        return checked(self.raw, changes, place=place), apply(self.raw, changes, place=place)


def open_campaign(
    arms: Arms, *, top: Path = FOLDER, results: Path = RESULTS, profile: str, quick: bool = False
) -> Campaign:
    """Return the campaign of some arms over a profile; a quick one has its own folder, and its results stay there.

    Args:
        arms: of the arms file.
        top: where projects and cache are.
        results: where result files are.
        profile: the name of a profile, or the path of a params file.
        quick: whether the runs have the sizes of `arms.quick`.

    Raises:
        UserError: there is no such profile, or the file is not a valid params file.
    """
    top = top.absolute()
    text, raw = profile_text(profile), read_yaml(profile_path(profile))
    kept = quick_results(top) if quick else results.absolute()
    return Campaign(top, kept, profile, text, raw, arms, quick)


def quick_results(top: Path) -> Path:
    """Return where the results of quick runs are."""
    return top / "quick" / "results"


def runs_of_arms(arms: Sequence[Arm], *, seeds: Sequence[int] | None = None) -> list[Run]:
    """Return the runs of some arms, seed by seed, so that an interrupted campaign has whole comparisons.

    Args:
        arms: in the order of their runs.
        seeds: for all arms; None: each arm's own.
    """
    wanted = {arm.name: arm.seeds if seeds is None else tuple(seeds) for arm in arms}
    every = dict.fromkeys(seed for own in wanted.values() for seed in own)
    return [Run(arm, seed) for seed in every for arm in arms if seed in wanted[arm.name]]


def make_project(campaign: Campaign, run: Run) -> tuple[Params, dict[str, Any]]:
    """Create the project of a run, or bring an existing one up to date with the arm and the installed csrdata.

    Returns:
        Its parameters, and the same as YAML has them.

    Raises:
        UserError: the arm does not fit the params file, or the folder holds something else.
    """
    text = project_text(campaign.text, campaign.raw, run.arm, changes=campaign.changes(run))
    folder = campaign.project(run)
    if (folder / FILE).is_file():
        _write(folder / FILE, text)
        for path, written in project_files(load_params(folder / FILE)).items():
            _write(folder / path, written)
    else:
        create(folder, text=text, cache=campaign.cache)
    return load_params(folder / FILE), read_yaml(folder / FILE)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
