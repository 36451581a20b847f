"""The packages that csrdata imports are those that pyproject.toml declares, and the other way round."""

import re
import sys
import tomllib

from tests.imports import ROOT, imported_names

MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml", "ruamel.yaml": "ruamel"}
"""Packages whose module has another name."""

UNSEEN = {
    "accelerate": "peft and trl need it to train",
    "torchvision": "the image processors of transformers need it",
    "num2words": "the processor of SmolVLM 2 needs it",
    "atheris": "benchmarks/fuzz.py fuzzes with it",
    "lmms-eval": "csrdata runs it as a process",
    "decord": "lmms-eval's class of LLaVA needs it",
}
"""Declared, and imported by another package or by a benchmark only."""

BROUGHT = {
    "dvc_data": "dvc",
    "httpx2": "huggingface_hub",
    "pydantic_core": "pydantic",
    "tokenizers": "transformers",
}
"""Imported, and part of a declared package's own interface."""

ELSEWHERE = {
    "vllm": "serving/vllm_worker.py runs in vLLM's own environment: its versions do not fit csrdata's"
}
"""Imported by a file that nothing of csrdata imports."""


def test_declared_packages_are_the_imported_ones() -> None:
    """Nothing is imported that an installation lacks, and nothing is installed that nobody imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    lines = [line for line in [*project["dependencies"], *extras] if not line.startswith("csrdata[")]
    names = {re.split(r"[<>=~!\[ ]", line)[0] for line in lines}
    declared = {MODULES.get(name, name) for name in names} - UNSEEN.keys()
    files = sorted((ROOT / "csrdata").rglob("*.py"))
    imported = {name.split(".")[0] for file in files for name in imported_names(file)}
    assert (
        imported - set(sys.stdlib_module_names) - {"csrdata"} - BROUGHT.keys() - ELSEWHERE.keys() == declared
    )
