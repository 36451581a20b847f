"""A release read back by the libraries that its readers use: `datasets`, TRL, and csrdata itself."""

import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Image as ImageFeature
from datasets import List, Value, load_dataset
from PIL import Image

from csrdata import paths
from csrdata.errors import UserError
from csrdata.publishing.release.columns import pair_row
from csrdata.publishing.release.gates import check
from csrdata.publishing.release.manifest import MANIFEST, check_counts, parse_manifest, read_manifest
from csrdata.publishing.release.naming import image_names
from csrdata.publishing.release.restore import released, restore
from csrdata.publishing.release.shards import write_pairs
from csrdata.publishing.release.writing import tree
from csrdata.records import Dropped, Pair
from csrdata.storage.tables import hash_path, read_rows, write_rows
from tests import scores
from tests.imports import ROOT
from tests.publishing.project import (
    MODELS,
    PROMPTS,
    change_params,
    image_name,
    iterations,
    make_project,
    pairs_of,
    release,
    rewrite,
)
from tests.tiny import tiny_llava


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def load(folder: Path, config: str | None = None) -> Any:
    return load_dataset(str(folder), config, cache_dir=str(folder.parent / "cache"))


def test_datasets_loads_every_pair_with_its_image(project: Path, tmp_path: Path) -> None:
    """Each config loads by name: all rows in order, the scores, images that decode, their bytes those of the files."""
    release(project, tmp_path / "release")
    for name in ("1", "2"):
        rows = load(tmp_path / "release", f"iteration_{name}")["train"]
        assert rows.features["images"] == List(ImageFeature())
        assert rows[5]["images"][0].size == (28, 28)
        stored = rows.cast_column("images", List(ImageFeature(decode=False)))
        contents = [(project / pair.image).read_bytes() for pair in pairs_of(name)]
        assert list(stored) == [
            pair_row(replace(pair, image=image_name(content)), content)
            for pair, content in zip(pairs_of(name), contents, strict=True)
        ]
    assert load(tmp_path / "release")["train"][0]["chosen"][0]["content"].endswith("by our 2.")


def test_datasets_loads_every_candidate(project: Path, tmp_path: Path) -> None:
    """One split per iteration; the end has no relevance, and other sentences have components, reward and fate."""
    release(project, tmp_path / "release")
    found = load(tmp_path / "release", "candidates")
    assert {split: len(rows) for split, rows in found.items()} == {"iteration_1": 28, "iteration_2": 28}
    assert found["iteration_2"].features["token_ids"] == List(Value("int64"))
    row = found["iteration_2"][2]
    assert (row["iteration"], row["text"], row["relevance"], row["fate"]) == ("2", "", None, "finished")


def test_the_rows_of_a_small_file_limit_are_the_same(project: Path, tmp_path: Path) -> None:
    """Rows cut into several files come back whole and in order."""
    names = image_names([pair.image for pair in pairs_of()], root=project, images="embed")
    sums: dict[Path, str] = {}
    settings: dict[str, Any] = {"images": "embed", "root": project, "names": names, "sums": sums}
    write_pairs(tmp_path / "many", "1", pairs_of(), file_bytes=400, **settings)
    assert sums == {path: hash_path(path) for path in (tmp_path / "many/iteration_1").iterdir()}
    files = sorted(path.name for path in (tmp_path / "many/iteration_1").iterdir())
    assert files[0] == f"train-00000-of-0000{len(files)}.parquet"
    assert 1 < len(files) <= 6
    rows = load_dataset(str(tmp_path / "many/iteration_1"), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["prompt_id"] == [pair.prompt_id for pair in pairs_of()]


def test_the_round_trip_is_exact(project: Path, tmp_path: Path) -> None:
    """Restored tables, shards, their manifests and all images are the project's, byte for byte; images by their content."""
    release(project, tmp_path / "release")
    target = tmp_path / "back"
    assert released(tmp_path / "release") == ["1", "2"]
    restore(tmp_path / "release", iterations(target), images_root=target)
    before, after = contents(project), contents(target)
    del before["params.yaml"]
    images = [before.pop(f"data/images/{n}.png") for n in range(7)]
    assert {path: after.pop(path) for path in list(after) if path.startswith("data/images/")} == {
        f"data/{image_name(content)}": content for content in images
    }
    assert after.keys() == before.keys()
    renamed = {path for path in after if after[path] != before[path]}
    assert renamed == {
        paths.PROMPTS.as_posix(),
        *(paths.pairs(name).as_posix() for name in ("1", "2")),
    }
    rows = read_rows(target / paths.pairs("1"), Pair, made_by="x")
    assert rows == [
        replace(pair, image=f"data/{image_name(content)}")
        for pair, content in zip(pairs_of(), images[:6], strict=True)
    ]


def test_what_comes_back_is_the_same_release(project: Path, tmp_path: Path) -> None:
    """Written again from what was restored, every data file and the identity are the same, byte for byte."""
    first = release(project, tmp_path / "release")
    target = tmp_path / "back"
    restore(tmp_path / "release", iterations(target), images_root=target)
    (target / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    assert release(target, tmp_path / "again").identity == first.identity
    assert contents(tmp_path / "again") == contents(tmp_path / "release")


def test_equal_images_have_one_name(project: Path, tmp_path: Path) -> None:
    """Two files of the same bytes are one image of the release, and one file of the pulled project."""
    (project / "data/images/6.png").write_bytes((project / "data/images/0.png").read_bytes())
    release(project, tmp_path / "release")
    assert not (tmp_path / "release/images").exists()
    restore(tmp_path / "release", iterations(tmp_path / "back"), images_root=tmp_path / "back")
    assert len(list((tmp_path / "back/data/images").iterdir())) == 6


@pytest.mark.parametrize("path", ["sub/../../evil.png", "/etc/hostname", "link.png"])
def test_an_image_outside_the_project_does_not_go_out(project: Path, tmp_path: Path, path: str) -> None:
    """A path or a link that leads out of the project is refused before anything is written."""
    (tmp_path / "evil.png").write_bytes((project / "data/images/0.png").read_bytes())
    (project / "link.png").symlink_to(tmp_path / "evil.png")
    rewrite(project, [pair_with(0, image=path), *pairs_of()[1:]])
    with pytest.raises(UserError, match=rf"image {path}: got a path out of the project"):
        release(project, tmp_path / "release")
    assert not (tmp_path / "release").exists()


def pair_with(index: int, **fields: Any) -> Any:
    return scores.pair_with(pairs_of()[index], **fields)


def test_pairs_without_scores_are_released(project: Path, tmp_path: Path) -> None:
    """A judge's pairs pass the gates; null stays null, the card has a dash for what is unknown and no plot of it."""
    for name in ("1", "2"):
        rewrite(project, [scores.without_scores(pair) for pair in pairs_of(name)], name)
    release(project, tmp_path / "release")
    row = load(tmp_path / "release", "iteration_1")["train"][0]
    assert (row["origin"], row["margin"], row["chosen_leaf"]) == ("judge", None, None)
    card = (tmp_path / "release/README.md").read_text(encoding="utf-8")
    assert "| reward R(y), chosen / rejected | - | - |" in card
    assert "| held-out scorer prefers chosen, % | - | - |" in card
    assert "| chosen has fewer words, % | 50.0 | 50.0 |" in card
    assert sorted(path.name for path in (tmp_path / "release/plots").iterdir()) == ["funnel.png", "words.png"]
    check(tmp_path / "release")


def test_equal_inputs_are_equal_bytes(project: Path, tmp_path: Path) -> None:
    """Two releases of one project at one date are the same folder, plots and card included."""
    release(project, tmp_path / "a")
    release(project, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_identity_is_data_params_and_models(project: Path, tmp_path: Path) -> None:
    """A tag, a date and an evaluation setting leave it as it is; a row, a parameter, a model or left-out images do not."""
    first = release(project, tmp_path / "a").identity
    change_params(project, "evaluate_policy", batch_size=1)
    assert release(project, tmp_path / "b", tag="v9", date="2030-01-01", commit="e" * 40).identity == first
    found = {first}
    found.add(release(project, tmp_path / "c", models=MODELS[:2]).identity)
    found.add(release(project, tmp_path / "d", images="reference").identity)
    found.add(release(project, tmp_path / "e", names=("1",)).identity)
    change_params(project, "select_pairs", min_gap=9.0)
    found.add(release(project, tmp_path / "f").identity)
    rewrite(project, [pair_with(0, chosen_reward=6.9, margin=7.0), *pairs_of()[1:]])
    found.add(release(project, tmp_path / "g").identity)
    assert len(found) == 6


def test_rows_may_name_their_image_instead(project: Path, tmp_path: Path) -> None:
    """With `reference` there is no image and no column for it; the card says how to put them in, and that works."""
    release(project, tmp_path / "release", images="reference")
    rows = load(tmp_path / "release", "iteration_1")["train"]
    assert "images" not in rows.column_names
    card = (tmp_path / "release/README.md").read_text(encoding="utf-8")
    code = card.partition("a list of one image per row:\n\n```python\n")[2].partition("```")[0]
    code = code.replace("YOUR/IMAGES", str(project / "data/images"))
    names: dict[str, Any] = {"pairs": rows}
    exec(code, names)  # noqa: S102 - the card's own lines
    assert names["pairs"][0]["images"][0].size == (28, 28)
    restore(tmp_path / "release", iterations(tmp_path / "back"), images_root=tmp_path / "back")
    assert not (tmp_path / "back/data/images").exists()
    (tmp_path / "back/params.yaml").write_bytes((project / "params.yaml").read_bytes())
    release(tmp_path / "back", tmp_path / "again", images="reference")
    assert contents(tmp_path / "again") == contents(tmp_path / "release")
    with pytest.raises(UserError, match=r"image data/images/\w+.png: got no such file"):
        release(tmp_path / "back", tmp_path / "embedded")


def test_trl_trains_on_it(project: Path, tmp_path: Path) -> None:
    """One DPO step of the real trainer on the rows as loaded, as the card has it: images are taken, the loss is ln 2."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    release(project, tmp_path / "release")
    policy = tiny_llava(tmp_path / "policy")
    args = DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_length=None,
        max_steps=1,
        per_device_train_batch_size=2,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
    )
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(policy),
        args=args,
        train_dataset=load(tmp_path / "release", "iteration_1")["train"],
        processing_class=AutoProcessor.from_pretrained(policy),
    )
    batch = trainer.data_collator([trainer.train_dataset[0]])
    assert batch["pixel_values"].shape[-2:] == (28, 28)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_a_full_disk_leaves_nothing(project: Path, tmp_path: Path) -> None:
    """A file that does not fit is one line; no part of the release is left, an older release stays, the same call finishes."""
    target = tmp_path / "release"
    release(project, target, names=("1",))
    older = contents(target)
    rows = [pair_with(index, chosen="x" * 40_000 + str(index)) for index in range(6)]
    for index in range(6):  # noise: no compression makes it fit
        Image.effect_noise((200, 200), 90).save(project / f"data/images/{index}.png")
    rewrite(project, rows)
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from csrdata.errors import UserError
        from tests.publishing.project import release
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        try:
            release(Path(sys.argv[1]), Path(sys.argv[2]))
        except UserError as error:
            sys.exit(str(error))
    """)
    words = [sys.executable, "-c", script, str(project), str(target)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith(
        f"{target}: got no room on the disk, expected room for the whole release"
    )
    assert "Traceback" not in done.stderr
    assert contents(target) == older
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    release(project, target)
    assert released(target) == ["1", "2"]


def test_only_a_release_is_replaced(project: Path, tmp_path: Path) -> None:
    """A folder that holds something else is left alone, and so is a release to which something was added."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    release(project, tmp_path / "older", names=("1",))
    release(project, tmp_path / "older")
    (tmp_path / "older/notes.txt").write_text("mine")
    release(project, tmp_path / "linked")
    shutil.move(tmp_path / "linked/README.md", tmp_path / "card")
    (tmp_path / "linked/README.md").symlink_to(tmp_path / "card")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    before = contents(tmp_path)
    for name in ("mine", "older", "linked", "link"):
        with pytest.raises(UserError, match="got something is there, expected a new or empty folder"):
            release(project, tmp_path / name)
    assert contents(tmp_path) == before


def test_a_folder_of_the_same_name_with_partial_behind_it_is_not_ours(project: Path, tmp_path: Path) -> None:
    """The user's own `release.partial` next to the release stays as it is."""
    (tmp_path / "release.partial").mkdir()
    (tmp_path / "release.partial/thesis.tex").write_text("years of work")
    release(project, tmp_path / "release")
    assert contents(tmp_path / "release.partial") == {"thesis.tex": b"years of work"}


def test_what_a_gate_refuses_is_not_there(project: Path, tmp_path: Path) -> None:
    """The gate sees the whole release before the folder has it; refused, an older release stays and no part is left."""

    def refuse(folder: Path, _: object) -> None:
        assert read_manifest(folder).tag == "v1"
        assert not (tmp_path / "release").exists()
        raise UserError("gate", got="x", expected="y", do="z")

    with pytest.raises(UserError, match="gate"):
        release(project, tmp_path / "release", gate=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("data/images/3.png", "image data/images/3.png: got no such file"),
        ("data/select_pairs/2/pairs.parquet", "Next: dvc repro select_pairs@2"),
        ("data/generate_beams/2", "Next: dvc repro generate_beams@2"),
        ("data/score_beams/1", "Next: dvc repro score_beams@1"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_left(
    project: Path, tmp_path: Path, missing: str, words: str
) -> None:
    """A table or an image that is not there is one line with the command that makes it."""
    (project / missing).rename(tmp_path / "gone")
    with pytest.raises(UserError) as error:
        release(project, tmp_path / "release")
    assert words in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone", "project"]


def test_an_iteration_without_a_pair_is_no_release(project: Path, tmp_path: Path) -> None:
    """An iteration without pairs is refused, and the error names the command that shows why."""
    rewrite(project, [])
    with pytest.raises(
        UserError, match=r"got no pair, expected 1 or more\. Next: see why: csrdata stats --iteration 1"
    ):
        release(project, tmp_path / "release")


def test_the_manifest_names_every_file(project: Path, tmp_path: Path) -> None:
    """Sizes and counts of the manifest are those of the folder, and it reads back as it was written."""
    manifest = release(project, tmp_path / "release")
    assert read_manifest(tmp_path / "release") == manifest == check(tmp_path / "release")
    named = {file.path: file.bytes for file in manifest.files}
    assert dict(tree(tmp_path / "release")).items() - named.items() == {
        (MANIFEST, (tmp_path / "release" / MANIFEST).stat().st_size)
    }
    assert [
        (one.prompts, one.candidates, one.responses, one.pairs, one.dropped) for one in manifest.iterations
    ] == [(7, 28, 14, 6, {"under_margin": 1})] * 2


def test_pairs_taken_out_are_rows_and_not_prompts(project: Path, tmp_path: Path) -> None:
    """The table has a row for each pair that curation took out; the counts are of prompts; the table comes back as it was."""
    table = project / paths.dropped("1")
    rows = read_rows(table, Dropped, made_by="")
    kept = PROMPTS[0].prompt_id
    removed = [Dropped(kept, "label", f"pair {number} is labelled bad") for number in (1, 2)]
    write_rows(table, [*removed, *rows], Dropped)
    try:
        manifest = release(project, tmp_path / "release", ("1",))
        before = table.read_bytes()
    finally:
        write_rows(table, rows, Dropped)
    assert check(tmp_path / "release") == manifest
    (counts,) = manifest.iterations
    assert (counts.prompts, counts.with_pairs, counts.dropped) == (7, 6, {"under_margin": 1})
    assert (counts.removed, counts.dropped_rows) == ({"label": 2, "where": 0}, 3)
    (back,) = iterations(tmp_path / "back", ("1",))
    restore(tmp_path / "release", [back])
    assert back.dropped.read_bytes() == before


def test_a_release_without_the_count_of_pairs_taken_out_is_read(project: Path, tmp_path: Path) -> None:
    """A manifest of an earlier version has no `removed`: each prompt without a pair has one row."""
    release(project, tmp_path / "release", ("1",))
    path = tmp_path / "release" / MANIFEST
    raw = json.loads(path.read_text(encoding="utf-8"))
    for one in raw["iterations"]:
        del one["removed"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    (counts,) = check(tmp_path / "release").iterations
    assert (counts.removed, counts.dropped_rows) == (None, 1)


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ({}, "got 0 pairs: where, expected 1 or more"),
        ({"label": 1}, "got 0 pairs: where, expected 1 or more"),
        ({"where": 1, "fog": 1}, "got 1 pairs: fog, expected label or where"),
    ],
)
def test_pairs_taken_out_have_a_reason_of_curation(
    project: Path, tmp_path: Path, removed: dict[str, int], words: str
) -> None:
    """Other reasons are refused, and so are fewer pairs than prompts that lost all of theirs."""
    manifest = release(project, tmp_path / "release", ("1",))
    (counts,) = manifest.iterations
    wrong = replace(manifest, iterations=[replace(counts, dropped={"where": 1}, removed=removed)])
    with pytest.raises(UserError, match=f"removed: {words}"):
        check_counts(wrong, place="m", do="x")


@pytest.mark.parametrize(
    ("found", "advice"),
    [(4, "pip install --upgrade csrdata"), (2, "ask its owner to push it again"), (1, "ask its owner")],
)
def test_another_format_is_refused(project: Path, tmp_path: Path, found: int, advice: str) -> None:
    """A release that this version cannot read is one line that says what to do, not a guess."""
    release(project, tmp_path / "release")
    path = tmp_path / "release" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": found}))
    with pytest.raises(UserError, match=rf"got format {found}, expected format 3\. Next: {advice}"):
        released(tmp_path / "release")


def test_an_older_manifest_is_read_for_the_changelog(project: Path, tmp_path: Path) -> None:
    """The next push of a dataset that an older csrdata pushed keeps its changelog."""
    release(project, tmp_path / "release", names=("1",))
    raw = json.loads((tmp_path / "release" / MANIFEST).read_text()) | {"format": 1}
    older = parse_manifest(json.dumps(raw).encode(), place="hub", older=True)
    newer = release(project, tmp_path / "next", tag="v2", previous=older)
    assert [entry.tag for entry in newer.changelog] == ["v2", "v1"]


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Writing 75 MB of images takes at most 40 MB more than writing 20 MB."""
    script = textwrap.dedent("""
        import os, resource, sys
        from dataclasses import replace
        from pathlib import Path
        from csrdata.publishing.release.shards import write_pairs
        from tests.publishing.project import pairs_of
        folder, rows = Path(sys.argv[1]), int(sys.argv[2])
        (folder / "7.png").write_bytes(os.urandom(50_000))
        pairs = [replace(pairs_of()[0], image="7.png") for _ in range(rows)]
        write_pairs(folder, "1", pairs, names={"7.png": "images/7.png"}, images="embed", root=folder, sums={})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)
    peaks = []
    for rows in (400, 1500):
        words = [sys.executable, "-c", script, str(tmp_path), str(rows)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1000)
    assert peaks[1] - peaks[0] < 40
