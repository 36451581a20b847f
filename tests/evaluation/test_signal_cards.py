"""The report card of signals, against values derived by hand and slow readings of the definitions."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.signal_cards import SignalCard, seconds_per_sentence, signal_cards
from csrdata.records import NO_PARENT, Fate, Sentence, Signal, Stop, Truth
from csrdata.sources.microworld.claim_parser import MicroworldClaimParser, to_truth
from csrdata.sources.microworld.world import Scene, SceneObject

SCENE = Scene("s", "garden", (SceneObject("star", "red", "top"), SceneObject("bar", "blue", "left")))
TRUTHS = {"p": to_truth(SCENE, image="a.png", split="train")}
TRUE, ALSO_TRUE = " There is a red star at the top.", " A blue bar is on the left."
WRONG_COLOUR, ABSENT, NOTHING = " A green bar is on the left.", " There is a red heart at the top.", " Fog."


def row(node: int, parent: int, text: str, *, logprob: float, relevance: float) -> Sentence:
    return Sentence(
        prompt_id="p",
        node_id=node,
        parent_id=parent,
        depth=1,
        group=0,
        text=text,
        token_ids=[1, 2],
        logprob=logprob,
        relevance=relevance,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=0.0,
        stop=Stop.SENTENCE_END,
        fate=Fate.PRUNED,
        canonical=None,
    )


ROWS = [
    row(0, NO_PARENT, TRUE, logprob=-2.0, relevance=30.0),
    row(1, NO_PARENT, ABSENT, logprob=-1.0, relevance=20.0),
    row(2, NO_PARENT, NOTHING, logprob=-9.0, relevance=99.0),
    row(3, 0, ALSO_TRUE, logprob=-4.0, relevance=10.0),
    row(4, 0, WRONG_COLOUR, logprob=-3.0, relevance=10.0),
    row(5, 0, " star heart", logprob=-5.0, relevance=5.0),
]


def signal(name: str, *values: float | None) -> list[Signal]:
    return [Signal("p", node, name, value) for node, value in enumerate(values)]


def cards(rows: list[Sentence], signals: list[Signal]) -> dict[str, SignalCard]:
    found = signal_cards([(rows, signals)], TRUTHS, MicroworldClaimParser(), seconds={"spots": 0.5})
    return {card.name: card for card in found}


def test_a_card_by_hand() -> None:
    """True: nodes 0 and 3; false: 1 (absent), 4 (wrong colour), 5 (half false); node 2 states nothing."""
    found = cards(ROWS, signal("spots", 90.0, 10.0, 50.0, 80.0, None, 20.0))
    assert list(found) == ["search", "likelihood", "spots"]
    search = found["search"]
    # Of 2 x 3 pairs, 30 beats 20, 10 and 5; 10 loses to 20, ties with 10 and beats 5: 4.5 of 6.
    assert (search.sentences, search.auc) == (5, pytest.approx(75.0))
    # Siblings: 0 over 1; 3 ties with 4, beats 5; 5 (half false) is truer than 4, and loses: 2.5 of 4.
    assert (search.comparisons, search.sibling_preference) == (4, pytest.approx(62.5))
    # Ranks of 30 20 10 10 5 and of ln p: 5 4 2.5 2.5 1 and 4 5 2 3 1.
    assert search.likelihood_correlation == pytest.approx(8.5 / (9.5 * 10) ** 0.5)
    spots = found["spots"]
    # Node 4 has no value: 90 and 80 beat 10 and 20.
    assert (spots.sentences, spots.auc, spots.comparisons, spots.sibling_preference) == (4, 100.0, 2, 100.0)
    assert spots.seconds_per_sentence == 0.5
    likelihood = found["likelihood"]
    # -1 and -2 against -0.5, -1.5 and -2.5: 0 beats 4 and 5, 3 beats 5.
    assert (likelihood.auc, likelihood.sibling_preference) == (pytest.approx(50.0), pytest.approx(25.0))
    assert (likelihood.likelihood_correlation, likelihood.seconds_per_sentence) == (None, None)


def test_shards_add_up() -> None:
    """Two shards give the card of their sentences together; siblings of different prompts are never compared."""
    other = [replace(one, prompt_id="q") for one in ROWS]
    truths = {**TRUTHS, "q": TRUTHS["p"]}
    one, both = (
        signal_cards(shards, truths, MicroworldClaimParser(), seconds={})
        for shards in ([(ROWS, [])], [(ROWS, []), (other, [])])
    )
    assert [card.comparisons for card in both] == [2 * card.comparisons for card in one]
    assert [card.auc for card in both] == [card.auc for card in one]
    assert [card.sibling_preference for card in both] == [card.sibling_preference for card in one]


def test_auc_against_counting() -> None:
    """On random values with ties, the ranks give what comparing every true with every false sentence gives."""
    rng = random.Random(0)
    rows = [
        row(index, NO_PARENT, rng.choice([TRUE, ABSENT]), logprob=-1.0, relevance=float(rng.randint(0, 9)))
        for index in range(60)
    ]
    true = [one.relevance or 0.0 for one in rows if one.text == TRUE]
    false = [one.relevance or 0.0 for one in rows if one.text == ABSENT]
    points = sum((high > low) + (high == low) / 2 for high in true for low in false)
    found = cards(rows, [])["search"]
    expected = pytest.approx(100 * points / (len(true) * len(false)))
    assert found.auc == expected
    assert found.sibling_preference == expected
    assert found.likelihood_correlation is None


def test_what_cannot_be_judged_is_none() -> None:
    """With true sentences alone there is no AUC and no comparison; without sentences every figure is None."""
    found = cards(ROWS[:1], [])["search"]
    assert (found.sentences, found.auc, found.comparisons, found.sibling_preference) == (1, None, 0, None)
    empty = cards([], [])["search"]
    assert (empty.sentences, empty.auc, empty.likelihood_correlation) == (0, None, None)


def test_unknown_truth_is_refused() -> None:
    """A candidate whose image is not known ends in one line."""
    with pytest.raises(UserError, match="candidates of prompt q: got an image without known truth"):
        cards([replace(ROWS[0], prompt_id="q")], [])
    assert isinstance(TRUTHS["p"], Truth)


def test_seconds_come_from_the_run_log(tmp_path: Path) -> None:
    """Rows are sentences times signals; the last time of a shard counts, and a line that was cut off does not."""
    log = tmp_path / "log.jsonl"
    shard = {"event": "shard", "index": 0, "rows": 8, "spent": {"read": 9.0, "spots": 8.0, "elsewhere": 4.0}}
    again = {**shard, "spent": {"read": 9.0, "spots": 2.0, "elsewhere": 1.0}}
    other = {**shard, "index": 1, "rows": 4}
    lines = [json.dumps(one) for one in ({"event": "start"}, shard, again, other)]
    log.write_text("\n".join([*lines, '{"event": "sh']), encoding="utf-8")
    assert seconds_per_sentence(log) == {"spots": 10.0 / 6, "elsewhere": 5.0 / 6}
    assert seconds_per_sentence(tmp_path / "none.jsonl") == {}
