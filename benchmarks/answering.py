"""Answers to evaluation questions, against one `generate` per question.

`python -m benchmarks.answering [--json FILE] [--docs]`.

Two sizes of random LLaVA: the microworld's (9 image tokens) and one with 576 image tokens. Six yes/no questions about an
image, and one description. Both sides load the same images and give the same tokens, which is checked. Seconds are of this
process on the CPU, so that other load matters less; each figure is the median of the runs, and the sides alternate.

Before its first answer csrdata holds the shared prefix against full passes, once for a size of image. That start is measured
apart, from a run with a quarter of the images: what an image costs beyond it is what a benchmark of many images costs.

Random weights seldom end an answer: a yes/no answer has the 2 tokens that "Yes" and the end need, a description 40.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.page import put
from benchmarks.workloads import random_llava
from csrdata.policy.answering import Reply, answer
from csrdata.policy.loading import Policy
from csrdata.policy.shared_answers import answer_by_image
from csrdata.records import Kind, Question
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.world import sample_scenes

OBJECTS = ("circle", "square", "star", "ring", "cross", "triangle")
TOKENS = {Kind.YES_NO: 2, Kind.DESCRIBE: 40}
RUNS = 2
AIMS = {("micro", "yes_no"): "8", ("micro", "describe"): "8", ("576 image tokens", "yes_no"): "4"}


@dataclass(frozen=True)
class Size:
    """A model, and how many images each side answers about in one run."""

    name: str
    width: int
    layers: int
    heads: int
    side: int
    patch: int
    images: int
    one_by_one: int
    """Images of the slow side."""


SIZES = (
    Size("micro", width=192, layers=3, heads=6, side=66, patch=22, images=64, one_by_one=8),
    Size("576 image tokens", width=512, layers=4, heads=8, side=336, patch=14, images=48, one_by_one=1),
)


@dataclass(frozen=True)
class Measured:
    """Both sides on one kind of question."""

    size: str
    kind: str
    images_per_second: float
    questions_per_second: float
    one_by_one_images_per_second: float
    one_by_one_questions_per_second: float
    ratio: float
    start_seconds: float
    """Before the first answer; it does not grow with the images."""
    ratio_without_start: float
    """Of what one more image costs."""


def measure(size: Size, kind: Kind) -> Measured:
    """Return the speed of both sides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = random_llava(
            folder / "model",
            width=size.width,
            layers=size.layers,
            heads=size.heads,
            side=size.side,
            patch=size.patch,
        )
        questions = _questions(folder, size.images, kind)
        each = len(questions) // size.images
        few = questions[: size.one_by_one * each]
        part = questions[: size.images // 4 * each]
        fast, slow, more = [], [], []
        for _ in range(RUNS):
            seconds, replies = _timed(lambda: _together(policy, questions, folder, kind, size))
            fast.append(size.images / seconds)
            partly, _ = _timed(lambda: _together(policy, part, folder, kind, size))
            more.append((seconds - partly) / (size.images - size.images // 4))
            seconds, expected = _timed(lambda: _one_by_one(policy, few, folder, kind))
            slow.append(size.one_by_one / seconds)
            if replies[: len(few)] != expected:
                raise AssertionError("the two sides differ")
    images = statistics.median(fast)
    return Measured(
        size.name,
        kind.value,
        images,
        images * each,
        statistics.median(slow),
        statistics.median(slow) * each,
        statistics.median(one / other for one, other in zip(fast, slow, strict=True)),
        size.images / images - size.images * statistics.median(more),
        statistics.median(1 / (one * other) for one, other in zip(more, slow, strict=True)),
    )


def _together(
    policy: Policy, questions: Sequence[Question], root: Path, kind: Kind, size: Size
) -> list[Reply]:
    return answer_by_image(
        policy, questions, root=root, max_new_tokens=TOKENS[kind], images_at_once=size.images, progress=False
    )


def _one_by_one(policy: Policy, questions: Sequence[Question], root: Path, kind: Kind) -> list[Reply]:
    return answer(policy, questions, root=root, max_new_tokens=TOKENS[kind], batch_size=1, progress=False)


def _timed(run: Callable[[], list[Reply]]) -> tuple[float, list[Reply]]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def _questions(folder: Path, images: int, kind: Kind) -> list[Question]:
    found = []
    for number, scene in enumerate(sample_scenes(split="held_out", count=images, seed=0)):
        name = f"{number}.png"
        Image.fromarray(draw(scene)).save(folder / name)
        texts = [f"Is there a {one}?" for one in OBJECTS] if kind is Kind.YES_NO else ["Describe this image."]
        found += [
            Question(f"{number}-{place}", "held_out", kind, name, text, None, None)
            for place, text in enumerate(texts)
        ]
    return found


def main() -> None:
    """Measure all sizes and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true", help="write the table of docs/benchmarks.md")
    arguments = parser.parse_args()
    rows = []
    for size, kind in ((size, kind) for size in SIZES for kind in (Kind.YES_NO, Kind.DESCRIBE)):
        row = measure(size, kind)
        rows.append(row)
        print(
            f"{row.size:>18} {row.kind:>9}: {row.images_per_second:8.2f} images/s, {row.questions_per_second:8.2f} "
            f"questions/s; one by one {row.one_by_one_images_per_second:8.2f} images/s; {row.ratio:.1f} times; "
            f"start {row.start_seconds:.1f} s, {row.ratio_without_start:.1f} times without it",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8"
        )
    if arguments.docs:
        put("answering", _table(rows), command="python -m benchmarks.answering --docs")


def _table(rows: Sequence[Measured]) -> list[list[str]]:
    """Return the table of docs/benchmarks.md."""
    header = [
        "size",
        "questions",
        "csrdata, images/s",
        "questions/s",
        "one by one, images/s",
        "questions/s",
        "ratio",
        "start, s of CPU",
        "ratio without the start",
        "aim",
    ]
    return [
        header,
        *[
            [
                row.size,
                row.kind,
                f"{row.images_per_second:.2f}",
                f"{row.questions_per_second:.2f}",
                f"{row.one_by_one_images_per_second:.2f}",
                f"{row.one_by_one_questions_per_second:.2f}",
                f"{row.ratio:.1f}",
                f"{row.start_seconds:.1f}",
                f"{row.ratio_without_start:.1f}",
                AIMS.get((row.size, row.kind), "-"),
            ]
            for row in rows
        ],
    ]


if __name__ == "__main__":
    main()
