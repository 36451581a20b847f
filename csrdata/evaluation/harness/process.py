"""Run lmms-eval as a process on a model folder: its output goes to a folder, and nothing of it is imported here.

lmms-eval requires exact versions of packages that a project may need in others, so it may be in another environment:
`python` is then that environment's interpreter. A failed task does not change its exit code; what tells is that there are no
results, and then the last error that it printed is quoted.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from csrdata.errors import UserError
from csrdata.text import one_line

HARNESS = "lmms-eval"
MODEL = "llava_hf"
"""The model class of lmms-eval that loads transformers' LLaVA."""
FAMILIES = ("llava", "llava_next", "llava_onevision")
"""The values of `model_type` that it takes."""
NEEDED = ("lmms_eval", "decord")
"""What its process imports: decord comes with the model class, not with the package."""
BATCH = 1
"""Questions at a time: the model class takes no more."""
INSTALL = "pip install 'csrdata[lmms-eval]'"
MOST_OUTPUT = 200_000
"""Characters of the process's output that are searched for an error, from its end."""
SECONDS_TO_START = 120
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|Exit))\b.*$", re.MULTILINE)
_ASK = """\
import importlib.metadata, importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(" ".join(missing) or importlib.metadata.version("lmms-eval"))
sys.exit(bool(missing))
"""


def task_names(tasks: str) -> tuple[str, ...]:
    """Return the task names of a comma-separated list.

    Raises:
        UserError: a name is empty, given twice, or no name.
    """
    names = tuple(name.strip() for name in tasks.split(","))
    for name in names:
        if not is_task_name(name) or names.count(name) > 1:
            got = f"{name} twice" if names.count(name) > 1 else name
            raise UserError(
                "--tasks",
                got=got,
                expected="names of tasks, separated by commas",
                do="csrdata evaluate --help",
            )
    return names


def is_task_name(name: str) -> bool:
    """Return whether a text may name a task: a path or a pattern does not."""
    return _TASK.fullmatch(name) is not None


def check_installed(python: Path | None) -> str:
    """Return the version of lmms-eval that an interpreter has; None: this one.

    Raises:
        UserError: a package is missing, or the interpreter does not start.
    """
    command = [_interpreter(python), "-c", _ASK, *NEEDED]
    try:
        done = subprocess.run(  # noqa: S603 - the user's interpreter
            command, capture_output=True, text=True, check=False, timeout=SECONDS_TO_START
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        do = "csrdata evaluate --help"
        raise UserError("--python", got=error, expected="a Python interpreter", do=do) from None
    if done.returncode or not done.stdout.strip():
        missing = " ".join(done.stdout.split()) or "an interpreter that fails"
        expected = "the extra lmms-eval, or --python of an environment that has it"
        raise UserError(HARNESS, got=f"no {missing}", expected=expected, do=INSTALL)
    return one_line(done.stdout.strip(), limit=50)


def run_harness(
    model: Path,
    output: Path,
    *,
    tasks: Sequence[str],
    include: Path | None,
    device: str,
    dtype: str,
    python: Path | None,
) -> None:
    """Run tasks on a model folder; results and answers are written below `output`.

    Args:
        model: a model folder whose chat template takes plain messages.
        output: an empty folder.
        tasks: names, see `task_names`.
        include: a folder with further tasks: their Python code runs.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: of the weights.
        python: see `check_installed`.

    Raises:
        UserError: it left no results.
    """
    for path in (model, output):
        if {",", "="} & set(str(path)):  # lmms-eval splits its arguments there
            do = "set TMPDIR to another folder"
            raise UserError("the temporary folder", got=str(path), expected="a path without , and =", do=do)
    command = [_interpreter(python), "-m", "lmms_eval", "--model", MODEL]
    command += ["--model_args", f"pretrained={model},device_map={device},dtype={dtype}", "--device", device]
    command += ["--tasks", ",".join(tasks), "--batch_size", str(BATCH), "--seed", "0"]
    command += ["--output_path", str(output), "--log_samples"]
    command += [] if include is None else ["--include_path", str(include)]
    done = subprocess.run(  # noqa: S603 - the user's interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode or not any(output.rglob("*_results.json")):
        errors = _ERROR.findall(done.stdout[-MOST_OUTPUT:])
        got = errors[-1] if errors else f"no results, exit code {done.returncode}"
        do = "run it by hand: python -m lmms_eval --help"
        raise UserError(f"{HARNESS} {','.join(tasks)}", got=got, expected="results", do=do)


def _interpreter(python: Path | None) -> str:
    return sys.executable if python is None else str(python)
