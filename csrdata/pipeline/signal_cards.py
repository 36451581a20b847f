"""Wiring of the report card of signals: an iteration's candidates, signals and truth in; one card for each signal out.

No stage: `measure_signals` must not read the truth, and nothing depends on a card.
"""

from collections.abc import Iterator

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.signal_cards import SignalCard, seconds_per_sentence, signal_cards
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import source_truths
from csrdata.records import Prompt, Sentence, Signal, Truth
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import read_rows

SAMPLED = "dvc repro sample_prompts"


def iteration_cards(params: Params, name: str) -> list[SignalCard]:
    """Return the cards of an iteration's signals, shard by shard.

    Raises:
        UserError: the source knows no truth, or a table is missing or damaged.
    """
    parser = open_source(params.source).claim_parser()
    if parser is None:
        raise UserError(
            f"source of kind {params.source.kind}",
            got="images without known truth",
            expected="a source that knows what is in its images, as the microworld does",
            do="judge the signals on such a source",
        )
    truths = source_truths(params.evaluation_sets, read_rows(paths.TRUTH, Truth, made_by=SAMPLED))
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
    return signal_cards(
        shards(name),
        {prompt.prompt_id: truths[prompt.image] for prompt in prompts if prompt.image in truths},
        parser,
        seconds=seconds_per_sentence(paths.run_log("measure_signals", name)),
    )


def shards(name: str) -> Iterator[tuple[list[Sentence], list[Signal]]]:
    """Yield the candidates and the signals of each shard of an iteration."""
    made_by, measured_by = f"dvc repro generate_beams@{name}", f"dvc repro measure_signals@{name}"
    for file in check_shards(paths.signals(name), made_by=measured_by).names():
        yield (
            read_rows(paths.candidates(name) / file, Sentence, made_by=made_by),
            read_rows(paths.signals(name) / file, Signal, made_by=measured_by),
        )
