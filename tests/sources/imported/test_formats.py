"""Layouts of published preference datasets: one small row of each, and what is no row of it."""

import json
import re
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.sources.imported.formats import FORMATS, Columns, NoPair, RawPair, by_columns
from tests.imports import ROOT

IMAGE = {"bytes": b"...", "path": "1.jpg"}


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def completion(response: str, *ratings: object) -> dict[str, Any]:
    names = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
    return {
        "model": "m",
        "response": response,
        "annotations": {
            name: {"Rating": str(rating), "Rationale": "..."}
            for name, rating in zip(names, ratings, strict=False)
        },
    }


RATED = [
    completion("A dog.", 2, 1, 5),
    completion("A cat.", 5, 5, 5),
    completion("?", 1),
    completion("B.", 5, 5, 5),
]
"""Means: 8/3, 5, none because a rating is missing, 5."""

ROWS: dict[str, dict[str, Any]] = {
    "rlhf-v": {
        "ds_name": "RLHF-V",
        "image": IMAGE,
        "text": json.dumps({"question": "What?", "chosen": "A cat.", "rejected": "A dog."}),
    },
    "rlaif-v": {"image": IMAGE, "question": "What?", "chosen": "A cat.", "rejected": "A dog.", "idx": "7"},
    "povid": {
        "id": "7",
        "image": "1.jpg",
        "conversations": turns("What?", "A cat."),
        "rejected_conversations": turns("What?", "A dog."),
    },
    "llava-rlhf": {
        "id": "7",
        "image": "1.jpg",
        "conversations": turns("What?", "unused"),
        "output_1": {"from": "llava", "value": "A dog."},
        "output_2": {"from": "llava", "value": "A cat."},
        "preference": 2,
    },
    "vlfeedback": {"id": "7", "prompt": "What?", "img_path": "1.jpg", "completions": RATED},
    "vlfeedback-all": {"id": "7", "prompt": "What?", "img_path": "1.jpg", "completions": RATED[:2]},
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_gives_its_pair(name: str) -> None:
    """Image, question, the better and the worse answer, wherever the layout has them."""
    image = IMAGE if name in {"rlhf-v", "rlaif-v"} else "1.jpg"
    margin = 5 - 8 / 3 if name.startswith("vlfeedback") else None
    assert FORMATS[name].pairs(ROWS[name]) == [RawPair(image, "What?", "A cat.", "A dog.", margin=margin)]
    assert set(FORMATS[name].columns) & ROWS[name].keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_of_another_layout_is_named(name: str) -> None:
    """A key that is missing is an error that lists those that are there."""
    for other, row in ROWS.items():
        if other.removesuffix("-all") != name.removesuffix("-all"):
            with pytest.raises(UserError, match=r"got no such key, expected one of \w+"):
                FORMATS[name].pairs(row)


@pytest.mark.parametrize("name", FORMATS)
def test_a_layout_names_what_it_was_compared_with(name: str) -> None:
    """Each card and loader has its revision; no host is named."""
    form = FORMATS[name]
    assert form.compared_with
    for words in form.compared_with:
        assert re.search(r"[\w.-]+/[\w.-]+ at [0-9a-f]{7}\b", words), words
        revision = words.partition(" at ")[2][:7]
        assert revision in (ROOT / "docs/arms.md").read_text(encoding="utf-8")
    assert not any("://" in words or ".co" in words for words in (*form.compared_with, *form.not_checked))


def test_every_two_completions_with_unequal_ratings_are_a_pair() -> None:
    """The order of the row; two of one rating are no pair, nor is one without all ratings; 4 completions, 6 entries."""
    found = FORMATS["vlfeedback-all"].pairs(ROWS["vlfeedback-all"] | {"completions": RATED})
    pairs = [one for one in found if isinstance(one, RawPair)]
    assert [(one.chosen, one.rejected, one.margin) for one in pairs] == [
        ("A cat.", "A dog.", 5 - 8 / 3),
        ("B.", "A dog.", 5 - 8 / 3),
    ]
    none = [(one.reason.value, str(one)) for one in found if isinstance(one, NoPair)]
    assert sorted(none) == [
        *[("no_response", "a completion without all ratings")] * 3,
        ("under_margin", "two completions are rated 5.00"),
    ]


def test_a_rating_beyond_every_float_is_no_rating() -> None:
    """JSON may hold an integer of hundreds of digits: its completion is left out, as one without a rating."""
    huge = completion("a", 1, 1, 1)
    huge["annotations"]["Helpfulness"]["Rating"] = 10**400
    with pytest.raises(NoPair, match="1 completions with all ratings"):
        FORMATS["vlfeedback"].pairs(ROWS["vlfeedback"] | {"completions": [huge, RATED[0]]})


def test_a_mean_does_not_depend_on_the_order_of_the_ratings() -> None:
    """Two completions with the same three ratings are rated alike: rounding makes no pair of them."""
    rows = [completion("a", 1.1, 2.2, 4.3), completion("b", 4.3, 2.2, 1.1), completion("c", 1, 1, 1)]
    for name, pairs in (("vlfeedback", 1), ("vlfeedback-all", 2)):
        found = FORMATS[name].pairs(ROWS[name] | {"completions": rows})
        assert sum(isinstance(one, RawPair) for one in found) == pairs


def test_any_table_by_its_columns() -> None:
    """Plain texts, or TRL's conversations of one turn and lists of one image."""
    plain = by_columns(Columns(chosen="good", rejected="bad"))
    row = {"image": "1.jpg", "prompt": "What?", "good": "A cat.", "bad": "A dog."}
    assert plain.pairs(row) == [RawPair("1.jpg", "What?", "A cat.", "A dog.")]
    assert plain.columns == ("image", "prompt", "good", "bad")
    trl = {
        "images": [IMAGE],
        "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
        "rejected": [{"role": "assistant", "content": "A dog."}],
    }
    form = by_columns(Columns(image="images"))
    assert form.pairs(trl) == [RawPair(IMAGE, "What?", "A cat.", "A dog.")]
    with pytest.raises(UserError, match="a conversation: got several turns, expected one turn"):
        form.pairs(trl | {"prompt": trl["prompt"] * 3})


def test_completions_are_read_as_datasets_stores_them() -> None:
    """A list of objects in Parquet may be an object of lists."""
    columnar = {key: [one[key] for one in RATED] for key in RATED[0]}
    row = ROWS["vlfeedback"] | {"completions": columnar}
    assert [one.chosen for one in FORMATS["vlfeedback"].pairs(row) if isinstance(one, RawPair)] == ["A cat."]


@pytest.mark.parametrize(
    ("completions", "reason", "detail"),
    [
        (RATED[1:3], "no_response", "1 completions with all ratings"),
        (RATED[1:2] + RATED[3:], "under_margin", "all 2 completions are rated 5.00"),
        ([completion("a", 0, 1, 1), completion("b", "N/A", 1, 1)], "no_response", "0 completions"),
        ([completion("a", "nan", 1, 1), completion("b", "9" * 400, 1, 1)], "no_response", "0 completions"),
    ],
)
def test_a_row_without_two_ratings_has_no_pair(completions: list[Any], reason: str, detail: str) -> None:
    """Too few rated completions, or all rated alike: a reason, no error."""
    for name in ("vlfeedback", "vlfeedback-all"):
        with pytest.raises(NoPair, match=detail) as caught:
            FORMATS[name].pairs(ROWS[name] | {"completions": completions})
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("rlhf-v", {"text": "{"}, "text: got {, expected JSON with question, chosen and rejected"),
        ("rlhf-v", {"text": "[]"}, "text: got [], expected an object"),
        (
            "povid",
            {"conversations": turns("What?", "a") * 2},
            "conversations: got several turns, expected one question",
        ),
        ("povid", {"conversations": turns("What?", "a")[::-1]}, "conversations: got turns of gpt, human"),
        ("povid", {"rejected_conversations": turns("Who?", "a")}, "got Who?, expected the question of"),
        ("povid", {"conversations": "x"}, "conversations: got x, expected a list of objects"),
        ("llava-rlhf", {"conversations": turns("What?", "a") * 3}, "a prompt has no earlier turns"),
        ("llava-rlhf", {"preference": 0}, "preference: got 0, expected 1 or 2"),
        ("llava-rlhf", {"preference": True}, "preference: got True, expected 1 or 2"),
        ("llava-rlhf", {"output_1": "x"}, "output_1: got x, expected an object"),
        ("vlfeedback", {"completions": 3}, "completions: got 3, expected a list of objects"),
        ("vlfeedback-all", {"completions": RATED * 17}, "got 68 completions, expected at most 64"),
    ],
)
def test_a_bad_value_is_named(name: str, change: dict[str, Any], words: str) -> None:
    """Hostile or broken values are one line with the key."""
    with pytest.raises(UserError) as caught:
        FORMATS[name].pairs(ROWS[name] | change)
    assert words in str(caught.value)
