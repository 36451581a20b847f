"""POPE's three splits and their mean, against counts by hand and by loops."""

import random
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.contrast import entries
from csrdata.evaluation.pack.pope_splits import mean_figures, pope_splits
from csrdata.evaluation.pack.repope import repope, repope_splits
from csrdata.evaluation.pope import YesNoReply
from csrdata.records import Side
from csrdata.storage.values import NEGATIVES
from tests.evaluation.pack.files import lines

SAID = {"Yes.": "yes", "No, none.": "no", "A cat.": None}
"""What each answer says by csrdata's rule."""


def _scores(rows: list[tuple[str, str | None]]) -> tuple[float, float]:
    """Return accuracy and F1, percent, of rows of (right, said)."""
    hits = rows.count(("yes", "yes"))
    wrong = rows.count(("no", "yes"))
    yes = sum(right == "yes" for right, _ in rows)
    return 100 * sum(a == b for a, b in rows) / len(rows), 100 * 2 * hits / (hits + wrong + yes)


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_is_over_three_splits(tmp_path: Path, seed: int) -> None:
    """Each split has its accuracy and F1, and the mean is theirs, though the splits have different numbers of questions."""
    chance = random.Random(seed)
    files, said, scores = {}, {}, []
    for size, split in enumerate(NEGATIVES, start=4):
        rows = [
            {
                "question_id": n,
                "image": f"{n % 3}.jpg",
                "text": "Is there a dog?",
                "label": ("yes", "no")[n % 2],
            }
            for n in range(1, size + 1)
        ]
        files[split] = lines(tmp_path / f"{split}.json", rows)
        texts = [chance.choice(list(SAID)) for _ in rows]
        said |= {f"{split}/{row['question_id']}": text for row, text in zip(rows, texts, strict=True)}
        scores.append(
            _scores([(str(row["label"]), SAID[text]) for row, text in zip(rows, texts, strict=True)])
        )
    bench = pope_splits(files)
    assert {item.key for item in bench.items} == set(said)
    found = bench.measure(said)
    for split, (accuracy, f1) in zip(NEGATIVES, scores, strict=True):
        assert found[f"{split}_word_accuracy"].value == pytest.approx(accuracy)
        assert found[f"{split}_word_f1"].value == pytest.approx(f1)
    assert found["mean_word_accuracy"].value == pytest.approx(sum(a for a, _ in scores) / 3)
    assert found["mean_word_f1"].value == pytest.approx(sum(f1 for _, f1 in scores) / 3)
    assert set(found) == set(bench.labels)
    assert {len(part.numerators) for one in found.values() for part in entries(one)} == {3}


def test_an_answer_names_split_and_number(tmp_path: Path) -> None:
    """Three files have the same numbers: a row has the split beside the number, or both in one key."""
    row = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "no"}
    bench = pope_splits({split: lines(tmp_path / f"{split}.json", [row]) for split in NEGATIVES})
    assert bench.keys_of({"question_id": 1, "split": "popular"}) == "popular/1"
    assert bench.keys_of({"question_id": "random/1"}) == "random/1"
    with pytest.raises(UserError, match="no such file"):
        pope_splits({"random": tmp_path / "none.json"})


@pytest.mark.parametrize("seed", range(4))
def test_kinds_of_a_project_have_a_mean(seed: int) -> None:
    """Where one split asks all kinds, F1 by kind and the means equal loops over the pairs of questions; else there is none."""
    chance = random.Random(seed)
    replies, by_kind = [], {kind: list[tuple[str, str | None]]() for kind in NEGATIVES}
    for image in "abcd":
        for right in (Side.YES, Side.NO):
            for kind in NEGATIVES:  # the k-th yes question belongs to the k-th no question's kind
                text = chance.choice(list(SAID))
                replies.append(YesNoReply(image, right, kind if right == Side.NO else None, text))
                by_kind[kind].append((str(right), SAID[text]))
    found = mean_figures(replies, list("abcd"))
    scores = {kind: _scores(rows) for kind, rows in by_kind.items()}
    for kind, (_, f1) in scores.items():
        assert found[f"pope_f1_{kind}"].value == pytest.approx(f1)
    assert found["pope_accuracy_mean"].value == pytest.approx(sum(a for a, _ in scores.values()) / 3)
    assert found["pope_f1_mean"].value == pytest.approx(sum(f1 for _, f1 in scores.values()) / 3)
    assert mean_figures([one for one in replies if one.negative != "random"], list("abcd")) == {}


@pytest.mark.parametrize("seed", range(3))
def test_repopes_mean_is_over_its_splits(tmp_path: Path, seed: int) -> None:
    """Each split has what `repope` gives for it alone, and a mean is that of three; answers to POPE's other ids are ignored."""
    chance = random.Random(seed)
    files, pope, said = {}, {}, {}
    for size, split in enumerate(NEGATIVES, start=4):
        rows = [
            {"question_id": n, "image": f"{n % 3}.jpg", "text": "A dog?", "label": ("yes", "no")[n % 2]}
            for n in range(1, size + 1)
        ]
        pope[split] = lines(tmp_path / f"pope_{split}.json", rows)
        files[split] = lines(tmp_path / f"{split}.json", rows[:-1])
        said[split] = {str(row["question_id"]): chance.choice([*SAID, "Yes.", "nothing"]) for row in rows}
    bench = repope_splits(files, pope=pope)
    texts = {f"{split}/{key}": text for split, own in said.items() for key, text in own.items()}
    assert {item.key for item in bench.items} | bench.spare == set(texts)
    found = bench.measure(texts)
    assert set(found) == set(bench.labels)
    assert {len(part.numerators) for one in found.values() for part in entries(one)} == {3}
    alone = {
        split: repope(files[split], strategy=split, pope=None).measure(said[split]) for split in NEGATIVES
    }
    for name in ("accuracy", "f1", "unread", "strict_accuracy", "word_f1"):
        values = [alone[split][name].value for split in NEGATIVES]
        assert [found[f"{split}_{name}"].value for split in NEGATIVES] == values
        known = [value for value in values if value is not None]
        expected = sum(known) / 3 if len(known) == len(values) else None
        assert found[f"mean_{name}"].value == pytest.approx(expected)


def test_repope_and_pope_are_of_the_same_split(tmp_path: Path) -> None:
    """A file of another split, whose questions have the same numbers and images, is refused with the first that differs."""
    rows = [{"question_id": n, "image": "1.jpg", "text": f"A {n}?", "label": "yes"} for n in (1, 2, 3)]
    files = {split: lines(tmp_path / f"{split}.json", rows[:2]) for split in NEGATIVES}
    right = lines(tmp_path / "right.json", rows)
    wrong = lines(tmp_path / "wrong.json", [rows[0], {**rows[1], "text": "A cat?"}, rows[2]])
    words = r"wrong\.json: got no question 2 about 1\.jpg: A 2\?, expected the same split of POPE"
    with pytest.raises(UserError, match=words):
        repope(files["random"], strategy="random", pope=wrong)
    with pytest.raises(UserError, match=words):
        repope_splits(files, pope=dict(zip(files, (right, wrong, right), strict=True)))
    assert repope(files["random"], strategy="random", pope=right).spare == {"3"}
