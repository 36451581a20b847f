"""Pairs of others in the loop: imported, selected, trained on, looked at; no search runs, and nothing is published."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.checking.findings import Level
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline import sample_prompts, select_pairs, train_dpo
from csrdata.pipeline.check import most_pairs
from csrdata.pipeline.check_inputs import check_pairs
from csrdata.pipeline.dag import Form, dependencies, dvc_yaml
from csrdata.pipeline.graph import steps
from csrdata.pipeline.import_pairs import import_pairs
from csrdata.pipeline.looking import read_project
from csrdata.pipeline.publish import release
from csrdata.pipeline.stated import known_origin
from csrdata.records import Dropped, ImageFile, Pair
from csrdata.sections.method import RankedPairs
from csrdata.sources.imported.formats import RATED, Columns
from csrdata.storage.tables import read_json, read_rows
from tests.pipeline.world import draw_world, real_params, small_params

TRAINING = {"epochs": 1, "batch_size": 2, "lora_rank": 2, "lora_alpha": 4}
FOLDER = "data/import/mine"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with sampled prompts, an untrained base, and four imported rows about drawn scenes."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    sample_prompts.run(params())
    drawn = sorted((paths.SCENES / "images").rglob("*.png"))[-2:]
    texts = [
        ("A red circle.", "A blue square."),
        ("A star.", "A ring.\nA bar."),
        ("One.", " One. "),
        ("A </s> cat.", "A dog."),
    ]
    rows = [
        {"image": image.as_posix(), "prompt": "Describe it.", "chosen": chosen, "rejected": rejected}
        for image, (chosen, rejected) in zip(drawn * 2, texts, strict=True)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    raw = params().model_dump()
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    assert bring() == Path(FOLDER)
    return tmp_path


def bring(**options: Any) -> Path:
    settings: dict[str, Any] = {"layout": "columns", "name": "mine", "columns": Columns()}
    return import_pairs([Path("pairs.jsonl")], **settings | options)[0]


def params(folder: str = FOLDER, **sections: Any) -> Params:
    raw = small_params(train_dpo=TRAINING, **sections).model_dump()
    raw["select_pairs"] = {"kind": "imported", "folder": folder}
    return Params.model_validate(raw)


def test_the_time_of_training_is_that_of_the_imported_pairs(project: Path) -> None:
    """The check counts the pairs of the import, three, whatever the number of prompts; other pairs are counted by prompt."""
    assert most_pairs(params().select_pairs, prompts=1000) == 3
    assert most_pairs(small_params(select_pairs={"per_prompt": 2}).select_pairs, prompts=1000) == 2000
    ranked = RankedPairs(kind="ranked", answers=4, margin=0.0, max_length_gap=1.0)
    assert most_pairs(ranked, prompts=1000) == 6000
    assert most_pairs(params("nowhere").select_pairs, prompts=1000) == 0


def test_imported_pairs_are_trained_on(project: Path) -> None:
    """They bring their images, begin as the policy's answers do, and become a policy by the stage of all others."""
    select_pairs.run(params(), "1")
    pairs = read_rows(paths.pairs("1"), Pair, made_by="")
    dropped = read_rows(paths.dropped("1"), Dropped, made_by="")
    assert [pair.prompt_id for pair in pairs] == ["mine-000000000", "mine-000000001"]
    assert {pair.origin for pair in pairs} == {"mine"}
    assert (pairs[1].chosen, pairs[1].rejected) == (" A star.", " A ring.\nA bar.")
    assert [(row.prompt_id, row.reason) for row in dropped] == [
        ("mine-000000002", "equal_texts"),
        ("mine-000000003", "bad_row"),
    ]
    assert dropped[1].detail == "a text spells out </s>, a special token of the policy"
    metrics = read_json(paths.stage_metrics("select_pairs", "1"), made_by="")
    assert (metrics["prompts"], metrics["kept"], metrics["by_origin"]) == (
        4,
        2,
        {"mine": {"pairs": 2, "mean_margin": None}},
    )
    images = read_rows(paths.pair_images("1"), ImageFile, made_by="")
    assert {file.image for file in images} >= {pair.image for pair in pairs}
    train_dpo.run(params(), "1")
    assert (paths.policy("1") / "adapters/1/adapter_model.safetensors").is_file()
    assert read_json(paths.stage_metrics("train_dpo", "1"), made_by="")["references_checked"] == 0


def test_several_pairs_of_a_prompt_are_numbered_again(project: Path) -> None:
    """A pair that spells out a special token is left out; a prompt is dropped only if it has no other pair."""
    answers = [("A </s> cat.", 5), ("A dog.", 4), ("An owl.", 3), ("A ring.", 1)]
    rows = [
        {
            "prompt": "Describe it.",
            "img_path": json.loads(line)["image"],
            "completions": [
                {"response": text, "annotations": {name: {"Rating": rating} for name in RATED}}
                for text, rating in answers[:count]
            ],
        }
        for line, count in zip(Path("pairs.jsonl").read_text().splitlines(), (4, 2), strict=False)
    ]
    Path("rated.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    target, done = import_pairs(
        [Path("rated.jsonl")], layout="vlfeedback-all", name="rated", columns=Columns()
    )
    assert done.pairs == 7
    select_pairs.run(params(str(target)), "1")
    pairs = read_rows(paths.pairs("1"), Pair, made_by="")
    assert [(one.prompt_id, one.number, one.rejected, one.scores.margin) for one in pairs] == [
        ("rated-000000000", 0, " An owl.", 1.0),
        ("rated-000000000", 1, " A ring.", 3.0),
        ("rated-000000000", 2, " A ring.", 2.0),
    ]
    (dropped,) = read_rows(paths.dropped("1"), Dropped, made_by="")
    assert (dropped.prompt_id, dropped.reason) == ("rated-000000001", "bad_row")


def test_an_image_that_changed_is_refused(project: Path) -> None:
    """Training reads exactly the images that were imported."""
    select_pairs.run(params(), "1")
    image = read_rows(paths.pairs("1"), Pair, made_by="")[0].image
    other = read_rows(paths.pairs("1"), Pair, made_by="")[1].image
    Path(image).write_bytes(Path(other).read_bytes())
    with pytest.raises(UserError, match="got other bytes than were sampled"):
        train_dpo.run(params(), "1")


def test_no_search_runs_for_them(project: Path) -> None:
    """The DAG has no search and no rewards; pairs depend on the import and the base, training on the pairs' images."""
    names = [step.name for step in steps(params())]
    assert not [
        name for name in names if name.startswith(("generate_beams", "measure_signals", "score_beams"))
    ]
    inputs = {step.name: step.node.inputs for step in steps(params())}
    assert inputs["select_pairs@1"] == (FOLDER, "policies/base")
    assert str(paths.pair_images("1")) in inputs["train_dpo@1"]
    assert "data/score_beams" not in inputs["summarize"]
    assert "generate_beams" not in yaml.safe_load(dvc_yaml(params(), Form.PROJECT))["stages"]
    code = dependencies("select_pairs", params())
    assert "csrdata/sources/imported/folder.py" in code
    assert "csrdata/search/answer_pairs.py" not in code
    assert "csrdata/sources/imported/folder.py" not in dependencies("select_pairs", small_params())


def test_another_kind_removes_the_images_of_the_import(project: Path) -> None:
    """A table of images that no pair uses is not left behind, even where the next kind then fails."""
    select_pairs.run(params(), "1")
    assert paths.pair_images("1").is_file()
    with pytest.raises(UserError, match="generate_beams"):
        select_pairs.run(small_params(), "1")
    assert not paths.pair_images("1").exists()


def test_they_are_looked_at_and_not_published(project: Path, tmp_path: Path) -> None:
    """`stats` counts them without a search; `push` refuses them; a policy's licence must be stated."""
    select_pairs.run(params(), "1")
    raw = params().model_dump()
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    loaded = read_project("1")
    assert (len(loaded.pairs), len(loaded.prompts), len(loaded.candidates)) == (2, 2, 0)
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.cli", "stats", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"]["by_origin"] == {"mine": 2}
    with pytest.raises(UserError, match=r"select_pairs\.kind: got imported.*csrdata push OWNER/NAME --model"):
        release(
            tmp_path / "out",
            repo_id="me/set",
            tag=None,
            names=None,
            images="embed",
            licence=None,
            image_licence=None,
            hub_may_be_away=True,
        )
    assert known_origin(params()) is None
    assert known_origin(small_params()) is not None


def test_check_says_whether_they_are_there(project: Path) -> None:
    """Before any GPU time: the import by its images, a missing one as an error, a source without a rule too."""
    (found,) = check_pairs(params())
    assert (found.level, found.words) == (Level.OK, f"with 2 images in {FOLDER}")
    (missing,) = check_pairs(params("data/import/other"))
    assert missing.level is Level.ERROR
    assert "pairs.parquet: got no such table" in missing.line()
    assert check_pairs(small_params()) == []
    raw = real_params(Path()).model_dump() | {"select_pairs": {"kind": "corrupted", "seed": 0}}
    (ruleless,) = check_pairs(Params.model_validate(raw))
    assert "the source folder, which has no rule" in ruleless.line()


def test_an_import_outside_of_the_images_root_is_refused(project: Path, tmp_path: Path) -> None:
    """Paths of images are relative to one root: one line says where to import to."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    bring(folder=outside)
    with pytest.raises(
        UserError, match=r"select_pairs\.folder: got .*expected a folder under images\.root, \."
    ):
        select_pairs.run(params(str(outside)), "1")
    with pytest.raises(UserError, match=r"pairs\.parquet: got no such table.*Next: csrdata import"):
        select_pairs.run(params("data/import/other"), "1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "coco"}, "--from: got coco, expected columns, rlhf-v, rlaif-v"),
        ({"name": "My Set"}, "--name: got My Set, expected a-z, 0-9 and _"),
        ({"name": "oracle"}, "--name: got oracle"),
        (
            {"layout": "povid", "columns": Columns(chosen="x")},
            "--chosen-column: got x, expected --from columns",
        ),
        ({"images": Path("nowhere")}, "--images: got nowhere, expected a folder"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(project: Path, options: dict[str, Any], words: str) -> None:
    """Nothing is read before the options are right."""
    with pytest.raises(UserError) as caught:
        bring(**options)
    assert words in str(caught.value)


def test_the_command_says_what_to_do_next(project: Path) -> None:
    """The folder on stdout; on stderr the counts, the reasons, the record and the lines for params.yaml."""
    words = ["import", "pairs.jsonl", "--name", "again"]
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "data/import/again\n"), done.stderr
    assert (
        "again: 3 pairs, 2 images; rows without a pair: 1 equal_texts (the commonest: chosen and"
        in done.stderr
    )
    assert "select_pairs: {kind: imported, folder: data/import/again}" in done.stderr
