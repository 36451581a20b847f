"""vLLM itself samples for a small search; run where CSRDATA_VLLM_PYTHON names a Python that has vLLM (docs/servers.md)."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from csrdata.errors import UserError
from csrdata.policy.loading import Policy, load_policy, new_chain
from csrdata.policy.prompting import banned_ids
from csrdata.records import NO_PARENT, Sentence, Stop
from csrdata.serving import vllm_worker
from tests.generation import served_search
from tests.generation.served_search import NAME, PROMPTS, client
from tests.policy.test_loading import write_adapter
from tests.teaching import teach
from tests.tiny import pictures, tiny_llava

PYTHON = os.environ.get("CSRDATA_VLLM_PYTHON", "")
OPTIONS = {
    "dtype": "float32",
    "enforce_eager": True,
    "enable_chunked_prefill": False,
    "max_num_batched_tokens": 4096,
}
"""Without chunked prefill: on a CPU, vLLM 0.32 fails at the first part of a prompt whose request has a seed."""

pytestmark = pytest.mark.skipif(not PYTHON, reason="CSRDATA_VLLM_PYTHON names no Python that has vLLM")


@dataclass(frozen=True)
class Project:
    """Two policies: a base, and an adapter on it."""

    root: Path
    base: Policy
    tuned: Policy
    model: Path
    """The base's folder for vLLM."""
    adapter: Path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("vllm")
    pictures(root / "images", len(PROMPTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        base = Path("policies/base")
        teach(tiny_llava(base, width=128), steps=25)
        with new_chain(Path("policies/1"), previous=base, name="1") as folder:
            write_adapter(load_policy(base).model, folder, seed=1)
        # A model that transformers builds anew has no `vision_model` in the names of a CLIP; vLLM and the Hub have it.
        file = base / "model.safetensors"
        names = load_file(file)
        model = root / "model"
        subprocess.run(["cp", "-r", base, model], check=True)
        save_file(
            {
                name.replace("vision_tower.", "vision_tower.vision_model."): value
                for name, value in names.items()
            },
            model / "model.safetensors",
            metadata={"format": "pt"},
        )
        yield Project(
            root, load_policy(base), load_policy(Path("policies/1")), model, root / "policies/1/adapters/1"
        )


@dataclass
class Worker:
    """A running `vllm_worker.py`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + 240
        while time.monotonic() < end and self.process.poll() is None:
            try:
                asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                asked.request("GET", "/v1/policy")
                found = json.loads(asked.getresponse().read())
            except OSError:
                time.sleep(0.5)
            else:
                assert found["policy"] == NAME
                return
        raise AssertionError(self.log.read_text()[-4000:])


@contextmanager
def serving(project: Project, *words: str, port: int | None = None) -> Iterator[Worker]:
    """Run the worker on the base, with further arguments."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
    log = project.root / f"{port}-{time.monotonic_ns()}.log"
    command = [
        PYTHON,
        vllm_worker.__file__,
        "--policy",
        NAME,
        "--model",
        str(project.model),
        "--port",
        str(port),
    ]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--options", json.dumps(OPTIONS), *words],
            env=environment,
            cwd=project.root,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        worker = Worker(process, port, log)
        worker.wait()
        yield worker
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def searched(
    project: Project, policy: Policy, worker: Worker, replies: Path, *, tolerance: float = 1e-4
) -> list[Sentence]:
    """Search with the patience that an engine on a CPU asks for."""
    server = client(worker.address, policy, patience=240.0, seconds=60.0)
    return served_search.searched(
        project.root, policy, server, replies, count=4, keep_best=2, tolerance=tolerance
    )


def test_vllms_log_probabilities_are_those_of_transformers(project: Project, tmp_path: Path) -> None:
    """A whole search within 1e-4 nats per token; no sentence has a banned token; another policy is refused."""
    with serving(project) as worker:
        rows = searched(project, project.base, worker, tmp_path / "base.jsonl")
        with pytest.raises(UserError, match=r"differ by .* nats per token from the policy's"):
            searched(project, project.tuned, worker, tmp_path / "tuned.jsonl")
        engines = children(worker.process.pid)
        worker.process.terminate()
        assert worker.process.wait(60) == 0
        assert engines
        end = time.monotonic() + 30
        while any(map(is_running, engines)):
            assert time.monotonic() < end, "vLLM's own process stays"
            time.sleep(0.2)
    assert {row.prompt_id for row in rows} == {prompt.prompt_id for prompt in PROMPTS}
    assert {Stop.SENTENCE_END.value, Stop.END.value} <= {row.stop for row in rows}
    assert max(row.depth for row in rows) > min(row.depth for row in rows)
    assert len({tuple(row.token_ids) for row in rows if row.parent_id == NO_PARENT}) > 1, "the samples differ"
    banned = set(banned_ids(project.base.model, project.base.processor))
    assert not banned & {token for row in rows for token in row.token_ids}
    assert not (tmp_path / "tuned.jsonl").exists()


def test_an_adapter_is_served_under_its_policys_name(project: Project, tmp_path: Path) -> None:
    """One LoRA on the base gives the log-probabilities of the tuned policy, and not those of the base."""
    with serving(project, "--adapter", str(project.adapter)) as worker:
        rows = searched(project, project.tuned, worker, tmp_path / "tuned.jsonl")
        assert rows
        with pytest.raises(UserError, match=r"differ by .* nats per token from the policy's"):
            searched(project, project.base, worker, tmp_path / "base.jsonl")


def test_a_search_goes_on_after_vllm_was_killed(project: Project, tmp_path: Path) -> None:
    """SIGKILL of vLLM's own process in the middle of a search: the server ends, and the next one at its address finishes."""
    found: list[list[Sentence]] = []
    with serving(project) as worker:
        search = threading.Thread(
            target=lambda: found.append(searched(project, project.base, worker, tmp_path / "base.jsonl"))
        )
        search.start()
        time.sleep(1.0)
        for child in children(worker.process.pid):
            os.kill(child, signal.SIGKILL)
        assert worker.process.wait(60) == 1, worker.log.read_text()[-2000:]
        with serving(project, port=worker.port):
            search.join(240)
    assert len(found) == 1
    assert {row.prompt_id for row in found[0]} == {prompt.prompt_id for prompt in PROMPTS}


def children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


def is_running(process: int) -> bool:
    """Whether a process is there and is not only waiting to be read by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
