"""What every process that runs a model settles first: threads, seeds, and that no library phones home.

Call `set_up_process` before importing torch or a Hugging Face library: they read their environment once. Importing this
module imports none of them.
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
    # Forked tokenizer threads gain nothing here and warn.
    "TOKENIZERS_PARALLELISM": "false",
    # What CUDA's matrix products need to give the same bits twice.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Set where the user has not: an environment variable of theirs wins."""


def set_up_process(compute: Compute, *, seed: int = 0) -> None:
    """Settle the process: environment, threads, the form of warnings, and the global generators of random, numpy and torch.

    Library code takes its randomness as an argument; the global seeds are for third parties that do not.

    Raises:
        UserError: the device is not there.
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
            do="mend params.yaml, then: dvc repro",
        )
    torch.use_deterministic_algorithms(True, warn_only=True)


def machine(compute: Compute) -> dict[str, str | int]:
    """Return what the bits of trained models depend on: processor, its instructions, threads, versions."""
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
