"""dvc.yaml, written from the DAG (`csrdata.pipeline.graph`) in two forms that differ in how code enters.

The repository's own (`make dag`): a stage is a script of `stages/` and depends on the source files that its result comes
from. A user's project (`csrdata init`, `csrdata dag`): a stage is `csrdata run STAGE` and depends on its key in code.yaml,
the hash of the same code in the installed package. An upgrade of csrdata therefore re-runs what it changes, nothing else.
"""

import json
import re
import textwrap
from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from csrdata.params import Params, load_params
from csrdata.pipeline.code import Kinds, reached, source_path, stage_hash, wiring
from csrdata.pipeline.graph import KEY, Node, Output, nodes
from csrdata.pipeline.scorers import kinds_of_scorers
from csrdata.sections.method import AnyPairs
from csrdata.storage.tables import atomic_file

FILE = Path("dvc.yaml")
CODE = Path("code.yaml")
"""In a project: the hash of the code behind each stage, by the stage's name."""

_HEADS = {
    "repository": """\
# The pipeline. `dvc repro` runs what is out of date; appending an iteration to params.yaml runs that one and summarize.
# `make dag` writes this file. A stage's code dependencies are the modules that its result comes from.
# A harmless edit of one (a comment) need not train again: `dvc commit` records the results as they are.
""",
    "project": """\
# The pipeline. `dvc repro` runs what is out of date; appending an iteration to params.yaml runs that one and summarize.
# `csrdata dag` writes this file and code.yaml: run it after an upgrade of csrdata, or if a stage asks for it.
# Without DVC, `csrdata run --all` runs the same stages and keeps the same record, dvc.lock.
""",
}

_PLOTS = (
    ("chair_s", "percent of answers", "CHAIR_S, answers that name an absent object"),
    ("recall", "percent of objects", "Recall, present objects that are named"),
    ("length", "words", "Length of an answer"),
    (
        "relevance_held_out",
        "R_I, 0 to 100",
        "Relevance to the image by the scorer that the search never used",
    ),
    ("pope_accuracy", "percent of questions", "POPE, yes/no questions answered correctly"),
)
_AT_RECALL = (
    "chair_s_at_recall",
    "percent of answers",
    "CHAIR_S at the base's recall, by a bias on the end of an answer",
)
"""The figures that `dvc plots show` draws: name, unit and title."""
_PAIRS = (
    ("pair_rewards", "pair_rewards", "reward", "mean reward", "Rewards of chosen and rejected answers"),
    (
        "pair_rewards_released",
        "pair_rewards",
        "reward",
        "1 - mean cost, 0 to 1",
        "Rewards of chosen and rejected answers on the released code's scale",
    ),
    (
        "pair_relevance",
        "pair_rewards",
        "mean",
        "mean R_I, 0 to 100",
        "Relevance of chosen and rejected to the image",
    ),
    (
        "pair_likelihood",
        "likelihood",
        "mean",
        "mean log-probability, nats",
        "Likelihood of chosen and rejected before training, by origin",
    ),
)
"""The plots of chosen and rejected by iteration: name, template, y, unit and title."""

_PLAIN = re.compile(r"[A-Za-z0-9_./${}@-]+")
"""Text that needs no quotes in YAML."""


class Form(StrEnum):
    """Where a dvc.yaml belongs."""

    REPOSITORY = "repository"
    PROJECT = "project"


def kinds_in_use(params: Params) -> Kinds:
    """Return which kinds a project uses, by the module that chooses."""
    pairs = _ways_to_pairs(params.select_pairs)
    return {
        "csrdata.pipeline.source": {params.source.kind},
        "csrdata.pipeline.generate_beams": {params.generate_beams.proposal.kind},
        "csrdata.pipeline.select_pairs": pairs,
        "csrdata.pipeline.answer_pairs": pairs,
        "csrdata.pipeline.sentence_pairs": pairs,
        "csrdata.pipeline.scorers": kinds_of_scorers(params.scorers),
        "csrdata.pipeline.evaluation_sets": {one.kind for one in params.evaluation_sets.values()},
        "csrdata.pipeline.evaluate_policy": {params.evaluate_policy.decoding},
    }


def _ways_to_pairs(settings: AnyPairs) -> set[str]:
    """Return the kinds of pairs in use, those of mixed pairs included, and their orders."""
    parts = settings.parts if settings.kind == "mixed" else ()
    orders = {settings.order} if settings.kind in {"answers", "sentences"} else set()
    return {settings.kind} | orders | {way for part in parts for way in _ways_to_pairs(part)}


def dependencies(stage: str, params: Params) -> list[str]:
    """Return the files of csrdata that a stage's result depends on, as paths in dvc.yaml, sorted."""
    package = Path("csrdata")
    modules = reached(wiring(stage), kinds=kinds_in_use(params))
    return sorted(source_path(module, package=package).as_posix() for module in modules)


def command(node: Node, form: Form) -> str:
    """Return the command of a stage. Example: `csrdata run generate_beams --iteration ${key}`."""
    if form is Form.REPOSITORY:
        return f"python stages/{node.stage}.py" + (f" {node.argument}" if node.argument else "")
    return f"csrdata run {node.stage}" + (f" --iteration {node.argument}" if node.argument else "")


def dvc_yaml(params: Params, form: Form) -> str:
    """Return the text of a dvc.yaml."""
    blocks = ["\n".join(_block(node, form, params)) for node in nodes(params)]
    return f"{_HEADS[form]}\nstages:\n" + "\n\n".join(blocks) + "\n\n" + "\n".join(_plots(params)) + "\n"


def code_yaml(params: Params) -> str:
    """Return the text of a project's code.yaml: the installed package's."""
    from csrdata.pipeline import STAGES

    kinds = kinds_in_use(params)
    lines = [f"# The code behind each stage in csrdata {version('csrdata')}; `csrdata dag` writes this file."]
    lines += [f"{stage}: {stage_hash(stage, kinds=kinds)}" for stage in STAGES]
    return "\n".join(lines) + "\n"


def project_files(params: Params) -> dict[Path, str]:
    """Return the text of a project's dvc.yaml and code.yaml."""
    return {FILE: dvc_yaml(params, Form.PROJECT), CODE: code_yaml(params)}


def write_project_files(params: Params) -> list[Path]:
    """Write dvc.yaml and code.yaml of the project in the present folder; return those whose text changed."""
    changed = []
    for path, text in project_files(params).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with atomic_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _block(node: Node, form: Form, params: Params) -> list[str]:
    """Return the lines of one stage."""
    lines = []
    if node.comment:
        lines += [f"  # {line}" for line in textwrap.wrap(node.comment, 116)]
    lines.append(f"  {node.name}:")
    indent = "    "
    if node.each:
        lines += ["    foreach: ${iterations}", "    do:"]
        indent = "      "
    lines.append(f"{indent}cmd: {command(node, form)}")
    code = dependencies(node.stage, params) if form is Form.REPOSITORY else []
    lines += _list("deps", [_quoted(path) for path in (*node.inputs, *code)], indent)
    lines += _list("params", sorted(node.params), indent)
    if form is Form.PROJECT:
        lines += [f"{indent}  - {CODE}:", f"{indent}      - {node.stage}"]
    plain = [output for output in node.outputs if not output.metric]
    lines += _outputs("outs", plain, indent)
    lines += _outputs("metrics", [output for output in node.outputs if output.metric], indent)
    return lines


def _list(key: str, values: Iterable[str], indent: str) -> list[str]:
    lines = [f"{indent}  - {value}" for value in values]
    return [f"{indent}{key}:", *lines] if lines else []


def _outputs(key: str, outputs: Iterable[Output], indent: str) -> list[str]:
    lines = []
    for output in outputs:
        options = ["persist: true"] * output.persist + ["cache: false"] * (not output.cached)
        lines.append(f"{indent}  - {_quoted(output.path)}{':' * bool(options)}")
        lines += [f"{indent}      {option}" for option in options]
    return [f"{indent}{key}:", *lines] if lines else []


def _plots(params: Params) -> list[str]:
    lines = ["plots:"]
    matched = params.match_recall is not None
    figures = (_AT_RECALL, *_PLOTS) if matched else _PLOTS
    rows = [(name, "splits", "iteration", "value", "iteration", unit, title) for name, unit, title in figures]
    rows += [
        (name, template, "iteration", y, "iteration", unit, title)
        for name, template, y, unit, title in _PAIRS
    ]
    if matched:
        rows.append(
            (
                "recall_curve",
                "curves",
                "recall",
                "chair_s",
                "recall, percent of objects",
                "CHAIR_S, percent of answers",
                "Hallucination against recall",
            )
        )
    if params.measure_attention is not None:
        unit = "share of attention, 0 to 1"
        title = "Attention on the image along a description, the mean over layers and heads"
        rows.append(
            ("image_attention_by_token", "attention", "token", "mean", "token of the answer", unit, title)
        )
    for name, template, x, y, x_unit, y_unit, title in rows:
        lines += [
            f"  - plots/{name}.csv:",
            f"      template: {template}",
            f"      x: {x}",
            f"      y: {y}",
            f"      x_label: {x_unit}",
            f"      y_label: {y_unit}",
            f"      title: {title}",
        ]
    return lines


def _quoted(text: str) -> str:
    """Return text as YAML reads it back; DVC would replace a `${...}` that is not ours, so it is escaped."""
    ours = text.replace(KEY, "").replace("${item.previous}", "").replace("${scorers.", "")
    if "${" in ours:
        text = text.replace("${", "\\${")
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def main() -> None:
    """Write the repository's dvc.yaml into the present folder."""
    with atomic_file(FILE) as partial:
        partial.write_text(dvc_yaml(load_params(), Form.REPOSITORY), encoding="utf-8")


if __name__ == "__main__":
    main()
