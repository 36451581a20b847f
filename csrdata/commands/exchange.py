"""The commands through which data and policies leave and enter a project: `export`, `import`, `push` and `pull`."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from csrdata.commands.app import IterationOption, JsonOption, app, examples
from csrdata.commands.app import iteration as chosen_iteration
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.text import json_text, printable


@app.command(
    short_help="Pairs and images for another trainer.",
    epilog=examples(
        "csrdata export --to trl out/trl",
        "csrdata export --to llava out/llava --iteration 2",
        "csrdata export --to trl out/all --iterations all --scores --validation 0.1",
        "csrdata export --to fiftyone out/look --scores",
        "csrdata export --to checkpoint out/policy --dtype bfloat16",
    ),
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="trl, llava, llama-factory or ms-swift; to look at pairs, argilla or fiftyone; checkpoint: the policy.",
        ),
    ],
    iteration: IterationOption = None,
    iterations: Annotated[
        str | None,
        typer.Option(metavar="all|T,T", help="Several iterations, merged; of equal pairs the first is kept."),
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Add all scores, as columns that begin with score_.")
    ] = False,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Write train and validation; this share of the images is for validation, by a hash of each image.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="With --validation: another split. By default 0.")
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write the rows as Parquet, where the loader reads it.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="With --to checkpoint: float32, bfloat16 or float16; by default compute.dtype of params.yaml.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an iteration's pairs and images in the format of another trainer, or its policy as one model."""
    from csrdata.pipeline.checkpoint import CHECKPOINT, export_checkpoint
    from csrdata.pipeline.chosen_by_truth import trained_on, warning
    from csrdata.pipeline.export_pairs import export_pairs, iterations_of
    from csrdata.publishing.export.formats import FORMATS
    from csrdata.publishing.export.writing import Options

    if iteration is not None and iterations is not None:
        got = f"--iteration {iteration} and --iterations {iterations}"
        raise UserError("--iterations", got=got, expected="one of them", do="csrdata export --help")
    if to == CHECKPOINT:
        of_pairs = {
            "--iterations": iterations,
            "--scores": scores or None,
            "--validation": validation,
            "--seed": seed,
            "--parquet": parquet or None,
        }
        for name, value in of_pairs.items():
            if value is not None:
                expected = "no such option: it is about pairs"
                raise UserError(f"--to {CHECKPOINT}", got=name, expected=expected, do="csrdata export --help")
        chosen = chosen_iteration(iteration)
        merged = export_checkpoint(folder, iteration=chosen, dtype=dtype)
        left = "" if merged.kept is None else f"; {merged.kept:.1%} of their update is left after rounding"
        say(f"policy {chosen}: {merged.adapters} adapters merged into its base{left}")
        _warn(warning(trained_on(chosen)))
        about = {"to": to, "folder": printable(folder), "iterations": [chosen]}
        print(
            json_text({**about, "adapters": merged.adapters, "kept": merged.kept})
            if as_json
            else about["folder"]
        )
        return
    if dtype is not None:
        raise UserError("--dtype", got=dtype, expected="--to checkpoint with it", do="csrdata export --help")
    if validation is None and seed is not None:
        raise UserError("--seed", got=seed, expected="--validation with it", do="csrdata export --help")
    if validation is not None and not 0 < validation < 1:
        raise UserError(
            "--validation", got=validation, expected="above 0 and below 1", do="csrdata export --help"
        )
    names = [chosen_iteration(iteration)] if iterations is None else iterations_of(iterations)
    options = Options(scores=scores, parquet=parquet, validation=validation, seed=seed or 0)
    done = export_pairs(folder, to=to, iterations=names, options=options)
    _warn(warning(names))
    split = "".join(f", {count} for {part}" for part, count in done.parts.items())
    what = "look at" if FORMATS[to].viewer else "train on"
    say(
        f"iteration {', '.join(names)}: {done.pairs} pairs{split}, {done.images} images in {done.folder}. To {what} it:"
    )
    usage = printable(done.usage, keep="\n")
    found = {"to": to, "folder": printable(done.folder), "iterations": names, "usage": usage}
    counts = {"pairs": done.pairs, "images": done.images, "parts": dict(done.parts)}
    print(json_text({**found, **counts}) if as_json else usage)


@app.command(
    "import",
    short_help="Pairs that others made.",
    epilog=examples(
        "csrdata import RLAIF-V-Dataset_000.parquet --from rlaif-v --name rlaif_v",
        "csrdata import povid.json --from povid --name povid --images .",
        "csrdata import vlfeedback.parquet --from vlfeedback-all --name vlfeedback --images vlfeedback",
        "csrdata import pairs.jsonl --name mine --chosen-column good --rejected-column bad",
    ),
)
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="One or more: Parquet, JSON or JSON Lines.")
    ],
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The dataset's name: the origin of its pairs, such as rlhf_v.")
    ],
    layout: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="LAYOUT",
            help="rlhf-v, rlaif-v, povid, llava-rlhf, vlfeedback (best against worst rating) or vlfeedback-all (every two "
            "with unequal ratings); columns: any table with the columns below.",
        ),
    ] = "columns",
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder that image paths are relative to; by default images.root of params.yaml.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A new folder, or an earlier import; by default data/import/NAME."),
    ] = None,
    image_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Path or bytes of the image.")
    ] = "image",
    prompt_column: Annotated[str, typer.Option(metavar="COLUMN", help="The instruction.")] = "prompt",
    chosen_column: Annotated[str, typer.Option(metavar="COLUMN", help="The better answer.")] = "chosen",
    rejected_column: Annotated[str, typer.Option(metavar="COLUMN", help="The worse answer.")] = "rejected",
) -> None:
    """Read preference pairs from files, check them, and write a folder with their images for select_pairs.kind: imported."""
    from csrdata.pipeline.import_pairs import import_pairs
    from csrdata.sources.imported.folder import RECORD, in_words
    from csrdata.sources.imported.formats import Columns

    columns = Columns(image_column, prompt_column, chosen_column, rejected_column)
    target, done = import_pairs(
        files, layout=layout, name=name, columns=columns, images=images, folder=folder
    )
    left = f"; rows without a pair: {in_words(done.dropped)}" if done.dropped else ""
    if done.commonest is not None:
        left += f" (the commonest: {done.commonest})"
    if done.left_out:
        left += f"; of the other rows, two answers that are no pair: {in_words(done.left_out)}"
    say(
        f"{name}: {done.pairs:,} pairs, {done.images:,} images{left}. What could not be checked: {target / RECORD}"
    )
    say(
        f"to train on them, in params.yaml: select_pairs: {{kind: imported, folder: {target}}}, then: csrdata dag"
    )
    print(printable(target))


@app.command(
    short_help="Publish pairs, or a policy, on the Hub.",
    epilog=examples(
        "csrdata push me/shapes-csr --dry-run release",
        "csrdata push me/shapes-csr --tag v1.0.0",
        "csrdata push me/shapes-policy --model --dataset me/shapes-csr@v1.0.0 --tag v1.0.0",
    ),
)
def push(
    repo_id: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The dataset (or model) on the Hub.")],
    *,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="The tag of a new version, such as v1.2.0.")
    ] = None,
    iteration: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="An iteration; may be repeated. By default all that have pairs."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, make it private.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the release to this folder, list its files, send nothing."),
    ] = None,
    images: Annotated[
        str,
        typer.Option(metavar="embed|reference", help="Put the images into the rows, or their paths only."),
    ] = "embed",
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", help="The licence of the dataset (or policy), such as cc-by-4.0."
        ),
    ] = None,
    image_licence: Annotated[
        str | None,
        typer.Option(
            "--image-license", metavar="TEXT", help="For the card: what the images are, and their licence."
        ),
    ] = None,
    output_licence: Annotated[
        str | None,
        typer.Option(
            "--output-license", metavar="TEXT", help="For the card: the terms of use of the policy's answers."
        ),
    ] = None,
    model: Annotated[
        bool, typer.Option("--model", help="Publish the policy of one iteration, instead of pairs.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME@TAG", help="With --model: the published pairs it was trained on."),
    ] = None,
) -> None:
    """Publish pairs, candidates and a card on the Hub in one commit with a tag; with --model, a policy."""
    from csrdata.pipeline.publish import release
    from csrdata.publishing.hub.pushing import check_name, push_folder
    from csrdata.publishing.release.writing import tree

    check_name(repo_id, tag)
    if dataset is not None and not model:
        raise UserError("--dataset", got=dataset, expected="--model too", do="csrdata push --help")
    if model:
        _push_model(
            repo_id,
            tag=tag,
            names=iteration,
            private=private,
            dry_run=dry_run,
            licence=licence,
            dataset=dataset,
        )
        return
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        folder = dry_run or Path(scratch) / "release"
        manifest = release(
            folder,
            repo_id=repo_id,
            tag=tag,
            names=iteration,
            images=images,
            licence=licence,
            image_licence=image_licence,
            output_licence=output_licence,
            hub_may_be_away=dry_run is not None,
        )
        if dry_run is not None:
            files = tree(folder)
            print("\n".join(f"{size:>15,}  {path}" for path, size in files))
            total = f"{len(files)} files, {sum(size for _, size in files):,} bytes"
            print(f"{total}, identity {manifest.identity[:12]}: nothing was sent", file=sys.stderr)
            return
        names = ", ".join(one.name for one in manifest.iterations)
        message = f"{tag or manifest.identity[:12]}: pairs of iteration {names}"
        print(push_folder(folder, repo_id=repo_id, tag=tag, private=private, message=message).url)


@app.command(
    short_help="Download a published dataset.",
    epilog=examples("csrdata pull me/shapes-csr@v1.0.0", "csrdata pull me/shapes-csr@v1.0.0 shapes"),
)
def pull(
    source: Annotated[str, typer.Argument(metavar="OWNER/NAME@TAG", help="A dataset on the Hub, at a tag.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier pull; by default NAME."),
    ] = None,
    *,
    max_size: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest download, such as 500MB or 50GB.")
    ] = "32GB",
) -> None:
    """Download a published dataset as a project's tables and images; your own files are never overwritten."""
    from csrdata.pipeline.pull import pull as bring
    from csrdata.publishing.hub.fetch import parse_size, parse_source

    found = parse_source(source)
    target = folder or Path(found.repo_id.partition("/")[2])
    names = bring(found, target, max_size=parse_size(max_size))
    say(f"iteration {', '.join(names)} of {found}; to look at it, run there: csrdata stats")
    print(printable(target))


def _warn(line: str | None) -> None:
    if line is not None:
        say(f"warning: {line}")


def _push_model(
    repo_id: str,
    *,
    tag: str | None,
    names: list[str] | None,
    private: bool,
    dry_run: Path | None,
    licence: str | None,
    dataset: str | None,
) -> None:
    """Publish the policy of one iteration, by default the last, or write it to a folder."""
    from csrdata.pipeline.publish_policy import write_policy
    from csrdata.publishing.hub.fetch import parse_source
    from csrdata.publishing.hub.pushing import push_folder

    if names and len(names) > 1:
        raise UserError(
            "--iteration", got=", ".join(names), expected="one with --model", do="csrdata push --help"
        )
    chosen = chosen_iteration(names[0] if names else None)
    pairs = parse_source(dataset) if dataset else None
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        folder = dry_run or Path(scratch) / "model"
        write_policy(folder, repo_id=repo_id, iteration=chosen, dataset=pairs, tag=tag, licence=licence)
        if dry_run is not None:
            from csrdata.publishing.release.writing import tree

            print("\n".join(f"{size:>15,}  {path}" for path, size in tree(folder)))
            return
        message = f"{tag or 'policy'}: iteration {chosen}"
        done = push_folder(
            folder, repo_id=repo_id, repo_type="model", tag=tag, private=private, message=message
        )
    print(printable(done.url))
