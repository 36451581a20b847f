"""What every process that runs a model sets first: threads, seeds, and no telemetry of libraries.

Call `set_up_process` before importing torch or a Hugging Face library, because they read their environment variables
once. Importing this module imports none of them.
"""

import os
import platform
import random
import warnings
from pathlib import Path

from csrdata.entry import plain_warning
from csrdata.errors import UserError
from csrdata.params import Compute

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Tokenizer threads gain nothing here, and warn when the process forks.
    "TOKENIZERS_PARALLELISM": "false",
    # CUDA's matrix products need this to give the same bits twice.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Environment variables with their defaults: a value that the user has set is kept."""


def set_up_process(compute: Compute, *, seed: int = 0) -> None:
    """Set environment variables, threads, the format of warnings, and the global seeds of random, numpy and torch.

    csrdata takes its randomness as an argument; the global seeds are for other libraries that do not.

    Raises:
        UserError: the device does not exist.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.formatwarning = plain_warning
    import numpy as np
    import torch

    torch.set_num_threads(compute.threads)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    if compute.device == "cpu":
        return
    index = torch.device(compute.device).index or 0
    if index >= torch.cuda.device_count():
        raise UserError(
            "params.yaml: compute.device",
            got=compute.device,
            expected=f"one of this machine's {torch.cuda.device_count()} CUDA devices, or cpu",
            do="fix params.yaml, then: dvc repro",
        )
    torch.use_deterministic_algorithms(True, warn_only=True)


def machine(compute: Compute) -> dict[str, str | int]:
    """Return what the exact weights of trained models depend on: processor, instruction set, threads, versions."""
    import torch

    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": compute.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
