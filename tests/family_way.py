"""The whole way of a family: taught, searched, scored, selected, one step of DPO, loaded again, asked.

`python -m tests.family_way` writes what it found into `docs/families.json`, from which `make docs` writes docs/families.md
and the README's table. A test compares the file with what is found today.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.generation.clock import Clock
from csrdata.generation.generating import generate
from csrdata.images import load_image
from csrdata.policy.answering import Reply, answer
from csrdata.policy.choosing import choose_path
from csrdata.policy.loading import Dtype, Policy, load_policy, new_chain
from csrdata.policy.prompting import encode
from csrdata.policy.proposing import DiverseGroups
from csrdata.policy.training import TrainingReport, train
from csrdata.records import Dropped, Pair, Prompt, Question, Response, Sentence
from tests.extending.word_scorer import SCORER
from tests.families import FAMILIES, unlike_pictures
from tests.objectives import DPO, TINY
from tests.scores import by_reward
from tests.scoring import scored
from tests.teaching import teach

RECORD = Path(__file__).parents[1] / "docs/families.json"
TEXTS = ("Describe the image.", "Describe it.")
PROMPTS = [Prompt(f"p{index}", f"images/{index}.png", text) for index, text in enumerate(TEXTS)]
QUESTIONS = [
    Question(f"q{index}", "held_out", "describe", f"images/{index}.png", text, None, None)
    for index, text in enumerate(TEXTS)
]
PATHS = {"shared": "shared prefix", "cached": "cache within a sentence", "plain": "plain"}
"""The record's words for each path."""
ENDS = {"glm4v": "<|user|>"}
"""Families that are taught to end an answer with another token than the one that the chat template names."""


@dataclass(frozen=True)
class Way:
    """What came of each step."""

    path: str
    """How answers are decoded: one of `PATHS`."""
    sentences: list[Sentence]
    responses: list[Response]
    selected: list[Pair | Dropped]
    report: TrainingReport
    replies: list[Reply]


def go(name: str, root: Path, *, dtype: Dtype = "float32") -> Way:
    """Take a family the whole way, with two images of unlike shape.

    Raises:
        UserError: the family is refused, in one line.
    """
    unlike_pictures(root / "images")
    images = [load_image(prompt.image, root=root, place=prompt.prompt_id) for prompt in PROMPTS]
    folder = teach(FAMILIES[name](root / "policy"), steps=30, texts=TEXTS, images=images, end=ENDS.get(name))
    policy = load_policy(folder, dtype=dtype)
    path = decoding_path(policy, images)
    sentences = search(policy, PROMPTS, root=root)
    responses = scored(sentences, PROMPTS, root=root, held_out=SCORER)
    selected = by_reward(PROMPTS, responses)
    with new_chain(root / "trained", previous=folder, name="1") as adapter:
        report = step(
            load_policy(folder, dtype=dtype),
            [row for row in selected if isinstance(row, Pair)],
            root=root,
            to=adapter,
        )
    replies = answer(
        load_policy(root / "trained"), QUESTIONS, root=root, max_new_tokens=60, batch_size=2, progress=False
    )
    return Way(path, sentences, responses, selected, report, replies)


def search(policy: Policy, prompts: Sequence[Prompt], *, root: Path) -> list[Sentence]:
    """Search the answers to prompts; the scorer has no model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the slower paths: they are recorded
        return generate(
            prompts,
            root=root,
            policy=policy,
            scorer=SCORER,
            proposing=DiverseGroups(3, 2.0),
            keep_best=2,
            keep_worst=1,
            rank_by="sentence",
            max_sentence_tokens=20,
            max_response_tokens=60,
            max_sentences=3,
            prompts_at_once=2,
            guidance="reward",
            image_weight=0.9,
            scale="zscore",
            repetition_threshold=0.9,
            clock=Clock(),
        )


def step(policy: Policy, pairs: Sequence[Pair], *, root: Path, to: Path) -> TrainingReport:
    """Train one step of DPO."""
    return train(
        policy,
        pairs,
        root=root,
        adapter_folder=to,
        **DPO,
        learning_rate=1e-3,
        epochs=1,
        batch_size=2,
        **TINY,
    )


def decoding_path(policy: Policy, images: Sequence[Any]) -> str:
    """Return how the answers to the prompts are decoded: one of `PATHS`."""
    choice = choose_path(
        policy.model,
        lambda numbers: encode(
            policy.processor,
            [images[number] for number in numbers],
            [policy.prompt(TEXTS[number]) for number in numbers],
        ).to(policy.model.dtype),
        range(len(TEXTS)),
        at_once=2,
        answer_tokens=60,
    )
    return PATHS[choice.kind]


def finding(name: str, root: Path) -> dict[str, str]:
    """Return a family's row of the record: its class, its path, and what came of it."""
    try:
        way = go(name, root)
    except UserError as error:
        path, result = "", f"refused: got {error.got}".replace(str(root), "FOLDER")
    else:
        path, result = way.path, "passes"
    config = json.loads((root / "policy/config.json").read_text(encoding="utf-8"))
    family, _, about = (FAMILIES[name].__doc__ or "").strip().removesuffix(".").partition(": ")
    return {
        "builder": name,
        "family": family,
        "about": about,
        "class": config["architectures"][0],
        "path": path,
        "result": result,
    }


def main() -> None:
    """Write the record."""
    rows = []
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(finding(name, Path(folder)))
        print(rows[-1], file=sys.stderr)  # noqa: T201 - a command
    RECORD.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
