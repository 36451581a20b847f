"""Values that are refused where a table is read: by file, row and column, with what was expected and the next command."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csrdata.columns import columns
from csrdata.errors import UserError
from csrdata.records import (
    NO_PARENT,
    Answer,
    BiasedAnswer,
    Dropped,
    Fate,
    ImageAttention,
    ImageFile,
    Kind,
    LeaveReason,
    LeftOut,
    Pair,
    Prompt,
    Question,
    Record,
    Response,
    Sentence,
    Side,
    Signal,
    Stop,
    Truth,
    Verdict,
    Winner,
    Wording,
)
from csrdata.storage.rules import blank
from csrdata.storage.tables import read_rows, read_table, schema, to_table, write_rows
from csrdata.storage.values import MAX_PROMPT, MAX_TEXT, MAX_TOKENS, RULES, check_values
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES
from tests.scores import pair_with, without_scores

GOOD: dict[Record, list[Any]] = {
    Prompt: PROMPTS,
    LeftOut: [
        LeftOut("train-00009", None, "a/9.jpg", LeaveReason.EXCLUDED, "its id is excluded"),
        LeftOut("train-00009", "unseen", "a/9.jpg", LeaveReason.UNREADABLE_IMAGE, "got an empty file"),
    ],
    ImageFile: [ImageFile("a/1.jpg", "0" * 64, 5, 20, 10), ImageFile("a/2.jpg", "a1" * 32, 1, 1, 1)],
    Sentence: SENTENCES,
    Response: RESPONSES,
    Signal: [
        Signal("train-00000", 0, "held_out", 41.5),
        Signal("train-00000", 0, "elsewhere", None),
        Signal("train-00000", 1, "held_out", 0.0),
    ],
    Verdict: [
        Verdict("train-00000", 3, 4, Winner.FIRST, Winner.SECOND, 0.5, None),
        Verdict("train-00001", 0, 1, None, Winner.FIRST, None, -2.0),
    ],
    Pair: [PAIR, without_scores(dataclasses.replace(PAIR, prompt_id="train-00001"))],
    Wording: [
        Wording("Describe.", "USER: <image> Describe. ASSISTANT:"),
        Wording(" A fog? ", "<image>A fog?"),
    ],
    Dropped: [DROPPED, dataclasses.replace(DROPPED, prompt_id="train-00002")],
    Truth: [
        Truth("images/0.png", "train", ["circle"], "{}"),
        Truth("images/1.png", "held_out", [], "{}"),
    ],
    Question: [
        Question("s1/describe", "held_out", Kind.DESCRIBE, "images/1.png", "Describe.", None, None),
        Question("s1/yes_no-0", "held_out", Kind.YES_NO, "images/1.png", "A star?", Side.YES, None),
        Question("s1/yes_no-1", "held_out", Kind.YES_NO, "images/1.png", "A fog?", Side.NO, "popular"),
    ],
    Answer: [
        Answer("s1/yes_no-0", "Yes.", 2, True, None, None, None),
        Answer("s1/describe", " A star.", 4, True, -1.5, 30.0, 40.0),
    ],
    BiasedAnswer: [
        BiasedAnswer("s1/describe", -0.5, " A star. A ring", 7, False),
        BiasedAnswer("s1/describe", 0.0, " A star.", 4, True),
    ],
    ImageAttention: [
        ImageAttention("s1/describe", "own", 0, 0.25),
        ImageAttention("s1/describe", "own", 1, 0.0),
        ImageAttention("s1/describe", "of_base", 0, 1.0),
    ],
}
NAN, INFINITE = math.nan, math.inf


def changed(row: Any, **changes: Any) -> Any:
    """Return a record with other values."""
    return pair_with(row, **changes) if isinstance(row, Pair) else dataclasses.replace(row, **changes)


@pytest.mark.parametrize("record", RULES, ids=lambda record: record.__name__)
def test_good_tables_pass(record: Record, tmp_path: Path) -> None:
    """What the stages write is read back unchanged."""
    write_rows(tmp_path / "t.parquet", GOOD[record], record)
    assert read_rows(tmp_path / "t.parquet", record, made_by="x") == GOOD[record]


@pytest.mark.parametrize("record", RULES, ids=lambda record: record.__name__)
def test_every_column_has_a_rule(record: Record) -> None:
    """A column without a rule is a Boolean, which its type bounds already."""
    without = {column.name for column in columns(record) if column.dtype != "Boolean"} - set(RULES[record])
    assert without == set()


@pytest.mark.parametrize(
    ("record", "row", "changes", "words"),
    [
        (Prompt, 1, {"prompt_id": ""}, "column prompt_id: got '', expected an id"),
        (
            Prompt,
            1,
            {"prompt_id": "train-00000"},
            "column prompt_id: got train-00000, expected ids in ascending",
        ),
        (
            Prompt,
            1,
            {"prompt_id": "a"},
            "column prompt_id: got a, expected ids in ascending order, each once",
        ),
        (Prompt, 0, {"prompt_id": "a\nb"}, "column prompt_id: got a b, expected no control characters"),
        (Prompt, 0, {"prompt_id": "a" * 300}, "column prompt_id: got 300 characters, expected at most 256"),
        (Prompt, 0, {"image": "x" * 5000}, "column image: got 5,000 characters, expected at most 1,024"),
        (
            LeftOut,
            0,
            {"reason": "bored"},
            "column reason: got bored, expected one of excluded, unreadable_image",
        ),
        (
            ImageFile,
            0,
            {"sha256": "A1" * 32},
            "column sha256: got A1.*, expected 64 hex digits in lower case",
        ),
        (ImageFile, 1, {"image": "a/1.jpg"}, "column image: got a/1.jpg, expected one row for each image"),
        (ImageFile, 0, {"bytes": 0}, "column bytes: got 0, expected a whole number of 1 or more"),
        (Prompt, 0, {"text": " \n"}, r"column text: got ' \\n', expected a text with words"),
        (
            Prompt,
            0,
            {"text": "x" * 1_000_000},
            "column text: got 1,000,000 characters, expected at most 16,384",
        ),
        (
            Verdict,
            0,
            {"second_leaf": 3},
            "column second_leaf: got 3, expected another leaf than first_leaf",
        ),
        (Verdict, 0, {"backward": "both"}, "column backward: got both, expected one of first, second"),
        (
            Verdict,
            1,
            {"forward_margin": 1.0},
            "column forward_margin: got 1.0, expected null where forward is null",
        ),
        (
            Verdict,
            1,
            {"prompt_id": "train-00000"},
            "column prompt_id: got train-00000, expected one row for each",
        ),
        (Prompt, 0, {"text": "a\0b"}, "column text: got .*, expected a text without NUL"),
        (
            Sentence,
            3,
            {"node_id": 2},
            "column node_id: got 2, expected 0 in a prompt's first row, and 1 more",
        ),
        (Sentence, 0, {"node_id": 1}, "column node_id: got 1, expected 0 in a prompt's first row"),
        (Sentence, 1, {"prompt_id": "a\nb"}, "column prompt_id: got a b, expected no control characters"),
        (Sentence, 4, {"prompt_id": "a"}, "column prompt_id: got a, expected prompts in ascending order"),
        (
            Sentence,
            3,
            {"parent_id": 3},
            "column parent_id: got 3, expected the node_id of an earlier sentence, or -1",
        ),
        (Sentence, 1, {"parent_id": 4}, "column parent_id: got 4, expected the node_id of an earlier"),
        (Sentence, 3, {"parent_id": -2}, "column parent_id: got -2, expected the node_id of an earlier"),
        (Sentence, 4, {"parent_id": 2}, "column parent_id: got 2, expected a sentence that was kept"),
        (Sentence, 4, {"depth": 3}, "column depth: got 3, expected 1 for a first sentence, else 1 more"),
        (Sentence, 0, {"depth": 0}, "column depth: got 0, expected 1 for a first sentence"),
        (Sentence, 0, {"group": -1}, "column group: got -1, expected a whole number of 0 or more"),
        (
            Sentence,
            0,
            {"text": "x" * (MAX_TEXT + 1)},
            "column text: got 131,073 characters, expected at most 131,072",
        ),
        (Sentence, 0, {"token_ids": []}, r"column token_ids: got \[\], expected 1 token or more"),
        (
            Sentence,
            0,
            {"token_ids": [5, -1]},
            r"column token_ids: got \[5, -1\], expected token ids of 0 or more",
        ),
        (
            Sentence,
            0,
            {"token_ids": [1] * (MAX_TOKENS + 1)},
            "column token_ids: got 16,385 tokens, expected at most",
        ),
        (Sentence, 0, {"token_ids": [1, None]}, r"column token_ids: got \[1, None\], expected no nulls"),
        (
            Sentence,
            0,
            {"logprob": 0.5},
            "column logprob: got 0.5, expected a finite log-probability, at most 0",
        ),
        (Sentence, 0, {"logprob": NAN}, "column logprob: got nan"),
        (Sentence, 0, {"logprob": -INFINITE}, "column logprob: got -inf"),
        (Sentence, 1, {"relevance": NAN}, "column relevance: got nan, expected a number of 0..100"),
        (Sentence, 1, {"relevance": 170.3}, "column relevance: got 170.3, expected a number of 0..100"),
        (Sentence, 1, {"relevance": -1.0}, "column relevance: got -1.0, expected a number of 0..100"),
        (
            Sentence,
            1,
            {"relevance": None},
            "column relevance: got null, expected null where the text is empty",
        ),
        (Sentence, 3, {"relevance": 1.0}, "column relevance: got 1.0, expected null where the text is empty"),
        (Sentence, 1, {"repetition": 1.5}, "column repetition: got 1.5, expected a number of 0..1"),
        (Sentence, 1, {"repetition": None}, "column repetition: got null, expected a score"),
        (
            Sentence,
            1,
            {"guidance_reward": INFINITE},
            "column guidance_reward: got inf, expected a finite number",
        ),
        (Sentence, 1, {"stop": "tired"}, "column stop: got tired, expected one of sentence_end, end"),
        (Sentence, 1, {"fate": "eaten"}, "column fate: got eaten, expected one of kept_best, kept_worst"),
        (
            Sentence,
            2,
            {"fate": Fate.FINISHED},
            "column fate: got finished, expected finished where stop is end",
        ),
        (
            Sentence,
            0,
            {"stop": "too_long"},
            "fate: got kept_best, expected refused where stop is bad_image or",
        ),
        (
            Sentence,
            0,
            {"stop": "bad_image", "fate": "refused"},
            "expected no other row of the prompt where fate",
        ),
        (Wording, 1, {"text": "Describe."}, "column text: got Describe., expected one row for each text"),
        (
            Wording,
            0,
            {"rendered": "USER: <image>"},
            "rendered: got USER: <image>, expected a prompt with the instr",
        ),
        (Sentence, 3, {"canonical": None}, "column canonical: got null, expected null where fate is refused"),
        (Sentence, 0, {"canonical": None}, "column canonical: got null, expected null where fate is refused"),
        (
            Response,
            1,
            {"leaf_id": 3},
            "column leaf_id: got 3, expected one row for each prompt_id and leaf_id",
        ),
        (Response, 0, {"words": -1}, "column words: got -1"),
        (Response, 0, {"sentences": -1}, "column sentences: got -1"),
        (Response, 0, {"tokens": 0}, "column tokens: got 0, expected a whole number of 1 to 16,384"),
        (Response, 0, {"reward": NAN}, "column reward: got nan, expected a finite number"),
        (Response, 0, {"reward_held_out": -INFINITE}, "column reward_held_out: got -inf"),
        (Response, 0, {"likelihood": INFINITE}, "column likelihood: got inf"),
        (Response, 0, {"relevance_held_out": 100.1}, "column relevance_held_out: got 100.1"),
        (
            Pair,
            1,
            {"prompt_id": "train-00000"},
            "column prompt_id: got train-00000, expected one row for each prompt_id",
        ),
        (
            Pair,
            0,
            {"rejected": " A red circle.\n"},
            r"column rejected: got  ?A red circle\..*, expected another text",
        ),
        (Pair, 0, {"chosen": ""}, "column chosen: got '', expected a text with words"),
        (Pair, 0, {"chosen_leaf": 4}, "column rejected_leaf: got 4, expected another leaf"),
        (Pair, 0, {"origin": "A judge"}, "column origin: got A judge, expected a name of a-z, 0-9 and _"),
        (Pair, 0, {"origin": ""}, "column origin: got '', expected a name of a-z, 0-9 and _"),
        (Pair, 0, {"margin": 0.9}, "column margin: got 0.9, expected chosen_reward - rejected_reward"),
        (Pair, 0, {"chosen_reward": 0.0, "margin": -0.1}, "column margin: got -0.1, expected 0 or more"),
        (Pair, 0, {"chosen_reward": INFINITE, "margin": INFINITE}, "column chosen_reward: got inf"),
        (Pair, 0, {"rejected_logprob": 1.0}, "column rejected_logprob: got 1.0"),
        (Pair, 0, {"number": 1}, "column number: got 1, expected 0, 1, ... for the pairs of a prompt"),
        (
            Pair,
            0,
            {"chosen_complete": False, "chosen_end": 2},
            "column chosen_end: got 2, expected null where chosen_complete is false",
        ),
        (
            Pair,
            0,
            {"chosen": "", "chosen_complete": True},
            "column chosen: got '', expected a text with words",
        ),
        (
            Pair,
            0,
            {"chosen": "", "chosen_complete": False, "context": "A."},
            "column chosen: got '', expected a text with words",
        ),
        (Pair, 0, {"rejected_tokens": -4}, "column rejected_tokens: got -4"),
        (Dropped, 0, {"reason": "bored"}, "column reason: got bored, expected one of no_response"),
        (Dropped, 1, {"prompt_id": "train-00001"}, "column prompt_id: got train-00001, expected one row"),
        (
            Truth,
            1,
            {"image": "images/0.png", "split": "train"},
            "column image: got images/0.png, expected one row for each image and split",
        ),
        (Truth, 0, {"split": "../x"}, "column split: got ../x, expected a name of letters, digits"),
        (
            Truth,
            0,
            {"objects": ["circle", ""]},
            r"column objects: got \['circle', ''\], expected names of 1 to 256",
        ),
        (Truth, 0, {"objects": ["x"] * 1001}, "column objects: got 1,001 objects, expected at most 1,000"),
        (Question, 0, {"kind": "riddle"}, "column kind: got riddle, expected one of describe, yes_no"),
        (
            Question,
            0,
            {"answer": "yes"},
            "column answer: got yes, expected yes or no for a yes/no question, else null",
        ),
        (Question, 1, {"answer": None}, "column answer: got null, expected yes or no for a yes/no question"),
        (Question, 1, {"answer": "maybe"}, "column answer: got maybe, expected yes or no"),
        (Question, 1, {"negative": "random"}, "column negative: got random, expected one of random, popular"),
        (Question, 2, {"negative": "rare"}, "column negative: got rare, expected one of random, popular"),
        (
            Question,
            2,
            {"question_id": "s1/describe"},
            "column question_id: got s1/describe, expected one row",
        ),
        (Answer, 1, {"question_id": "s1/yes_no-0"}, "column question_id: got s1/yes_no-0, expected one row"),
        (Answer, 0, {"tokens": -1}, "column tokens: got -1"),
        (Answer, 1, {"logprob_base": 2.0}, "column logprob_base: got 2.0"),
        (Answer, 1, {"relevance": NAN}, "column relevance: got nan"),
        (
            BiasedAnswer,
            1,
            {"bias": -0.5},
            "column question_id: got s1/describe, expected one row for each question_id and bias",
        ),
        (BiasedAnswer, 0, {"bias": NAN}, "column bias: got nan, expected a finite number"),
        (BiasedAnswer, 0, {"tokens": -1}, "column tokens: got -1"),
        (
            ImageAttention,
            1,
            {"position": 0},
            "column question_id: got s1/describe, expected one row for each question_id and of and position",
        ),
        (ImageAttention, 0, {"position": -1}, "column position: got -1"),
        (ImageAttention, 0, {"share": 1.5}, "column share: got 1.5, expected a number of 0..1"),
        (ImageAttention, 0, {"share": NAN}, "column share: got nan"),
    ],
)
def test_a_wrong_value_is_refused(
    record: Record, row: int, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """One wrong value in an otherwise good table is named by file, row and column, and the maker is the next command."""
    rows: Sequence[Any] = [
        changed(good, **changes) if index == row else good for index, good in enumerate(GOOD[record])
    ]
    write_rows(tmp_path / "t.parquet", rows, record)
    with pytest.raises(UserError, match=words) as caught:
        read_table(tmp_path / "t.parquet", record, made_by="dvc repro maker")
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 't.parquet'}: row ")
    assert line.endswith("Next: dvc repro maker")
    assert "\n" not in line
    assert len(line) < 500


def test_the_bound_on_a_prompt_is_what_it_says(tmp_path: Path) -> None:
    """A prompt of exactly the bound is read, one character more is not."""
    for length, fits in ((MAX_PROMPT, True), (MAX_PROMPT + 1, False)):
        write_rows(tmp_path / "t.parquet", [Prompt("p", "i.png", "ж" * length)], Prompt)
        if fits:
            read_table(tmp_path / "t.parquet", Prompt, made_by="x")
        else:
            with pytest.raises(UserError, match="got 16,385 characters"):
                read_table(tmp_path / "t.parquet", Prompt, made_by="x")


def test_rounding_is_no_mistake(tmp_path: Path) -> None:
    """A cosine a little above 1 and a log-probability a little above 0 are float32's rounding."""
    rows = [dataclasses.replace(SENTENCES[0], relevance=100.00001, repetition=1.000001, logprob=1e-7)]
    write_rows(tmp_path / "t.parquet", rows, Sentence)
    read_table(tmp_path / "t.parquet", Sentence, made_by="x")


def test_prompts_must_have_rows(tmp_path: Path) -> None:
    """Without prompts there is nothing to make."""
    write_rows(tmp_path / "t.parquet", [], Prompt)
    with pytest.raises(UserError, match=r"t\.parquet: got no rows, expected 1 prompt or more\. Next: x"):
        read_table(tmp_path / "t.parquet", Prompt, made_by="x")


@pytest.mark.parametrize("record", [Truth, Question, ImageFile, LeftOut], ids=lambda record: record.__name__)
def test_other_tables_may_be_empty(record: Record, tmp_path: Path) -> None:
    """A source of real images knows no truth and asks no questions; its tables are read back with their columns."""
    write_rows(tmp_path / "t.parquet", [], record)
    found = read_table(tmp_path / "t.parquet", record, made_by="x")
    assert (len(found), found.columns) == (0, [column.name for column in columns(record)])


@pytest.mark.parametrize(
    "record", [Response, Pair, Dropped, Truth, Question, Answer, BiasedAnswer, ImageAttention]
)
def test_other_tables_may_have_any_order(record: Record, tmp_path: Path) -> None:
    """Other tables may have any order, because readers match rows by id."""
    write_rows(tmp_path / "t.parquet", GOOD[record][::-1], record)
    assert len(read_table(tmp_path / "t.parquet", record, made_by="x")) == len(GOOD[record])


def test_invalid_utf8_is_one_line(tmp_path: Path) -> None:
    """A lone surrogate, or any other bytes that are not UTF-8, are refused as an unreadable table."""
    raw = pa.array([b"p0", "p\ud800".encode("utf-8", "surrogatepass")], pa.binary())
    ids = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    words = pa.array(["no_response", "no_response"])
    pq.write_table(pa.table({"prompt_id": ids, "reason": words, "detail": words}), tmp_path / "t.parquet")
    with pytest.raises(
        UserError, match=r"t\.parquet: got .*UTF-8, expected a readable Parquet file\. Next: x"
    ):
        read_table(tmp_path / "t.parquet", Dropped, made_by="x")


def test_blank_means_what_the_search_means() -> None:
    """A text is blank to the rules exactly where `str.strip` leaves nothing."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    found = pl.DataFrame({"text": characters}).select(blank(pl.col("text"))).to_series().to_list()
    assert found == [not character.strip() for character in characters]


def test_pairs_of_other_forms_are_valid() -> None:
    """Several pairs of one prompt; a sentence and the end after a context; a margin that is no difference of rewards."""
    stop = pair_with(
        PAIR,
        context=" A red circle.",
        chosen="",
        rejected=" A fog.",
        rejected_complete=False,
        origin="csr_ends",
        number=1,
        margin=6.0,
        chosen_reward=None,
        chosen_end=2,
    )
    check_values(to_table([PAIR, stop], Pair), Pair, place="t", made_by="x")


def test_a_million_rows_take_seconds() -> None:
    """The check of a search of 50,000 prompts takes far less time than the search itself."""
    trees, size = 50_000, 20
    numbers = pl.DataFrame({"row": range(trees * size)}).with_columns(node_id=pl.col("row") % size)
    ends = pl.col("node_id") >= size - 5
    table = numbers.select(
        prompt_id=pl.format("train-{}", (pl.col("row") // size).cast(pl.String).str.zfill(6)),
        node_id="node_id",
        parent_id=pl.when(pl.col("node_id") < 5).then(NO_PARENT).otherwise(pl.col("node_id") - 5),
        depth=pl.col("node_id") // 5 + 1,
        group=pl.col("node_id") % 5,
        text=pl.when(ends)
        .then(pl.lit(""))
        .otherwise(pl.lit(" There is a small red circle at the top left.")),
        token_ids=pl.concat_list([pl.col("row")] * 12),
        logprob=pl.lit(-2.0),
        relevance=pl.when(~ends).then(20.0),
        relevance_truncated=pl.lit(value=False),
        repetition=pl.when(~ends).then(0.2),
        guidance_reward=pl.when(~ends).then(0.2),
        stop=pl.when(ends).then(pl.lit(Stop.END.value)).otherwise(pl.lit(Stop.SENTENCE_END.value)),
        fate=pl.when(ends).then(pl.lit(Fate.FINISHED.value)).otherwise(pl.lit(Fate.KEPT_BEST.value)),
        canonical=pl.lit(value=True),
    ).cast(schema(Sentence))  # type: ignore[arg-type]
    assert table.columns == to_table([], Sentence).columns
    start = time.process_time()
    check_values(table, Sentence, place="t", made_by="x")
    assert time.process_time() - start < 20


def test_a_policy_may_write_any_character() -> None:
    """A byte-level tokenizer can write NUL: an answer with it is a bad answer, but its table is valid."""
    odd = [dataclasses.replace(row, text=f"{row.text}\0") if row.text else row for row in SENTENCES]
    check_values(to_table(odd, Sentence), Sentence, place="t", made_by="x")
