"""How params.yaml is read: an unknown key or a value out of range is refused in one line."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from csrdata.errors import UserError
from csrdata.params.checks import check_relations, to_fix
from csrdata.params.whole import Params
from csrdata.strict_yaml import read_yaml
from csrdata.validation import explain

FILE = Path("params.yaml")


def load_params(path: Path = FILE) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: the file is missing or is not YAML 1.2; a key is unknown (the nearest valid key is named), missing
            or out of range; an iteration starts from one that is not listed before it; or there is no iteration.
    """
    if not path.is_file():
        raise UserError(
            str(path),
            got="no such file",
            expected="the pipeline's parameters",
            do="run the command in the folder of params.yaml",
        )
    return check_params(read_yaml(path), path)


def check_params(raw: object, path: Path) -> Params:
    """Validate the content of a params file that is named `path`; see `load_params`."""
    if not isinstance(raw, dict):
        got = "an empty file" if raw is None else raw
        raise UserError(str(path), got=got, expected="sections of keys", do=to_fix(path))
    _refuse_old_names(raw, path)
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Params, raw, place=str(path), do=to_fix(path)) from None
    check_relations(params, path)
    return params


OLD_NAMES = {
    "build_seed": "source (the images), prepare (the models) and scorers (their folders)",
    "repeat_similarity": "repetition_threshold",
    "sample_prompts.questions_per_image": "source.questions_per_image",
    "generate_beams.groups": "generate_beams.proposal.groups",
    "generate_beams.diversity_penalty": "generate_beams.proposal.diversity_penalty",
}
"""Keys of earlier versions, alone or with the sections above them, with their names today."""


def _refuse_old_names(raw: Mapping[object, object], path: Path, *, above: str = "") -> None:
    """Raise if the file has a key of an earlier version, and name the key of today.

    An "unknown key" error would not say where its value goes.
    """
    for key, value in raw.items():
        new = OLD_NAMES.get(f"{above}{key}") or OLD_NAMES.get(str(key))
        if new is not None:
            raise UserError(
                f"{path}: {above}{key}",
                got="a name of an earlier version",
                expected=new,
                do=to_fix(path),
            )
        if isinstance(value, dict) and len(above) < 100:
            _refuse_old_names(value, path, above=f"{above}{key}.")
