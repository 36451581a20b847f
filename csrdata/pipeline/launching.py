"""Print the path of a configuration that csrdata ships for `accelerate launch`.

`accelerate launch --config_file "$(python -m csrdata.pipeline.launching ddp)" -m csrdata run train_dpo --iteration 1`
"""

import sys
from importlib.resources import files
from pathlib import Path

from csrdata.errors import UserError

KINDS = ("ddp", "fsdp")
"""`ddp`: each process holds the whole policy; `fsdp`: its weights are split over the processes."""


def configuration(kind: str) -> Path:
    """Return the path of a configuration.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in KINDS:
        raise UserError(
            "configuration",
            got=kind,
            expected=f"one of {', '.join(KINDS)}",
            do=f"python -m csrdata.pipeline.launching {KINDS[0]}",
        )
    return Path(str(files("csrdata"))) / "launch" / f"{kind}.yaml"


if __name__ == "__main__":
    from csrdata.entry import leaving_in_words

    with leaving_in_words("launching"):
        sys.stdout.write(f"{configuration(sys.argv[1] if len(sys.argv) > 1 else '')}\n")
