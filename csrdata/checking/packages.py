"""Whether the packages are installed that the stages import: the models' libraries are imported late, after hours."""

import importlib.util
from collections.abc import Callable, Iterable

from csrdata.checking.findings import Finding, error, ok
from csrdata.entry import EXTRAS

STAGES = ("policy", "relevance", "train")
"""The extras that a run of all stages needs."""


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def check_packages(
    extras: Iterable[str] = STAGES, *, is_installed: Callable[[str], bool] = _is_installed
) -> list[Finding]:
    """Return an error for each extra of which a module is missing, or one finding that all are there.

    Args:
        extras: extras of csrdata.
        is_installed: says of a module whether it can be imported; nothing is imported.
    """
    wanted = list(extras)
    missing = {
        extra: [module for module, owner in EXTRAS.items() if owner == extra and not is_installed(module)]
        for extra in wanted
    }
    findings = [
        error(
            "packages",
            f"extra {extra}: got no module {', '.join(modules)}, expected it installed",
            do=f"pip install 'csrdata[{extra}]', then: csrdata check",
        )
        for extra, modules in missing.items()
        if modules
    ]
    return findings or [ok("packages", f"the modules of {', '.join(wanted)} are installed")]
