"""Corrupted pairs: the best answer against the text that a rule makes of it, drawn for the prompt alone."""

import dataclasses
import random

from csrdata.records import CORRUPTED, Dropped, Pair, Prompt, Response
from csrdata.search.corrupted_pairs import make
from csrdata.storage.tables import to_table
from csrdata.storage.values import check_values

PROMPT = Prompt("p", "images/0.png", "Describe.")


def answer(leaf: int, reward: float, **changes: object) -> Response:
    made = Response("p", leaf, f" Answer {leaf}.", 2, 1, 4, -3.0, reward, 0.0, 20.0, 15.0, 0.5, True, True, 7)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def numbered(text: str, rng: random.Random) -> str:
    return f"{text} Number {rng.randrange(10**9)}."


def test_the_best_answer_is_chosen() -> None:
    """Of the finished, canonical answers with words, the best is chosen, the lower leaf among equal ones."""
    answers = [
        answer(1, 9.0, finished=False),
        answer(2, 9.0, canonical=False),
        answer(3, 9.0, text=" "),
        answer(4, 1.0),
        answer(6, 2.0),
        answer(5, 2.0),
    ]
    (pair,) = make([PROMPT], {"p": answers}, corrupt=numbered, seed=0)
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.origin, pair.number, pair.context) == (" Answer 5.", CORRUPTED, 0, "")
    assert pair.rejected.startswith(" Answer 5. Number ")
    scores = pair.scores
    assert (scores.chosen_leaf, scores.chosen_reward, scores.chosen_logprob) == (5, 2.0, -3.0)
    assert (scores.rejected_leaf, scores.rejected_reward, scores.rejected_logprob) == (None, None, None)
    assert (scores.margin, scores.rejected_tokens, scores.rejected_words) == (None, None, 4)
    assert scores.chosen_end == scores.rejected_end == 7
    check_values(to_table([pair], Pair), Pair, place="pairs", made_by="again")


def test_a_change_depends_on_seed_and_prompt_alone() -> None:
    """Other prompts around it change nothing; another seed or prompt draws another change."""
    others = [Prompt(f"p{number}", "i.png", "?") for number in range(3)]
    answers = {one.prompt_id: [answer(5, 2.0)] for one in [PROMPT, *others]}
    alone = make([PROMPT], answers, corrupt=numbered, seed=0)
    among = make([*others, PROMPT], answers, corrupt=numbered, seed=0)
    assert among[3:] == alone
    again = make([PROMPT], answers, corrupt=numbered, seed=1)
    texts = {pair.rejected for pair in (*among, *again) if isinstance(pair, Pair)}
    assert len(texts) == 5


def test_every_prompt_without_a_pair_has_its_reason() -> None:
    """No answer, or nothing that can be changed: one row each, in the order of the prompts."""
    prompts = [Prompt("a", "a.png", "?"), Prompt("b", "b.png", "?"), Prompt("c", "c.png", "?")]
    answers = {"b": [answer(1, 1.0, finished=False), answer(2, 1.0, canonical=False)], "c": [answer(3, 1.0)]}
    assert make(prompts, answers, corrupt=lambda *_: None, seed=0) == [
        Dropped("a", "no_response", "0 answers, 0 finished, none of them with words and canonical"),
        Dropped("b", "no_response", "2 answers, 1 finished, none of them with words and canonical"),
        Dropped("c", "no_change", "no change of leaf 3 makes it false"),
    ]
    (same,) = make(prompts[2:], answers, corrupt=lambda text, _: text + " ", seed=0)
    assert isinstance(same, Dropped)
