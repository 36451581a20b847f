"""Algorithm 1 on a scripted model: whole trees that a reader can check by eye, and properties of any tree."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrdata.records import NO_PARENT, Fate, Sentence, Stop
from csrdata.search.beam import Branch, Candidates, Guidance, Proposal, merge_equal, search, survivors

Script = dict[str, list[tuple[str, float]]]
"""What a scripted policy says after an answer so far: (text, reward) pairs; "." at the end closes it, "" is the end."""


class Scripted:
    """A policy and a guidance that read from a script; the opaque state is the answer so far."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.under_way: list[int] = []

    def propose(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        self.under_way.append(len({branch.prompt for branch in branches}))
        return [self._continue(branch) for branch in branches]

    def _continue(self, branch: Branch) -> list[Proposal]:
        so_far = str(branch.state or "")
        return [
            Proposal(
                group=group,
                text=text,
                token_ids=tuple(range(len(text) + 1)),
                logprob=-1.0 - group,
                stop=Stop.SENTENCE_END if text else Stop.END,
                state=so_far + text,
            )
            for group, (text, _) in enumerate(self.scripts[branch.prompt].get(so_far, [("", 0.0)]))
        ]

    def guide(self, depths: Sequence[Candidates]) -> list[list[Guidance]]:
        return [
            [
                Guidance(
                    relevance=50.0,
                    truncated=False,
                    repetition=float(proposal.text in branch.texts),
                    reward=self._look_up(prompt, proposal),
                )
                for branch, proposal in candidates
            ]
            for prompt, candidates in depths
        ]

    def _look_up(self, prompt: int, proposal: Proposal) -> float:
        so_far = str(proposal.state)[: -len(proposal.text)]
        return dict(self.scripts[prompt][so_far])[proposal.text]


def grow(*scripts: Script, keep_best: int = 1, keep_worst: int = 1, rank_by: str = "sentence", max_sentences: int = 9) -> list[list[Sentence]]:  # fmt: skip
    model = Scripted(*scripts)
    names = [f"p{index}" for index in range(len(scripts))]
    return search(
        names,
        propose=model.propose,
        guide=model.guide,
        keep_best=keep_best,
        keep_worst=keep_worst,
        rank_by=rank_by,
        max_sentences=max_sentences,
    )


def grow_at_once(scripts: Sequence[Script], at_once: int) -> tuple[list[list[Sentence]], list[int]]:
    """Return the trees, and how many prompts were searched at each depth."""
    model = Scripted(*scripts)
    trees = search(
        [f"p{index}" for index in range(len(scripts))],
        propose=model.propose,
        guide=model.guide,
        keep_best=1,
        keep_worst=1,
        rank_by="sentence",
        max_sentences=9,
        at_once=at_once,
    )
    return trees, model.under_way


def drawing(tree: Sequence[Sentence]) -> list[str]:
    """Return a tree as lines: node <- parent text fate."""
    return [f"{row.node_id} <- {row.parent_id} {row.text or '(end)'} {row.fate}" for row in tree]


def test_best_and_worst_live_on_and_the_middle_is_pruned() -> None:
    """The best and the worst of a depth are continued; an answer that has ended is finished and not continued."""
    script: Script = {
        "": [("A.", 3.0), ("B.", 2.0), ("C.", 1.0)],
        "A.": [("A1.", 5.0), ("", 0.0)],
        "C.": [("C1.", 4.0)],
    }
    (tree,) = grow(script)
    assert drawing(tree) == [
        "0 <- -1 A. kept_best",
        "1 <- -1 B. pruned",
        "2 <- -1 C. kept_worst",
        "3 <- 0 A1. kept_best",
        "4 <- 0 (end) finished",
        "5 <- 2 C1. kept_worst",
        "6 <- 3 (end) finished",
        "7 <- 5 (end) finished",
    ]


def test_the_whole_depth_is_ranked_not_the_siblings() -> None:
    """Candidates of different parents are ranked together: both kept ones can have the same parent."""
    script: Script = {
        "": [("A.", 2.0), ("B.", 1.0)],
        "A.": [("A1.", 9.0), ("A2.", 0.0)],
        "B.": [("B1.", 5.0), ("B2.", 4.0)],
    }
    (tree,) = grow(script)
    assert [row.fate for row in tree if row.depth == 2] == [
        Fate.KEPT_BEST,
        Fate.KEPT_WORST,
        Fate.PRUNED,
        Fate.PRUNED,
    ]


def test_cumulative_ranking_counts_the_path() -> None:
    """With rank_by=cumulative earlier rewards count; with rank_by=sentence they do not."""
    script: Script = {
        "": [("A.", 10.0), ("B.", 1.0)],
        "A.": [("A1.", 1.0)],
        "B.": [("B1.", 2.0)],
    }
    (own,) = grow(script, keep_best=1, keep_worst=1)
    (total,) = grow(script, keep_best=1, keep_worst=1, rank_by="cumulative")
    assert [row.fate for row in own if row.depth == 2] == [Fate.KEPT_WORST, Fate.KEPT_BEST]
    assert [row.fate for row in total if row.depth == 2] == [Fate.KEPT_BEST, Fate.KEPT_WORST]


def test_an_answer_at_the_sentence_limit_is_cut() -> None:
    """An answer that has not ended at `max_sentences` is cut, not finished."""
    (tree,) = grow({"": [("A.", 1.0)], "A.": [("B.", 1.0), ("", 0.0)]}, max_sentences=2)
    assert [row.fate for row in tree] == [Fate.KEPT_BEST, Fate.CUT, Fate.FINISHED]


def test_answers_from_several_roots_stay_apart() -> None:
    """Each root grows by itself: equal candidates of two roots are two nodes, and each keeps the number of its root."""
    script: Script = {"": [("A.", 1.0)], "A.": [("B.", 1.0), ("B.", 1.0)]}
    model, begun = Scripted(script), list[tuple[int, int]]()

    def propose(branches: Sequence[Branch]) -> list[list[Proposal]]:
        begun.extend((branch.depth, branch.root) for branch in branches)
        return model.propose(branches)

    (tree,) = search(
        ["p0"],
        propose=propose,
        guide=model.guide,
        keep_best=2,
        keep_worst=0,
        rank_by="sentence",
        max_sentences=2,
        roots=2,
        at_once=1,
    )
    assert drawing(tree) == ["0 <- -1 A. kept_best", "1 <- -1 A. kept_best", "2 <- 0 B. cut", "3 <- 1 B. cut"]
    assert begun == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_branch_knows_what_its_answer_has_said() -> None:
    """The guidance receives the earlier sentences of each candidate, and its repetition is in the tree."""
    (tree,) = grow({"": [("A.", 1.0), ("B.", 0.0)], "A.": [("A.", 1.0), ("B.", 0.0)], "B.": [("A.", 1.0)]})
    said = {row.node_id: row.text for row in tree}
    assert [(said.get(row.parent_id, ""), row.text, row.repetition) for row in tree if row.depth == 2] == [
        ("A.", "A.", 1.0),
        ("A.", "B.", 0.0),
        ("B.", "A.", 0.0),
    ]


def test_equal_candidates_are_merged_under_the_lowest_group() -> None:
    """Of equal texts the most probable is kept; one that ends the answer and one that does not are different."""
    proposals = [
        Proposal(0, " A.", (1,), -3.0, Stop.SENTENCE_END),
        Proposal(1, "A.", (2,), -2.0, Stop.SENTENCE_END),
        Proposal(2, "A.", (3,), -1.0, Stop.END),
        Proposal(3, "", (9,), -1.0, Stop.END),
        Proposal(4, "", (9,), -1.0, Stop.END),
    ]
    merged = merge_equal(proposals)
    assert [(row.group, row.token_ids) for row in merged] == [(0, (2,)), (2, (3,)), (3, (9,))]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([5, 4, 3, 2, 1], "best best pruned pruned worst"),
        ([1, 5, 5], "worst best best"),
        ([1, 1, 1, 1], "best best pruned worst"),
        ([7], "best"),
        ([], ""),
    ],
)
def test_survivors_example(rewards: list[float], expected: str) -> None:
    """keep_best=2, keep_worst=1: the docstring's example, ties, and fewer candidates than are kept."""
    fates = survivors(rewards, keep_best=2, keep_worst=1)
    assert " ".join(fate.removeprefix("kept_") for fate in fates) == expected


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Random scripts of up to three depths, some of whose answers end early."""
    script: Script = {}
    reward = st.floats(-5, 5)
    for path in ["", *"abcd", *(a + b for a in "abcd" for b in "abcd")]:
        key = "".join(f"{letter}." for letter in path)
        texts = draw(
            st.lists(st.sampled_from(["a.", "b.", "c.", "d.", ""]), min_size=1, max_size=4, unique=True)
        )
        script[key] = [(text, draw(reward)) for text in texts]
    return script


@settings(max_examples=60, deadline=None)
@given(st.lists(scripts(), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2))
def test_properties_of_any_search(given_scripts: list[Script], keep_best: int, keep_worst: int) -> None:
    """Limits hold, every row has a fate, rewards add up, leaves are finished or cut, ids are positions."""
    trees = grow(*given_scripts, keep_best=keep_best, keep_worst=keep_worst, max_sentences=4)
    for tree in trees:
        kept = [row for row in tree if row.fate in (Fate.KEPT_BEST, Fate.KEPT_WORST)]
        for (_, fate), count in Counter((row.depth, row.fate) for row in kept).items():
            assert count <= (keep_best if fate == Fate.KEPT_BEST else keep_worst)
        parents = {row.parent_id for row in tree} - {NO_PARENT}
        assert parents == {row.node_id for row in kept}, "exactly what was kept is continued"
        assert [row.node_id for row in tree] == list(range(len(tree)))
        assert all(row.parent_id < row.node_id for row in tree)
        assert {row.fate for row in tree} <= set(Fate)
        assert (Fate.FINISHED in {row.fate for row in tree}) or (Fate.CUT in {row.fate for row in tree})


@settings(max_examples=30, deadline=None)
@given(st.lists(scripts(), min_size=2, max_size=4))
def test_a_tree_depends_on_its_prompt_alone(given_scripts: list[Script]) -> None:
    """Searching prompts together, in another order or one by one gives the same trees."""
    together = [drawing(tree) for tree in grow(*given_scripts)]
    backwards = [drawing(tree) for tree in grow(*given_scripts[::-1])][::-1]
    alone = [drawing(grow(script)[0]) for script in given_scripts]
    assert together == backwards == alone


@settings(max_examples=30, deadline=None)
@given(st.lists(scripts(), min_size=2, max_size=6), st.integers(1, 4))
def test_a_finished_prompt_makes_room_for_the_next(given_scripts: list[Script], at_once: int) -> None:
    """With `at_once` the trees are the same, and a waiting prompt starts as soon as another is finished."""
    trees, under_way = grow_at_once(given_scripts, at_once)
    assert [drawing(tree) for tree in trees] == [drawing(tree) for tree in grow(*given_scripts)]
    assert max(under_way) == min(at_once, len(given_scripts))
    begun = sum(max(row.depth for row in tree) for tree in trees)
    assert sum(under_way) == begun, "each prompt is under way for as many depths as its tree has"
    full = [count == at_once for count in under_way]
    assert full == sorted(full, reverse=True), "only the last depths have room to spare"
