"""Open a self-check: a scorer that asks a policy of the project, with the questions of the project's source."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from csrdata import paths
from csrdata.generation.self_check import SelfCheck
from csrdata.params import Params
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings

if TYPE_CHECKING:
    from csrdata.policy.loading import Policy


def open_self_check(params: Params, policy: "Callable[[], Policy] | str", *, device: str) -> SelfCheck:
    """Return a self-check.

    Args:
        params: the project's.
        policy: the policy that is asked: its name, or what returns it.
        device: a torch device, for a policy that is loaded here.
    """

    @cache
    def load() -> "Policy":
        from csrdata.policy.loading import load_policy

        if not isinstance(policy, str):
            return policy()
        return load_policy(
            need_policy(policy),
            device=device,
            dtype=params.compute.dtype,
            wordings=read_wordings(paths.WORDINGS),
        )

    return SelfCheck(load, open_source(params.source).checks)
