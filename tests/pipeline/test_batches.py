"""`select_pairs` in batches writes what one pass over whole tables writes, byte for byte, for each kind of pairs."""

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csrdata import paths
from csrdata.pipeline import batches
from csrdata.pipeline.corrupted_pairs import rule
from csrdata.pipeline.select_pairs import run
from csrdata.records import (
    NO_PARENT,
    Dropped,
    Fate,
    Pair,
    PairScores,
    Prompt,
    Response,
    Sentence,
    Verdict,
)
from csrdata.search import corrupted_pairs, judged_pairs, ranked_pairs, sentence_pairs
from csrdata.search.balance import gaps, leave_out, to_leave_out
from csrdata.search.continuations import Scored
from csrdata.search.mixed_pairs import make as mix
from csrdata.search.pairs import Outcome, drawn
from csrdata.search.responses import sentence_rewards
from csrdata.storage.tables import read_rows, seal, write_rows
from tests.pipeline.test_select_pairs import ANSWER_PAIRS, SENTENCE_PAIRS, with_pairs
from tests.search.trees import end, node

TEXTS = (
    " There is a red circle.",
    " There is a blue star on the left.",
    " A tree.",
    " A big dog is near the tree.",
)
PROMPTS = [Prompt(f"p{number:02}", f"images/{number}.png", "Describe.") for number in range(11)]
SHARD = 3


def tree_of(prompt: Prompt, draw: random.Random) -> list[Sentence]:
    """Return a search with five first sentences, some of which end; some relevances are equal."""
    first = [
        node(number, NO_PARENT, draw.choice(TEXTS), draw.choice([10.0, 20.0, 30.0]), logprob=-draw.random())
        for number in range(5)
    ]
    second = [
        node(5 + number, number, draw.choice(TEXTS), draw.uniform(0, 40), logprob=-draw.random())
        for number in range(3)
    ]
    ends = [end(8, 3), end(9, 4), end(10, 5), end(11, 6)]
    return [
        replace(one, prompt_id=prompt.prompt_id, depth=depth)
        for depth, part in ((1, first), (2, second))
        for one in part
    ] + [replace(one, prompt_id=prompt.prompt_id, depth=2 if one.parent_id < 5 else 3) for one in ends]


def answers_of(prompt: Prompt, draw: random.Random) -> list[Response]:
    """Return up to eight answers; some rewards are equal, some texts too, and some answers do not count."""
    return [
        Response(
            prompt.prompt_id,
            leaf,
            text := draw.choice(TEXTS) + draw.choice(("", *TEXTS)),
            len(text.split()),
            2,
            9,
            -draw.random(),
            draw.choice([1.0, 2.0, 3.0, draw.random()]),
            0.5,
            20.0,
            21.0,
            1.0,
            finished := draw.random() < 0.9,
            draw.random() < 0.9,
            2 if finished else None,
        )
        for leaf in range(8, 8 + draw.randrange(9))
    ]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Sentence], list[Response]]:
    """Write a search in shards of 3 prompts, one of which is refused; batches are of 2 prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "BATCH", 2)
    Path("params.yaml").write_bytes((Path(__file__).parents[2] / "params.yaml").read_bytes())
    draw = random.Random(3)
    trees = {prompt.prompt_id: tree_of(prompt, draw) for prompt in PROMPTS}
    trees["p04"] = [
        replace(
            trees["p04"][0], text="9 tokens", token_ids=[], relevance=None, repetition=None, guidance_reward=None,
            stop="too_long", fate=Fate.REFUSED.value, canonical=None,
        )
    ]  # fmt: skip
    answers = {
        prompt.prompt_id: [] if prompt.prompt_id == "p04" else answers_of(prompt, draw) for prompt in PROMPTS
    }
    write_rows(paths.PROMPTS, PROMPTS, Prompt)
    for folder, record, rows in (
        (paths.candidates("1"), Sentence, trees),
        (paths.responses("1"), Response, answers),
    ):
        for shard, own in enumerate(
            itertools.batched(PROMPTS, SHARD)
            if hasattr(itertools, "batched")
            else [PROMPTS[at : at + SHARD] for at in range(0, len(PROMPTS), SHARD)]
        ):
            some = [row for prompt in own for row in rows[prompt.prompt_id]]  # type: ignore[attr-defined]
            write_rows(folder / f"{shard:05}.parquet", some, record)
        seal(folder, record, fingerprint={})
    return [row for tree in trees.values() for row in tree], [row for own in answers.values() for row in own]


def by_hand(prompt: Prompt, answers: list[Response], settings: dict[str, Any]) -> list[Pair]:
    """Return a prompt's pairs by a search over all ordered pairs of answers."""
    left = [one for one in answers if one.finished and one.canonical and one.text.strip()]
    value = {
        one.leaf_id: one.reward
        if settings["order"] == "reward"
        else drawn(settings["seed"], prompt.prompt_id, one.leaf_id)
        for one in left
    }
    found: list[Pair] = []
    while len(found) < settings["per_prompt"]:
        allowed = [
            (one, other)
            for one, other in itertools.permutations(left, 2)
            if one.text.strip() != other.text.strip()
            and value[one.leaf_id] >= value[other.leaf_id]
            and abs(one.words - other.words) <= settings["max_length_gap"] * max(one.words, other.words)
        ]
        if not allowed:
            break
        high, low = min(
            allowed,
            key=lambda two: (
                value[two[1].leaf_id] - value[two[0].leaf_id], -value[two[0].leaf_id], two[0].leaf_id, two[1].leaf_id
            ),
        )  # fmt: skip
        margin = value[high.leaf_id] - value[low.leaf_id]
        if settings["order"] == "reward" and margin < settings["margin"]:
            break
        scores = PairScores(
            high.leaf_id, low.leaf_id, high.reward, low.reward, margin if settings["order"] == "reward" else None,
            high.reward_held_out, low.reward_held_out, high.relevance, low.relevance, high.logprob, low.logprob,
            high.tokens, low.tokens, high.words, low.words, high.end, low.end,
        )  # fmt: skip
        origin = "csr_search" if settings["order"] == "reward" else "random"
        found.append(
            Pair(
                prompt.prompt_id, prompt.image, prompt.text, high.text, low.text, origin, number=len(found), scores=scores
            )
        )  # fmt: skip
        left = [one for one in left if one.text.strip() not in {high.text.strip(), low.text.strip()}]
    return found


def written() -> tuple[pl.DataFrame, list[Dropped], bytes]:
    dropped = read_rows(paths.dropped("1"), Dropped, made_by="")
    return pl.read_parquet(paths.pairs("1")), dropped, paths.pairs("1").read_bytes()


def bytes_of(pairs: list[Pair]) -> bytes:
    """Return the file that a table of these records is."""
    write_rows(Path("by_hand.parquet"), pairs, Pair)
    return Path("by_hand.parquet").read_bytes()


@pytest.mark.parametrize("order", ["reward", "random"])
@pytest.mark.parametrize("per_prompt", [1, 3])
@pytest.mark.parametrize("gap", [1.0, 0.4])
def test_answers_in_batches_are_the_pairs_of_all_combinations(
    tables: tuple[list[Sentence], list[Response]], order: str, per_prompt: int, gap: float
) -> None:
    """Whole answers: the table equals, byte for byte, that of a search over all combinations of two answers."""
    own = ANSWER_PAIRS | {"order": order, "per_prompt": per_prompt, "max_length_gap": gap, "margin": 0.5}
    run(with_pairs(**own), "1")
    _, dropped, content = written()
    by_prompt = {
        prompt.prompt_id: [row for row in tables[1] if row.prompt_id == prompt.prompt_id]
        for prompt in PROMPTS
    }
    expected = [pair for prompt in PROMPTS for pair in by_hand(prompt, by_prompt[prompt.prompt_id], own)]
    assert len(expected) > 3
    assert content == bytes_of(expected)
    kept = {pair.prompt_id for pair in expected}
    assert [row.prompt_id for row in dropped] == [
        one.prompt_id for one in PROMPTS if one.prompt_id not in kept
    ]


def test_the_balance_is_one_of_all_batches(tables: tuple[list[Sentence], list[Response]]) -> None:
    """With a tolerance in length, the pairs are those of one balance over all prompts, byte for byte."""
    own = ANSWER_PAIRS | {"per_prompt": 3, "length_balance": 0.0}
    by_prompt = {
        prompt.prompt_id: [row for row in tables[1] if row.prompt_id == prompt.prompt_id]
        for prompt in PROMPTS
    }
    pairs = [pair for prompt in PROMPTS for pair in by_hand(prompt, by_prompt[prompt.prompt_id], own)]
    left_out = to_leave_out(gaps(pairs), tolerance=0.0, seed=own["seed"])
    assert 0 < len(left_out) < len(pairs)
    run(with_pairs(**own), "1")
    assert written()[2] == bytes_of([one for one in leave_out(pairs, left_out) if isinstance(one, Pair)])


def test_lists_in_batches(tables: tuple[list[Sentence], list[Response]]) -> None:
    """Every two of a list of answers: one call with all answers gives the same bytes."""
    by_prompt = {
        prompt.prompt_id: [row for row in tables[1] if row.prompt_id == prompt.prompt_id]
        for prompt in PROMPTS
    }
    own = {"answers": 3, "margin": 0.1, "max_length_gap": 1.0}
    pairs = [one for one in ranked_pairs.make(PROMPTS, by_prompt, **own) if isinstance(one, Pair)]
    assert len(pairs) > len({pair.prompt_id for pair in pairs})
    run(with_pairs(kind="ranked", **own), "1")
    assert written()[2] == bytes_of(pairs)


def test_sentences_and_mixed_pairs_in_batches(tables: tuple[list[Sentence], list[Response]]) -> None:
    """Sentences: one pass over all trees gives the same bytes; a mix has the pairs of answers and these."""
    params = with_pairs(**SENTENCE_PAIRS)
    taken = [prompt for prompt in PROMPTS if prompt.prompt_id != "p04"]
    trees = {
        prompt.prompt_id: [row for row in tables[0] if row.prompt_id == prompt.prompt_id] for prompt in taken
    }

    def score(tree: Any) -> Scored:
        relevances = {row.node_id: row.relevance for row in tree}
        scoring = params.score_beams
        rewards = sentence_rewards(
            tree, relevances, image_weight=scoring.image_weight, scale=scoring.scale,
            repetition_threshold=scoring.repetition_threshold,
        )  # fmt: skip
        return Scored(rewards, relevances)

    own = {name: value for name, value in SENTENCE_PAIRS.items() if name != "kind"}
    expected: list[Outcome] = sentence_pairs.make(taken, trees, **own, score=score)
    run(params, "1")
    assert written()[2] == bytes_of([one for one in expected if isinstance(one, Pair)])
    answers: list[Outcome] = []
    for prompt in taken:
        found = by_hand(prompt, [row for row in tables[1] if row.prompt_id == prompt.prompt_id], ANSWER_PAIRS)
        answers += found or [Dropped(prompt.prompt_id, "no_response", "")]
    mixed = mix(taken, [("answers", answers), ("sentences", expected)])
    run(with_pairs(kind="mixed", parts=[ANSWER_PAIRS, SENTENCE_PAIRS]), "1")
    assert written()[2] == bytes_of([one for one in mixed if isinstance(one, Pair)])


def test_judged_and_corrupted_pairs_in_batches(tables: tuple[list[Sentence], list[Response]]) -> None:
    """A judge's verdicts and false copies: one call with all answers gives the same bytes."""
    taken = [prompt for prompt in PROMPTS if prompt.prompt_id != "p04"]
    by_prompt = {
        prompt.prompt_id: [row for row in tables[1] if row.prompt_id == prompt.prompt_id] for prompt in taken
    }
    verdicts = []
    for own in by_prompt.values():
        texts = {row.text.strip(): row.leaf_id for row in own if row.finished and row.canonical}
        if len(texts) > 1:
            first, second = list(texts.values())[:2]
            verdicts.append(Verdict(own[0].prompt_id, first, second, "first", "first", 1.0, 1.0))
    write_rows(paths.verdicts("1"), verdicts, Verdict)
    run(with_pairs(kind="judged"), "1")
    expected = judged_pairs.judged(taken, tables[1], verdicts)
    pairs = [one for one in expected if isinstance(one, Pair)]
    assert pairs
    assert written()[2] == bytes_of(pairs)
    params = with_pairs(kind="corrupted", seed=5)
    run(params, "1")
    false = corrupted_pairs.make(taken, by_prompt, corrupt=rule(params), seed=5)
    assert written()[2] == bytes_of([one for one in false if isinstance(one, Pair)])
