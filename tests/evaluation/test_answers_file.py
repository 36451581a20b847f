"""Answers of any model: matched with the questions one to one, and what their maker says of how they were made."""

from pathlib import Path
from typing import Any

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.answers_file import protocol_of, read_answers_file
from csrdata.evaluation.pack.base import Bench
from csrdata.evaluation.pack.questions import questions_bench
from csrdata.evaluation.pack.repope import repope
from csrdata.evaluation.protocol import AS_ASKED, UNKNOWN, Protocol, check_comparable
from csrdata.evaluation.scorecard import Known
from csrdata.evaluation_sets.pope_file import PopeFile
from tests.evaluation.pack.files import POPE, POPE_SAYS, array, lines
from tests.evaluation_sets.coco_files import chair_set, write_coco

SAID = [
    {"question_id": row["question_id"], "answer": text} for row, text in zip(POPE, POPE_SAYS, strict=True)
]


def _pope(folder: Path) -> Bench:
    asked = PopeFile("pope", "val2014", lines(folder / "pope.json", POPE), "random").ask([])
    return questions_bench("pope", asked.questions, None, kind="pope")


def _chair(folder: Path) -> Bench:
    chair = chair_set(write_coco(folder), images=3)
    asked = chair.ask([])
    known = Known({truth.image: truth for truth in asked.truths}, chair.claim_parser())
    return questions_bench(chair.name, asked.questions, known, kind="coco_chair")


def test_answers_are_named_as_the_public_file_names_them(tmp_path: Path) -> None:
    """POPE's question_id, COCO's image_id and an image's name find their question, in any order; lines or an array."""
    pope = _pope(tmp_path)
    brought = read_answers_file(lines(tmp_path / "a.jsonl", SAID[::-1]), pope)
    assert list(brought.texts.values()) == POPE_SAYS
    chair = _chair(tmp_path)
    names = [item.image.rpartition("/")[2] for item in chair.items]
    rows: list[dict[str, Any]] = [{"image_id": int(names[0][-16:-4]), "caption": "A dog."}]
    rows += [{"image": name, "caption": "A dog."} for name in names[1:]]
    assert set(read_answers_file(array(tmp_path / "a.json", rows), chair).texts) == {
        one.key for one in chair.items
    }


def test_the_figures_are_those_of_the_pipeline(tmp_path: Path) -> None:
    """POPE by its three rules; figures that need more than a text are absent."""
    bench = _pope(tmp_path)
    found = {
        name: one.value
        for name, one in bench.measure(
            read_answers_file(lines(tmp_path / "a.jsonl", SAID), bench).texts
        ).items()
    }
    # Right answers: yes no yes no no. Said: yes, yes, neither, neither, yes (strict reads the first and the last).
    assert (found["pope_accuracy"], found["pope_keyword_accuracy"]) == (20.0, 40.0)
    assert (found["pope_strict_accuracy"], found["pope_unparsed"]) == (20.0, 40.0)
    assert "finished" not in found


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*SAID, SAID[0]], "line 6: got a second answer to pope-000001"),
        (SAID[:-1], "no answer to 1 of 5 questions, the first pope-000005"),
        ([*SAID, {"question_id": 77, "answer": "yes"}], "got 77, .* another list"),
        ([{"answer": "yes"}], "line 1: got keys answer"),
        ([{"question_id": 1}], "expected an answer under one of"),
        ([{"question_id": 1, "answer": 1}], "answer: got 1, expected a text"),
        ([{"question_id": True, "answer": "yes"}], "the question's id"),
        ([{"question_id": 1, "answer": "yes", "prompt": 5}], "prompt: got 5"),
        ([{"protocol": {"tokens": 5}}], "protocol: tokens: got an unknown key"),
        ([{"protocol": {"max_new_tokens": 0}}], "max_new_tokens: got 0"),
        (
            [{"protocol": {"decoding": "greedy"}}, {"protocol": {"decoding": "beam"}}],
            "got beam, expected greedy",
        ),
    ],
)
def test_no_answer_is_skipped(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    """A doubled, missing, foreign or malformed answer is one line, never another figure."""
    with pytest.raises(UserError, match=words) as caught:
        read_answers_file(lines(tmp_path / "a.jsonl", rows), _pope(tmp_path))
    assert "\n" not in str(caught.value)


def test_spare_answers_are_let_pass(tmp_path: Path) -> None:
    """Answers to POPE's questions that RePOPE left out are read and not measured; without POPE's file they are foreign."""
    pope = lines(tmp_path / "pope.json", POPE)
    kept = lines(tmp_path / "repope.json", POPE[:4])
    answers = lines(tmp_path / "a.jsonl", SAID)
    assert list(read_answers_file(answers, repope(kept, strategy="random", pope=pope)).texts) == list("1234")
    with pytest.raises(UserError, match="another list"):
        read_answers_file(answers, repope(kept, strategy="random", pope=None))


def test_what_nobody_says_is_unknown(tmp_path: Path) -> None:
    """The protocol has the set's hashes, what the file states, and `unknown` for the rest; prompts are held to the set's."""
    bench = _pope(tmp_path)
    bare = protocol_of(read_answers_file(lines(tmp_path / "a.jsonl", SAID), bench), bench)
    assert (bare.prompt, bare.max_new_tokens, bare.decoding, bare.last_sentence) == (UNKNOWN,) * 4
    assert (bare.images, bare.questions) == (3, 5)
    said = [
        {**row, "prompt": f"{one['text']}\nAnswer with one word."}
        for row, one in zip(SAID, POPE, strict=True)
    ]
    stated = array(
        tmp_path / "p.json", {"max_new_tokens": 16, "model": "LLaVA", "versions": {"torch": "2.9"}}
    )
    full = read_answers_file(
        lines(tmp_path / "b.jsonl", [{"protocol": {"decoding": "greedy"}}, *said]), bench, stated=stated
    )
    protocol = protocol_of(full, bench)
    assert protocol.prompt == f"{AS_ASKED}, then {chr(39)}\\nAnswer with one word.{chr(39)}"
    assert (protocol.max_new_tokens, protocol.decoding, protocol.model) == ("16", "greedy", "LLaVA")
    assert protocol.versions["torch"] == "2.9"
    assert bare.questions_sha256 == protocol.questions_sha256


KNOWN = Protocol("POPE", "r", 1, 2, "i", "q", None, "p", "16", "greedy", "counted")


@pytest.mark.parametrize(
    "key",
    [
        "measure",
        "rules",
        "images_sha256",
        "questions_sha256",
        "prompt",
        "max_new_tokens",
        "decoding",
        "last_sentence",
    ],
)
def test_figures_made_otherwise_are_refused(key: str) -> None:
    """A fact that differs is refused and named, even where unknown facts are accepted; model and versions may differ."""
    fields = {name: getattr(KNOWN, name) for name in Protocol.__slots__} | {
        "model": "another",
        "versions": {"a": "1"},
    }
    same = Protocol(**fields)
    assert check_comparable(KNOWN, same, names=("a", "b"), accept_unknown=False, do="") == []
    other = Protocol(**{**fields, key: "different"})
    with pytest.raises(UserError, match=f"b: {key}: got different"):
        check_comparable(KNOWN, other, names=("a", "b"), accept_unknown=True, do="")


def test_an_unknown_fact_equals_nothing() -> None:
    """Unknown of one side or of both is refused until it is accepted, and then it is listed."""
    fields = {name: getattr(KNOWN, name) for name in Protocol.__slots__} | {"decoding": UNKNOWN}
    one = Protocol(**fields)
    for a, b in ((KNOWN, one), (one, one)):
        with pytest.raises(UserError, match="decoding: got unknown"):
            check_comparable(a, b, names=("a", "b"), accept_unknown=False, do="")
        assert check_comparable(a, b, names=("a", "b"), accept_unknown=True, do="") == ["decoding"]
