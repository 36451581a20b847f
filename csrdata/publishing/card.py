"""The card: README.md with the Hub's metadata, made from a release's manifest and figures alone.

It states what a reader needs to load, judge and train on the data, and names every model by its hash. It says nothing
that the release does not hold, no machine, no path outside of it. The rows that its metadata states are held against
the files by the gates, and by `load_dataset` on loading.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from csrdata.publishing.columns import IMAGE_PATH, ITERATION, candidate_features, pair_features, parse_images
from csrdata.publishing.figures import Figures
from csrdata.publishing.layout import (
    CANDIDATES,
    LOCK,
    PARAMS,
    PROMPTS,
    SPLIT,
    candidate_glob,
    config,
    own_table,
    pair_glob,
)
from csrdata.publishing.manifest import MANIFEST, File, Manifest, files_of
from csrdata.publishing.origins import Origin

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's names of sizes, by the number of pairs that is too many for each."""

OWN_PAIRS = own_table("*", "pairs")

CITATION = """@inproceedings{zhou2024calibrated,
  title = {Calibrated Self-Rewarding Vision Language Models},
  author = {Zhou, Yiyang and Fan, Zhiyuan and Cheng, Dongjie and Yang, Sihan and Chen, Zhaorun and Cui, Chenhang and
            Wang, Xiyao and Li, Yun and Zhang, Linjun and Yao, Huaxiu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  url = {https://arxiv.org/abs/2405.14622}
}"""


def card(manifest: Manifest, *, origin: Origin, figures: Sequence[Figures], plots: Mapping[str, str]) -> str:
    """Return the text of README.md.

    Args:
        manifest: of the data files; the card itself need not be in it yet.
        origin: licences and limits of the source.
        figures: one an iteration, in order.
        plots: what each plot shows, by its path in the release.
    """
    sections = [
        _opening(manifest),
        _loading(manifest),
        _contents(manifest),
        _training(manifest),
        _columns(manifest),
        _making(manifest),
        _statistics(manifest, figures, plots),
        _limits(manifest, origin),
        _licence(origin),
        f"## Citation\n\n```bibtex\n{CITATION}\n```",
        _changes(manifest),
    ]
    return f"---\n{_metadata(manifest, origin)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(manifest: Manifest, origin: Origin) -> str:
    """Return the YAML that the Hub and `load_dataset` read."""
    from huggingface_hub import DatasetCardData

    pairs = sum(one.pairs for one in manifest.iterations)
    models = [model.hub_id for model in manifest.models if model.hub_id]
    data = DatasetCardData(
        language=list(origin.languages) or None,
        license=origin.licence,
        pretty_name=manifest.repo_id.partition("/")[2],
        task_categories=["image-text-to-text"],
        size_categories=[next((name for limit, name in SIZES if pairs < limit), "1M<n<10M")],
        tags=["preference", "dpo", "trl", "vision", "csr", "csrdata", *origin.tags],
        base_model=models[0] if models else None,
        configs=_configs(manifest),
        dataset_info=_dataset_info(manifest),
    )
    text: str = data.to_yaml(line_break="\n")
    return text.strip()


def _configs(manifest: Manifest) -> list[dict[str, Any]]:
    """One config an iteration, the last the default; one of all candidates, a split an iteration."""
    last = manifest.iterations[-1].name
    return [
        *(
            {
                "config_name": config(one.name),
                "data_files": [{"split": SPLIT, "path": pair_glob(one.name)}],
                **({"default": True} if one.name == last else {}),
            }
            for one in manifest.iterations
        ),
        {
            "config_name": CANDIDATES,
            "data_files": [
                {"split": config(one.name), "path": candidate_glob(one.name)} for one in manifest.iterations
            ],
        },
    ]


def _dataset_info(manifest: Manifest) -> list[dict[str, Any]]:
    """Features, rows and bytes by config, as `datasets` writes them; it holds the rows against the files on loading."""
    images = parse_images(manifest.images)
    splits = {
        config(one.name): (pair_features(images), {SPLIT: files_of(manifest.files, pair_glob(one.name))})
        for one in manifest.iterations
    }
    splits[CANDIDATES] = (
        candidate_features(),
        {config(one.name): files_of(manifest.files, candidate_glob(one.name)) for one in manifest.iterations},
    )
    return [
        {
            "config_name": name,
            "features": features._to_yaml_list(),  # noqa: SLF001 - the only writer of the form that the loader reads
            "splits": [
                {"name": split, "num_bytes": _bytes(files), "num_examples": _rows(files)}
                for split, files in parts.items()
            ],
            "download_size": sum(_bytes(files) for files in parts.values()),
            "dataset_size": sum(_bytes(files) for files in parts.values()),
        }
        for name, (features, parts) in splits.items()
    ]


def _opening(manifest: Manifest) -> str:
    name = manifest.repo_id.partition("/")[2]
    pairs = sum(one.pairs for one in manifest.iterations)
    rounds = len(manifest.iterations)
    return (
        f"# {name}\n\n"
        f"{pairs} preference pairs for vision-language models: an image, an instruction, and two answers that one policy "
        f"wrote itself, the better one chosen by how well its sentences fit the image. Made by Calibrated Self-Rewarding "
        f"([arXiv 2405.14622](https://arxiv.org/abs/2405.14622)) with csrdata {manifest.csrdata}, "
        f"in {rounds} iteration{'s' if rounds > 1 else ''}: "
        "the base policy wrote the pairs of the first, the policy that an iteration trained those of the next."
    )


def _loading(manifest: Manifest) -> str:
    last = config(manifest.iterations[-1].name)
    revision = f', revision="{manifest.tag}"' if manifest.tag else ""
    show = 'pairs[0]["images"][0], ' if manifest.images == "embed" else ""
    text = (
        "## Load\n\n```python\nfrom datasets import load_dataset\n\n"
        f'pairs = load_dataset("{manifest.repo_id}", "{last}"{revision}, split="{SPLIT}")\n'
        f'print({show}pairs[0]["chosen"], pairs[0]["margin"])\n```'
    )
    if manifest.images == "embed":
        return text + "\n\nThe images lie in the rows, byte for byte as the policy saw them."
    return text + (
        f"\n\nThe rows name their image and do not hold it: column `{IMAGE_PATH}` is `images/SHA256.EXT`, the hash of the "
        "image file. For training, look up your copies by it and add a column `images` of lists of one:\n\n"
        "```python\nfrom hashlib import sha256\nfrom pathlib import Path\n\nfrom datasets import Image, List\n\n"
        'files = [file for file in Path("YOUR/IMAGES").rglob("*") if file.is_file()]\n'
        "found = {sha256(file.read_bytes()).hexdigest(): str(file) for file in files}\n"
        'pairs = pairs.map(lambda row: {"images": [found[Path(row["image_path"]).stem]]})\n'
        'pairs = pairs.cast_column("images", List(Image()))\n```'
    )


def _contents(manifest: Manifest) -> str:
    rows = []
    for one in manifest.iterations:
        files = files_of(manifest.files, pair_glob(one.name))
        rows.append((f"`{config(one.name)}`", f"`{SPLIT}`", _rows(files), _megabytes(files), "pairs"))
    for one in manifest.iterations:
        files = files_of(manifest.files, candidate_glob(one.name))
        what = "every sentence of the search"
        rows.append((f"`{CANDIDATES}`", f"`{config(one.name)}`", _rows(files), _megabytes(files), what))
    table = _table(("config", "split", "rows", "MB", "holds"), rows)
    return (
        f"## What is in it\n\n{table}\n\n"
        f"`{OWN_PAIRS}` and the tables beside it, with `{PROMPTS}`, are the project's own: "
        f"`csrdata pull {manifest.repo_id}@{manifest.tag or 'TAG'}` brings them back exactly, "
        "prompts without a pair and the reason for it included; images are named by their content."
    )


def _training(manifest: Manifest) -> str:
    last = config(manifest.iterations[-1].name)
    revision = f', revision="{manifest.tag}"' if manifest.tag else ""
    before = "" if manifest.images == "embed" else "# with the images put into the rows as above\n"
    return (
        "## Train on it with TRL\n\n```python\nfrom datasets import load_dataset\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "from trl import DPOConfig, DPOTrainer\n\n"
        f'pairs = load_dataset("{manifest.repo_id}", "{last}"{revision}, split="{SPLIT}")\n{before}'
        'model = AutoModelForImageTextToText.from_pretrained("YOUR/MODEL")\n'
        'processor = AutoProcessor.from_pretrained("YOUR/MODEL")\n'
        "# max_length=None: cutting would remove answers, or the image's tokens\n"
        'args = DPOConfig(output_dir="policy", max_length=None)\n'
        "DPOTrainer(model=model, args=args, train_dataset=pairs, processing_class=processor).train()\n```\n\n"
        "The pairs are those of one policy: another model learns from them off-policy."
    )


def _columns(manifest: Manifest) -> str:
    images = [("`images`", "the image, in a list of one")] if manifest.images == "embed" else []
    rows = [
        *images,
        ("`prompt`, `chosen`, `rejected`", "messages with a role and a content, the answers trimmed"),
        (
            f"`prompt_id`, `{IMAGE_PATH}`",
            "the prompt, and the name of its image: `images/`, its SHA-256, its format",
        ),
        ("`chosen_leaf`, `rejected_leaf`", "the answers' last sentences: `node_id` in the candidates"),
        (
            "`chosen_reward`, `rejected_reward`",
            "R(y): the sentences' calibrated rewards (equation 4), aggregated",
        ),
        ("`margin`", "`chosen_reward` - `rejected_reward`"),
        ("`*_reward_held_out`", "R(y) by a scorer that the search never saw"),
        ("`*_relevance`", "mean R_I of an answer's sentences, 0 to 100 (equation 3)"),
        ("`*_logprob`", "ln p(answer) under the policy that wrote it, the end included: DPO's reference"),
        ("`*_tokens`, `*_words`", "lengths; tokens are the policy's own, the end included"),
    ]
    candidates = [
        (f"`{ITERATION}`, `prompt_id`", "whose search tree"),
        ("`node_id`, `parent_id`, `depth`", "the place in it; a first sentence has parent -1"),
        ("`group`", "the row of diverse group decoding that proposed it"),
        ("`text`, `token_ids`", "the sentence, verbatim; an empty text is the end of the answer"),
        ("`logprob`", "ln R_T (equation 2): no diversity penalty in it"),
        ("`relevance`", "R_I, 0 to 100 (equation 3); null of the end"),
        ("`relevance_truncated`", "the scorer's text limit cut the sentence"),
        ("`redundancy`", "largest cosine with an earlier sentence of its answer, 0 to 1; null of the end"),
        ("`steering_reward`", "the reward that ranked it in its layer; null of the end"),
        ("`stop`, `fate`", "why its decoding stopped, and what the search made of it"),
        ("`canonical`", "of a leaf: tokenising the answer again gives the tokens that were generated"),
    ]
    return (
        f"## Columns\n\nOf pairs:\n\n{_table(('column', 'holds'), rows)}\n\n"
        f"Of `{CANDIDATES}`:\n\n{_table(('column', 'holds'), candidates)}\n\n"
        "`*_logprob` and `*_tokens` are of the answers as generated, leading white space included; those texts are in "
        f"`{OWN_PAIRS}`."
    )


def _making(manifest: Manifest) -> str:
    search, scoring = manifest.params["generate_beams"], manifest.params["score_beams"]
    guidance = search["guidance"]
    steered = {
        "reward": f"the calibrated reward, {guidance['image_weight']:g} R_I + {1 - guidance['image_weight']:.3g} R_T "
        f"on the scale `{guidance['scale']}`{_repeats(guidance)}",
        "likelihood": f"the language term alone, on the scale `{guidance['scale']}`",
        "none": "nothing: candidates kept by the order of their groups",
    }[guidance["kind"]]
    models = _table(
        ("role", "model", "SHA-256 of its files", "Hub revision"),
        [
            (
                model.role,
                f"{model.hub_id} ({model.architecture})" if model.hub_id else model.architecture,
                f"`{model.sha256}`",
                f"`{model.revision}`" if model.revision else "-",
            )
            for model in manifest.models
        ],
    )
    code = f"csrdata {manifest.csrdata}" + (
        f", project commit `{manifest.commit}`" if manifest.commit else ""
    )
    digest = hashlib.sha256(json.dumps(manifest.inputs, sort_keys=True).encode()).hexdigest()
    inputs = (
        f"- inputs of the pipeline: {len(manifest.inputs)} files, each by its MD5 in `{MANIFEST}` and `{LOCK}` "
        f"(`{digest}` over them)\n"
        if manifest.inputs
        else "- inputs of the pipeline: not recorded (the project was run without DVC)\n"
    )
    params = yaml.safe_dump(manifest.params, sort_keys=False, allow_unicode=True).strip()
    return (
        "## How it was made\n\n"
        "For each image and instruction the policy proposes sentences "
        f"({search['groups']} rows of diverse group decoding, diversity penalty {search['diversity_penalty']:g}), "
        "sentence by sentence (Algorithm 1). An image-text scorer gives each sentence its relevance R_I, the policy its "
        f"probability R_T. The search is steered by {steered}; of each layer the {search['keep_best']} best and the "
        f"{search['keep_worst']} worst live on. Whole answers are scored by {scoring['image_weight']:g} R_I + "
        f"{1 - scoring['image_weight']:.3g} R_T on the scale `{scoring['scale']}`{_repeats(scoring)}, "
        f"{scoring['aggregate']} over sentences; "
        "the highest becomes the chosen answer, the lowest the rejected one"
        f"{_rule(manifest.params['select_pairs'])}. DPO{_anchor(manifest.params.get('train_dpo'))} trains the policy on the "
        "pairs, and the next iteration starts from there, with the same prompts. Policy N below is the one that iteration N "
        "trained.\n\n"
        f"{models}\n\n"
        f"- code: {code}\n{inputs}- identity: `{manifest.identity}` (data files, parameters and models)\n"
        f"- all of it: `{MANIFEST}`, with the size and SHA-256 of every file here; `{PARAMS}` explains the parameters\n\n"
        f"<details><summary>Parameters</summary>\n\n```yaml\n{params}\n```\n\n</details>"
    )


def _repeats(section: Mapping[str, Any]) -> str:
    """Say from where on a sentence repeats its answer, where that counts."""
    if section["repeat_similarity"] is None:
        return ""
    limit = f"{section['repeat_similarity']:g}"
    return f" (R_I is 0 of a sentence whose text has a cosine of {limit} or more with an earlier one's)"


def _anchor(training: Mapping[str, Any] | None) -> str:
    """Say what stands beside DPO's loss, where something does, and where the rows depend on any training."""
    if training is None or not training["sft_weight"]:
        return ""
    return f", with {training['sft_weight']:g} times the chosen answers' token loss beside it,"


def _rule(selection: Mapping[str, Any]) -> str:
    """Return what pairs must be besides the furthest apart."""
    found = [f"at least {selection['margin']:g} apart"] if selection["margin"] else []
    if selection["max_length_gap"] < 1:
        found.append(f"their lengths within {selection['max_length_gap']:g} of the longer one")
    if selection["length_balance"] is not None:
        found.append(f"the set's mean lengths within {selection['length_balance']:g} words")
    return f" ({', '.join(found)})" if found else ""


def _statistics(manifest: Manifest, figures: Sequence[Figures], plots: Mapping[str, str]) -> str:
    heads = ["", *(f"iteration {one.name}" for one in figures)]
    reasons = sorted({reason for one in manifest.iterations for reason in one.dropped})
    funnel = [
        ("prompts", *(one.prompts for one in manifest.iterations)),
        ("candidate sentences", *(one.candidates for one in manifest.iterations)),
        ("answers", *(one.responses for one in manifest.iterations)),
        ("**pairs kept**", *(one.pairs for one in manifest.iterations)),
        *(
            (
                f"no pair: {reason.replace('_', ' ')}",
                *(one.dropped.get(reason, 0) for one in manifest.iterations),
            )
            for reason in reasons
        ),
    ]
    contrasts = (
        ("reward R(y)", "reward"),
        ("reward by the held-out scorer", "reward_held_out"),
        ("relevance R_I", "relevance"),
        ("words", "words"),
    )
    rows: list[tuple[object, ...]] = [
        *(
            (
                f"{title}, chosen / rejected",
                *(f"{getattr(one, name).chosen:.3g} / {getattr(one, name).rejected:.3g}" for one in figures),
            )
            for title, name in contrasts
        ),
        ("margin: 10%, 50%, 90%", *(", ".join(f"{value:.3g}" for value in one.margins) for one in figures)),
        ("held-out scorer prefers chosen, %", *(f"{one.held_out_agrees:.1f}" for one in figures)),
        ("chosen has fewer words, %", *(f"{one.chosen_shorter:.1f}" for one in figures)),
        ("chance that chosen is the longer", *(f"{one.longer_wins:.3f}" for one in figures)),
        ("answers that ended by themselves, %", *(f"{one.finished:.1f}" for one in figures)),
    ]
    fates = sorted({fate for one in figures for fate in one.by_fate})
    rows += [
        (f"candidates: {fate.replace('_', ' ')}", *(one.by_fate.get(fate, 0) for one in figures))
        for fate in fates
    ]
    images = "\n\n".join(f"![{title}]({path})" for path, title in plots.items())
    return (
        "## Statistics\n\nPairs kept and prompts without one add up to the prompts.\n\n"
        f"{_table(heads, funnel)}\n\nMeans, unless said otherwise:\n\n{_table(heads, rows)}\n\n{images}"
    )


def _limits(manifest: Manifest, origin: Origin) -> str:
    agree = "`*_reward_held_out` gives the view of a scorer that the search never climbed"
    limits = [
        "Chosen is better than rejected by the scorer's judgement, not by a person's. A chosen answer can still name what "
        "is not in the image.",
        f"The search climbs its own scorer, and so do the rewards; {agree}.",
        "An image-text scorer sees objects better than counts, places and negations, and cuts long sentences "
        "(`relevance_truncated`).",
        "Rewards are comparable inside one iteration. Across data sets they are not: the scale is of each prompt's tree "
        "where it is `rank` or `zscore`.",
        *origin.limits,
    ]
    if manifest.images != "embed":
        limits.append(
            "The images are not in it: they are named by their SHA-256, and whoever has them can find them by it."
        )
    return "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _licence(origin: Origin) -> str:
    return (
        f"## Licence\n\nThe data set: `{origin.licence}`. {origin.images} The answers were written by the models named "
        "above; a model's own licence may have terms for what it wrote."
    )


def _changes(manifest: Manifest) -> str:
    entries = [
        f"### {entry.tag or entry.identity[:12]}{f' ({entry.date})' if entry.date else ''}\n\n"
        + "\n".join(f"- {change}" for change in entry.changes)
        for entry in manifest.changelog
    ]
    return "## Changes\n\n" + "\n\n".join(entries)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _bytes(files: Sequence[File]) -> int:
    return sum(file.bytes for file in files)


def _rows(files: Sequence[File]) -> int:
    return sum(file.rows or 0 for file in files)


def _megabytes(files: Sequence[File]) -> str:
    return f"{_bytes(files) / 1e6:.1f}"
