"""Arms: named sets of parameters over a profile, read from arms.yaml. An arm is never code.

`read_arms` validates the file; `apply` writes an arm over the text of a params file, comments kept; `differences` says what
an arm changes there. A project of an arm is an ordinary project (`csrdata init DIR --arm NAME`).
"""

import copy
import difflib
import io
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE as PARAMS
from csrdata.params import Params, check_params
from csrdata.publishing.release.layout import is_iteration_name
from csrdata.sections.values import Line, NotNegative, Section
from csrdata.strict_yaml import read_yaml
from csrdata.validation import explain

FILE = Path(__file__).with_name("arms.yaml")
"""The arms that ship with csrdata."""
BASE, SHIPPED = "base", "shipped"
"""The two arms that every other one is compared with."""
MOST_TRIALS = 8
"""The most settings that an arm may be tuned over."""
SEEDS = (0, 1, 2)
"""Of an arm of the group `must`. An exploratory one has the last, as settings are chosen with the first."""
SEEDED = ("prepare", "sample_prompts", "generate_beams", "select_pairs", "train_dpo")
"""Sections whose keys `seed` a run's seed replaces. The others draw the images and questions on which all are compared."""


class Group(StrEnum):
    """How much is spent on an arm."""

    MUST = "must"
    EXPLORATORY = "exploratory"


@dataclass(frozen=True, slots=True)
class Arm:
    """A set of parameters over a profile."""

    name: str
    about: str
    group: Group
    iterations: int
    """0: nothing is trained, and the arm's figures are those of its base policy."""
    changes: Mapping[str, Any]
    """Dotted keys of params.yaml and their values, those of the arm that it extends first."""
    tuned: Mapping[str, Any]
    """The same, chosen for the microworld's models alone."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of a whole run."""
        return SEEDS if self.group is Group.MUST else SEEDS[-1:]


@dataclass(frozen=True, slots=True)
class Quick:
    """What `run --quick` runs."""

    arms: tuple[str, ...]
    changes: Mapping[str, Any]
    """Sizes, as `Arm.changes`."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The rule by which settings are chosen, the same for every arm."""

    grid: Mapping[str, tuple[Any, ...]]
    """Dotted keys of params.yaml and the values to try."""
    recall_loss: float
    """Points of recall, 0..100, that a setting may be under the base."""

    def trials(self) -> list[dict[str, Any]]:
        """Return every combination of the grid, at most `MOST_TRIALS`."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]


@dataclass(frozen=True, slots=True)
class WeakerScorers:
    """Arms that differ in the scorer of the search: what they gain is shown against its accuracy."""

    recipe: str
    """The arm whose scorer they change."""
    arms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arms:
    """All of an arms file."""

    file: Path
    by_name: Mapping[str, Arm]
    """In the order of the file."""
    quick: Quick
    tuning: Tuning
    weaker_scorers: WeakerScorers | None = None

    def named(self, name: str) -> Arm:
        """Return an arm.

        Raises:
            UserError: no arm has that name.
        """
        if name not in self.by_name:
            near = difflib.get_close_matches(name, self.by_name, n=1, cutoff=0.4)
            expected = near[0] if near else f"one of {', '.join(self.by_name)}"
            raise UserError("arm", got=name, expected=expected, do="csrdata arms")
        return self.by_name[name]


Changes = dict[str, Any]


class _Arm(Section):
    about: Line
    group: Literal["must", "exploratory"]
    iterations: Annotated[int, Field(ge=0, le=100)]
    extends: Line | None = None
    changes: Changes
    tuned: Changes = Field(default_factory=dict)


class _Quick(Section):
    arms: Annotated[list[Line], Field(min_length=1)]
    changes: Changes


class _Tuning(Section):
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]]
    recall_loss: NotNegative


class _WeakerScorers(Section):
    recipe: Line
    arms: Annotated[list[Line], Field(min_length=1)]


class _File(Section):
    tuning: _Tuning
    quick: _Quick
    weaker_scorers: _WeakerScorers | None = None
    arms: dict[str, _Arm]


def read_arms(path: Path = FILE) -> Arms:
    """Read and validate an arms file. Its changes are validated when they are applied: they need a profile.

    Raises:
        UserError: the file is missing or is not YAML; a key is unknown, missing or out of range; an arm has a name that no
            folder may have, extends one that is not listed before it, or is missing; the grid has too many settings.
    """
    if not path.is_file():
        raise UserError(str(path), got="no such file", expected="arms", do="csrdata arms")
    raw, do = read_yaml(path), f"fix {path}"
    if not isinstance(raw, dict):
        raise UserError(str(path), got=raw, expected="the keys tuning, quick and arms", do=do)
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise explain(error, _File, raw, place=str(path), do=do) from None
    trials = math.prod(map(len, file.tuning.grid.values()))
    if trials > MOST_TRIALS:
        place = f"{path}: tuning.grid"
        raise UserError(place, got=f"{trials} settings", expected=f"at most {MOST_TRIALS}", do=do)
    by_name: dict[str, Arm] = {}
    for name, entry in file.arms.items():
        by_name[name] = _arm(name, entry, by_name, path)
    weaker = None
    if (own := file.weaker_scorers) is not None:
        weaker = WeakerScorers(own.recipe, tuple(own.arms))
    for name in (BASE, SHIPPED, *file.quick.arms, *((weaker.recipe, *weaker.arms) if weaker else ())):
        if name not in by_name:
            raise UserError(f"{path}: arms.{name}", got="no such arm", expected="an arm", do=do)
    grid = {key: tuple(values) for key, values in file.tuning.grid.items()}
    return Arms(
        path,
        by_name,
        Quick(tuple(file.quick.arms), file.quick.changes),
        Tuning(grid, file.tuning.recall_loss),
        weaker,
    )


def _arm(name: str, entry: _Arm, earlier: Mapping[str, Arm], path: Path) -> Arm:
    place, do = f"{path}: arms.{name}", f"fix {path}"
    if not is_iteration_name(name.replace(".", "-")):
        expected = "1 to 32 characters of a-z, 0-9, '.', '-' and '_', the first a letter or digit"
        raise UserError(place, got=name, expected=expected, do=do)
    if entry.extends is not None and entry.extends not in earlier:
        expected = "an arm that is listed before it"
        raise UserError(f"{place}.extends", got=entry.extends, expected=expected, do=do)
    above = None if entry.extends is None else earlier[entry.extends]
    # A later key replaces an earlier one of the same place, and is applied after the section that holds it.
    changes = {
        key: value for key, value in (above.changes if above else {}).items() if key not in entry.changes
    }
    changes |= entry.changes
    tuned = {key: value for key, value in (above.tuned if above else {}).items() if key not in entry.changes}
    tuned |= entry.tuned
    return Arm(name, entry.about, Group(entry.group), entry.iterations, changes, tuned)


def settings(arm: Arm, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's changes of a params file, with its iterations, and what was tuned if the models are those tuned on.

    Args:
        arm: of the arms file.
        raw: the content of the params file.
    """
    tuned = arm.tuned if raw.get("prepare", {}).get("kind") == "microworld" else {}
    return {**arm.changes, **tuned, **_chain(arm.iterations, raw)}


def _chain(iterations: int, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change that gives a params file this number of iterations, at least one; nothing if it has that many."""
    count = max(1, iterations)
    if len(raw.get("iterations", {})) == count:
        return {}
    names = [paths.BASE, *map(str, range(1, count + 1))]
    return {"iterations": {name: {"previous": before} for before, name in itertools.pairwise(names)}}


def seeding(raw: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the changes that give a run its seed: every key `seed` of the sections `SEEDED`; a list changes as a whole.

    Args:
        raw: the content of the arm's params file.
        seed: 0 or more.
    """
    return {key: value for section in SEEDED for key, value in _seeded(raw.get(section), section, seed)}


def _seeded(value: Any, key: str, seed: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from [(f"{key}.seed", seed)] if name == "seed" else _seeded(inside, f"{key}.{name}", seed)
    if isinstance(value, list) and any(isinstance(part, dict) and "seed" in part for part in value):
        yield key, [part | {"seed": seed} if "seed" in part else part for part in value]


def apply(raw: Mapping[str, Any], changes: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Return the content of a params file with some keys changed.

    Args:
        raw: the content; it is not changed.
        changes: dotted keys and values; a section is replaced as a whole. Applied in order.
        place: what the changes come from, for the error.

    Raises:
        UserError: the file has no such key; the nearest is named.
    """
    found: dict[str, Any] = copy.deepcopy(dict(raw))
    for key, value in changes.items():
        *sections, last = key.split(".")
        inside: Any = found
        for depth, section in enumerate([*sections, last]):
            if not isinstance(inside, dict) or section not in inside:
                raise _unknown(key, depth, inside, place)
            if depth < len(sections):
                inside = inside[section]
        inside[last] = copy.deepcopy(value)
    return found


def _unknown(key: str, depth: int, inside: Any, place: str) -> UserError:
    parts, valid = key.split("."), list(inside) if isinstance(inside, dict) else []
    near = difflib.get_close_matches(parts[depth], valid, n=1, cutoff=0.5)
    expected = ".".join([*parts[:depth], near[0]]) if near else f"one of {', '.join(valid) or 'no keys'}"
    return UserError(f"{place}: {key}", got="an unknown key", expected=expected, do="csrdata arms")


def checked(raw: Mapping[str, Any], changes: Mapping[str, Any], *, place: str) -> Params:
    """Return the valid parameters that a params file has after some changes.

    Raises:
        UserError: a key is unknown or a value out of range; the error begins with `place`.
    """
    changed = apply(raw, changes, place=place)
    try:
        return check_params(changed, PARAMS)
    except UserError as error:
        raise UserError(
            f"{place}: {error.place.removeprefix(f'{PARAMS}: ')}",
            got=error.got,
            expected=error.expected,
            do="csrdata arms",
        ) from None


def differences(arm: Arm, raw: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what an arm changes of a params file: dotted keys with the value there and the arm's, where they differ.

    A section of another kind, with other keys, is one key.

    Raises:
        UserError: the file has no such key.
    """
    after = apply(raw, settings(arm, raw), place=f"arm {arm.name}")
    return dict(_differing(dict(raw), after, ()))


def _differing(old: Any, new: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    sections = isinstance(old, dict) and isinstance(new, dict) and keys != ("iterations",)
    if sections and (old.keys() == new.keys() or "kind" not in old):
        for key in {**old, **new}:
            yield from _differing(old.get(key), new.get(key), (*keys, key))
    elif old != new:
        yield ".".join(keys), (old, new)


def shown(value: Any) -> str:
    """Return a value of params.yaml in a word or two: a section by its kind, iterations by their number.

    Examples: None -> null; {"kind": "judged"} -> judged; {"1": {"previous": "base"}} -> 1
    """
    if isinstance(value, dict):
        if "kind" in value:
            return str(value["kind"])
        return str(len(value)) if paths.BASE in str(value) else ", ".join(value) or "none"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Listed:
    """An arm over a params file, for a reader."""

    name: str
    about: str
    group: str
    iterations: int
    changes: Mapping[str, Any] | None
    """Dotted keys and values, where they differ from the file; None where the arm does not fit it."""
    before: Mapping[str, Any]
    """The values of the file."""
    problem: str | None
    """Why it does not fit."""

    def lines(self) -> list[str]:
        """Return a line for each change, such as `train_dpo.sft_weight: 3.0 -> 0.0`."""
        if self.changes is None:
            return [f"not for this profile: {self.problem}"]
        changed = [f"{key}: {shown(self.before[key])} -> {shown(new)}" for key, new in self.changes.items()]
        return changed or ["changes nothing here"]


def listing(arms: Arms, raw: Mapping[str, Any]) -> list[Listed]:
    """Return all arms with what each changes of a params file."""
    found = []
    for arm in arms.by_name.values():
        changes: dict[str, Any] | None = None
        before: dict[str, Any] = {}
        problem = None
        try:
            checked(raw, settings(arm, raw), place=f"arm {arm.name}")
            differing = differences(arm, raw)
            changes = {key: new for key, (_, new) in differing.items()}
            before = {key: old for key, (old, _) in differing.items()}
        except UserError as error:
            problem = f"{error.place.removeprefix(f'arm {arm.name}: ')}: {error.got}"
        found.append(Listed(arm.name, arm.about, arm.group, arm.iterations, changes, before, problem))
    return found


def text_of(text: str, changes: Mapping[str, Any], *, heading: str = "") -> str:
    """Return the text of a params file with some keys changed; comments, order and layout of all else stay.

    Args:
        text: of a valid file.
        changes: as `apply` takes them, valid for that file.
        heading: lines for its top, without `#`.
    """
    yaml = _round_trip()
    root = yaml.load(text)  # ruamel's round trip: it builds no Python objects
    for key, value in changes.items():
        *sections, last = key.split(".")
        inside = root
        for section in sections:
            inside = inside[section]
        if inside[last] != value:
            inside[last] = _node(value, flat=key == "iterations")
    stream = io.StringIO()
    yaml.dump(root, stream)
    return "".join(f"# {line}\n" for line in heading.splitlines()) + stream.getvalue()


def _node(value: Any, *, flat: bool = False) -> Any:
    """Return a value as it is written: text of digits in quotes, the iterations one a line."""
    if isinstance(value, dict):
        node = CommentedMap((_quoted(key), _node(inside)) for key, inside in value.items())
        if flat:
            for inside in node.values():
                inside.fa.set_flow_style()
        return node
    if isinstance(value, list):
        return [_node(inside) for inside in value]
    return _quoted(value)


def _quoted(value: Any) -> Any:
    return DoubleQuotedScalarString(value) if isinstance(value, str) and value.isdigit() else value


def _round_trip() -> Any:
    """Return a YAML that writes a params file back as it was read."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 10**6
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def project_text(
    text: str, raw: Mapping[str, Any], arm: Arm, *, changes: Mapping[str, Any] | None = None
) -> str:
    """Return the text of an arm's params.yaml.

    Args:
        text: of the params file that the arm changes.
        raw: its content.
        arm: the arm.
        changes: all changes, if they are more than the arm's own.

    Raises:
        UserError: the arm does not fit the file.
    """
    place = f"arm {arm.name}"
    wanted = settings(arm, raw) if changes is None else changes
    checked(raw, wanted, place=place)
    changed = [
        f"changed: {key}: {shown(old)} -> {shown(new)}" for key, (old, new) in differences(arm, raw).items()
    ]
    return text_of(
        text, wanted, heading="\n".join([f"The arm {arm.name} (csrdata arms): {arm.about}", *changed])
    )
