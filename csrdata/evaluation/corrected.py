"""A summary with the p-values of all its tests corrected together (Holm): what its table and the cards mark with a star.

The family is every test of a policy against the base that the summary declares: each figure of each iteration on each split.
One that could not be made, because a figure does not exist, stays a member. In the file itself p-values are uncorrected, so
that others can take another family.
"""

from dataclasses import replace

from csrdata.evaluation.holm import holm
from csrdata.evaluation.summary import BASE, Summary


def corrected(summary: Summary) -> Summary:
    """Return the summary with corrected p-values. Example: 3 tests of p 0.01, 0.03 and 0.04 -> 0.03, 0.06 and 0.06."""
    tests = {
        f"{split}/{name}/{key}": figure.p_vs_base
        for split, policies in summary.splits.items()
        for name, policy in policies.items()
        if name != BASE
        for key, figure in policy.figures.items()
    }
    adjusted = holm(tests)
    return replace(
        summary,
        splits={
            split: {
                name: replace(
                    policy,
                    figures={
                        key: replace(figure, p_vs_base=adjusted.get(f"{split}/{name}/{key}"))
                        for key, figure in policy.figures.items()
                    },
                )
                for name, policy in policies.items()
            }
            for split, policies in summary.splits.items()
        },
    )
