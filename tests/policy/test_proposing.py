"""Sampled proposals: tokens follow the probabilities, and a prompt's tree depends on seed and prompt alone."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from csrdata.generation.clock import Clock
from csrdata.generation.generating import generate
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import plain_logits
from csrdata.policy.passes import SharedPasses
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.policy.proposing import (
    DiverseGroups,
    Proposing,
    SampledAnswers,
    SampledSentences,
    sample,
    uniform,
)
from csrdata.records import NO_PARENT, Fate, Prompt, Sentence, Stop
from csrdata.search.beam import Branch
from csrdata.storage.tables import to_table
from csrdata.storage.values import check_values
from tests.extending.word_scorer import SCORER
from tests.teaching import TEXTS, teach
from tests.tiny import picture, pictures, tiny_llava

PROMPTS = [Prompt(f"p{index}", f"images/{index}.png", text) for index, text in enumerate(TEXTS)]
ANSWER_LIMIT = 24


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy that has learned a little and images."""
    root = tmp_path_factory.mktemp("sampled")
    teach(tiny_llava(root / "policy"), steps=25)
    pictures(root / "images", len(TEXTS))
    return root


@pytest.fixture(scope="module")
def policy(project: Path) -> Policy:
    return load_policy(project / "policy")


def grown(project: Path, policy: Policy, proposing: Proposing, prompts: Sequence[Prompt] = PROMPTS, *, at_once: int = 8) -> list[Sentence]:  # fmt: skip
    return generate(
        prompts,
        root=project,
        policy=policy,
        scorer=SCORER,
        proposing=proposing,
        keep_best=1,
        keep_worst=1,
        rank_by="sentence",
        max_sentence_tokens=12,
        max_response_tokens=ANSWER_LIMIT,
        max_sentences=3,
        prompts_at_once=at_once,
        guidance="reward",
        image_weight=0.9,
        scale="zscore",
        repetition_threshold=0.9,
        clock=Clock(),
    )


def outline(rows: Sequence[Sentence]) -> list[tuple[object, ...]]:
    """Return what does not depend on the last bits of a probability."""
    return [
        (row.prompt_id, row.node_id, row.parent_id, row.group, row.text, row.token_ids, row.stop, row.fate)
        for row in rows
    ]


def test_the_first_token_above_the_number() -> None:
    """The docstring's example; a token of probability 0 is not drawn, even by the largest number below 1."""
    logits = torch.tensor([0.5, 0.3, 0.2]).log().repeat(3, 1)
    assert sample(logits, [0.49, 0.5001, 0.99], temperature=1.0).tolist() == [0, 1, 2]
    closed = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]] * 2)
    assert sample(closed, [0.0, 1 - 2.0**-53], temperature=1.0).tolist() == [1, 2]


def test_rows_are_drawn_for_themselves() -> None:
    """A row's token does not depend on how many rows are drawn together."""
    torch.manual_seed(0)
    logits, numbers = torch.randn(70, 50), [index / 70 for index in range(70)]
    alone = [
        int(sample(logits[row : row + 1], [number], temperature=0.7)) for row, number in enumerate(numbers)
    ]
    assert sample(logits, numbers, temperature=0.7).tolist() == alone


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, (0.6, 0.3, 0.1)), (0.5, (36 / 46, 9 / 46, 1 / 46))])  # fmt: skip
def test_draws_follow_the_probabilities(temperature: float, expected: tuple[float, ...]) -> None:
    """Of 4,000 draws each token has its share, within 0.03; at temperature 0.5 the probabilities are squared."""
    key = SampledSentences(1, temperature, seed=3).key("p", [], 0)
    numbers = [uniform(key, position) for position in range(4000)]
    drawn = sample(
        torch.tensor([0.6, 0.3, 0.1]).log().repeat(4000, 1), numbers, temperature=temperature
    ).tolist()
    counts = Counter(drawn)
    assert [counts[token] / 4000 for token in range(3)] == pytest.approx(expected, abs=0.03)


def test_what_a_number_depends_on() -> None:
    """Seed, prompt, row, path and position change the numbers of sampled sentences; the path does not change an answer's."""
    here: tuple[str, list[int], int] = ("p", [1, 2], 0)
    sentences = SampledSentences(5, 1.0, seed=0)
    keys = [
        sentences.key(*here),
        SampledSentences(5, 1.0, seed=1).key(*here),
        sentences.key("q", [1, 2], 0),
        sentences.key("p", [12], 0),
        sentences.key("p", [1, 2], 1),
    ]
    numbers = [uniform(key, position) for key in keys for position in (2, 3)]
    assert len(set(numbers)) == len(numbers)
    answers = SampledAnswers(5, 1.0, seed=0)
    assert answers.key("p", [1, 2], 3) == answers.key("p", [], 3) != answers.key("p", [], 2)


@pytest.mark.parametrize("proposing", [SampledSentences(4, 1.3, seed=5), SampledAnswers(3, 1.3, seed=5)])
def test_a_tree_does_not_depend_on_its_batch(project: Path, policy: Policy, proposing: Proposing) -> None:
    """Prompts searched one at a time, all together, in another shard or in another order have the same trees."""
    together = outline(grown(project, policy, proposing))
    assert outline(grown(project, policy, proposing, at_once=1)) == together
    shard = outline(grown(project, policy, proposing, PROMPTS[2:]))
    assert shard == [row for row in together if row[0] in ("p2", "p3")]
    other = grown(project, policy, type(proposing)(proposing.count, 1.3, seed=6))  # type: ignore[call-arg, attr-defined]
    assert outline(other) != together


def test_sampled_sentences_branch_and_merge(project: Path, policy: Policy) -> None:
    """Each live answer has at most `count` different candidates; the search keeps the best and the worst of a depth."""
    rows = grown(project, policy, SampledSentences(6, 1.0, seed=0), PROMPTS[:2])
    children: dict[tuple[str, int], list[Sentence]] = {}
    for row in rows:
        children.setdefault((row.prompt_id, row.parent_id), []).append(row)
    assert max(map(len, children.values())) > 2
    for own in children.values():
        assert len(own) <= 6
        assert len({(row.text.strip(), row.stop == "end") for row in own}) == len(own)
        assert len({row.group for row in own}) == len(own)
    assert {row.fate for row in rows} >= {Fate.KEPT_BEST, Fate.PRUNED}


def paths_of(tree: Sequence[Sentence]) -> dict[int, list[Sentence]]:
    """Return the answers of a tree of sampled answers, by number."""
    answers: dict[int, list[Sentence]] = {}
    for row in tree:
        assert row.parent_id == (answers[row.group][-1].node_id if row.group in answers else NO_PARENT)
        answers.setdefault(row.group, []).append(row)
    return answers


def test_sampled_answers_equal_token_by_token_sampling(project: Path, policy: Policy) -> None:
    """Each answer equals one drawn token by token, without sentences, from full passes; R_T is the policy's own."""
    temperature, count = 1.5, 5
    proposing = SampledAnswers(count, temperature, seed=1)
    rows = grown(project, policy, proposing, PROMPTS[:2])
    banned, ends = banned_ids(policy.model, policy.processor), end_ids(policy.model, policy.processor)
    lengths = set()
    for number, prompt in enumerate(PROMPTS[:2]):
        inputs = encode(policy.processor, [picture(number)], [render_prompt(policy.processor, prompt.text)])
        answers = paths_of([row for row in rows if row.prompt_id == prompt.prompt_id])
        assert sorted(answers) == list(range(count))
        for root, path in answers.items():
            key = proposing.key(prompt.prompt_id, [], root)
            drawn, logprobs = [], []
            while not (drawn and drawn[-1] in ends) and len(drawn) < sum(len(row.token_ids) for row in path):
                token, logprob = slow_draw(
                    policy,
                    inputs,
                    drawn,
                    uniform(key, len(drawn)),
                    banned=banned,
                    temperature=temperature,
                )
                drawn.append(token)
                logprobs.append(logprob)
            assert list(itertools.chain(*(row.token_ids for row in path))) == drawn
            assert sum(row.logprob for row in path) == pytest.approx(sum(logprobs), abs=1e-4)
            lengths.add(len(path))
    assert max(lengths) > 1, "answers have several sentences"


def test_looking_ahead_changes_no_answer(policy: Policy) -> None:
    """After "3." the next token tells whether a sentence ended; drawn again as the next sentence's first, it is the same."""
    spoken = [policy.tokenizer.encode(text, add_special_tokens=False)[0] for text in ("3", ".", " ", "T")]
    banned = sorted(set(range(policy.model.config.get_text_config().vocab_size)) - set(spoken))
    inputs = encode(policy.processor, [picture(0)], [render_prompt(policy.processor, "Describe it.")])
    proposing = SampledAnswers(6, 50.0, seed=0)
    decoder = SentenceDecoder(
        SharedPasses(policy.model),
        policy.tokenizer,
        prompt_ids=["p"],
        proposing=proposing,
        max_sentence_tokens=30,
        max_response_tokens=30,
        end_ids=[],
        banned_ids=banned,
    )
    decoder.admit([0], inputs)
    live = [Branch(0, NO_PARENT, 0, 0, 0.0, None, root=root) for root in range(proposing.count)]
    answers: dict[int, list[int]] = {root: [] for root in range(proposing.count)}
    sentences = Counter[int]()
    while live:
        proposals = [own[0] for own in decoder.propose(live)]
        for proposal in proposals:
            answers[proposal.group] += proposal.token_ids
            sentences[proposal.group] += 1
        live = [
            Branch(0, 0, branch.depth + 1, 0, 0.0, proposal.state, root=branch.root)
            for branch, proposal in zip(live, proposals, strict=True)
            if proposal.stop is Stop.SENTENCE_END
        ]
    for root, tokens in answers.items():
        for position, token in enumerate(tokens):
            number = uniform(proposing.key("p", [], root), position)
            drawn, _ = slow_draw(policy, inputs, tokens[:position], number, banned=banned, temperature=50.0)
            assert drawn == token
    assert min(sentences.values()) > 2


def slow_draw(
    policy: Policy,
    inputs: Mapping[str, torch.Tensor],
    drawn: Sequence[int],
    number: float,
    *,
    banned: Sequence[int],
    temperature: float,
) -> tuple[int, float]:
    """Return the next token and its log-probability at temperature 1, from a full pass and plain arithmetic."""
    raw = plain_logits(policy.model, inputs, [tuple(drawn)])[0].double()
    weights = (raw / temperature).exp().tolist()
    for token in banned:
        weights[token] = 0.0
    share, total = 0.0, sum(weights)
    for token, weight in enumerate(weights):
        share += weight / total
        if share > number:
            return token, float(raw[token] - raw.logsumexp(-1))
    raise AssertionError(number)


def test_sampled_answers_are_a_table_of_trees(project: Path, policy: Policy) -> None:
    """Equal first sentences stay apart, nothing is pruned, `keep_best` is not used, and the table keeps its rules."""
    rows = grown(project, policy, SampledAnswers(6, 0.3, seed=0), PROMPTS[:2])
    first = [row.text for row in rows if row.prompt_id == "p0" and row.depth == 1]
    assert len(first) == 6 > len(set(first))
    assert {row.fate for row in rows} <= {Fate.KEPT_BEST, Fate.FINISHED, Fate.CUT}
    check_values(to_table(rows, Sentence), Sentence, place="rows", made_by="again")


def test_low_temperatures_take_the_best_token(project: Path, policy: Policy) -> None:
    """Near temperature 0 a sampled sentence is the one that greedy decoding gives."""
    (greedy, *_) = grown(project, policy, DiverseGroups(1, 0.0), PROMPTS[:1])
    (cold, *_) = grown(project, policy, SampledSentences(1, 1e-3, seed=9), PROMPTS[:1])
    assert cold.token_ids == greedy.token_ids
    assert cold.logprob == pytest.approx(greedy.logprob, abs=1e-5)
