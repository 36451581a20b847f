"""Every function that reads what others wrote, with sound files to begin from.

Whatever bytes it is given, it returns, or raises `UserError`: one line. `tests/faults/test_parsers.py` and
`benchmarks/fuzz.py` try them.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from safetensors.numpy import save_file

from csrdata.entry import explain
from csrdata.errors import UserError
from csrdata.evaluation.answers_file import read_answers_file
from csrdata.evaluation.harness.results import read_results as read_harness
from csrdata.evaluation.pack.amber import amber
from csrdata.evaluation.pack.dash_b import dash_b
from csrdata.evaluation.pack.hallusion import hallusion_bench
from csrdata.evaluation.pack.repope import repope
from csrdata.evaluation.pope import parse_keyword, parse_strict, parse_yes_no
from csrdata.evaluation_sets.coco import read_captions, read_instances
from csrdata.evaluation_sets.pope_file import PopeFile
from csrdata.evaluation_sets.synonyms import read_synonyms
from csrdata.generation.answer_server import Asked, BadReply, Rules, check_reply
from csrdata.images import load_image
from csrdata.params import load_params
from csrdata.pinned import read_pinned
from csrdata.pipeline.figures import stats_of
from csrdata.policy.loading import read_chain
from csrdata.publishing.release.manifest import parse_manifest
from csrdata.publishing.release.results import read_results
from csrdata.records import Pair
from csrdata.relevance.config import read_config
from csrdata.search.curation import parse_condition
from csrdata.search.sentences import split
from csrdata.search.words import word_count
from csrdata.sources.exclusion import read_exclusion
from csrdata.sources.imported.any_pairs import read_any
from csrdata.sources.imported.folder import bring
from csrdata.sources.imported.formats import FORMATS, RATED
from csrdata.sources.llava import Llava
from csrdata.sources.microworld.parsing import read as read_claim
from csrdata.sources.table import Columns, Table
from csrdata.storage.labels import read_labels
from csrdata.storage.tables import read_rows, write_rows
from csrdata.text import one_line, printable
from csrdata.weights import read_shapes
from tests.evaluation.pack.files import POPE, amber_files, hallusion_rows
from tests.evaluation_sets.coco_files import CAPTIONS, captions, file_name, instances
from tests.imports import ROOT

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Parser:
    """A function over one file."""

    name: str
    file: str
    """The name of the file, in a separate folder, with the other files that it needs."""
    read: Read
    """It is given the folder."""
    sound: Callable[[Path], object]
    """Write sound files into the folder."""

    def refuses(self, folder: Path) -> bool:
        """Read the file, and return whether it is refused in one line. Any other exception is a defect.

        A system error that a user can correct, such as a path that is too long, becomes one line at the command line.
        """
        try:
            self.read(folder)
        except Exception as error:
            known = error if isinstance(error, UserError) else explain(error)
            if known is None:
                raise
            if len(str(known).splitlines()) > 1:
                raise AssertionError(f"an error of several lines: {known}") from error
            return True
        return False


def _text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def _json(name: str, value: object) -> Callable[[Path], object]:
    return _text(name, json.dumps(value))


def _lines(name: str, values: Sequence[object]) -> Callable[[Path], object]:
    return _text(name, "".join(f"{json.dumps(value)}\n" for value in values))


PAIRS = [
    {"prompt": "Describe it.", "image": "a.png", "chosen": "A star.", "rejected": "A cat."},
    {"prompt": "Describe it.", "image": "b.png", "chosen": "A red star.", "rejected": "A dog."},
]
CONVERSATION = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A star."}]
LLAVA_ROWS = [{"id": "1", "image": "a.png", "conversations": CONVERSATION}]
IMPORTED: dict[str, dict[str, Any]] = {
    "rlhf-v": {"image": "a.png", "text": json.dumps({"question": "What?", "chosen": "A.", "rejected": "B."})},
    "rlaif-v": {"image": "a.png", "question": "What?", "chosen": "A star.", "rejected": "A cat."},
    "povid": {
        "image": "a.png",
        "conversations": CONVERSATION,
        "rejected_conversations": [CONVERSATION[0], {"from": "gpt", "value": "A cat."}],
    },
    "llava-rlhf": {
        "image": "a.png",
        "conversations": CONVERSATION,
        "output_1": {"from": "gpt", "value": "A star."},
        "output_2": {"from": "gpt", "value": "A cat."},
        "preference": 1,
    },
    "vlfeedback": {
        "img_path": "a.png",
        "prompt": "What?",
        "completions": [
            {"response": text, "annotations": {name: {"Rating": rating} for name in RATED}}
            for text, rating in (("A star.", "5"), ("A cat.", "1"))
        ],
    },
}
NAMES = {image: file_name(image) for image in CAPTIONS}
CLIP = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 8, "head_width": 4, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    }
}
RESULTS = {
    "pairs": {"1": "0" * 64},
    "truth": {"1": {"chosen": 3, "rejected": 1, "equal": 0, "unknown": 0}},
    "confidence": 95.0,
    "splits": {"held_out": {"1": {"chair_s": {"value": 1.0, "low": 0.5, "high": 2.0, "p_vs_base": 0.1}}}},
    "world": 2,
}
MANIFEST = {
    "identity": "0" * 64,
    "repo_id": "me/set",
    "tag": "v1",
    "date": "2026-01-01",
    "images": "embed",
    "iterations": [{"name": "1", "prompts": 1, "pairs": 1, "dropped": {}, "candidates": 2, "responses": 2}],
    "params": {"select_pairs": {"margin": 0.1}},
    "models": [],
    "inputs": {},
    "csrdata": "0.1",
    "commit": None,
    "changelog": [],
    "files": [{"path": "data/1.parquet", "bytes": 10, "sha256": "0" * 64, "rows": 1}],
    "format": 3,
}


def _pictures(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), (200, 30, 40)).save(folder / name)


def _picture(form: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = io.BytesIO()
        Image.new("RGB", (9, 7), (200, 30, 40)).save(content, form)
        (folder / "image").write_bytes(content.getvalue())

    return write


def _imported(name: str, suffix: str) -> Parser:
    def sound(folder: Path) -> None:
        _pictures(folder)
        file = folder / f"rows{suffix}"
        if suffix == ".parquet":
            pl.DataFrame([IMPORTED[name]]).write_parquet(file)
        else:
            _lines(file.name, [IMPORTED[name]])(folder)

    def read(folder: Path) -> object:
        file = folder / f"rows{suffix}"
        return bring([file], to=folder / "to", name="x", layout=name, form=FORMATS[name], images=folder)

    return Parser(f"import-{name}{suffix}", f"rows{suffix}", read, sound)


def _model_text(folder: Path) -> object:
    """What a model wrote goes through everything that reads answers."""
    text = (folder / "text").read_bytes().decode("utf-8", errors="replace")
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split()), "a character was lost"
    for sentence in sentences:
        read_claim(sentence)
        word_count(sentence)
    assert "\n" not in one_line(text, limit=200)
    return parse_yes_no(text), parse_strict(text), parse_keyword(text), printable(text)


def _model(folder: Path) -> Path:
    (folder / "base").mkdir()
    (folder / "base/config.json").write_text('{"model_type": "llava"}', encoding="utf-8")
    return folder / "base"


def _amber(folder: Path) -> object:
    names = ("annotations.json", "query_all.json", "relation.json", "safe_words.txt")
    return amber(*(folder / name for name in names), part="all")


def _both(first: Callable[[Path], object], second: Callable[[Path], object]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        first(folder)
        second(folder)

    return write


def _parquet_pairs(folder: Path) -> None:
    write_rows(folder / "pairs.parquet", [Pair("p-1", "a.png", "Say.", "A star.", "A cat.", "judge")], Pair)


HARNESS = _json(
    "1_results.json",
    {
        "results": {"t": {"alias": "t", "accuracy,none": 0.5, "accuracy_stderr,none": 0.1}},
        "group_subtasks": {"t": []},
        "configs": {"t": {"generation_kwargs": {"max_new_tokens": 4}, "metadata": [{"version": 1.0}]}},
        "versions": {"t": "Yaml"},
        "n-samples": {"t": {"original": 1, "effective": 1}},
        "n-shot": {"t": 0},
    },
)
HARNESS_SAMPLES = _lines(
    "1_samples_t.jsonl", [{"doc_id": 0, "input": "Is it?", "target": "yes", "resps": [["yes"]]}]
)
SERVED = {"tokens": [5, 7, 2], "logprobs": [-0.5, -1.25, -0.125], "is_full": False}


def _served(folder: Path) -> object:
    """A reply of a server that samples: it is refused as a failed try."""
    try:
        value = json.loads((folder / "reply.json").read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError("reply", got="no object", expected="an object", do="ask again")
    asked = Asked((1, 3), "0" * 64, (), 8, 0)
    try:
        return check_reply(value, asked, Rules(50, frozenset({2}), frozenset({0, 3})))
    except BadReply as error:
        raise UserError("reply", got=str(error), expected="an answer", do="ask again") from None


def _table(suffix: str) -> Parser:
    columns = Columns(image="image", prompt="prompt", id="id", kind=None)
    row = {"id": "1", "image": "a.png", "prompt": "Describe it."}
    sound = {
        ".jsonl": _lines("t.jsonl", [row]),
        ".csv": _text("t.csv", "id,image,prompt\n1,a.png,Describe it.\n"),
        ".parquet": lambda folder: pl.DataFrame([row]).write_parquet(folder / "t.parquet"),
    }[suffix]
    return Parser(
        f"table{suffix}",
        f"t{suffix}",
        lambda folder: Table(folder / f"t{suffix}", columns).prompts(count=1, seed=0),
        sound,
    )


PARSERS: tuple[Parser, ...] = (
    Parser(
        "params",
        "params.yaml",
        lambda folder: load_params(folder / "params.yaml"),
        lambda folder: (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes()),
    ),
    Parser(
        "release-manifest",
        "manifest.json",
        lambda folder: parse_manifest((folder / "manifest.json").read_bytes(), place="manifest.json"),
        _json("manifest.json", MANIFEST),
    ),
    Parser(
        "release-results",
        "results.json",
        lambda folder: read_results(folder / "results.json"),
        _json("results.json", RESULTS),
    ),
    Parser(
        "labels",
        "labels.csv",
        lambda folder: read_labels(folder / "labels.csv"),
        _text("labels.csv", "prompt_id,number,iteration,label\np-1,0,1,good\np-2,0,1,bad\n"),
    ),
    *(_imported(name, suffix) for name in IMPORTED for suffix in (".jsonl", ".parquet")),
    Parser(
        "pairs.jsonl",
        "pairs.jsonl",
        lambda folder: read_any(folder / "pairs.jsonl").pairs.collect(),
        _lines("pairs.jsonl", PAIRS),
    ),
    Parser(
        "pairs.parquet",
        "pairs.parquet",
        lambda folder: stats_of(str(folder / "pairs.parquet"), iteration=None),
        lambda folder: pl.DataFrame(PAIRS).write_parquet(folder / "pairs.parquet"),
    ),
    Parser(
        "own-pairs",
        "pairs.parquet",
        lambda folder: read_rows(folder / "pairs.parquet", Pair, made_by="dvc repro"),
        _parquet_pairs,
    ),
    *(_table(suffix) for suffix in (".jsonl", ".csv", ".parquet")),
    Parser(
        "llava",
        "detail.json",
        lambda folder: Llava(folder, (folder / "detail.json",), ".").prompts(count=1, seed=0),
        _both(_pictures, _json("detail.json", LLAVA_ROWS)),
    ),
    Parser(
        "exclusion",
        "exclude.txt",
        lambda folder: read_exclusion(folder / "exclude.txt"),
        _text("exclude.txt", f"# comment\np-1\n{'0' * 64}\n"),
    ),
    Parser(
        "coco-instances",
        "instances.json",
        lambda folder: read_instances([folder / "instances.json"]),
        _json("instances.json", instances()),
    ),
    Parser(
        "coco-captions",
        "captions.json",
        lambda folder: read_captions([folder / "captions.json"], NAMES),
        _json("captions.json", captions()),
    ),
    Parser(
        "synonyms",
        "synonyms.txt",
        lambda folder: read_synonyms(folder / "synonyms.txt"),
        _text("synonyms.txt", "person, man, woman\ndog, puppy\nhot dog\n"),
    ),
    Parser(
        "pope",
        "pope.json",
        lambda folder: PopeFile("pope", "images", folder / "pope.json", "random").ask([]),
        _lines("pope.json", POPE),
    ),
    Parser(
        "repope",
        "repope.json",
        lambda folder: repope(folder / "repope.json", strategy="random", pope=None),
        _lines("repope.json", POPE),
    ),
    Parser(
        "dash-b",
        "negatives.json",
        lambda folder: dash_b(folder / "negatives.json", folder / "negatives.json"),
        _json("negatives.json", {"coco": {"dog": ["1.png", "2.png"], "cat": ["1.png"]}}),
    ),
    Parser(
        "hallusion-bench",
        "hallusion.json",
        lambda folder: hallusion_bench(folder / "hallusion.json"),
        _json("hallusion.json", hallusion_rows()),
    ),
    *(
        Parser(f"amber-{name}", name, _amber, amber_files)
        for name in ("annotations.json", "query_all.json", "relation.json", "safe_words.txt")
    ),
    Parser(
        "answers",
        "answers.jsonl",
        lambda folder: read_answers_file(
            folder / "answers.jsonl", repope(folder / "repope.json", strategy="random", pope=None)
        ),
        _both(
            _lines("repope.json", POPE),
            _lines("answers.jsonl", [{"question_id": row["question_id"], "text": "yes"} for row in POPE]),
        ),
    ),
    Parser(
        "open-clip-config",
        "open_clip_config.json",
        lambda folder: read_config(folder, do="get another scorer"),
        _json("open_clip_config.json", CLIP),
    ),
    Parser(
        "chain",
        "chain.json",
        read_chain,
        lambda folder: _json(
            "chain.json", {"base": str(_model(folder)), "adapters": ["adapters/1"], "fingerprints": {}}
        )(folder),
    ),
    Parser(
        "pinned",
        "model.json",
        lambda folder: read_pinned(folder / "model.json", made_by="dvc repro prepare"),
        _json(
            "model.json",
            {
                "id": "me/model",
                "revision": "0" * 40,
                "files": {"config.json": {"bytes": 2, "sha256": "0" * 64}},
            },
        ),
    ),
    Parser(
        "safetensors",
        "model.safetensors",
        lambda folder: read_shapes([folder / "model.safetensors"], do="get it again"),
        lambda folder: save_file({"a": np.zeros((2, 3), np.float32)}, folder / "model.safetensors"),
    ),
    *(
        Parser(
            f"image-{form}",
            "image",
            lambda folder: load_image("image", root=folder, place="p"),
            _picture(form),
        )
        for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
    ),
    *(
        Parser(
            f"lmms-eval-{name}",
            name,
            lambda folder: read_harness(folder, ["t"]),
            _both(HARNESS, HARNESS_SAMPLES),
        )
        for name in ("1_results.json", "1_samples_t.jsonl")
    ),
    Parser("served-reply", "reply.json", _served, _json("reply.json", SERVED)),
    Parser(
        "condition",
        "condition",
        lambda folder: parse_condition(
            (folder / "condition").read_bytes().decode("utf-8", errors="replace"),
            place="--where",
            do="correct it",
        ),
        _text("condition", "margin >= 0.5 and (chosen_words < 40 or origin == 'csr_search')"),
    ),
    Parser(
        "model-text",
        "text",
        _model_text,
        _text(
            "text", "Yes. There is a red star at the top left, e.g. near Dr. Who's 3.5 cats! No?\n1. A dog."
        ),
    ),
)
