"""A way to make pairs: replace one word of an answer that is known to be true, so that it becomes false."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from csrdata import paths
from csrdata.records import Dropped, DropReason, Pair, Prompt
from csrdata.storage.tables import read_rows, write_rows

SWAPS = {"red": "blue", "blue": "red", "left": "right", "right": "left", "above": "below", "below": "above"}
WORD = re.compile(rf"\b({'|'.join(SWAPS)})\b")


def make_pairs(prompts: Sequence[Prompt], answers: Mapping[str, str]) -> tuple[list[Pair], list[Dropped]]:
    """Return a pair, or the reason for no pair, for each prompt.

    Args:
        prompts: in the order of their ids.
        answers: a true answer for each prompt id.

    Example: "A red star." -> chosen "A red star.", rejected "A blue star."
    """
    pairs, dropped = [], []
    for prompt in prompts:
        chosen = answers.get(prompt.prompt_id, "")
        rejected = WORD.sub(lambda match: SWAPS[match.group()], chosen, count=1)
        if not chosen.strip():
            dropped.append(Dropped(prompt.prompt_id, DropReason.NO_RESPONSE, "no true answer"))
        elif rejected == chosen:
            dropped.append(Dropped(prompt.prompt_id, DropReason.EQUAL_TEXTS, "no word to swap"))
        else:
            pair = Pair(prompt.prompt_id, prompt.image, prompt.text, chosen, rejected, origin="swapped_words")
            pairs.append(pair)
    return pairs, dropped


def main(answers_file: Path, iteration: str) -> None:
    """Write the pairs of an iteration from a JSON object of true answers by prompt id."""
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    answers = json.loads(answers_file.read_text(encoding="utf-8"))
    pairs, dropped = make_pairs(prompts, answers)
    write_rows(paths.pairs(iteration), pairs, Pair)
    write_rows(paths.dropped(iteration), dropped, Dropped)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
