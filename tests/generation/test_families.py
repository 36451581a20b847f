"""The whole way with two model families: search, scoring, selection, one step of DPO. No code is for LLaVA alone.

The models are tiny and random, trained for a few seconds so that their answers have words and an end.
"""

from collections import Counter
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.generation.clock import Clock
from csrdata.generation.generating import generate
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import end_ids
from csrdata.policy.proposing import DiverseGroups
from csrdata.policy.training import train
from csrdata.records import Fate, Pair, Prompt, Response, Sentence, Stop
from csrdata.relevance.base import Scorer
from csrdata.relevance.open_clip import load_open_clip
from csrdata.search.responses import path_to
from tests.extending.word_scorer import SCORER, words
from tests.objectives import DPO, TINY
from tests.relevance.test_open_clip import save_tiny_clip
from tests.scores import by_reward
from tests.scoring import scored
from tests.teaching import TEXTS, teach
from tests.tiny import FAMILIES, picture, pictures


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy, a scorer and four images."""
    root = tmp_path_factory.mktemp(request.param)
    teach(FAMILIES[request.param](root / "policy"))
    (root / "scorer").mkdir()
    save_tiny_clip(root / "scorer")
    pictures(root / "images", len(TEXTS))
    return root


@pytest.fixture(scope="module")
def scorer(project: Path) -> Scorer:
    return load_open_clip(project / "scorer")


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return [Prompt(f"p{index}", f"images/{index}.png", text) for index, text in enumerate(TEXTS)]


def search(project: Path, policy: Policy, scorer: Scorer, prompts: list[Prompt], *, guidance: str = "reward") -> list[Sentence]:  # fmt: skip
    return generate(
        prompts,
        root=project,
        policy=policy,
        scorer=scorer,
        proposing=DiverseGroups(4, 2.0),
        keep_best=2,
        keep_worst=1,
        rank_by="sentence",
        max_sentence_tokens=20,
        max_response_tokens=60,
        max_sentences=4,
        prompts_at_once=3,
        guidance=guidance,
        image_weight=0.9,
        scale="zscore",
        repetition_threshold=0.9,
        clock=Clock(),
    )


@pytest.fixture(scope="module")
def sentences(project: Path, scorer: Scorer, prompts: list[Prompt]) -> list[Sentence]:
    return search(project, load_policy(project / "policy"), scorer, prompts)


def answers(
    project: Path, scorer: Scorer, sentences: list[Sentence], prompts: list[Prompt]
) -> list[Response]:
    return scored(sentences, prompts, root=project, held_out=scorer)


def test_search_keeps_every_candidate(sentences: list[Sentence], prompts: list[Prompt]) -> None:
    """Every prompt has a tree; every candidate has a fate, a stop and raw components; limits hold."""
    assert {row.prompt_id for row in sentences} == {prompt.prompt_id for prompt in prompts}
    for row in sentences:
        assert row.fate in set(Fate)
        assert row.stop in set(Stop)
        assert row.logprob <= 0
        assert (row.relevance is None) == (not row.text.strip())
        assert row.relevance is None or 0 <= row.relevance <= 100
        assert (row.canonical is None) == (row.fate == Fate.REFUSED)
        assert len(row.token_ids) <= 20
        assert row.depth <= 4


def test_every_node_says_whether_its_path_is_canonical(project: Path, sentences: list[Sentence]) -> None:
    """`canonical` is what reading the path's text alone says, for leaves and inner nodes, ended or not."""
    policy = load_policy(project / "policy")
    ends = end_ids(policy.model, policy.processor)
    trees: dict[str, dict[int, Sentence]] = {}
    for row in sentences:
        trees.setdefault(row.prompt_id, {})[row.node_id] = row
    for row in sentences:
        path = path_to(row, trees[row.prompt_id])
        generated = [token for one in path for token in one.token_ids]
        text = "".join(one.text for one in path)
        if generated[-1] in ends:
            text += policy.tokenizer.decode([generated[-1]])
        again = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert row.canonical == (again == generated)
    assert {row.canonical for row in sentences if row.fate == Fate.KEPT_BEST} >= {True}


def test_a_shard_gives_the_same_rows_again(
    project: Path, scorer: Scorer, prompts: list[Prompt], sentences: list[Sentence]
) -> None:
    """A second run of a shard, with a policy loaded again, gives identical rows."""
    assert search(project, load_policy(project / "policy"), scorer, prompts) == sentences


@pytest.mark.parametrize(
    ("image", "text", "words"),
    [
        ("images/0.png", "What is <image>?", "prompt p-1: got the text <image>, expected a text without"),
        ("../0.png", "Describe it.", "prompt p-1: image ../0.png: got ../0.png, expected a path relative"),
    ],
)
def test_a_bad_prompt_is_refused_by_name(
    project: Path, scorer: Scorer, image: str, text: str, words: str
) -> None:
    """A placeholder in an instruction, or an image outside the root, gives one line before any forward pass."""
    with pytest.raises(UserError) as caught:
        search(project, load_policy(project / "policy"), scorer, [Prompt("p-1", image, text)])
    assert words in str(caught.value)


def test_guidance_changes_the_search(
    project: Path, scorer: Scorer, prompts: list[Prompt], sentences: list[Sentence]
) -> None:
    """Without guidance, other candidates are kept, from the same first proposals."""
    unguided = search(project, load_policy(project / "policy"), scorer, prompts, guidance="none")

    def first(rows: list[Sentence]) -> list[tuple[str, str]]:
        return [(row.prompt_id, row.text) for row in rows if row.depth == 1]

    assert first(unguided) == first(sentences)
    assert Counter(row.fate for row in unguided if row.depth == 1) == Counter(
        row.fate for row in sentences if row.depth == 1
    )
    assert [row.fate for row in unguided] != [row.fate for row in sentences]


def test_answers_make_pairs_and_pairs_train(
    project: Path, scorer: Scorer, prompts: list[Prompt], sentences: list[Sentence]
) -> None:
    """Each prompt gives a pair or a reason; the pairs pass training's preflight and one step."""
    found = answers(project, scorer, sentences, prompts)
    selected = by_reward(prompts, found)
    pairs = [row for row in selected if isinstance(row, Pair)]
    assert pairs, Counter(row.reason for row in selected if not isinstance(row, Pair))
    report = train(
        load_policy(project / "policy"),
        pairs,
        root=project,
        adapter_folder=project / "adapter",
        **DPO,
        learning_rate=1e-3,
        epochs=1,
        batch_size=len(pairs),
        **TINY,
    )
    assert len(report.steps) == 1
    assert report.reference_gap < 1e-4
    assert (project / "adapter" / "adapter_model.safetensors").is_file()


def test_any_scorer_guides_and_scores(project: Path, prompts: list[Prompt]) -> None:
    """Any implementation of `Scorer` works in search and scoring: both store the values that it returns."""
    rows = search(project, load_policy(project / "policy"), SCORER, prompts)
    scored = [row for row in rows if row.relevance is not None]
    expected = SCORER.open([picture(0)]).relevance([0] * len(scored), [row.text for row in scored])
    assert [(row.relevance, row.relevance_truncated) for row in scored] == expected
    assert len({row.relevance for row in scored}) > 1
    assert any(row.repetition for row in scored if row.depth > 1)
    responses = answers(project, SCORER, rows, prompts)
    assert responses
    for response in responses:
        assert response.relevance == pytest.approx(response.relevance_held_out)
    assert any(words(response.text) & {"red", "circle", "star", "there"} for response in responses)
