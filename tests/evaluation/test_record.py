"""The record of an evaluation: what must be equal for two evaluations to be compared."""

from dataclasses import replace
from pathlib import Path

from csrdata.evaluation.record import EvaluationRecord, describe_evaluation, read_record
from csrdata.records import Kind, LeaveReason, LeftOut, Question
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import write_json

QUESTIONS = [
    Question(f"own-{number}", "own", Kind.DESCRIBE, f"{number}.png", "What?", answer=None, negative=None)
    for number in range(2)
]
GONE = LeftOut("own-2", "own", "2.png", LeaveReason.UNREADABLE_IMAGE, "got an empty file")


def _record(*left_out: LeftOut) -> EvaluationRecord:
    return describe_evaluation(QUESTIONS, {}, left_out=left_out, max_new_tokens=9)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What was left out is counted by reason in the file, and is there again when the file is read."""
    record = _record(
        GONE, replace(GONE, record_id="own-3"), replace(GONE, record_id="own-4", reason="excluded")
    )
    write_json(tmp_path / "record.json", record.as_json())
    assert read_record(open_json(tmp_path / "record.json", made_by="")) == record
    assert record.sets["own"].left_out == {"excluded": 1, "unreadable_image": 2}


def test_other_questions_left_out_is_another_protocol() -> None:
    """The same questions with another number, image or reason of those left out are not compared; prompts do not matter."""
    complete = _record().protocol()
    one = _record(GONE).protocol()
    others = [
        _record(replace(GONE, image="9.png")),
        _record(replace(GONE, reason="excluded")),
        _record(GONE, GONE),
    ]
    assert len({str(protocol) for protocol in (complete, one, *(other.protocol() for other in others))}) == 5
    assert _record(replace(GONE, split=None)).protocol() == complete
    assert _record(replace(GONE, detail="got other words")).protocol() == one
