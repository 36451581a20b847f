"""A small project with two finished iterations: seven prompts in three shards, six pairs, one prompt without."""

import dataclasses
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from csrdata import paths
from csrdata.params import load_params
from csrdata.pipeline.publish import generating
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.origins import of_source
from csrdata.publishing.release.manifest import (
    Manifest,
    Model,
    describe_file,
    identity,
    read_manifest,
    write_manifest,
)
from csrdata.publishing.release.writing import write_release
from csrdata.records import (
    NO_PARENT,
    Dropped,
    DropReason,
    Fate,
    Pair,
    PairScores,
    Prompt,
    Response,
    Sentence,
    Stop,
)
from csrdata.sources.microworld.source import ORIGIN
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import seal, write_rows
from tests.imports import ROOT

NAMES = ("1", "2")
PROMPTS = [Prompt(f"train-{n:05d}", f"data/images/{n}.png", f"What is in image {n}?") for n in range(7)]
REPO = "me/set"
MODELS = (
    Model("base policy", "TinyLlava", sha256="a" * 64),
    Model("policy 1", "the base policy and 1 adapter", sha256="b" * 64),
    Model("search scorer", "CLIP", sha256="c" * 64, hub_id="open/clip", revision="d" * 40),
)


def make_project(root: Path) -> Path:
    """Write the tables, images and params of the project into a folder."""
    (root / "data/images").mkdir(parents=True)
    for n in range(len(PROMPTS)):
        Image.new("RGB", (28, 28), (30 * n, 255 - 30 * n, 77)).save(root / PROMPTS[n].image)
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    write_rows(root / paths.PROMPTS, PROMPTS, Prompt)
    for name in NAMES:
        pairs = [_pair(prompt, name) for prompt in PROMPTS[:6]]
        dropped = [Dropped(PROMPTS[6].prompt_id, DropReason.UNDER_MARGIN, "largest difference 0.02 < 0.1")]
        write_rows(root / paths.pairs(name), pairs, Pair)
        write_rows(root / paths.dropped(name), dropped, Dropped)
        for index, shard in enumerate((PROMPTS[:3], PROMPTS[3:6], PROMPTS[6:])):
            trees = [row for prompt in shard for row in _tree(prompt, name)]
            answers = [row for prompt in shard for row in _answers(prompt, name)]
            write_rows(root / paths.candidates(name) / f"{index:05d}.parquet", trees, Sentence)
            write_rows(root / paths.responses(name) / f"{index:05d}.parquet", answers, Response)
        for folder in (paths.candidates(name), paths.responses(name)):
            record = Sentence if folder == paths.candidates(name) else Response
            seal(root / folder, record, fingerprint={"params": f"made for {name}"})
    return root


def iterations(root: Path, names: tuple[str, ...] = NAMES) -> list[IterationTables]:
    """Return the paths of the tables under a folder."""
    return [project_tables(name, root=root) for name in names]


def release(root: Path, folder: Path, names: tuple[str, ...] = NAMES, **changed: Any) -> Manifest:
    """Write a release of the project."""
    settings: dict[str, Any] = {
        "repo_id": REPO,
        "iterations": iterations(root, names),
        "images": "embed",
        "project_root": root,
        "params": generating(load_params(root / "params.yaml"), names),
        "params_file": root / "params.yaml",
        "lock": None,
        "models": MODELS,
        "origin": of_source(ORIGIN),
        "tag": "v1",
        "date": "2026-11-21",
    }
    return write_release(folder, **(settings | changed))


def sign(folder: Path) -> None:
    """Rewrite the manifest of a release for its current files, with a new identity."""
    old = read_manifest(folder)
    files = [
        describe_file(folder, folder / file.path) for file in old.files if (folder / file.path).is_file()
    ]
    new = identity(files, params=old.params, models=old.models)
    write_manifest(folder, dataclasses.replace(old, files=files, identity=new))


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change rows of a Parquet file and keep its columns and features."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def image_name(content: bytes, extension: str = "png") -> str:
    """Return the name of an image in a release."""
    return f"images/{sha256(content).hexdigest()}.{extension}"


def change_params(root: Path, section: str, **values: object) -> None:
    """Edit the project's params.yaml."""
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def rewrite(root: Path, pairs: list[Pair], name: str = "1") -> None:
    write_rows(root / paths.pairs(name), pairs, Pair)


def pairs_of(name: str = "1") -> list[Pair]:
    return [_pair(prompt, name) for prompt in PROMPTS[:6]]


def _pair(prompt: Prompt, name: str) -> Pair:
    n = int(prompt.prompt_id[-1])
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        chosen=f" A red circle, {n}, by {'our ' * (1 - n % 2)}{name}.",
        rejected=f" A blue “star” and a fog, {n}.",
        origin="csr_search",
        scores=PairScores(
            chosen_leaf=2,
            rejected_leaf=3,
            chosen_reward=0.9 + n / 10,
            rejected_reward=-0.1,
            margin=1.0 + n / 10,
            chosen_reward_held_out=0.8,
            rejected_reward_held_out=0.1 * n,
            chosen_relevance=40.0 + n,
            rejected_relevance=20.0,
            chosen_logprob=-4.25,
            rejected_logprob=-4.5,
            chosen_tokens=9,
            rejected_tokens=10,
            chosen_words=7 - n % 2,
            rejected_words=7,
        ),
    )


def _tree(prompt: Prompt, name: str) -> list[Sentence]:
    first = Sentence(
        prompt_id=prompt.prompt_id,
        node_id=0,
        parent_id=NO_PARENT,
        depth=1,
        group=0,
        text=f" A red circle by {name}.",
        token_ids=[5, 6, 7],
        logprob=-2.0,
        relevance=40.0,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=0.5,
        stop=Stop.SENTENCE_END,
        fate=Fate.KEPT_BEST,
        canonical=True,
    )
    other = dataclasses.replace(
        first, node_id=1, group=1, text=" A fog.", relevance=3.0, fate=Fate.KEPT_WORST
    )
    end = dataclasses.replace(
        first,
        node_id=2,
        parent_id=0,
        depth=2,
        text="",
        token_ids=[2],
        relevance=None,
        guidance_reward=None,
        stop=Stop.END,
        fate=Fate.FINISHED,
        canonical=True,
    )
    return [first, other, end, dataclasses.replace(end, node_id=3, parent_id=1)]


def _answers(prompt: Prompt, name: str) -> list[Response]:
    n = int(prompt.prompt_id[-1])
    best = Response(
        prompt_id=prompt.prompt_id,
        leaf_id=2,
        text=f" A red circle by {name}.",
        words=5,
        sentences=1,
        tokens=4,
        logprob=-4.25,
        reward=0.9 + n / 10,
        likelihood=0.5,
        relevance=40.0,
        relevance_held_out=39.0,
        reward_held_out=0.8,
        finished=True,
        canonical=True,
    )
    return [best, dataclasses.replace(best, leaf_id=3, text=" A fog.", reward=-0.1, relevance=3.0)]
