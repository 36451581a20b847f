"""Open a scorer that asks questions: a self-check asks a policy of the project, a judge another model."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from csrdata import paths
from csrdata.generation.self_check import SelfCheck
from csrdata.params import Params
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings
from csrdata.sections.models import JudgeScorer

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


def open_judge(params: Params, settings: JudgeScorer, *, device: str) -> SelfCheck:
    """Return a judge: a model of the user's own that is asked about each sentence, as in VQAScore (arXiv 2404.01291).

    Args:
        params: the project's.
        settings: the judge's. Without a question of its own it is asked the source's.
        device: a torch device.

    Raises:
        UserError: the folder holds no model that can be asked, or is damaged. Code in it never runs.
    """
    from csrdata.policy.loading import load_policy

    model = load_policy(Path(settings.folder), device=device, dtype=params.compute.dtype)
    question = settings.question
    if question is None:
        return SelfCheck(lambda: model, open_source(params.source).checks)
    return SelfCheck(lambda: model, lambda sentence: [question.format(sentence=sentence)])
