"""Each policy's answers to the evaluation questions, read back, and the command that makes them."""

from csrdata import paths
from csrdata.records import Answer
from csrdata.storage.tables import read_rows


def evaluated_by(policy: str) -> str:
    """Return the command that makes a policy's answers."""
    return "dvc repro evaluate_base" if policy == paths.BASE else f"dvc repro evaluate_policy@{policy}"


def read_answers(policy: str) -> list[Answer]:
    """Return a policy's answers to the evaluation questions.

    Raises:
        UserError: they are missing or damaged.
    """
    return read_rows(paths.answers(policy), Answer, made_by=evaluated_by(policy))
