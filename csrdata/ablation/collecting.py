"""From a finished project to the result of an arm: wherever the project was run, with this module or by hand."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.ablation.arms import BASE, differences
from csrdata.ablation.projects import Campaign, Run
from csrdata.ablation.result import Origin, Result, hash_of, measure
from csrdata.ablation.sharing import code_of, runs_of
from csrdata.params import FILE, Params, load_params, values_to_hash
from csrdata.strict_yaml import read_yaml


def collect(campaign: Campaign, run: Run, *, project: Path, revision: str | None) -> Result:
    """Return the result of a run whose project is finished. It works in the project's folder while it reads.

    Args:
        campaign: what the arm is compared within.
        run: the arm and the seed.
        project: the folder of the project.
        revision: the git commit of csrdata.

    Raises:
        UserError: the project is not finished, or a file is damaged.
    """
    project = project.absolute()
    with contextlib.chdir(project):
        params, raw = load_params(FILE), read_yaml(FILE)
        policies = [paths.BASE, *(params.iterations if run.arm.iterations else [])]
        measured = measure(params, policies=policies, count_for=_counted(campaign, run, params, raw))
    origin = Origin(
        arm=run.arm.name,
        seed=run.seed,
        profile=Path(campaign.profile).name,  # a result that is published names no folder of this machine
        quick=campaign.quick,
        changes={key: new for key, (_, new) in differences(run.arm, campaign.raw).items()},
        params_sha256=params_hash(params),
        code_sha256=hash_of(code_of(params)),
        revision=revision,
    )
    return Result(origin, **measured)


def is_of_today(result: Result, params: Params, *, any_code: bool = False) -> bool:
    """Return whether a result has these parameters and was made by the code of today (or, if asked, by any)."""
    origin = result.origin
    return origin.params_sha256 == params_hash(params) and (
        any_code or origin.code_sha256 == hash_of(code_of(params))
    )


def outdated(campaign: Campaign, results: Iterable[Result]) -> dict[tuple[str, int], str]:
    """Return the results made with other parameters than their run has today, by arm and seed: what the arm changes now.

    Args:
        campaign: of today.
        results: those of other profiles, and of arms that the campaign does not have, are left out.
    """
    found = {}
    for result in results:
        origin, arm = result.origin, campaign.arms.by_name.get(result.origin.arm)
        if arm is None or origin.profile != Path(campaign.profile).name:
            continue
        if origin.params_sha256 != params_hash(campaign.params(Run(arm, origin.seed))[0]):
            today = {key: new for key, (_, new) in differences(arm, campaign.raw).items()}
            keys = sorted(
                key for key in {**today, **origin.changes} if today.get(key) != origin.changes.get(key)
            )
            found[arm.name, origin.seed] = ", ".join(keys) or "the profile"
    return found


def params_hash(params: Params) -> str:
    """Return the SHA-256 of the parameters on which a result depends.

    Without `engine`, which never changes one, and `measure_attention`, which no result has.
    """
    return hash_of(values_to_hash(params, exclude={"engine", "measure_attention"}))


def _counted(campaign: Campaign, run: Run, params: Params, raw: Mapping[str, Any]) -> list[str]:
    """Return the policies whose counts a result keeps.

    The first and the last iteration, as other arms have one of these numbers; the base, where it is what the arm is about
    or is another one than that of the profile with this seed.
    """
    iterations = list(params.iterations) if run.arm.iterations else []
    counted = list(dict.fromkeys([*iterations[:1], *iterations[-1:]]))
    of_profile = campaign.params(Run(campaign.arms.named(BASE), run.seed))
    same = _key_of_base(params, raw) == _key_of_base(*of_profile)
    return counted if same and counted else [paths.BASE, *counted]


def _key_of_base(params: Params, raw: Mapping[str, Any]) -> str:
    """Return the key of the base's evaluation (`csrdata.ablation.sharing`)."""
    return next(ran.key for ran in runs_of(Path(), params, raw) if ran.step.name == "evaluate_base")
