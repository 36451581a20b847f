"""The section `engine` of params.yaml: where shards run. It never changes a result."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from csrdata.sections.values import Count, NotNegative, Positive, Section, matching


class LocalProcesses(Section):
    kind: Literal["local"]
    workers: Count


class RayActors(Section):
    kind: Literal["ray"]
    workers: Count
    gpus_per_worker: NotNegative
    address: (
        Annotated[
            str,
            Field(max_length=300),
            matching(r"auto|[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}", "auto, or a host and a port: HOST:PORT"),
        ]
        | None
    )
    patience: Positive


def _local_by_default(raw: Any) -> Any:
    """Return the section with `kind: local` if it has no kind, as files from before there was another kind."""
    return {"kind": "local", **raw} if isinstance(raw, dict) and "kind" not in raw else raw


AnyEngine = Annotated[
    Annotated[LocalProcesses | RayActors, Field(discriminator="kind")], BeforeValidator(_local_by_default)
]
"""Where shards run."""


def problem_of(engine: AnyEngine, *, device: str) -> tuple[str, object, str] | None:
    """Return a key of the section that does not fit, its value and what is expected; None if all fit.

    Args:
        engine: the section.
        device: `compute.device`.
    """
    if engine.kind == "local":
        return None
    gpus = engine.gpus_per_worker
    if gpus > 1 and gpus != round(gpus):
        return "gpus_per_worker", gpus, "0, a share of one GPU up to 1, or a whole number"
    if device == "cpu" and gpus:
        return "gpus_per_worker", gpus, "0 where compute.device is cpu"
    if device != "cpu" and not gpus:
        return "gpus_per_worker", gpus, f"above 0 where compute.device is {device}"
    if device not in {"cpu", "cuda"}:
        return "kind", f"ray, with compute.device {device}", "compute.device cuda: Ray chooses the GPU"
    return None
