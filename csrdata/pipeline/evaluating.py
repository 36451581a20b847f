"""Wiring of `csrdata evaluate`: answers of a file or of an iteration in, figures with intervals and their protocol out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.answers_file import protocol_of, read_answers_file
from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.intervals import seed_for
from csrdata.evaluation.measured import Evaluation, values_of
from csrdata.evaluation.pack.base import Bench, facts_of
from csrdata.evaluation.protocol import AS_ASKED, Protocol
from csrdata.evaluation.record import read_record
from csrdata.params import load_params
from csrdata.pipeline.answers import evaluated_by, read_answers
from csrdata.storage.json_values import open_json

RESAMPLES, CONFIDENCE, SEED = 2000, 95.0, 0
"""Of the intervals, as in the shipped params.yaml (`summarize`)."""


@dataclass(frozen=True)
class Answered:
    """One model's answers to a benchmark's questions."""

    name: str
    texts: Mapping[str, str]
    protocol: Protocol

    def measured(self, bench: Bench) -> Measured:
        """Return the figures."""
        return bench.measure(self.texts)


def answers_of_file(path: Path, bench: Bench, *, stated: Path | None) -> Answered:
    """Return the answers of a file, matched with the benchmark's questions.

    Raises:
        UserError: see `read_answers_file`.
    """
    brought = read_answers_file(path, bench, stated=stated)
    return Answered(str(path), brought.texts, protocol_of(brought, bench))


def answers_of_policy(name: str, bench: Bench, *, split: str) -> Answered:
    """Return the answers of this project's base or of an iteration to one of its splits.

    Args:
        name: base, or an iteration of params.yaml.
        bench: of the split.
        split: of this project.

    Raises:
        UserError: there is no such policy, it was not evaluated, or on other questions.
    """
    names = [paths.BASE, *load_params().iterations]
    if name not in names:
        raise UserError(
            "--iteration", got=name, expected=f"one of {', '.join(names)}", do="csrdata evaluate --help"
        )
    given = {answer.question_id: answer.text for answer in read_answers(name)}
    for item in bench.items:
        if item.key not in given:
            place, expected = f"answers of {name}", f"the questions of {bench.title}"
            raise UserError(place, got=f"no answer to {item.key}", expected=expected, do=evaluated_by(name))
    record = read_record(open_json(paths.evaluation_record(name), made_by=evaluated_by(name)))
    facts = facts_of(bench)
    if split not in record.sets or record.sets[split].images_sha256 != facts["images_sha256"]:
        place, expected = str(paths.evaluation_record(name)), f"the images of {paths.QUESTIONS}"
        raise UserError(place, got="another image list", expected=expected, do=evaluated_by(name))
    limits = (
        (record.description_tokens, record.sets[split].descriptions),
        (record.yes_no_tokens, record.sets[split].yes_no_questions),
    )
    return Answered(
        name,
        {item.key: given[item.key] for item in bench.items},
        Protocol(
            **facts,
            prompt=AS_ASKED,
            max_new_tokens=" and ".join(dict.fromkeys(str(limit) for limit, asked in limits if asked)),
            decoding=record.decoding,
            last_sentence=record.unfinished_sentence,
            model="base" if name == paths.BASE else f"iteration {name}",
            versions=dict(record.versions),
        ),
    )


def evaluate(answered: Answered, bench: Bench) -> Evaluation:
    """Return the figures of some answers with intervals over images.

    Raises:
        UserError: no figure exists.
    """
    measured = answered.measured(bench)
    figures = values_of(
        measured,
        bench.labels,
        check=bench.check,
        resamples=RESAMPLES,
        confidence=CONFIDENCE,
        seed=seed_for(SEED, bench.kind),
    )
    protocol = answered.protocol
    if protocol.model == "unknown":
        protocol = replace(protocol, model=Path(answered.name).stem)
    return Evaluation(
        name=answered.name,
        benchmark=bench.title,
        variant=bench.variant,
        protocol=protocol,
        empty_answers=sum(not text.strip() for text in answered.texts.values()),
        confidence=CONFIDENCE,
        figures=figures,
    )
