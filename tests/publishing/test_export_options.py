"""What an export may have besides its rows: scores, several iterations, a split by image, Parquet; and the two viewers."""

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline.export_pairs import export_pairs, iterations_of
from csrdata.publishing.export.formats import FORMATS
from csrdata.publishing.export.writing import PARTS, Exported, Options, export, side_of_image
from csrdata.records import Pair, PairScores
from csrdata.storage.tables import write_rows
from tests.inspection.made import PAIR
from tests.pipeline.world import small_params
from tests.tiny import pictures

COUNT = 12
SPLIT = Options(validation=0.4, seed=1)
SCORES = {f"score_{field.name}" for field in dataclasses.fields(PairScores)}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    """A pair for each of twelve different images of the current folder."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "images", COUNT)
    return [
        dataclasses.replace(PAIR, prompt_id=f"train-{at:05}", image=f"images/{at}.png") for at in range(COUNT)
    ]


def _export(pairs: list[Pair], to: str, folder: str = "out", **more: Any) -> Exported:
    return export(pairs, to=to, folder=Path(folder), root=Path(), name="set", **more)


def _rows(folder: Path, to: str) -> list[dict[str, Any]]:
    chosen = FORMATS[to]
    text = (folder / chosen.file).read_text(encoding="utf-8")
    if chosen.file.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    value = json.loads(text)
    rows: list[dict[str, Any]] = value if chosen.key is None else value[chosen.key]
    return rows


@pytest.mark.parametrize("to", FORMATS)
def test_scores_are_columns_of_their_own(pairs: list[Pair], to: str) -> None:
    """Every score is there under a name that no trainer knows; without the option none is, and the rows are the same."""
    with_scores = _rows(_export(pairs, to, "scored", options=Options(scores=True)).folder, to)
    plain = _rows(_export(pairs, to).folder, to)
    own = with_scores[0]["metadata"] if to == "argilla" else with_scores[0]
    assert own["score_margin"] == PAIR.scores.margin
    assert own["score_chosen_reward"] == PAIR.scores.chosen_reward
    if not FORMATS[to].viewer:
        assert set(own) - set(plain[0]) == SCORES
        assert [{key: row[key] for key in plain[0]} for row in with_scores] == plain


@pytest.mark.parametrize("to", FORMATS)
def test_a_split_has_every_pair_once_and_no_image_twice(pairs: list[Pair], to: str) -> None:
    """Two folders, each a whole export with its own images; two pairs of one image are on the same side."""
    twice = [*pairs, dataclasses.replace(pairs[0], number=1, chosen="Another.")]
    done = _export(twice, to, options=SPLIT)
    assert {path.name for path in done.folder.iterdir()} == set(PARTS)
    sizes = {part: len(_rows(done.folder / part, to)) for part in PARTS}
    assert sizes == done.parts
    assert sum(sizes.values()) == COUNT + 1
    if not FORMATS[to].embedded:
        images = {part: {path.name for path in (done.folder / part / "images").iterdir()} for part in PARTS}
        assert images["train"] & images["validation"] == set()
        assert len(images["train"] | images["validation"]) == COUNT
    assert done.usage.count("# train\n") == done.usage.count("# validation\n") == 1


def test_the_printed_code_loads_both_parts_for_trl(pairs: list[Pair], tmp_path: Path) -> None:
    """Each part's lines, run as they are, give its pairs with their images."""
    done = _export(pairs, "trl", options=SPLIT)
    found: list[str] = []
    for lines in done.usage.split("# validation"):
        names: dict[str, Any] = {}
        code = lines.replace('split="train"', f'split="train", cache_dir={str(tmp_path / "cache")!r}')
        exec(code, names)  # noqa: S102 - our own lines
        found += names["train_dataset"]["prompt_id"]
        assert names["train_dataset"][0]["images"][0].size == (28, 28)
    assert sorted(found) == [pair.prompt_id for pair in pairs]


def test_more_pairs_move_no_image(pairs: list[Pair]) -> None:
    """The side of an image depends on its bytes and the seed alone: not on the other pairs, their order or its path."""
    few = _rows(_export(pairs[:8][::-1], "llava", "few", options=SPLIT).folder / "validation", "llava")
    many = _rows(_export(pairs, "llava", "many", options=SPLIT).folder / "validation", "llava")
    names = {row["image"] for row in few}
    assert 0 < len(names) < 8
    assert (
        names
        == {row["image"] for row in many} & {row["image"] for row in few}
        <= {row["image"] for row in many}
    )
    assert {row["image"] for row in many} - names <= {
        row["image"] for row in _rows(Path("many/validation"), "llava") if row["id"] >= "train-00008"
    }


def test_the_share_is_the_share() -> None:
    """Over many images, as many are for validation as asked for; another seed takes others."""
    hashes = [f"{number:064x}" for number in range(2000)]
    chosen = [
        {one for one in hashes if side_of_image(one, share=0.1, seed=seed) == "validation"} for seed in (0, 1)
    ]
    assert all(150 < len(one) < 250 for one in chosen)
    assert len(chosen[0] & chosen[1]) < 60


def test_a_side_without_images_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    """One line; nothing is written."""
    with pytest.raises(
        UserError, match=r"--validation: got 1e-06, which leaves no image for validation, expected a share"
    ):
        _export(pairs, "trl", options=Options(validation=1e-6))
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


@pytest.mark.parametrize("to", [name for name, known in FORMATS.items() if known.parquet])
def test_parquet_has_the_rows_of_json(pairs: list[Pair], to: str, tmp_path: Path) -> None:
    """Loaded as the trainers load it, with `datasets`, the table has the same rows, scores included."""
    options = Options(scores=True, parquet=True)
    done = _export(pairs, to, options=options)
    plain = _rows(_export(pairs, to, "json", options=Options(scores=True)).folder, to)
    file = done.folder / Path(FORMATS[to].file).with_suffix(".parquet").name
    loaded = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == plain
    assert not list(done.folder.glob("pairs.json*"))
    if to == "llama-factory":
        assert (
            json.loads((done.folder / "dataset_info.json").read_text())["set"]["file_name"] == "pairs.parquet"
        )
    if to == "trl":
        names: dict[str, Any] = {}
        code = done.usage.replace('split="train"', f'split="train", cache_dir={str(tmp_path / "other")!r}')
        exec(code, names)  # noqa: S102 - our own lines
        assert names["train_dataset"]["prompt_id"] == [pair.prompt_id for pair in pairs]
        assert names["train_dataset"][0]["images"][0].size == (28, 28)


@pytest.mark.parametrize("to", [name for name, known in FORMATS.items() if not known.parquet])
def test_parquet_that_a_loader_does_not_read_is_refused(pairs: list[Pair], to: str) -> None:
    """One line names the formats that have it."""
    with pytest.raises(
        UserError, match=r"--parquet: got --to .*, whose loader reads JSON alone, expected trl, "
    ):
        _export(pairs, to, options=Options(parquet=True))


def test_argilla_has_the_files_of_from_disk(pairs: list[Pair]) -> None:
    """Settings, dataset and records; each record has the fields of the settings, its image's bytes, and a known label."""
    folder = _export(pairs, "argilla", options=Options(scores=True)).folder
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        ".argilla/dataset.json",
        ".argilla/settings.json",
        "records.json",
    }
    settings = json.loads((folder / ".argilla/settings.json").read_text(encoding="utf-8"))
    fields = {field["name"]: field for field in settings["fields"]}
    (question,) = settings["questions"]
    labels = {option["value"] for option in question["settings"]["options"]}
    records = _rows(folder, "argilla")
    assert len({record["id"] for record in records}) == len(pairs)
    for record, pair in zip(records, pairs, strict=True):
        assert set(record["fields"]) == set(fields)
        head, _, content = record["fields"]["image"].partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(content) == Path(pair.image).read_bytes()
        assert record["suggestions"][question["name"]]["value"] in labels
        assert all(isinstance(value, str | int | float) for value in record["metadata"].values())


def test_fiftyone_has_plain_samples(pairs: list[Pair]) -> None:
    """The metadata state no version, which makes FiftyOne read plain samples; paths lead to the images of the folder."""
    folder = _export(pairs, "fiftyone", options=Options(scores=True)).folder
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert "version" not in metadata
    assert metadata["media_type"] == "image"
    for sample, pair in zip(_rows(folder, "fiftyone"), pairs, strict=True):
        assert (folder / sample["filepath"]).read_bytes() == Path(pair.image).read_bytes()
        assert (sample["chosen"], sample["tags"]) == (pair.chosen.strip(), [pair.origin])
        assert None not in sample.values()


@pytest.mark.parametrize("to", [name for name, known in FORMATS.items() if known.viewer])
def test_viewers_show_begun_answers(pairs: list[Pair], to: str) -> None:
    """A pair that continues an answer is shown with its beginning; no trainer's rule is in the way."""
    begun = dataclasses.replace(
        pairs[0], context="A red circle.", chosen=" A star.", rejected="", chosen_complete=False
    )
    (row,) = _rows(_export([begun], to).folder, to)
    shown = row.get("fields", row)
    assert [shown[name] for name in ("context", "chosen", "rejected")] == ["A red circle.", "A star.", ""]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (
            {"largest_image": 100},
            r"image images/0.png: got [\d,]+ bytes, expected at most 100 bytes in base64, which argilla",
        ),
        ({"most_images": 11}, "images: got 12, expected at most 11, which argilla can hold"),
    ],
)
def test_what_a_viewer_cannot_hold_is_refused(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: dict[str, int], words: str
) -> None:
    """An image that is too large, or too many: one line, and nothing is written."""
    monkeypatch.setitem(FORMATS, "argilla", dataclasses.replace(FORMATS["argilla"], **limit))
    with pytest.raises(UserError, match=words):
        _export(pairs, "argilla")
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_iterations_are_merged(pairs: list[Pair]) -> None:
    """Rows say their iteration; of equal pairs the first is kept; ids of a viewer stay different."""
    Path("params.yaml").write_text(yaml.safe_dump(small_params().model_dump()), encoding="utf-8")
    write_rows(paths.pairs("1"), pairs[:3], Pair)
    other = dataclasses.replace(pairs[1], rejected="Something else.")
    write_rows(paths.pairs("2"), [pairs[0], other], Pair)
    assert iterations_of("all") == ["1", "2"]
    done = export_pairs(Path("out"), to="llava", iterations=["1", "2"], options=Options())
    assert [(row["id"], row["iteration"]) for row in _rows(done.folder, "llava")] == [
        ("train-00000", "1"),
        ("train-00001", "1"),
        ("train-00002", "1"),
        ("train-00001", "2"),
    ]
    records = _rows(
        export_pairs(Path("look"), to="argilla", iterations=["1", "2"], options=Options()).folder, "argilla"
    )
    assert len({record["id"] for record in records}) == 4
    alone = export_pairs(Path("alone"), to="llava", iterations=["2"], options=Options())
    assert all("iteration" not in row for row in _rows(alone.folder, "llava"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("1,1", "--iterations: got 1,1, expected each name once"),
        ("1,9", "--iteration: got 9, expected one of 1, 2, 3"),
    ],
)
def test_wrong_iterations_are_one_line(pairs: list[Pair], words: str, said: str) -> None:
    """A name twice, or one that params.yaml does not have."""
    Path("params.yaml").write_text(yaml.safe_dump(small_params().model_dump()), encoding="utf-8")
    write_rows(paths.pairs("1"), pairs, Pair)
    with pytest.raises(UserError, match=said):
        iterations_of(words)
