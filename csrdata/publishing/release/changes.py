"""The changes between two releases, from their manifests; `csrdata diff` compares the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from csrdata.publishing.release.manifest import Counts, Model


def changes(
    *,
    iterations: tuple[Sequence[Counts], Sequence[Counts]],
    params: tuple[Mapping[str, Any], Mapping[str, Any]],
    models: tuple[Sequence[Model], Sequence[Model]],
    images: tuple[str, str],
) -> list[str]:
    """Return one sentence per change, the old value first; if counts, parameters and models are equal, say so.

    Values are code in backticks, which `markdown.prose` keeps; it escapes the rest.

    Args:
        iterations, params, models, images: each a pair of the older and the newer release's value.
    """
    found = [*_iterations(*iterations), *_params(*params), *_models(*models)]
    if images[0] != images[1]:
        found.append(f"images: `{images[0]}` -> `{images[1]}`")
    return found or ["the data files differ; counts, parameters and models do not"]


def _iterations(before: Sequence[Counts], after: Sequence[Counts]) -> list[str]:
    old, new = ({one.name: one for one in side} for side in (before, after))
    found = [f"iteration {name} left out" for name in old if name not in new]
    for name, counts in new.items():
        if name not in old:
            found.append(f"iteration {name} added: {counts.pairs} pairs from {counts.prompts} prompts")
        elif old[name] != counts:
            found.append(
                f"iteration {name}: {old[name].pairs} -> {counts.pairs} pairs, "
                f"{old[name].prompts} -> {counts.prompts} prompts, "
                f"{old[name].candidates} -> {counts.candidates} candidates"
            )
    return found


def _params(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = _flat(before), _flat(after)
    return [
        f"`{key}`: {_show(old, key)} -> {_show(new, key)}"
        for key in {**old, **new}
        if key not in old or key not in new or old[key] != new[key]
    ]


def _models(before: Sequence[Model], after: Sequence[Model]) -> list[str]:
    old, new = ({one.role: one for one in side} for side in (before, after))
    found = [f"{role} left out" for role in old if role not in new]
    for role, model in new.items():
        if role not in old:
            found.append(f"{role} added (`{model.sha256[:12]}`)")
        elif old[role].sha256 != model.sha256:
            found.append(f"{role}: `{old[role].sha256[:12]}` -> `{model.sha256[:12]}`")
    return found


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters under dotted keys.

    Example: `{"a": {"b": 1}}` -> `{"a.b": 1}`
    """
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _show(params: Mapping[str, Any], key: str) -> str:
    if key not in params:
        return "none"
    value = str(params[key]).replace("`", "'")
    return f"`{value}`"
