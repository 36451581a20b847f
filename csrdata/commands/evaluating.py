"""The commands that evaluate answers and compare them: `evaluate` and `compare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csrdata.commands.app import JsonOption, app, examples
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.text import json_text

if TYPE_CHECKING:
    from csrdata.evaluation.measured import Evaluation

SET = (
    "A split of this project (such as held_out), or a kind: amber, coco_chair, dash_b, hallusion_bench, "
    "object_halbench, pope, pope_built, pope_splits, repope, repope_splits."
)
WithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="KEY=VALUE", help="A key of the kind, such as file=FILE; may be repeated."
    ),
]


@app.command(
    short_help="Figures of any model's answers, with intervals and protocol.",
    epilog=examples(
        "csrdata evaluate --iteration 3 --set held_out",
        "csrdata evaluate --answers theirs.jsonl --set held_out --json",
        "csrdata evaluate --iteration 3 --set held_out --card README.md",
        "csrdata evaluate --iteration 3 --set dash_b --with negatives=neg.json --with positives=pos.json "
        "--images images --answers iteration-3.jsonl",
        "csrdata evaluate --answers a.jsonl --set pope --with file=coco_pope_random.json --with strategy=random",
        "csrdata evaluate --harness lmms-eval --tasks mme,gqa --iteration 3",
    ),
)
def evaluate(
    *,
    of: Annotated[str | None, typer.Option("--set", metavar="NAME|KIND", help=SET)] = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answers of any model: JSON Lines or a JSON array.")
    ] = None,
    iteration: Annotated[
        str | None, typer.Option(metavar="T", help="base or an iteration of this project, instead of a file.")
    ] = None,
    options: WithOption = None,
    protocol: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON: how the answers were made, where their file does not say."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The images of the set: --iteration answers its questions first, and --answers keeps the answers.",
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the figures into the model-index of this model card, too."),
    ] = None,
    harness: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="lmms-eval: it asks and measures --tasks, instead of --set."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --harness: names of its tasks.")
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --harness: further tasks; their code runs.")
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --harness: the Python of the environment that has it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers to a set of questions: every figure with its interval over images, and how it was made.

    docs/evaluation.md describes the files and the kinds.
    """
    own: dict[str, object] = {
        "--set": of,
        "--answers": answers,
        "--with": options,
        "--protocol": protocol,
        "--images": images,
    }
    theirs: dict[str, object] = {"--tasks": tasks, "--include-path": include_path, "--python": python}
    if harness is not None:
        _check_harness(harness, tasks, iteration, own)
        from csrdata.pipeline.harness import harness_evaluations

        found = harness_evaluations(str(iteration), str(tasks), include=include_path, python=python)
        _give(found, splits=["all"] * len(found), card=card, as_json=as_json)
        return
    for name, value in theirs.items():
        if value is not None:
            raise UserError(name, got=value, expected="--harness with it", do="csrdata evaluate --help")
    if of is None:
        raise UserError("--set", got="nothing", expected="a name or a kind", do="csrdata evaluate --help")
    from csrdata.pipeline.benches import open_bench
    from csrdata.pipeline.evaluating import answers_of_file, answers_of_policy, evaluate

    if images is None and (answers is None) == (iteration is None):
        got = "neither" if answers is None else "both"
        expected = "one of them; both with --images, to answer a benchmark"
        raise UserError("--answers, --iteration", got=got, expected=expected, do="csrdata evaluate --help")
    bench = open_bench(of, options or [])
    if images is not None:
        if answers is None or iteration is None:
            expected = "--iteration, which answers, and --answers, where its answers are kept"
            raise UserError("--images", got=str(images), expected=expected, do="csrdata evaluate --help")
        from csrdata.pipeline.answer_bench import answer_bench

        answer_bench(iteration, bench, images=images, path=answers)
    if answers is not None:
        answered = answers_of_file(answers, bench, stated=protocol)
    else:
        answered = answers_of_policy(str(iteration), bench, split=of)
    _give([evaluate(answered, bench)], splits=[of], card=card, as_json=as_json)


def _check_harness(harness: str, tasks: str | None, iteration: str | None, own: Mapping[str, object]) -> None:
    """Raise unless the options are those of a harness."""
    do = "csrdata evaluate --help"
    if harness != "lmms-eval":
        raise UserError("--harness", got=harness, expected="lmms-eval", do=do)
    for name, value in (("--tasks", tasks), ("--iteration", iteration)):
        if value is None:
            raise UserError(name, got="nothing", expected="a value, with --harness", do=do)
    for name, other in own.items():
        if other is not None:
            raise UserError(name, got=other, expected="no such option with --harness", do=do)


def _give(found: Sequence["Evaluation"], *, splits: Sequence[str], card: Path | None, as_json: bool) -> None:
    """Write evaluations into a card if there is one, and print them: one as an object, several of a harness as an array."""
    for one, split in zip(found, splits, strict=True):
        if one.variant is not None:
            say(f"{one.benchmark} is a rule-based variant: {one.variant}")
        if card is not None:
            from csrdata.publishing.model_index import write_card

            say(f"{write_card(card, one, split=split)} figures in {card}")
    if as_json:
        plain = [one.as_json() for one in found]
        print(json_text(plain[0] if len(plain) == 1 else plain))
        return
    from csrdata.inspection.page import Screen
    from csrdata.pipeline.evaluation_page import evaluation_page

    for one in found:
        Screen().print(evaluation_page(one))


@app.command(
    short_help="Two iterations, arms or files of answers, tested.",
    epilog=examples(
        "csrdata compare base 3",
        "csrdata compare 1 3 --set held_out --power 2",
        "csrdata compare base theirs.jsonl --set held_out --json",
        "csrdata compare arm:base shipped",
    ),
)
def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="An iteration (or base), an arm (arm:NAME), or a file of answers."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The other side.")],
    *,
    of: Annotated[
        str | None,
        typer.Option("--set", metavar="NAME|KIND", help=f"{SET} By default all splits of both sides."),
    ] = None,
    options: WithOption = None,
    protocol: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="JSON: how a file's answers were made; once for each file, in their order."
        ),
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Say how many images it takes to find this difference."),
    ] = None,
    accept_unknown: Annotated[
        bool,
        typer.Option(
            "--accept-unknown", help="Compare although a fact of the protocol is unknown of a side."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare B with A, image by image: differences with intervals, tests corrected together, effects, power.

    Sides that were made in different ways are refused. docs/evaluation.md says what is computed.
    """
    from csrdata.ablation.sides import sides
    from csrdata.evaluation.comparison import compare_sides
    from csrdata.pipeline.evaluating import CONFIDENCE, RESAMPLES, SEED

    if power is not None and not 0 < power < 1e6:
        raise UserError("--power", got=power, expected="a difference above 0", do="csrdata compare --help")
    first, second = sides([a, b], of=of, options=options or [], stated=protocol or [])
    found = compare_sides(
        first,
        second,
        resamples=RESAMPLES,
        confidence=CONFIDENCE,
        seed=SEED,
        points=power,
        accept_unknown=accept_unknown,
    )
    if as_json:
        print(json_text(found.as_json()))
        return
    from csrdata.inspection.page import Screen
    from csrdata.pipeline.comparison_page import comparison_page

    Screen().print(comparison_page(found))
