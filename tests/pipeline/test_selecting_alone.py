"""Selection runs no model and reads no truth: its stage, in a process by itself, for every way to make pairs."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from csrdata.params import load_params
from csrdata.pipeline.import_pairs import import_pairs
from csrdata.records import NO_PARENT, OWN_ORIGINS, Prompt, Response, Sentence, Signal, Verdict
from csrdata.sources.imported.formats import Columns
from csrdata.storage.tables import seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import RESPONSES
from tests.pipeline.ways import ORACLES, WAYS, with_way
from tests.search.trees import end, node
from tests.tiny import pictures, tiny_llava

PROMPT = Prompt("p1", "images/0.png", "Describe.")
TEXTS = (" There is a red circle at the top.", " There is a blue star on the left.")
TREE = [
    node(0, NO_PARENT, TEXTS[0], 30.0, logprob=-2.0),
    node(1, NO_PARENT, TEXTS[1], 10.0, logprob=-0.5),
    node(2, 0, " A tree.", 27.0),
    node(3, 0, " A dog.", 5.0),
    end(4, 0),
    end(5, 1),
]
SECRETS = (paths.TRUTH, paths.QUESTIONS, paths.SCENES / "scenes.parquet")

PROGRAM = """
import json, runpy, sys
from pathlib import Path

script, sections = sys.argv[1], json.loads(sys.argv[2])
sys.argv = [script, "1"]
for name, text in sections.items():
    Path("params.yaml").write_text(text, encoding="utf-8")
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        code = left.code
    pairs = Path("data/select_pairs/1/pairs.parquet")
    if pairs.is_file():
        pairs.rename(f"{name}.parquet")
    loaded = sorted({"open_clip", "torch", "transformers"} & set(sys.modules))
    print(json.dumps({"name": name, "code": code, "loaded": loaded}))
"""


def run(folder: Path, ways: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Run the stage in a new process, for one way after the other; return what came of each, and what was on stderr."""
    base = load_params(ROOT / "params.yaml")
    texts = {name: yaml.safe_dump(with_way(base, way).model_dump()) for name, way in ways.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "stages/select_pairs.py"), json.dumps(texts)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}, done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of one prompt, verdicts, an import, and a base: no weights can be loaded, and no truth can be read."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pictures(Path("images"), 1)
        write_rows(paths.PROMPTS, [PROMPT], Prompt)
        answers = [
            dataclasses.replace(RESPONSES[0], prompt_id="p1", leaf_id=leaf, text=text, reward=reward, words=8)
            for leaf, text, reward in ((4, TEXTS[0], 2.0), (5, TEXTS[1], 1.0))
        ]
        elsewhere = [Signal("p1", one.node_id, "elsewhere", 8.0) for one in TREE if one.text]
        for at, rows, record in (
            (paths.candidates("1"), TREE, Sentence),
            (paths.signals("1"), elsewhere, Signal),
            (paths.responses("1"), answers, Response),
        ):
            write_rows(at / "00000.parquet", rows, record)
            seal(at, record, fingerprint={})
        write_rows(paths.verdicts("1"), [Verdict("p1", 4, 5, "first", "first", 1.0, 1.0)], Verdict)
        row = {"image": PROMPT.image, "prompt": "Describe.", "chosen": "A star.", "rejected": "A ring."}
        Path("rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
        import_pairs([Path("rows.jsonl")], layout="columns", name="mine", columns=Columns())
        for weights in tiny_llava(paths.policy(paths.BASE)).rglob("*.safetensors"):
            weights.write_bytes(b"no weights")
        for path in SECRETS:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no table")
    return folder


@pytest.fixture(scope="module")
def found(project: Path) -> dict[str, Any]:
    """Return what came of the stage for each way that needs no processor, in one process."""
    return run(project, {name: way for name, way in WAYS.items() if name != "imported"})[0]


def origins(project: Path, name: str) -> Counter[str]:
    import polars as pl

    return Counter(pl.read_parquet(project / f"{name}.parquet")["origin"])


@pytest.mark.parametrize("name", [name for name in WAYS if name != "imported"])
def test_selection_loads_no_model_and_reads_no_truth(project: Path, found: dict[str, Any], name: str) -> None:
    """The stage imports neither torch, transformers nor open_clip, and makes its pairs where no truth can be read."""
    assert found[name] == {"name": name, "code": 0, "loaded": []}
    made = origins(project, name)
    assert made
    assert set(made) <= set(OWN_ORIGINS) - {"oracle"}


def test_imported_pairs_need_the_processor_and_no_weights(project: Path) -> None:
    """The base's tokenizer says how an answer begins: transformers is imported, but the weights are not read."""
    done, _ = run(project, {"imported": WAYS["imported"]})
    assert (done["imported"]["code"], origins(project, "imported")) == (0, Counter(mine=1))


@pytest.mark.parametrize("name", list(ORACLES)[:1])
def test_an_oracle_reads_the_truth(project: Path, name: str) -> None:
    """The files of the tests above are those that hold the truth: an oracle ends in one line about them."""
    done, said = run(project, {name: ORACLES[name]})
    assert done[name]["code"] == 1
    assert said.startswith(f"{paths.TRUTH}: got ")
