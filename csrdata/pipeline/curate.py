"""Wiring of `csrdata curate`: labels and a condition in, a copy of the labels and one line of params.yaml out; no stage."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.params import FILE, check_params
from csrdata.search.curation import Label, parse_condition
from csrdata.storage.disk import atomic_file
from csrdata.storage.labels import read_labels
from csrdata.strict_yaml import read_yaml

LABELS = Path("curation/labels.csv")
"""The project's copy of the labels, which `select_pairs` depends on."""
HELP = "csrdata curate --help"
KEY = "curation"
COMMENT = "null, or {labels: FILE or null, drop_labels: [bad], where: EXPR or null}: pairs taken out (docs/inspection.md)"


def set_curation(*, labels: Path | None, drop_labels: Sequence[str], where: str | None, clear: bool) -> str:
    """Write labels and condition into the project: a copy of the labels, and `select_pairs.curation` of params.yaml.

    Everything is checked before anything is written.

    Returns:
        What was set, in words.

    Raises:
        UserError: a label, a file or the expression is invalid, or params.yaml cannot be edited.
    """
    if clear and (labels or drop_labels or where is not None):
        raise UserError("--clear", got="other options with it", expected="--clear alone", do=HELP)
    if not clear and not labels and not drop_labels and where is None:
        raise UserError("csrdata curate", got="no option", expected="--labels, --where or --clear", do=HELP)
    for one in drop_labels:
        if one not in set(Label):
            raise UserError("--drop-labels", got=one, expected=f"one of {', '.join(Label)}", do=HELP)
    if where is not None:
        parse_condition(where, place="--where", do=HELP)
    raw, text = read_yaml(FILE), FILE.read_text(encoding="utf-8")
    params = check_params(raw, FILE)
    before = raw["select_pairs"].get(KEY) or {}
    known = read_labels(labels) if labels else {}
    if labels is not None and known:
        _check_iterations(labels, list(params.iterations))
    value = None if clear else _merged(before, labels=labels, drop_labels=drop_labels, where=where)
    if value is not None and value["drop_labels"] and value["labels"] is None:
        raise UserError("--drop-labels", got="no labels", expected="--labels FILE with it", do=HELP)
    edited = _with_value(text, "null" if value is None else json.dumps(value, ensure_ascii=False))
    with atomic_file(FILE) as partial:
        partial.write_text(edited, encoding="utf-8")
        check_params(read_yaml(partial), FILE)
        if labels is not None and not (LABELS.is_file() and labels.samefile(LABELS)):
            LABELS.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(LABELS) as copy:
                shutil.copyfile(labels, copy)
    if value is None:
        return f"{FILE}: select_pairs.{KEY} is null: no pair is taken out by hand"
    dropping = ", ".join(value["drop_labels"]) or "no label"
    place = f"{FILE}: select_pairs.{KEY}"
    return f"{place}: {len(known):,} labels read, {dropping} taken out, where {value['where'] or 'anything'}"


def _check_iterations(labels: Path, names: Sequence[str]) -> None:
    """Refuse labels of which none is about an iteration of this project: they would take nothing out, and nobody would know.

    Raises:
        UserError: naming the iterations that there are.
    """
    if not any(read_labels(labels, iteration=name) for name in names):
        raise UserError(
            f"{labels}: iteration",
            got="other iterations alone",
            expected=f"one of {', '.join(names)} ({FILE}) in one line or more",
            do="correct the file, then: csrdata curate --labels FILE",
        )


def _merged(
    before: dict[str, Any], *, labels: Path | None, drop_labels: Sequence[str], where: str | None
) -> dict[str, Any]:
    """Return the new section: what an option does not set stays as it was; labels drop the bad ones by default."""
    stated = [str(one) for one in before.get("drop_labels") or []]
    return {
        "labels": LABELS.as_posix() if labels else before.get("labels"),
        "drop_labels": list(dict.fromkeys(drop_labels)) or stated or (["bad"] if labels else []),
        "where": before.get("where") if where is None else (where.strip() or None),
    }


def _with_value(text: str, value: str) -> str:
    """Return params.yaml with another value of `select_pairs.curation`; every other byte stays.

    The key has one line, or none yet; then it is added as the first of its section.
    """
    section = re.search(r"^select_pairs:[^\n]*\n(?:(?:[ #][^\n]*)?\n)*", text, flags=re.MULTILINE)
    if section is None:
        raise _by_hand()
    inner = section[0]
    line = re.search(rf"^  {KEY}:(?P<value>[^\n#]*)(?P<comment>#[^\n]*)?$", inner, flags=re.MULTILINE)
    wanted = f"  {KEY}: {value}  # {COMMENT}"
    if line is not None and line["value"].strip():
        # A flow value may hold a # in quotes: the whole line is replaced.
        new = inner[: line.start()] + wanted + inner[line.end() :]
    elif line is None and f"{KEY}:" not in inner:
        head = inner.index("\n") + 1
        new = inner[:head] + wanted + "\n" + inner[head:]
    else:
        raise _by_hand()
    return text[: section.start()] + new + text[section.end() :]


def _by_hand() -> UserError:
    return UserError(
        f"{FILE}: select_pairs.{KEY}",
        got="a section that is written in another way",
        expected="one line",
        do=f"write {KEY}: null there, then the same command again",
    )
