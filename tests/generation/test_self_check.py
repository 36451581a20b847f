"""A self-check is a scorer like any other: it guides a search, and is a signal."""

from pathlib import Path

import pytest

from csrdata.generation.self_check import SelfCheck
from csrdata.policy.asking import Asker
from csrdata.policy.loading import Policy, load_policy
from csrdata.records import Prompt
from csrdata.relevance.word_repetition import word_repetition
from csrdata.search.responses import path_to
from csrdata.sources.base import plain_check
from csrdata.sources.folder import Folder
from tests.generation.test_families import search
from tests.teaching import TEXTS, teach
from tests.tiny import picture, pictures, tiny_llava


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a taught policy and four images."""
    root = tmp_path_factory.mktemp("self")
    teach(tiny_llava(root / "policy"))
    pictures(root / "images", len(TEXTS))
    return root


@pytest.fixture(scope="module")
def policy(project: Path) -> Policy:
    return load_policy(project / "policy")


def test_relevance_is_the_share_of_yes(policy: Policy) -> None:
    """One question: 100 times its share; two: their mean; none, or a special token spelled out: no value."""
    questions = {"A star.": ["Is there a star?"], "A star and a bar.": ["A star?", "A bar?"], "Fog.": []}
    scores = SelfCheck(lambda: policy, questions.__getitem__).open([picture(0), picture(1)])
    texts = ["A star.", " A star and a bar.", "Fog.", "A <image>."]
    found = scores.relevance([1, 0, 0, 0], texts)
    asker = Asker(policy, [picture(0), picture(1)])
    star, one, other = asker.ask([1, 0, 0], ["Is there a star?", "A star?", "A bar?"])
    assert found[0].value == pytest.approx(100 * star, abs=1e-3)
    assert found[1].value == pytest.approx(50 * (one + other), abs=1e-3)
    assert [value.value for value in found[2:]] == [None, None]
    assert not any(value.truncated for value in found)
    assert scores.relevance([1], ["A star."]) == found[:1]


def test_photographs_are_checked_by_the_sentence_itself(tmp_path: Path) -> None:
    """A source without its own questions asks whether the sentence is true of the image."""
    source = Folder(tmp_path, ".", ("Describe it.",))
    assert source.checks(" A cat sleeps.") == [plain_check("A cat sleeps.")]
    assert plain_check("A cat sleeps.") == "Is this true of the image? A cat sleeps. Answer yes or no."


def test_it_guides_the_search_that_the_policy_makes(project: Path, policy: Policy) -> None:
    """The policy answers questions between the sentences that it decodes, over the same weights: the search is sound."""
    prompts = [Prompt(f"p{index}", f"images/{index}.png", text) for index, text in enumerate(TEXTS)]
    scorer = SelfCheck(lambda: policy, lambda sentence: [plain_check(sentence)])
    rows = search(project, policy, scorer, prompts)
    assert rows == search(project, policy, scorer, prompts)
    unguided = search(project, load_policy(project / "policy"), scorer, prompts, guidance="none")
    of_depth = {(row.prompt_id, row.text): (row.logprob, row.relevance) for row in unguided if row.depth == 1}
    first = {(row.prompt_id, row.text): (row.logprob, row.relevance) for row in rows if row.depth == 1}
    assert first == of_depth
    asker = Asker(policy, [picture(index) for index in range(len(prompts))])
    scored = [row for row in rows if row.relevance is not None]
    expected = asker.ask(
        [int(row.prompt_id[1:]) for row in scored], [plain_check(row.text) for row in scored]
    )
    assert [row.relevance for row in scored] == pytest.approx([100 * share for share in expected], abs=1e-2)
    nodes = {(row.prompt_id, row.node_id): row for row in rows}
    for row in scored:
        own = {node: one for (prompt_id, node), one in nodes.items() if prompt_id == row.prompt_id}
        before = [one.text for one in path_to(row, own)[:-1]]
        assert [row.repetition] == word_repetition([row.text], [before])
