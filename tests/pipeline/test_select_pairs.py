"""The wiring of `select_pairs`: every prompt is in exactly one of its two tables, whatever the kind of pairs."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params, load_params
from csrdata.pipeline import sample_prompts
from csrdata.pipeline.select_pairs import run
from csrdata.records import NO_PARENT, Dropped, Pair, Prompt, Response, Sentence, Signal, Truth
from csrdata.sources.microworld.claim_parser import to_scene
from csrdata.sources.microworld.language import sentence
from csrdata.sources.microworld.world import SHAPES, SceneObject
from csrdata.storage.tables import read_json, read_rows, seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import PROMPTS, RESPONSES, SENTENCES
from tests.pipeline.world import draw_world, real_params, small_params
from tests.search.trees import end, node

REFUSED = dataclasses.replace(
    SENTENCES[2],
    prompt_id=PROMPTS[1].prompt_id,
    node_id=0,
    text="5,000 tokens",
    token_ids=[],
    relevance=None,
    repetition=None,
    guidance_reward=None,
    stop="too_long",
    fate="refused",
    canonical=None,
)
SENTENCE_PAIRS: dict[str, Any] = {
    "kind": "sentences",
    "order": "relevance",
    "min_gap": 5.0,
    "chosen_share": 1.0,
    "rejected_share": 0.5,
    "repetition_threshold": 0.6,
    "per_prompt": 2,
    "ends": "none",
    "end_gap": 5.0,
    "ends_per_prompt": None,
    "seed": 0,
}
ANSWER_PAIRS: dict[str, Any] = {
    "kind": "answers",
    "order": "reward",
    "margin": 0.1,
    "max_length_gap": 1.0,
    "length_balance": None,
    "per_prompt": 1,
    "seed": 0,
}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)


def with_pairs(**settings: Any) -> Params:
    """Return the shipped parameters with another section `select_pairs`."""
    raw = load_params().model_dump()
    raw["select_pairs"] = settings
    return Params.model_validate(raw)


def search(
    prompts: list[Prompt],
    candidates: list[Sentence],
    responses: list[Response],
    signals: list[Signal] | None = None,
) -> None:
    """Write what the stages before `select_pairs` would write, in one shard."""
    write_rows(paths.PROMPTS, prompts, Prompt)
    write_rows(paths.candidates("1") / "00000.parquet", candidates, Sentence)
    seal(paths.candidates("1"), Sentence, fingerprint={})
    write_rows(paths.responses("1") / "00000.parquet", responses, Response)
    seal(paths.responses("1"), Response, fingerprint={})
    if signals is not None:
        write_rows(paths.signals("1") / "00000.parquet", signals, Signal)
        seal(paths.signals("1"), Signal, fingerprint={})


def made() -> tuple[list[Pair], list[Dropped], dict[str, Any]]:
    """Return what `select_pairs` wrote."""
    pairs = read_rows(paths.pairs("1"), Pair, made_by="")
    dropped = read_rows(paths.dropped("1"), Dropped, made_by="")
    metrics = read_json(paths.stage_metrics("select_pairs", "1"), made_by="")
    assert metrics["with_pairs"] + sum(metrics["dropped"].values()) == metrics["prompts"]
    assert {pair.prompt_id for pair in pairs} & {row.prompt_id for row in dropped} == set()
    assert metrics["prompts"] == len({pair.prompt_id for pair in pairs}) + len(dropped)
    return pairs, dropped, metrics


def test_a_pair_taken_out_of_a_prompt_is_a_row_and_not_a_lost_prompt() -> None:
    """Curation takes one of two pairs: its row is in the table, and the metrics count no prompt without a pair."""
    four = [
        dataclasses.replace(RESPONSES[0], leaf_id=leaf, text=text, reward=reward, words=3)
        for leaf, text, reward in (
            (3, "A red circle.", 1.0),
            (4, "A blue star.", 0.5),
            (5, "A tree here.", 0.2),
            (6, "A dog here.", 0.1),
        )
    ]
    search(PROMPTS[:1], SENTENCES, four)
    settings = {**ANSWER_PAIRS, "per_prompt": 2, "margin": 0.1}
    run(with_pairs(**settings), "1")
    assert len(read_rows(paths.pairs("1"), Pair, made_by="")) == 2
    run(with_pairs(**settings, curation={"labels": None, "drop_labels": [], "where": "number > 0"}), "1")
    (pair,) = read_rows(paths.pairs("1"), Pair, made_by="")
    (row,) = read_rows(paths.dropped("1"), Dropped, made_by="")
    metrics = read_json(paths.stage_metrics("select_pairs", "1"), made_by="")
    assert (pair.number, row) == (0, Dropped(pair.prompt_id, "where", "pair 0: not true: number > 0"))
    assert (metrics["prompts"], metrics["with_pairs"], sum(metrics["dropped"].values())) == (1, 1, 0)
    assert metrics["curated"] == {"where": 1}


def test_kept_and_dropped_are_the_prompts() -> None:
    """Pairs, dropped prompts and metrics agree, and a second run writes the same bytes."""
    longer = dataclasses.replace(RESPONSES[1], leaf_id=9, text="A star.", words=2)
    search(PROMPTS, [*SENTENCES, REFUSED], [*RESPONSES, longer])
    params = with_pairs(**ANSWER_PAIRS)
    run(params, "1")
    pairs, dropped, metrics = made()
    assert [pair.prompt_id for pair in pairs] + [row.prompt_id for row in dropped] == [
        one.prompt_id for one in PROMPTS
    ]
    assert (pairs[0].chosen, pairs[0].rejected) == ("A red circle.", "A [blue] star here.")
    assert (dropped[0].reason, dropped[0].detail) == ("too_long", "5,000 tokens")
    assert metrics["prompts"] == len(PROMPTS)
    assert metrics["by_form"] == {"answers": 1, "sentences": 0, "go_on": 0, "stop": 0}
    assert metrics["by_origin"] == {"csr_search": {"pairs": 1, "mean_margin": metrics["mean_margin"]}}
    before = paths.pairs("1").read_bytes(), paths.dropped("1").read_bytes()
    run(params, "1")
    assert (paths.pairs("1").read_bytes(), paths.dropped("1").read_bytes()) == before


PROMPT = Prompt("p1", "images/1.png", "Describe.")
TREE = [
    node(0, NO_PARENT, " A red circle.", 30.0, logprob=-2.0),
    node(1, NO_PARENT, " A blue star.", 10.0, logprob=-0.5),
    node(2, 0, " A tree.", 27.0),
    node(3, 0, " A dog.", 5.0),
    end(4, 0),
]


def signals_of(name: str, values: dict[int, float | None]) -> list[Signal]:
    return [Signal(PROMPT.prompt_id, number, name, value) for number, value in values.items()]


def sides(pairs: list[Pair]) -> list[tuple[int | None, int | None]]:
    return [(pair.scores.chosen_leaf, pair.scores.rejected_leaf) for pair in pairs]


def test_sentences_need_no_signal_but_their_own() -> None:
    """By relevance and without ends, no table of signals is read; the rewards are those of `score_beams`."""
    search([PROMPT], TREE, [])
    params = with_pairs(**SENTENCE_PAIRS)
    scoring = params.score_beams.model_copy(update={"scale": "raw", "image_weight": 0.5})
    run(params.model_copy(update={"score_beams": scoring}), "1")
    pairs, _, metrics = made()
    assert sides(pairs) == [(2, 3), (0, 1)]
    # Equation 4 as printed: 0.5 * 30 + 0.5 * exp(-2).
    assert pairs[1].scores.chosen_reward == pytest.approx(15.067667641618307)
    assert metrics["by_form"] == {"answers": 0, "sentences": 2, "go_on": 0, "stop": 0}
    assert (metrics["mean_margin"], metrics["kept"], metrics["with_pairs"]) == (21.0, 2, 1)


def test_the_signal_of_the_reward_orders_sentences() -> None:
    """If another signal takes the place of R_I, its values are the relevances that order and are stored."""
    other = {0: 20.0, 1: 60.0, 2: 30.0, 3: None}
    search(
        [PROMPT], TREE, [], signals_of("detector", other) + signals_of("unused", dict.fromkeys(other, 0.0))
    )
    params = with_pairs(**SENTENCE_PAIRS)
    scoring = params.score_beams.model_copy(update={"signal": "detector"})
    run(params.model_copy(update={"score_beams": scoring}), "1")
    pairs, _, _ = made()
    assert sides(pairs) == [(1, 0)]
    assert (pairs[0].scores.chosen_relevance, pairs[0].scores.margin) == (60.0, 40.0)


def test_sentences_are_ordered_by_evidence() -> None:
    """In an order by evidence the signal of other images is read, without ends too."""
    elsewhere = {one.node_id: 20.0 for one in TREE}
    search([PROMPT], TREE, [], signals_of("elsewhere", elsewhere))
    run(with_pairs(**SENTENCE_PAIRS | {"order": "evidence", "min_gap": 0.0}), "1")
    pairs = read_rows(paths.pairs("1"), Pair, made_by="")
    relevance = {one.node_id: one.relevance for one in TREE}
    for pair in pairs:
        chosen, rejected = relevance[pair.scores.chosen_leaf or 0], relevance[pair.scores.rejected_leaf or 0]
        assert chosen is not None
        assert rejected is not None
        assert rejected - 20.0 <= 0.5 * (chosen - 20.0)
        assert pair.scores.margin == chosen - rejected
    assert pairs


def test_the_end_is_chosen_by_evidence() -> None:
    """With ends by evidence, the signal of other images is read: 27 - 20 speaks for going on."""
    search([PROMPT], TREE, [], signals_of("elsewhere", dict.fromkeys(range(4), 20.0)))
    run(with_pairs(**SENTENCE_PAIRS | {"ends": "evidence"}), "1")
    pairs, _, metrics = made()
    assert sides(pairs) == [(2, 3), (0, 1), (2, 4)]
    assert metrics["by_form"] == {"answers": 0, "sentences": 2, "go_on": 1, "stop": 0}
    assert metrics["by_origin"] == {
        "csr_ends": {"pairs": 1, "mean_margin": 7.0},
        "csr_sentences": {"pairs": 2, "mean_margin": 21.0},
    }
    assert metrics["mean_margin"] is None


def test_a_missing_signal_is_named() -> None:
    """A candidate without its row is one line with the command that measures it."""
    search([PROMPT], TREE, [], signals_of("elsewhere", dict.fromkeys(range(3), 20.0)))
    with pytest.raises(UserError) as caught:
        run(with_pairs(**SENTENCE_PAIRS | {"ends": "evidence"}), "1")
    assert str(caught.value) == (
        f"{paths.signals('1')}: prompt p1: got no row of elsewhere for candidate 3, "
        "expected one for each candidate with a text. Next: dvc repro measure_signals@1"
    )


def test_mixed_pairs_are_those_of_their_parts() -> None:
    """Answers and sentences of the same search, numbered together; a refused prompt has its own reason."""
    search(PROMPTS, [*SENTENCES, REFUSED], RESPONSES)
    run(with_pairs(kind="mixed", parts=[ANSWER_PAIRS, SENTENCE_PAIRS]), "1")
    pairs, dropped, metrics = made()
    assert [(pair.number, pair.origin) for pair in pairs] == [(0, "csr_search"), (1, "csr_sentences")]
    assert (pairs[1].chosen, pairs[1].rejected) == (" A red circle.", " A [blue] star.")
    assert [row.reason for row in dropped] == ["too_long"]
    assert metrics["by_form"] == {"answers": 1, "sentences": 1, "go_on": 0, "stop": 0}


def test_an_oracle_reads_the_truth() -> None:
    """By truth, the answer without a false object is chosen, against the reward; its pairs are of the oracle."""
    draw_world()
    sample_prompts.run(small_params())
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="")
    truths = {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by="")}
    responses, candidates = [], []
    for prompt in prompts:
        truth = truths[prompt.image]
        right = sentence(to_scene(truth).objects[0], pattern=0, phrase=0)
        absent = next(shape for shape in SHAPES if shape not in truth.objects)
        wrong = sentence(SceneObject(absent, "red", "centre"), pattern=0, phrase=0)
        texts = (f"{right} {wrong}", right)
        for leaf, (text, reward) in enumerate(zip(texts, (9.0, 1.0), strict=True)):
            own = {"prompt_id": prompt.prompt_id, "leaf_id": leaf, "text": text, "reward": reward}
            responses.append(dataclasses.replace(RESPONSES[0], **own))
            candidates.append(node(leaf, NO_PARENT, text, 20.0, prompt_id=prompt.prompt_id))
    search(prompts, candidates, responses)
    run(with_pairs(**ANSWER_PAIRS | {"order": "truth"}), "1")
    pairs, _, _ = made()
    assert len(pairs) == len(prompts)
    assert {pair.origin for pair in pairs} == {"oracle"}
    assert sides(pairs) == [(1, 0)] * len(prompts)
    assert {pair.scores.margin for pair in pairs} == {1.0}
    run(with_pairs(**SENTENCE_PAIRS | {"order": "truth"}), "1")
    assert sides(made()[0]) == [(1, 0)] * len(prompts)


def test_corrupted_pairs_need_a_rule_and_no_truth() -> None:
    """The best answer against a false one by the microworld's rule, without the truth; a folder of images has no rule."""
    best = dataclasses.replace(RESPONSES[0], text=" There is a red circle at the top.", reward=9.0)
    prompts = [one for one in PROMPTS if one.prompt_id == best.prompt_id]
    search(prompts, [one for one in SENTENCES if one.prompt_id == best.prompt_id], [best, *RESPONSES[1:]])
    params = with_pairs(kind="corrupted", seed=0)
    run(params, "1")
    (pair,), _, metrics = made()
    assert (pair.chosen, pair.origin) == (best.text, "corrupted")
    assert pair.rejected != pair.chosen
    assert metrics["by_origin"] == {"corrupted": {"pairs": 1, "mean_margin": None}}
    raw = params.model_dump()
    origin = {"images": None, "licence": None, "outputs": None, "policy": None}
    raw["source"] = {"kind": "folder", "folder": ".", "prompts": ["?"], "exclude": None, "origin": origin}
    with pytest.raises(UserError) as caught:
        run(Params.model_validate(raw), "1")
    assert str(caught.value) == (
        "params.yaml: select_pairs.kind: got corrupted, and the source folder, which has no rule that makes an answer "
        "false, expected another kind of pairs, such as answers. Next: take another kind, or import such pairs: "
        "csrdata import --help"
    )


def test_an_oracle_needs_a_source_that_knows() -> None:
    """A source without truth is refused in one line; a missing table of truth is named."""
    search([PROMPT], TREE, [])
    params = with_pairs(**ANSWER_PAIRS | {"order": "truth"})
    with pytest.raises(UserError, match=r"truth\.parquet: got no such table"):
        run(params, "1")
    raw = params.model_dump() | {"source": real_params(Path()).source.model_dump()}
    with pytest.raises(UserError, match="the source folder, which knows no truth"):
        run(Params.model_validate(raw), "1")
