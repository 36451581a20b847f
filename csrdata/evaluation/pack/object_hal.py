"""Object HalBench, a rule-based variant (Rohrbach et al. 2018; Yu et al. 2024, arXiv 2312.00849, 300 images).

Files: the questions, JSON Lines with `image_id` and `question` (`eval/data/obj_halbench_300_with_image.jsonl` of the
repository RLHF-V/RLAIF-V, read at revision 83d917b; the questions' file itself was not in the copy that was read, its keys
follow from `eval/eval_gpt_obj_halbench.py` and `muffin/eval/muffin_vqa.py`), and COCO's instances and captions of its
images. An answer is named by its line, counted from 0 (`question_id`), or by `image_id` where an image has one question.

The original asks GPT-3.5 which objects an answer names and maps its words to COCO's categories. Ours reads the answer with
the table of synonyms of `coco_chair`. It is not comparable with published figures, nor with CHAIR on COCO-500: the images,
the questions and the rule differ (published CHAIR_I of LLaVA-1.5-7B: 25 to 28 there, 14 to 15 on COCO-500).

What is as in the original (`compute_chair`): an object is present if segmentation or a caption names it; the response rate
has the answers that name a category as its denominator; mentions are counted as often as they occur.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from csrdata.errors import UserError
from csrdata.evaluation.chair import count_claims
from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.intervals import mean
from csrdata.evaluation.pack.base import AGAIN, Bench, Check, Item, rows_of, shares, text_at, unique
from csrdata.evaluation.prose import count_prose
from csrdata.evaluation.scorecard import Label
from csrdata.evaluation_sets.coco import read_captions, read_instances
from csrdata.evaluation_sets.coco_claims import CocoClaimParser
from csrdata.records import Truth

WHAT = "questions with image_id and question, JSON Lines"


def object_halbench(
    file: Path, *, instances: Sequence[Path], captions: Sequence[Path], parser: CocoClaimParser
) -> Bench:
    """Return the benchmark.

    Args:
        file: of the questions.
        instances, captions: COCO's annotation files of all images.
        parser: what reads the answers and the captions.

    Raises:
        UserError: a file is missing or malformed, or an image has no annotation or no caption.
    """
    known = read_instances(instances)
    described = read_captions(captions, known.files)
    items: list[Item] = []
    seen: set[tuple[str, str]] = set()
    truths: dict[str, Truth] = {}
    for place, row in rows_of(file, what=WHAT, lines=True):
        image = _image_id(row, place)
        if image not in known.files or image not in described:
            missing = "annotation" if image not in known.files else "caption"
            raise UserError(
                f"{place}: image_id",
                got=f"no {missing} of image {image}",
                expected="COCO's instances and captions of it",
                do="give the files of its images, then the same command again",
            )
        key = "question" if "question" in row else "prompt"
        items.append(Item(str(len(items)), str(image), text_at(row, key, place)))
        asked = (items[-1].image, items[-1].prompt)
        if asked in seen:
            raise UserError(
                place, got=f"a question about image {image} twice", expected="each question once", do=AGAIN
            )
        seen.add(asked)
        named = {name for caption in described[image] for name, _ in parser.names(caption)}
        truths[str(image)] = Truth(str(image), "object_halbench", sorted(known.objects[image] | named), "")

    def measure(texts: Mapping[str, str]) -> Measured:
        counts = [count_claims(texts[item.key], truths[item.image], parser) for item in items]
        owners = [item.image for item in items]
        naming = [one.mentions > 0 for one in counts]
        false = [one.absent > 0 for one in counts]
        length = mean([count_prose(texts[item.key]).words for item in items])
        places = {image: place for place, image in enumerate(dict.fromkeys(owners))}
        return {
            "response_hal": shares(owners, false, naming),
            "response_hal_of_all": shares(owners, false, [1] * len(items)),
            "object_hal": shares(owners, [one.absent for one in counts], [one.mentions for one in counts]),
            "recall": shares(owners, [one.present_named for one in counts], [one.present for one in counts]),
            "length": length.grouped([places[owner] for owner in owners], count=len(places)),
        }

    often = Counter(item.image for item in items)
    return Bench(
        kind="object_halbench",
        title="Object HalBench",
        variant="objects are read with a table of synonyms, not by GPT-3.5",
        rules=parser.version,
        items=unique(items, file),
        truth=tuple("\t".join((one.image, *one.objects)) for one in truths.values()),
        labels={
            "response_hal": Label("responses with an absent object", "% of those that name one"),
            "response_hal_of_all": Label("responses with an absent object", "% of all"),
            "object_hal": Label("absent objects", "% of mentions"),
            "recall": Label("recall", "% of objects"),
            "length": Label("length", "words"),
        },
        checks=dict.fromkeys(("response_hal", "object_hal"), Check.UNCHECKED),
        measure=measure,
        aliases={
            item.image: item.key for item in items if often[item.image] == 1 and int(item.image) >= len(items)
        },
    )


def _image_id(row: Mapping[str, object], place: str) -> int:
    value = row.get("image_id")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise UserError(f"{place}: image_id", got=value, expected="COCO's id of an image", do=AGAIN)
