"""Metrics of the base policy: how much it hallucinates, of which kinds, and how well it sees and judges.

All answers are greedy. The evaluation of iterations has more metrics; these show whether the prepared policy is usable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from csrdata.progress import progress
from csrdata.sources.microworld.conversation import prompt_text
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.language import DESCRIBE_PROMPTS, NEGATIVE_KINDS, questions
from csrdata.sources.microworld.lessons import judging
from csrdata.sources.microworld.parsing import read
from csrdata.sources.microworld.truth import MISTAKE_KINDS, ClaimCheck, judge_claim
from csrdata.sources.microworld.world import Scene, scene_objects, stable_random

SHORT_ANSWER_TOKENS = 4
_OBJECTS = {"present": "pope_present"} | {kind: f"pope_absent_{kind}" for kind in NEGATIVE_KINDS}
"""The metric of the questions about one kind of object alone: all have the same right answer."""


def policy_metrics(
    folder: Path, scenes: Sequence[Scene], *, seed: int, answer_tokens: int = 128, batch: int = 64
) -> dict[str, float]:
    """Return the metrics of a saved policy on scenes it was not trained on; percentages are 0..100.

    `answer_tokens`: limit of a description, tokens.
    """
    model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]

    def answers(asked: Sequence[tuple[Scene, str]], *, tokens: int, what: str) -> list[str]:
        return _greedy(model, processor, asked, tokens=tokens, batch=batch, what=what)

    requests = [stable_random("describe", seed, scene.scene_id).choice(DESCRIBE_PROMPTS) for scene in scenes]
    described = answers(list(zip(scenes, requests, strict=True)), tokens=answer_tokens, what="descriptions")

    asked = [(scene, question) for scene in scenes for question in questions(scene, seed=seed)]
    replies = answers(
        [(scene, each.text) for scene, each in asked], tokens=SHORT_ANSWER_TOKENS, what="questions"
    )
    yes = [reply.startswith("Yes") for reply in replies]
    right = [said == question.answer for said, (_, question) in zip(yes, asked, strict=True)]

    contests = [(scene, *judging(scene, stable_random("judge", seed, scene.scene_id))) for scene in scenes]
    judgements = answers(
        [(scene, text) for scene, text, _ in contests], tokens=SHORT_ANSWER_TOKENS, what="judgements"
    )
    judged = [judgement == truth for judgement, (_, _, truth) in zip(judgements, contests, strict=True)]
    return {
        **description_metrics(scenes, described),
        "pope_accuracy": _percent(right),
        "pope_yes_rate": _percent(yes),
        **{
            name: _percent(
                [won for won, (_, question) in zip(right, asked, strict=True) if question.kind == kind]
            )
            for kind, name in _OBJECTS.items()
        },
        "judging_accuracy": _percent(judged),
    }


def description_metrics(scenes: Sequence[Scene], answers: Sequence[str]) -> dict[str, float]:
    """Return CHAIR, recall and similar metrics over one answer per scene; every sentence ends with a full stop."""
    kinds: Counter[str] = Counter()
    named = false = attribute_errors = sentences = unread = recalled = present = 0
    with_false = []
    for scene, answer in zip(scenes, answers, strict=True):
        claims = [read(part.strip() + ".") for part in answer.rstrip(".").split(".")]
        known = [claim for claim in claims if claim is not None]
        checks: list[ClaimCheck] = [judge_claim(scene, claim) for claim in known]
        mistakes = [check.mistake for check in checks if check.mistake is not None]
        kinds.update(mistakes)
        sentences, unread = sentences + len(claims), unread + len(claims) - len(known)
        named, false = named + len(known), false + len(mistakes)
        attribute_errors += sum(check.attribute_error for check in checks)
        recalled += len({claim.shape for claim in known} & set(scene_objects(scene)))
        present += len(scene.objects)
        with_false.append(bool(mistakes))
    return {
        "chair_s": _percent(with_false),
        "chair_i": 100 * false / max(1, named),
        "recall": 100 * recalled / max(1, present),
        "words": sum(len(answer.split()) for answer in answers) / max(1, len(answers)),
        "attribute_errors": 100 * attribute_errors / max(1, named),
        "well_formed": 100 * (1 - unread / max(1, sentences)),
        **{f"false_{kind}": 100 * kinds[kind] / max(1, false) for kind in MISTAKE_KINDS},
    }


@torch.inference_mode()
def _greedy(
    model: Any, processor: Any, asked: Sequence[tuple[Scene, str]], *, tokens: int, batch: int, what: str
) -> list[str]:
    answers: list[str] = []
    for start in progress(range(0, len(asked), batch), title=f"answer {what}", unit="batch"):
        part = asked[start : start + batch]
        inputs = processor(
            images=[Image.fromarray(draw(scene)) for scene, _ in part],
            text=[prompt_text(processor, request) for _, request in part],
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        new = out[:, inputs["input_ids"].shape[1] :]
        answers += [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    return answers


def _percent(hits: Sequence[bool]) -> float:
    return 100 * sum(hits) / max(1, len(hits))
