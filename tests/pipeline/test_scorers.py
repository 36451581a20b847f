"""Scorers of every kind in the DAG: what each stage depends on, what `prepare` makes, and which policy a self-check asks."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.answers import mean_relevance
from csrdata.generation.self_check import SelfCheck
from csrdata.images import load_image
from csrdata.params import Params, load_params
from csrdata.pipeline import evaluate_policy, sample_prompts
from csrdata.pipeline.code import reached, wiring
from csrdata.pipeline.dag import Form, dvc_yaml, kinds_in_use
from csrdata.pipeline.graph import Node, nodes, steps
from csrdata.pipeline.pinning import pin_scorer
from csrdata.pipeline.scorers import (
    TOWER,
    asks_questions,
    asks_the_policy,
    embeds_texts,
    open_scorer,
    trained_scorers,
)
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings
from csrdata.policy.asking import Asker
from csrdata.policy.loading import load_policy
from csrdata.records import Answer, Question
from csrdata.sections.scorers import own_folder, scorer_folder, scorer_of, scorer_place, scorer_roles
from csrdata.storage.tables import read_rows
from tests.pipeline.world import draw_world, small_params
from tests.relevance.test_open_clip import save_tiny_clip
from tests.teaching import teach
from tests.tiny import picture, tiny_llava

CLIP = {"kind": "open_clip", "folder": "scorers/clip"}
DETECTOR = {"kind": "detector", "folder": "scorers/spots"}
SELF_CHECK = {"kind": "self_check"}
NOISY = {"kind": "noisy", "folder": "scorers/search", "deviation": 10.0, "seed": 0}
JUDGE = {"kind": "judge", "folder": "models/judge", "question": None}
NAMED = {"kind": "open_clip_name", "name": "ViT-B-32", "tag": "openai"}


def params(**scorers: Any) -> Params:
    """Return small parameters with other scorers."""
    raw = small_params().model_dump()
    raw["scorers"] |= scorers
    return Params.model_validate(raw)


def node(settings: Params, name: str) -> Node:
    return next(one for one in nodes(settings) if one.name == name)


def written(settings: Params) -> list[str]:
    """Return the scorers among the outputs of `prepare`."""
    return [one.path for one in node(settings, "prepare").outputs if "scorers" in one.path]


def test_a_detector_is_an_input_and_is_trained() -> None:
    """Its folder is an output of `prepare` in the microworld, and an input of `measure_signals` alone."""
    settings = params(others={"spots": DETECTOR})
    assert written(settings) == ["${scorers.held_out.folder}", "${scorers.search.folder}", "scorers/spots"]
    assert "scorers/spots" in node(settings, "measure_signals").inputs
    assert "scorers/spots" not in node(settings, "generate_beams").inputs
    assert trained_scorers(settings).detectors == ("spots",)


def test_a_self_check_depends_on_the_policy() -> None:
    """It has no folder and no record; with it, `measure_signals` depends on the policy that searched."""
    plain, settings = params(), params(others={"asked": SELF_CHECK})
    assert scorer_folder(scorer_of(settings.scorers, "asked"), role="asked") is None
    assert written(settings) == written(plain)
    more = set(node(settings, "measure_signals").inputs) - set(node(plain, "measure_signals").inputs)
    assert more == {str(paths.WORDINGS), "policies/${item.previous}"}
    step = next(one for one in steps(settings) if one.name == "measure_signals@2")
    assert "policies/1" in step.node.inputs


def test_a_search_without_a_clip_has_a_tower() -> None:
    """If the search's scorer is no CLIP by folder, the CLIP of the policy's tower is another scorer's, or an output of its own."""
    alone = params(search=SELF_CHECK, held_out=None)
    assert written(alone) == [TOWER.as_posix()]
    assert node(alone, "generate_beams").inputs == (
        str(paths.IMAGES),
        str(paths.PROMPTS),
        str(paths.WORDINGS),
        "policies/${item.previous}",
    )
    beside = params(search=DETECTOR, others={"clip": CLIP})
    assert trained_scorers(beside).tower == Path("scorers/clip")
    assert written(beside) == ["${scorers.held_out.folder}", "${scorers.search.folder}", "scorers/clip"]
    assert trained_scorers(params()).tower == Path("scorers/search")


def test_a_folder_of_the_users_own_is_no_output() -> None:
    """A further CLIP by folder is an input alone; the search's own folder may be a signal again, and is one output."""
    settings = params(others={"mine": CLIP, "again": {"kind": "open_clip", "folder": "scorers/search"}})
    assert written(settings) == ["${scorers.held_out.folder}", "${scorers.search.folder}"]
    assert {"scorers/clip", "scorers/search"} <= set(node(settings, "measure_signals").inputs)


def test_a_recorded_scorer_has_its_record() -> None:
    """A scorer by name among the others is recorded under its own name."""
    settings = params(others={"big": NAMED})
    assert "scorers/big" in written(settings)
    assert "scorers/big" in node(settings, "measure_signals").inputs
    assert scorer_place("big") == "scorers.others.big"


@pytest.mark.parametrize("form", list(Form))
def test_every_mix_gives_a_dag(form: Form) -> None:
    """dvc.yaml can be written for every kind in every role, and no output has two makers."""
    of_the_base = JUDGE | {"folder": "policies/base"}
    for search in (CLIP, NOISY, DETECTOR, SELF_CHECK, NAMED, of_the_base):
        for held_out in (
            None,
            DETECTOR | {"folder": "scorers/other"},
            SELF_CHECK,
            CLIP | {"folder": "h"},
            JUDGE,
        ):
            others = {"spots": DETECTOR, "asked": SELF_CHECK, "judge": of_the_base}
            settings = params(search=search, held_out=held_out, others=others)
            assert dvc_yaml(settings, form)
            outputs = [one.path for step in steps(settings) for one in step.node.outputs]
            assert len(outputs) == len(set(outputs))


def test_the_code_of_other_kinds_is_no_dependency() -> None:
    """A project without a self-check, a judge or a detector depends on none; with them, `measure_signals` does."""
    kinds = {"detector": "csrdata.relevance.detector", "self_check": "csrdata.policy.asking"}
    for stage in ("generate_beams", "measure_signals"):
        assert not set(kinds.values()) & set(reached(wiring(stage), kinds=kinds_in_use(params())))
    for asks in (SELF_CHECK, JUDGE):
        settings = params(others={"spots": DETECTOR, "asked": asks})
        code = reached(wiring("measure_signals"), kinds=kinds_in_use(settings))
        assert set(kinds.values()) <= set(code)
    assert set(kinds.values()) <= set(reached(wiring("measure_signals"), kinds=kinds_in_use(settings)))


def test_what_reads_texts_and_what_is_a_folder() -> None:
    """Only scorers that embed texts have a text limit; three kinds are folders themselves; two ask questions."""
    others = {"spots": DETECTOR, "asked": SELF_CHECK, "big": NAMED, "judge": JUDGE}
    settings = params(held_out=None, others=others)
    roles = scorer_roles(settings.scorers)
    assert roles == ["search", "spots", "asked", "big", "judge"]
    assert [embeds_texts(settings.scorers, role) for role in roles] == [True, False, False, True, False]
    assert [asks_questions(settings.scorers, role) for role in roles] == [False, False, True, False, True]
    assert [asks_the_policy(settings.scorers, role) for role in roles] == [False, False, True, False, False]
    assert [own_folder(scorer_of(settings.scorers, role)) for role in roles] == [
        Path("scorers/search"),
        Path("scorers/spots"),
        None,
        None,
        Path("models/judge"),
    ]


def test_a_self_check_asks_what_it_is_given() -> None:
    """The policy of the caller is asked, once images are opened, with the questions of the project's source."""
    given: list[str] = []

    def policy() -> None:
        given.append("asked")
        raise RuntimeError("loaded")

    scorer = open_scorer(params(search=SELF_CHECK), "search", device="cpu", policy=policy)
    assert given == []
    with pytest.raises(RuntimeError, match="loaded"):
        scorer.open([])
    checks = scorer.checks("There is a red star at the top.")  # type: ignore[attr-defined]
    assert (checks, given) == (["Is there a star in the image?"], ["asked"])


def test_a_judge_is_an_input_and_no_output() -> None:
    """It is the user's own, in the microworld too, unless it is the base; its folder is what `measure_signals` depends on."""
    settings = params(others={"judge": JUDGE})
    assert "models/judge" in node(settings, "measure_signals").inputs
    assert written(settings) == written(params())
    assert trained_scorers(settings) == trained_scorers(params())
    step = next(
        one
        for one in steps(params(others={"judge": JUDGE | {"folder": "policies/base"}}))
        if one.name == "measure_signals@2"
    )
    assert "policies/base" in step.node.inputs
    assert "policies/1" not in step.node.inputs


def test_a_judge_asks_its_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value is 100 times the share of yes to its question about each sentence, or to that of the source."""
    monkeypatch.chdir(tmp_path)
    teach(tiny_llava(Path("models/judge"), seed=1))
    judge, shown = load_policy(Path("models/judge")), picture(0)
    sentence = "There is a red star at the top."
    for question, asked in (
        ("Is it so? {sentence}", "Is it so? There is a red star at the top."),
        (None, "Is there a star in the image?"),
    ):
        settings = params(others={"judge": JUDGE | {"question": question}})
        scorer = open_scorer(settings, "judge", device="cpu", policy="base")
        (found,) = scorer.open([shown]).relevance([0], [f" {sentence} "])
        (share,) = Asker(judge, [shown]).ask([0], [asked])
        assert found.value == pytest.approx(100 * share)


def ensemble(*folders: str) -> dict[str, Any]:
    """Return a scorer of several CLIPs by folder."""
    clips = [{"kind": "open_clip", "folder": folder} for folder in folders]
    return {"kind": "ensemble", "members": [{"weight": 1.0, "scorer": clip} for clip in clips]}


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        (
            {"search": NAMED, "others": {"mine": {"kind": "open_clip", "folder": "scorers/search"}}},
            "scorers.others.mine.folder: got scorers/search, expected another folder than scorers/search, "
            "where the record of scorers.search goes",
        ),
        (
            {"search": ensemble("mine/clip", "./scorers/search/0")},
            "scorers.search.members.1.scorer.folder: got ./scorers/search/0, expected another folder than",
        ),
        (
            {"others": {"mine": CLIP, "clip": NAMED}},
            "scorers.others.mine.folder: got scorers/clip, expected another folder than scorers/clip",
        ),
        (
            {"others": {"big": NAMED, "judge": JUDGE | {"folder": "scorers"}}},
            "scorers.others.judge.folder: got",
        ),
    ],
)
def test_a_folder_that_a_record_would_replace_is_refused(
    tmp_path: Path, scorers: dict[str, Any], message: str
) -> None:
    """`prepare` writes the record of a scorer that is no folder to `scorers/ROLE`; no other scorer may be there."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params(**scorers).model_dump()), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        load_params(path)


def test_a_member_that_is_trained_again_is_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare` trains the held-out scorer with other settings into the same folder; a user's own may not change unsaid."""
    monkeypatch.chdir(tmp_path)
    mine, trained = Path("mine"), Path("scorers/held_out")
    for folder in (mine, trained):
        folder.mkdir(parents=True)
        save_tiny_clip(folder)
    settings = params(search=ensemble("scorers/held_out", "mine"))
    before = pin_scorer(settings, "search")
    save_tiny_clip(trained, seed=1)
    again = pin_scorer(settings, "search")
    assert again[0].files != before[0].files
    assert again[1].files == before[1].files
    save_tiny_clip(mine, seed=1)
    with pytest.raises(
        UserError, match=r"scorers/search/1/scorer.json: open_clip_model.safetensors: got other"
    ):
        pin_scorer(settings, "search")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"folder": "policies/1"},
            "scorers.others.judge.folder: got policies/1, expected policies/base, or a folder outside",
        ),
        ({"folder": "./policies/../policies/1"}, "expected policies/base, or a folder outside policies"),
        (
            {"question": "Is it so?"},
            "judge.question: got Is it so?, expected a question with {sentence} in it once",
        ),
        ({"question": "{sentence} {sentence.__class__}"}, "scorers.others.judge.question"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """A policy that an iteration makes is not there yet; a question has the sentence once, and no other field."""
    path = tmp_path / "params.yaml"
    raw = params().model_dump()
    raw["scorers"]["others"] = {"judge": JUDGE | changes}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        load_params(path)


def test_the_base_judges_the_answers_of_every_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation a self-check asks the base, also about another policy's answers, once these are written."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    raw = params(search=SELF_CHECK, held_out=None).model_dump()
    raw["evaluate_policy"] |= {"max_new_tokens": 30, "batch_size": 8}
    raw["source"]["questions_per_image"] = 0
    settings = Params.model_validate(raw)
    sample_prompts.run(settings)
    teach(tiny_llava(paths.policy("1"), seed=1))
    evaluate_policy.run(settings, "1")
    answers = read_rows(paths.answers("1"), Answer, made_by="")
    questions = {one.question_id: one for one in read_rows(paths.QUESTIONS, Question, made_by="")}
    shown = [load_image(questions[one.question_id].image, root=Path(), place="") for one in answers]
    base = load_policy(paths.policy(paths.BASE), wordings=read_wordings(paths.QUESTION_WORDINGS))
    scorer = SelfCheck(lambda: base, open_source(settings.source).checks)
    expected = mean_relevance(scorer, shown, [one.text for one in answers])
    assert sum(value is not None for value in expected) > len(expected) / 2
    assert [one.relevance for one in answers] == pytest.approx(expected)
