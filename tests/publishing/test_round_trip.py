"""From a project to a Hub on this machine and back, by the commands a user types, in processes of their own."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.summary import PairSummary, PolicySummary, Summary
from csrdata.records import ORACLE, Dropped, Pair, Prompt, Response, Sentence
from csrdata.storage.tables import hash_path, read_rows, seal, write_json, write_rows
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES
from tests.publishing.hub_server import environment, serve
from tests.publishing.hub_state import TOKEN, Fault, Hub
from tests.publishing.project import image_name
from tests.tiny import pictures

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that takes larger files the LFS way."""
    with serve(tmp_path_factory.mktemp("hub"), lfs_from=4_000) as made:
        yield made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one iteration of two prompts and one pair, and stand-ins for its models."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    image = Path("data/prepare/images/0.png")
    pictures(folder / image.parent, 1)
    prompts = [dataclasses.replace(prompt, image=image.as_posix()) for prompt in PROMPTS]
    write_rows(folder / paths.PROMPTS, prompts, Prompt)
    write_rows(folder / paths.candidates("1") / "00000.parquet", SENTENCES, Sentence)
    seal(folder / paths.candidates("1"), Sentence, fingerprint={})
    write_rows(folder / paths.responses("1") / "00000.parquet", RESPONSES, Response)
    seal(folder / paths.responses("1"), Response, fingerprint={})
    write_rows(folder / paths.pairs("1"), [dataclasses.replace(PAIR, image=image.as_posix())], Pair)
    write_rows(folder / paths.dropped("1"), [DROPPED], Dropped)
    for model, config in (
        (paths.policy(paths.BASE), "config.json"),
        (Path("scorers/search"), "open_clip_config.json"),
        (Path("scorers/held_out"), "open_clip_config.json"),
    ):
        (folder / model).mkdir(parents=True)
        (folder / model / config).write_text('{"architectures": ["Tiny"]}', encoding="utf-8")
    adapter = folder / paths.policy("1") / "adapters/1"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}', encoding="utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    chain = {"base": "policies/base", "adapters": ["adapters/1"]}
    (folder / paths.policy("1") / "chain.json").write_text(json.dumps(chain), encoding="utf-8")
    policy = PolicySummary({"chair_s": Figure(39.2, 36.3, 42.2, 0.0005)}, {})
    chosen, rejected = PAIR.scores.chosen_reward, PAIR.scores.rejected_reward
    summary = Summary(
        iterations=("base", "1", "2"),
        splits={"held_out": dict.fromkeys(("base", "1", "2"), policy)},
        pairs={"1": PairSummary(1, 1, {}, chosen, rejected, None, None, None)},
        training={},
        prepared=None,
    )
    write_json(folder / paths.SUMMARY, summary.as_json())
    return folder


@pytest.fixture(scope="module")
def run(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run `python -m csrdata.cli WORDS` or `python -c PROGRAM` where it can reach the Hub."""
    home = tmp_path_factory.mktemp("home")

    def run(
        folder: Path, *words: str, program: str | None = None, token: str | None = TOKEN
    ) -> subprocess.CompletedProcess[str]:
        command = ["-m", "csrdata.cli", *words] if program is None else ["-c", program]
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment(hub, home, token=token) | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def pushed(run: Run, project: Path, hub: Hub) -> subprocess.CompletedProcess[str]:
    return run(project, "push", "me/set", "--tag", "v1")


def test_push_prints_where_it_is_and_no_token(
    hub: Hub, run: Run, project: Path, pushed: subprocess.CompletedProcess[str]
) -> None:
    """The address on stdout, one commit, one tag; again: nothing is sent, and it says so."""
    assert (pushed.returncode, pushed.stdout) == (0, f"{hub.url}/datasets/me/set/tree/v1\n"), pushed.stderr
    assert len(hub.repo("me/set").commits) == 2
    hub.requests.clear()
    again = run(project, "push", "me/set", "--tag", "v1")
    assert "nothing to push" in again.stderr
    assert not hub.asked("/commit/|/tag/|/preupload/")
    assert TOKEN not in pushed.stdout + pushed.stderr + again.stdout + again.stderr


LOAD = """
import json, sys
from datasets import load_dataset
pairs = load_dataset("me/set", "iteration_1", revision="v1", split="train")
candidates = load_dataset("me/set", "candidates", revision="v1", split="iteration_1")
default = load_dataset("me/set", revision="v1", split="train")
raw = pairs.with_format("arrow")[:]["images"].to_pylist()
print(json.dumps({
    "features": {name: repr(feature) for name, feature in pairs.features.items()},
    "sizes": [[image.size for image in row["images"]] for row in pairs],
    "bytes": [[image["bytes"].hex() for image in row] for row in raw],
    "pairs": [{name: row[name] for name in row if name != "images"} for row in pairs],
    "candidates": [dict(row) for row in candidates],
    "default": default.num_rows,
}))
"""


def test_datasets_loads_every_row_at_the_tag(
    run: Run, project: Path, pushed: subprocess.CompletedProcess[str]
) -> None:
    """With the real library: images decode and are the files' bytes, columns are TRL's, no row is lost."""
    assert pushed.returncode == 0, pushed.stderr
    done = run(project, program=LOAD, token=None)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    image = (project / "data/prepare/images/0.png").read_bytes()
    assert found["features"]["images"].startswith("List(Image(")
    assert found["bytes"] == [[image.hex()]]
    assert found["sizes"][0][0][0] > 0
    (pair,) = found["pairs"]
    assert pair["chosen"] == [{"role": "assistant", "content": PAIR.chosen.strip()}]
    assert pair["rejected"] == [{"role": "assistant", "content": PAIR.rejected.strip()}]
    assert pair["margin"] == PAIR.scores.margin
    assert [row["text"] for row in found["candidates"]] == [sentence.text for sentence in SENTENCES]
    assert [row["logprob"] for row in found["candidates"]] == [sentence.logprob for sentence in SENTENCES]
    assert found["default"] == 1


def test_pull_brings_the_project_back(
    hub: Hub, run: Run, project: Path, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Cut once, then done: tables, images and parameters as at home, images by their content; `stats` reads them alike."""
    assert pushed.returncode == 0, pushed.stderr
    hub.faults = [Fault("GET", "/api/datasets/me/set/tree", status=403)]
    cut = run(tmp_path, "pull", "me/set@v1")
    assert (cut.returncode, len(cut.stderr.splitlines())) == (1, 1), cut.stderr
    assert list(tmp_path.iterdir()) == []
    done = run(tmp_path, "pull", "me/set@v1")
    assert (done.returncode, done.stdout) == (0, "set\n"), done.stderr
    got = tmp_path / "set"
    for path in (paths.candidates("1"), paths.responses("1"), paths.dropped("1")):
        assert hash_path(got / path) == hash_path(project / path), path
    assert (got / "params.yaml").read_bytes() == (project / "params.yaml").read_bytes()
    content = (project / "data/prepare/images/0.png").read_bytes()
    image = f"data/{image_name(content)}"
    assert [path.relative_to(got).as_posix() for path in (got / "data/images").iterdir()] == [image]
    assert (got / image).read_bytes() == content
    home = read_rows(project / paths.pairs("1"), Pair, made_by="x")
    assert read_rows(got / paths.pairs("1"), Pair, made_by="x") == [dataclasses.replace(home[0], image=image)]
    names = sorted(path.name for path in got.iterdir())
    assert names == ["csrdata-pull.json", "data", "metrics", "params.yaml", "provenance"]
    there, here = (run(folder, "stats", "--json").stdout for folder in (got, project))
    assert there == here


def test_a_pulled_project_gives_the_same_release(
    hub: Hub, run: Run, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Every data file and the identity are those that were pulled: the Hub has it already, and nothing is sent."""
    assert pushed.returncode == 0, pushed.stderr
    assert run(tmp_path, "pull", "me/set@v1").returncode == 0
    got = tmp_path / "set"
    dry = run(got, "push", "me/set", "--tag", "v1", "--dry-run", str(tmp_path / "out"))
    assert dry.returncode == 0, dry.stderr
    commit = hub.repo("me/set").at("v1")
    assert commit is not None
    published = {path: hub.content(blob) for path, blob in commit.tree.items() if path != ".gitattributes"}
    ours = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert ours == published
    hub.requests.clear()
    again = run(got, "push", "me/set", "--tag", "v2")
    assert again.returncode == 0, again.stderr
    assert "no new commit" in again.stderr
    assert not hub.asked("/commit/|/preupload/")


def test_a_second_pull_replaces_what_the_first_wrote(
    run: Run, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """What is gone comes back; what was changed, added between the tables or linked is refused, and nothing is moved."""
    assert pushed.returncode == 0, pushed.stderr
    assert run(tmp_path, "pull", "me/set@v1").returncode == 0
    got = tmp_path / "set"
    whole = hash_path(got)
    (got / paths.pairs("1")).unlink()
    (got / "notes.txt").write_text("mine", encoding="utf-8")
    assert run(tmp_path, "pull", "me/set@v1").returncode == 0
    (got / "notes.txt").unlink()
    assert hash_path(got) == whole

    def change() -> None:
        (got / paths.dropped("1")).write_text("mine", encoding="utf-8")

    def add() -> None:
        (got / paths.candidates("1") / "00007.parquet").write_text("mine", encoding="utf-8")

    def link() -> None:
        (got / "data").rename(tmp_path / "elsewhere")
        (got / "data").symlink_to(tmp_path / "elsewhere")

    for damage, words in (
        (
            change,
            "dropped.parquet: got a file that was changed, expected as it was pulled. Next: move it away",
        ),
        (add, "00007.parquet: got a file that no pull wrote"),
        (link, "set/data: got a link or a file, expected a folder of the project"),
    ):
        kept = tmp_path / "kept"
        shutil.copytree(got, kept)
        damage()
        before = hash_path(tmp_path)
        done = run(tmp_path, "pull", "me/set@v1")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert words in done.stderr
        assert hash_path(tmp_path) == before
        if (got / "data").is_symlink():
            (got / "data").unlink()
        shutil.rmtree(got)
        kept.rename(got)


def test_pull_touches_no_folder_of_yours(
    run: Run, project: Path, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """A folder that holds anything that no pull wrote, the project itself included, stays as it is."""
    assert pushed.returncode == 0, pushed.stderr
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    for folder in (tmp_path, project):
        before = hash_path(folder)
        done = run(folder, "pull", "me/set@v1", ".")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "which no pull wrote, expected an empty or new folder, or an earlier pull" in done.stderr
        assert "Next: csrdata pull me/set@v1 ANOTHER_DIR" in done.stderr
        assert hash_path(folder) == before


def test_what_cannot_be_made_in_a_pulled_project_is_not_advised(
    run: Run, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Where there is no dvc.yaml, the next command is the pull, or the way to a project; never a bare `dvc repro`."""
    assert pushed.returncode == 0, pushed.stderr
    assert run(tmp_path, "pull", "me/set@v1").returncode == 0
    got = tmp_path / "set"
    (got / paths.pairs("1")).unlink()
    for words in (["stats", "--iteration", "1"], ["run", "evaluate_policy", "--iteration", "base"]):
        done = run(got, *words)
        assert done.returncode == 1
        assert (
            "Next: csrdata pull me/set@v1 . (a pulled project has no dvc.yaml" in done.stderr.splitlines()[-1]
        )
    (got / "csrdata-pull.json").unlink()
    done = run(got, "stats", "--iteration", "1")
    assert "Next: go to a project's folder (there is no dvc.yaml here), then: dvc repro" in done.stderr


def test_a_size_limit_is_looked_at_before_the_download(
    hub: Hub, run: Run, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """What is too large is one line with the command that takes it, and only the manifest was asked for."""
    assert pushed.returncode == 0, pushed.stderr
    hub.requests.clear()
    done = run(tmp_path, "pull", "me/set@v1", "--max-size", "20KB")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "expected at most 2e-05 GB" in done.stderr
    assert "Next: if that is what you want: csrdata pull me/set@v1 --max-size 1GB" in done.stderr
    assert {path.rpartition("/")[2] for path in hub.asked("^GET .*resolve")} == {"manifest.json"}
    assert list(tmp_path.iterdir()) == []
    assert (
        "got much, expected a size such as 50GB"
        in run(tmp_path, "pull", "me/set@v1", "--max-size", "much").stderr
    )


def test_a_mistake_is_one_line(run: Run, tmp_path: Path) -> None:
    """No tag, or an unknown dataset: one line on stderr, exit code 1, and no folder remains."""
    for words, message in (
        (["pull", "me/set"], "got me/set, expected OWNER/NAME@TAG"),
        (["pull", "me/nothing@v1"], "expected a dataset that exists"),
    ):
        done = run(tmp_path, *words)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_push_model_publishes_one_policy(
    hub: Hub, run: Run, project: Path, pushed: subprocess.CompletedProcess[str]
) -> None:
    """The adapter, its base and a card with the dataset's tag and this iteration's figures, as a model with a tag."""
    words = ["push", "me/policy", "--model", "--iteration", "1", "--dataset", "me/set@v1", "--tag", "m1"]
    done = run(project, *words)
    assert (done.returncode, done.stdout) == (0, f"{hub.url}/me/policy/tree/m1\n"), done.stderr
    commit = hub.repo("me/policy", "model").at("m1")
    assert commit is not None
    assert set(commit.tree) - {".gitattributes"} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "base/config.json",
        "provenance/manifest.json",
    }
    card = hub.content(commit.tree["README.md"]).decode()
    for part in (r"39.2 [36.3, 42.2] \*", "me/set", "at `v1`", "| figure | unit | base | policy 1 |"):
        assert part in card
    assert "policy 2" not in card


def test_a_policy_is_not_said_to_come_from_other_pairs(
    hub: Hub, run: Run, project: Path, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """The dataset that the card names must hold exactly the pairs that the policy was trained on."""
    shutil.copytree(project, tmp_path / "changed")
    changed = dataclasses.replace(PAIR, chosen=f"{PAIR.chosen} And a fog.")
    write_rows(tmp_path / "changed" / paths.pairs("1"), [changed], Pair)
    words = ["push", "me/other", "--model", "--iteration", "1", "--dataset", "me/set@v1"]
    done = run(tmp_path / "changed", *words)
    assert done.returncode == 1
    assert "me/set@v1, with other pairs, expected the pairs of iteration 1" in done.stderr
    assert ("model", "me/other") not in hub.repos
    dry = run(project, *words[:-2], "--dry-run", str(tmp_path / "out"))
    assert "base/config.json" in dry.stdout
    assert (tmp_path / "out/README.md").is_file()


def test_a_policy_of_pairs_that_the_truth_chose_stays(
    hub: Hub, run: Run, project: Path, tmp_path: Path
) -> None:
    """One line, nothing on the Hub, and no folder of a dry run."""
    shutil.copytree(project, tmp_path / "told")
    (pair,) = read_rows(project / paths.pairs("1"), Pair, made_by="")
    write_rows(tmp_path / "told" / paths.pairs("1"), [dataclasses.replace(pair, origin=ORACLE)], Pair)
    words = ["push", "me/told", "--model", "--iteration", "1"]
    for more in ([], ["--dry-run", str(tmp_path / "out")]):
        done = run(tmp_path / "told", *words, *more)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert done.stderr.startswith(
            "data/select_pairs/1/pairs.parquet: row 0: origin: got oracle, expected"
        )
    assert ("model", "me/told") not in hub.repos
    assert not (tmp_path / "out").exists()
