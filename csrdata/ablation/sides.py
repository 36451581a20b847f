"""Sides of `csrdata compare`: a word is an iteration of this project, an arm of metrics/ablation, or a file of answers.

An arm is compared over its seeds, each with the counts of its last policy on every image; seeds are a separate level
in the intervals (`csrdata.evaluation.contrast`).
"""

from collections.abc import Sequence
from pathlib import Path

from csrdata.ablation.result import Result, read_result
from csrdata.errors import UserError
from csrdata.evaluation.comparison import Side
from csrdata.evaluation.contrast import BySeed
from csrdata.evaluation.protocol import AS_ASKED, Protocol
from csrdata.evaluation.record import UNFINISHED_SENTENCE
from csrdata.evaluation.scorecard import FIGURES
from csrdata.pipeline.benches import open_bench
from csrdata.pipeline.comparing import policies, side_of_file, side_of_policy

RESULTS = Path("metrics/ablation")
OF_THE_ARM = "as the arm says"
FORMS = "an iteration, an arm of metrics/ablation, or a file; arm:NAME where an iteration has the name too"


def sides(
    words: Sequence[str],
    *,
    of: str | None,
    options: Sequence[str],
    stated: Sequence[Path],
    results: Path = RESULTS,
) -> list[Side]:
    """Return the sides that two words name.

    Args:
        words: two of `FORMS`.
        of: the set that files answer, or the split that iterations are compared on; None: all splits.
        options: keys of the set, `KEY=VALUE`.
        stated: protocols of the files, in their order; none, or one for each.
        results: the folder of arms' results.

    Raises:
        UserError: a word names nothing, sides of two kinds have no common questions, or a file is malformed.
    """
    names = policies()
    files = [word for word in words if not _is_arm(word, names, results) and word not in names]
    if stated and len(stated) != len(files):
        expected = f"one for each of the {len(files)} files, or none"
        raise UserError("--protocol", got=len(stated), expected=expected, do="csrdata compare --help")
    protocols = dict(zip(files, stated, strict=True)) if stated else {}
    found = []
    for word in words:
        if _is_arm(word, names, results):
            found.append(side_of_arm(word.removeprefix("arm:"), results=results, of=of))
        elif word in names:
            found.append(side_of_policy(word, [of] if of else []))
        else:
            found.append(_file(word, of, options, protocols.get(word)))
    return found


def side_of_arm(name: str, *, results: Path, of: str | None = None) -> Side:
    """Return an arm with the results of all its seeds.

    Args:
        name: of the arm.
        results: the folder of arms' results.
        of: the split; None: all splits that every seed has.

    Raises:
        UserError: there is no result, one is damaged, or its seeds answered different questions; or there is no such split.
    """
    read = {
        int(path.stem): read_result(path)
        for path in sorted((results / name).glob("*.json"))
        if path.stem.isdigit()
    }
    if not read:
        raise UserError(
            f"arm {name}", got="no result", expected=f"{results / name}/SEED.json", do="make ablation"
        )
    first = next(iter(read.values()))
    for seed, result in read.items():
        if (result.questions, result.world) != (first.questions, first.world):
            place = f"{results / name}/{seed}.json"
            raise UserError(
                place, got="other questions", expected="those of the other seeds", do="make ablation"
            )
    splits = [
        split
        for split in first.questions
        if all(split in one.counts.get(one.last, {}) for one in read.values())
    ]
    if of is not None:
        if of not in splits:
            expected = f"one of {', '.join(splits)}, the splits of arm {name}"
            raise UserError("--set", got=of, expected=expected, do="csrdata compare --help")
        splits = [of]
    figures: dict[str, BySeed] = {
        split: {seed: one.counts[one.last][split].ratios() for seed, one in read.items()} for split in splits
    }
    return Side(
        name=f"arm {name}",
        figures=figures,
        protocols={split: _protocol(first, split) for split in splits},
        labels=FIGURES,
    )


def _is_arm(word: str, names: Sequence[str], results: Path) -> bool:
    if word.startswith("arm:"):
        return True
    plain = word not in {"", ".", ".."} and Path(word).name == word
    return word not in names and plain and (results / word).is_dir()


def _file(word: str, of: str | None, options: Sequence[str], stated: Path | None) -> Side:
    path = Path(word)
    if not path.is_file():
        raise UserError("a side", got=word, expected=FORMS, do="csrdata compare --help")
    if of is None:
        raise UserError(
            "--set", got="nothing", expected=f"the set that {word} answers", do="csrdata compare --help"
        )
    return side_of_file(path, of, open_bench(of, options), stated=stated)


def _protocol(result: Result, split: str) -> Protocol:
    """Return how an arm's figures were made. Decoding is part of what an arm may change."""
    counts = result.counts[result.last][split]
    return Protocol(
        measure=f"CHAIR, {result.origin.profile}, world {result.world}{', quick' if result.origin.quick else ''}",
        rules=result.questions[split],
        images=len(counts.answers),
        questions=sum(counts.answers),
        images_sha256=result.questions[split],
        questions_sha256=result.questions[split],
        truth_sha256=result.questions[split],
        prompt=AS_ASKED,
        max_new_tokens=OF_THE_ARM,
        decoding=OF_THE_ARM,
        last_sentence=UNFINISHED_SENTENCE,
        model=result.origin.arm,
    )
