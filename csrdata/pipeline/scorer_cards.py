"""Wiring of `csrdata scorers`: an iteration's candidates and signals, and the truth where it is known, in; cards out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.evaluation.scorer_cards import ScorerCard
from csrdata.evaluation.scorer_cards import scorer_cards as cards_of
from csrdata.evaluation.signal_cards import seconds_per_sentence
from csrdata.params import load_params
from csrdata.pipeline.looking import iteration as chosen_iteration
from csrdata.pipeline.signal_cards import SAMPLED, shards
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import source_truths
from csrdata.records import Prompt, Truth
from csrdata.storage.tables import read_rows


def scorer_cards(name: str | None, names: Sequence[str]) -> tuple[str, list[ScorerCard]]:
    """Return an iteration, by default the last with pairs, and the cards of some scorers, by default all.

    Raises:
        UserError: a table is missing or damaged, or there is no such scorer.
    """
    params = load_params()
    name = chosen_iteration(name)
    parser = open_source(params.source).claim_parser()
    truths: dict[str, Truth] = {}
    if parser is not None and paths.TRUTH.is_file():
        known = source_truths(params.evaluation_sets, read_rows(paths.TRUTH, Truth, made_by=SAMPLED))
        prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
        truths = {prompt.prompt_id: known[prompt.image] for prompt in prompts if prompt.image in known}
    return name, cards_of(
        lambda: shards(name),
        names,
        truths=truths,
        parser=parser if truths else None,
        seconds=seconds_per_sentence(paths.run_log("measure_signals", name)),
    )
