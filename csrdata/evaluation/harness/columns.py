"""Which task of lmms-eval each of the paper's twelve columns is (names as in lmms-eval 0.7.3), and what the task needs.

Every task loads its questions and images from the Hub on its first run. Two ask a paid model to judge answers; csrdata runs
no judge, and without a key they give no figure that means anything. The others score by rules.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HarnessTask:
    """A column's task and its figure."""

    column: str
    """One of `published_average.COLUMNS`."""
    task: str
    figure: str
    judged: bool = False
    """Whether the task asks a paid model."""
    differs: str = ""
    """What is not as in the paper's column, as far as the task's files say."""


TASKS = (
    HarnessTask("mme_perception", "mme", "mme_perception_score"),
    HarnessTask("mme_cognition", "mme", "mme_cognition_score"),
    HarnessTask(
        "seed", "seedbench", "seed_all", differs="images and video frames; `seed_image` is the images alone"
    ),
    HarnessTask("llava_w", "llava_in_the_wild", "gpt_eval_llava_all", judged=True),
    HarnessTask(
        "mmbench",
        "mmbench_en_dev_static",
        "gpt_eval_score",
        differs="the choice is read by a rule; `mmbench_en_dev` asks a paid model where the rule fails",
    ),
    HarnessTask("mm_vet", "mmvet", "gpt_eval_score", judged=True),
    HarnessTask("sqa", "scienceqa_img", "exact_match"),
    HarnessTask(
        "vizwiz",
        "vizwiz_vqa_val",
        "exact_match",
        differs="the validation split; the test split needs the organisers' server",
    ),
    HarnessTask("gqa", "gqa", "exact_match"),
    HarnessTask(
        "pope",
        "pope_full",
        "pope_accuracy",
        differs='equal strings: "Yes." is wrong; its yes-ratio counts right answers, not given ones',
    ),
    HarnessTask(
        "chair_s", "coco_cap_chair", "coco_cap_chair_s", differs="its own images and prompt; words by NLTK"
    ),
    HarnessTask(
        "chair_i", "coco_cap_chair", "coco_cap_chair_i", differs="its own images and prompt; words by NLTK"
    ),
)
"""In the order of the paper's columns."""
JUDGED = frozenset(one.task for one in TASKS if one.judged)
"""Tasks whose figures come from a paid model."""
