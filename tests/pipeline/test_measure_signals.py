"""The wiring of `measure_signals` and `score_beams`: stored values in, rewards out, and no model where none is needed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from csrdata import paths
from csrdata.errors import UserError
from csrdata.images import load_image
from csrdata.params import Params
from csrdata.pipeline import measure_signals, sample_prompts, score_beams
from csrdata.pipeline.signal_cards import iteration_cards
from csrdata.policy.asking import Asker
from csrdata.policy.loading import load_policy
from csrdata.records import NO_PARENT, Fate, Prompt, Response, Sentence, Signal, Stop
from csrdata.relevance.detector import load_detector
from csrdata.relevance.grid_detector import GridNetwork
from csrdata.relevance.open_clip import load_open_clip
from csrdata.search.responses import responses
from csrdata.sources.microworld.detector_training import detector_config
from csrdata.storage.tables import hash_path, read_json, read_rows, seal, write_rows
from tests.imports import ROOT
from tests.pipeline.world import draw_world, small_params
from tests.relevance.test_open_clip import save_tiny_clip

OTHERS = {"spots": {"kind": "detector", "folder": "scorers/spots"}, "asked": {"kind": "self_check"}}
ORIGIN = {"images": None, "licence": None, "outputs": None, "policy": None}
TEXTS = [
    " There is a red circle at the top.",
    " A blue star sits on the left.",
    " I can see a green bar in the centre.",
    " Fog.",
]


def params(**changes: Any) -> Params:
    """Return small parameters with a detector and a self-check among the signals."""
    raw = small_params(score_beams={"aggregate": "sum"}, engine={"workers": 1}).model_dump()
    raw["scorers"]["others"] = OTHERS
    for section, keys in changes.items():
        raw[section] = keys if section == "source" else raw[section] | keys
    return Params.model_validate(raw)


def tree(prompt_id: str, number: int) -> list[Sentence]:
    """Return two answers of one and two sentences, and a pruned sentence; the values differ from prompt to prompt."""

    def node(node_id: int, parent: int, text: str, fate: Fate) -> Sentence:
        return Sentence(
            prompt_id=prompt_id,
            node_id=node_id,
            parent_id=parent,
            depth=1 if parent == NO_PARENT else 2 + (parent > 0),
            group=0,
            text=text,
            token_ids=[node_id + 3] * (1 + node_id),
            logprob=-1.0 - node_id / 3 - number / 7,
            relevance=20.0 + (node_id * 7 + number * 3) % 11 if text else None,
            relevance_truncated=False,
            repetition=0.1 * node_id if text else None,
            guidance_reward=0.5 if text else None,
            stop=Stop.SENTENCE_END if text else Stop.END,
            fate=fate,
            canonical=True,
        )

    said = [TEXTS[(number + index) % len(TEXTS)] for index in range(3)]
    return [
        node(0, NO_PARENT, said[0], Fate.KEPT_BEST),
        node(1, NO_PARENT, said[1], Fate.PRUNED),
        node(2, 0, said[2], Fate.KEPT_BEST),
        node(3, 0, "", Fate.FINISHED),
        node(4, 2, "", Fate.FINISHED),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with images, prompts, models and two shards of candidates."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        draw_world()
        for name in ("search", "held_out"):
            Path("scorers", name).mkdir(parents=True)
            save_tiny_clip(Path("scorers", name), seed=len(name))
        torch.manual_seed(0)
        Path("scorers/spots").mkdir()
        save_file(GridNetwork(detector_config()).state_dict(), "scorers/spots/detector.safetensors")
        Path("scorers/spots/detector.json").write_text(detector_config().model_dump_json(), encoding="utf-8")
        sample_prompts.run(params())
        prompts = read_rows(paths.PROMPTS, Prompt, made_by="")
        for shard in range(2):
            rows = [
                row
                for number, prompt in enumerate(prompts[2 * shard : 2 * shard + 2])
                for row in tree(prompt.prompt_id, 2 * shard + number)
            ]
            write_rows(paths.candidates("1") / f"0000{shard}.parquet", rows, Sentence)
        seal(paths.candidates("1"), Sentence, fingerprint={})
        measure_signals.run(params(), "1")
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, as the present folder."""
    folder = Path(shutil.copytree(made, tmp_path / "project"))
    monkeypatch.chdir(folder)
    return folder


def candidates() -> list[Sentence]:
    return read_rows(paths.candidates("1"), Sentence, made_by="")


def values(name: str) -> list[float | None]:
    return [row.value for row in read_rows(paths.signals("1"), Signal, made_by="") if row.name == name]


def shown(rows: Sequence[Sentence]) -> list[Any]:
    """Return the image of each row."""
    images = {prompt.prompt_id: prompt.image for prompt in read_rows(paths.PROMPTS, Prompt, made_by="")}
    return [load_image(images[row.prompt_id], root=Path(), place="") for row in rows]


def test_every_signal_is_its_scorers_value(project: Path) -> None:
    """One row for each candidate with a text and each name; the values are what the scorers say, one by one."""
    rows = [row for row in candidates() if row.text]
    stored = read_rows(paths.signals("1"), Signal, made_by="")
    names = ["held_out", "spots", "asked", "elsewhere"]
    assert [(one.prompt_id, one.node_id, one.name) for one in stored] == [
        (row.prompt_id, row.node_id, name) for row in rows for name in names
    ]
    clip, spots = load_open_clip("scorers/held_out"), load_detector(Path("scorers/spots"), device="cpu")
    policy = load_policy(paths.policy(paths.BASE))
    for row, image, held_out, spot, asked in zip(
        rows, shown(rows), values("held_out"), values("spots"), values("asked"), strict=True
    ):
        assert held_out == pytest.approx(clip.open([image]).relevance([0], [row.text])[0].value, abs=1e-3)
        assert spot == spots.open([image]).relevance([0], [row.text])[0].value
        shape = next((word for word in ("circle", "star", "bar") if word in row.text), None)
        if shape is None:
            assert (spot, asked) == (None, None)
        else:
            question = f"Is there a {shape} in the image?"
            assert asked == pytest.approx(100 * Asker(policy, [image]).ask([0], [question])[0], abs=1e-3)


def test_elsewhere_is_of_the_search_and_of_the_shard(project: Path) -> None:
    """With two prompts in a shard, it is R_I by the search's scorer with the other prompt's image."""
    rows = [row for row in candidates() if row.text]
    clip = load_open_clip("scorers/search")
    prompts = sorted({row.prompt_id for row in rows})
    other = dict(zip(prompts, [prompts[1], prompts[0], prompts[3], prompts[2]], strict=True))
    images = dict(zip([row.prompt_id for row in rows], shown(rows), strict=True))
    expected = [clip.open([images[other[row.prompt_id]]]).relevance([0], [row.text])[0].value for row in rows]
    assert values("elsewhere") == pytest.approx(expected, abs=1e-3)


def test_signals_are_kept_until_an_input_changes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run opens no worker; another scorer or another policy behind a self-check measures again."""
    before = hash_path(paths.signals("1"))

    def opened(*_: object) -> None:
        raise AssertionError("opened")

    with monkeypatch.context() as patch:
        patch.setattr(measure_signals, "_open_worker", opened)
        measure_signals.run(params(), "1")
        assert hash_path(paths.signals("1")) == before
        Path("scorers/spots/note").write_text("another detector", encoding="utf-8")
        with pytest.raises(AssertionError, match="opened"):
            measure_signals.run(params(), "1")
        Path("scorers/spots/note").unlink()
        (paths.policy(paths.BASE) / "note").write_text("another policy", encoding="utf-8")
        with pytest.raises(AssertionError, match="opened"):
            measure_signals.run(params(), "1")
        measured = params(scorers={"others": {"spots": OTHERS["spots"]}})
    measure_signals.run(measured, "1")
    assert values("asked") == []
    assert len(values("spots")) == len([row for row in candidates() if row.text])


def old_way(settings: Params) -> list[Response]:
    """Score as `score_beams` did when it loaded the held-out scorer itself: one call for each shard."""
    scoring, clip, found = settings.score_beams, load_open_clip("scorers/held_out"), []
    for shard in sorted(paths.candidates("1").glob("*.parquet")):
        trees = {
            prompt_id: list(rows)
            for prompt_id, rows in groupby(
                read_rows(shard, Sentence, made_by=""), key=lambda row: row.prompt_id
            )
        }
        firsts = [rows[0] for rows in trees.values()]
        texts = [(place, row) for place, rows in enumerate(trees.values()) for row in rows if row.text]
        scores = clip.open(shown(firsts)).relevance(
            [place for place, _ in texts], [row.text for _, row in texts]
        )
        held_out = {
            (row.prompt_id, row.node_id): one.value for (_, row), one in zip(texts, scores, strict=True)
        }
        for prompt_id, rows in trees.items():
            found += responses(
                rows,
                {row.node_id: held_out[prompt_id, row.node_id] for row in rows if row.text},
                image_weight=scoring.image_weight,
                scale=scoring.scale,
                repetition_threshold=scoring.repetition_threshold,
                aggregate_by=scoring.aggregate,
            )
    return found


@pytest.mark.parametrize("scale", ["raw", "zscore", "rank", "sibling_rank"])
def test_the_search_signal_gives_the_bytes_of_before(project: Path, scale: str) -> None:
    """With `signal: search`, every number equals that of the scoring that loaded the held-out scorer, bit by bit."""
    settings = params(score_beams={"scale": scale})
    score_beams.run(settings, "1")
    found = read_rows(paths.responses("1"), Response, made_by="")
    assert found == old_way(settings)
    assert len(found) == 8
    metrics = read_json(paths.stage_metrics("score_beams", "1"), made_by="")
    assert metrics["responses_per_prompt"] == 2.0
    assert metrics["mean_relevance"] == pytest.approx(sum(row.relevance for row in found) / 8)


def test_another_signal_is_the_image_term(project: Path) -> None:
    """With lambda 1 and `raw`, rewards are sums of the stored values; an unmeasured sentence has the mean of its tree."""
    score_beams.run(params(score_beams={"signal": "spots", "image_weight": 1.0, "scale": "raw"}), "1")
    measured = {
        (row.prompt_id, row.node_id): row.value
        for row in read_rows(paths.signals("1"), Signal, made_by="")
        if row.name == "spots"
    }
    for row in read_rows(paths.responses("1"), Response, made_by=""):
        own = [measured[row.prompt_id, node] for node in range(3)]
        known = [value for value in own if value is not None]
        filled = [sum(known) / len(known) if value is None else value for value in own]
        path = [filled[0]] if row.leaf_id == 3 else [filled[0], filled[2]]
        assert row.reward == pytest.approx(sum(path))
        assert row.relevance == pytest.approx(sum(path) / len(path))


def test_scoring_loads_no_model_and_no_image(project: Path) -> None:
    """Without scorers, policies and images, and without importing torch, another weight is scored."""
    for folder in ("scorers", "policies", "data/prepare"):
        shutil.rmtree(folder)
    raw = params(score_beams={"image_weight": 0.3, "signal": "spots"}).model_dump()
    Path("raw.json").write_text(json.dumps(raw), encoding="utf-8")
    code = (
        "import json, sys; from csrdata.params import Params; from csrdata.pipeline import score_beams; "
        "score_beams.run(Params.model_validate(json.load(open('raw.json'))), '1'); "
        "sys.exit(str({'torch', 'transformers', 'open_clip'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=_environment()
    )
    assert done.returncode == 0, done.stderr
    assert len(read_rows(paths.responses("1"), Response, made_by="")) == 8


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_without_a_held_out_scorer_its_columns_are_null(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stage that would measure it says so, and no row is written for it."""
    settings = params(scorers={"held_out": None, "others": {}})
    measure_signals.run(settings, "1")
    assert "scorers.held_out is null" in capsys.readouterr().err
    assert {row.name for row in read_rows(paths.signals("1"), Signal, made_by="")} == {"elsewhere"}
    score_beams.run(settings, "1")
    found = read_rows(paths.responses("1"), Response, made_by="")
    assert {row.reward_held_out for row in found} == {row.relevance_held_out for row in found} == {None}


def test_signals_of_other_candidates_are_refused(project: Path) -> None:
    """Another number of shards, or candidates that were not measured, end in one line with the next command."""
    (paths.candidates("1") / "00001.parquet").unlink()
    seal(paths.candidates("1"), Sentence, fingerprint={})
    with pytest.raises(UserError) as caught:
        score_beams.run(params(), "1")
    assert str(caught.value) == (
        "data/measure_signals/1: got 2 shards, expected 1, as data/generate_beams/1 has. "
        "Next: dvc repro measure_signals@1"
    )
    prompt = read_rows(paths.PROMPTS, Prompt, made_by="")[3].prompt_id
    for shard, own in enumerate([prompt, "zzz"]):
        write_rows(paths.candidates("1") / f"0000{shard}.parquet", tree(own, 0), Sentence)
    seal(paths.candidates("1"), Sentence, fingerprint={})
    with pytest.raises(UserError, match=f"signals of prompt {prompt}: got no row of held_out for sentence 0"):
        score_beams.run(params(), "1")


def test_signals_are_judged_where_the_truth_is_known(project: Path) -> None:
    """Each signal has a card over the sentences that name a shape, with its seconds from the run log."""
    cards = iteration_cards(params(), "1")
    assert [card.name for card in cards] == [
        "search",
        "likelihood",
        "held_out",
        "spots",
        "asked",
        "elsewhere",
    ]
    naming = [row for row in candidates() if row.text and row.text != TEXTS[3]]
    assert {card.sentences for card in cards} == {len(naming)}
    assert [card.seconds_per_sentence is None for card in cards] == [True] * 2 + [False] * 4
    photos = params(
        source={"kind": "folder", "folder": ".", "prompts": ["Describe."], "exclude": None, "origin": ORIGIN}
    )
    with pytest.raises(UserError, match="source of kind folder: got images without known truth"):
        iteration_cards(photos, "1")
