"""When the loop stops: a policy's figures against limits, and the reason in words.

What a policy says is compared with the base: recall, and the present objects that an answer names. Relevance is compared
with the policy before it, because the search may climb its own scorer for a while before the held-out scorer disagrees.
"""

from collections.abc import Mapping

FIGURES = ("recall", "present_per_answer", "relevance", "relevance_held_out")
"""Figures of the scorecard that a limit may be about."""

Values = Mapping[str, float | None]
"""Figures of one policy on one split, by names of `FIGURES`; None where one was not measured."""


def figures_of(
    *, recall_falls: float | None, objects_fall: float | None, held_out_falls: float | None
) -> tuple[str, ...]:
    """Return the figures that some limits need; the limits are those of `reasons_to_stop`."""
    needed: list[str] = []
    if recall_falls is not None:
        needed.append("recall")
    if objects_fall is not None:
        needed.append("present_per_answer")
    if held_out_falls is not None:
        needed += ["relevance", "relevance_held_out"]
    return tuple(needed)


def reasons_to_stop(
    base: Values,
    previous: Values,
    own: Values,
    *,
    recall_falls: float | None,
    objects_fall: float | None,
    held_out_falls: float | None,
) -> list[str]:
    """Return the limits that a policy does not keep, in words; empty if the loop goes on.

    Args:
        base: figures of the base.
        previous: figures of the policy that it was trained from.
        own: its own. A figure that a limit needs and that was not measured is a reason.
        recall_falls: points of recall under the base that are allowed, 0 to 100; here and below, None allows any.
        objects_fall: percent of the base's present objects per answer that an answer may name less, 0 to 100.
        held_out_falls: R_I by the held-out scorer under the previous policy's that is allowed while R_I by the search's
            scorer rises.

    Example: a base with a recall of 90, a policy with 85 and recall_falls=2 -> ["recall is 85.0%, 5.0 points under ..."]
    """
    limits = {
        "recall_falls": recall_falls,
        "objects_fall": objects_fall,
        "held_out_falls": held_out_falls,
    }
    missing = [name for name in figures_of(**limits) if own.get(name) is None]
    if missing:
        return [f"{', '.join(missing)} could not be measured"]
    found = [
        _recall(base, own, recall_falls),
        _objects(base, own, objects_fall),
        _held_out(previous, own, held_out_falls),
    ]
    return [reason for reason in found if reason is not None]


def _recall(base: Values, own: Values, limit: float | None) -> str | None:
    before, now = base.get("recall"), own.get("recall")
    if limit is None or before is None or now is None or before - now <= limit:
        return None
    return f"recall is {now:.1f}%, {before - now:.1f} points under the base's {before:.1f}% (limit {limit:g} points)"


def _objects(base: Values, own: Values, limit: float | None) -> str | None:
    before, now = base.get("present_per_answer"), own.get("present_per_answer")
    if limit is None or before is None or now is None or before <= 0:
        return None
    share = 100 * (before - now) / before
    if share <= limit:
        return None
    return f"an answer names {now:.2f} present objects, {share:.0f}% fewer than the base's {before:.2f} (limit {limit:g}%)"


def _held_out(previous: Values, own: Values, limit: float | None) -> str | None:
    changes = []
    for name in ("relevance", "relevance_held_out"):
        before, now = previous.get(name), own.get(name)
        if limit is None or before is None or now is None:
            return None
        changes.append(now - before)
    rise, change = changes
    if limit is None or rise <= 0 or -change <= limit:
        return None
    return (
        f"relevance rose by {rise:.2f} by the search's scorer and fell by {-change:.2f} by the held-out scorer "
        f"against the policy before it (limit {limit:g})"
    )
