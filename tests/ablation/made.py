"""Results that are small enough to check by eye."""

from collections.abc import Mapping, Sequence
from typing import Any

from csrdata.ablation.counts import Counts
from csrdata.ablation.curves import EndCurve
from csrdata.ablation.result import Origin, Result
from csrdata.evaluation.intervals import Figure

MACHINE = {
    "processor": "a processor",
    "instructions": "AVX2",
    "threads": 2,
    "torch": "2.0",
    "python": "3.11.7",
}


def counts(false: Sequence[int], *, named: int = 1, words: int = 8) -> Counts:
    """Return the counts of images with two present objects, of which each answer names `named`."""
    size = len(false)
    return Counts(
        answers=(1,) * size,
        false=tuple(false),
        absent=tuple(false),
        mentions=tuple(named + one for one in false),
        named=(named,) * size,
        present=(2,) * size,
        words=(words,) * size,
    )


def curve(false: Mapping[float, Sequence[int]], named: Mapping[float, int]) -> EndCurve:
    """Return the counts at some biases: which answers name an absent object, and how many present ones each names."""
    return EndCurve(
        split="held_out",
        biases=tuple(false),
        false={"held_out": tuple(tuple(column) for column in false.values())},
        named=tuple((named[bias],) * len(column) for bias, column in false.items()),
    )


def result(
    arm: str,
    seed: int,
    false: Mapping[str, Sequence[int]],
    *,
    curves: Mapping[str, EndCurve] | None = None,
    iterations: int = 1,
    questions: str = "q",
    **origin: Any,
) -> Result:
    """Return a result of one split, `held_out`.

    Args:
        arm, seed: whose.
        false: by policy, which images have an answer that names an absent object.
        curves: by policy, its counts at several biases.
        iterations: of the arm.
        questions: stands for the questions and the truth.
        origin: other fields of `Origin`.
    """
    policies = ("base", *map(str, range(1, iterations + 1)))
    facts = {"profile": "microworld", "quick": False, "changes": {"train_dpo.sft_weight": 0.0}}
    hashes = {"params_sha256": "p", "code_sha256": "c", "revision": "abc"}
    return Result(
        origin=Origin(arm=arm, seed=seed, **{**facts, **hashes, **origin}),
        machine=MACHINE,
        world=2,
        iterations=policies,
        figures={policies[-1]: {"held_out": {"chair_s": Figure(40.0, 30.0, 50.0, None)}}},
        questions={"held_out": questions},
        counts={name: {"held_out": counts(one)} for name, one in false.items()},
        curves=curves or {},
        match_recall={policies[-1]: {"bias": 0.5, "reason": None}},
        pairs={
            name: {
                "kept": 50,
                "chosen_reward": 0.5,
                "rejected_reward": -2.0,
                "likelihood": {
                    "csr_search": {"pairs": 50, "chosen": -0.4, "rejected": -0.5, "chosen_preferred": 75.0}
                },
                "false": {"csr_search": {"chosen": 10.0, "rejected": 60.0}},
                "reward_prefers_truer": 90.0,
                "likelihood_prefers_truer": None,
                "relevance_prefers_truer": 95.0,
            }
            for name in policies[1:]
        },
        cards={
            "search": {
                "sentences": 400,
                "auc": 93.0,
                "comparisons": 120,
                "sibling_preference": 96.0,
                "likelihood_correlation": 0.2,
                "seconds_per_sentence": 0.01,
            }
        },
        models={"scorer": {"prefers_true_shape": 99.0}},
        cpu_seconds={"prepare": 100.0, "generate_beams@1": 90.0, "select_pairs@1": 10.0, "train_dpo@1": 70.0},
    )
