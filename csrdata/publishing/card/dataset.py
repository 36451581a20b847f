"""The card of a dataset: README.md with the Hub's metadata, computed from a release and the user's statements.

The text is in the template `templates/dataset.md.jinja`. The functions here compute the values that it shows, from the
manifest, the tables' figures, the origin or the results. The gates compare the rows in the card's metadata with the files,
and so does `load_dataset`.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from csrdata.publishing.card.figures import Contrast, Figures
from csrdata.publishing.card.loading import loading, training
from csrdata.publishing.card.markdown import Markdown, code, escape, fenced, prose, render, table
from csrdata.publishing.card.method import method
from csrdata.publishing.card.pairs import continues, origins, rule, what
from csrdata.publishing.origins import CardOrigin
from csrdata.publishing.release.columns import candidate_features, pair_features, parse_images
from csrdata.publishing.release.layout import (
    CANDIDATES,
    LOCK,
    PARAMS,
    SPLIT,
    candidate_glob,
    config,
    own_table,
    pair_glob,
    split_name,
)
from csrdata.publishing.release.manifest import MANIFEST, File, Manifest, files_of
from csrdata.publishing.release.results import (
    HEADLINE_FIGURES,
    Results,
    TruthShare,
    caption,
    sentences,
    tables,
)

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's size categories, each with the first number of pairs that is too large for it."""

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
"""`OWNER/NAME`: what the card's metadata may link to."""

OWN_PAIRS = own_table("*", "pairs")

BASE_POLICY = "base"
"""The name of the first policy in params.yaml."""

CODE_LABELS = ("source", "repository", "source code", "homepage")
"""Labels of a package's URL of its source code."""


def card(
    manifest: Manifest,
    *,
    origin: CardOrigin,
    figures: Sequence[Figures],
    plots: Mapping[str, str],
    results: Results | None = None,
) -> str:
    """Return the text of README.md.

    Args:
        manifest: of the data files; it need not list the card yet.
        origin: licences and limits of the source.
        figures: one per iteration, in order.
        plots: the title of each plot, by its path in the release.
        results: truth of the pairs and effect of training, if they are known.
    """
    params = manifest.params
    names = [one.name for one in manifest.iterations]
    return render(
        "dataset.md.jinja",
        metadata=Markdown(_metadata(manifest, origin)),
        name=manifest.repo_id.partition("/")[2],
        pairs=sum(one.pairs for one in manifest.iterations),
        manifest=manifest,
        authors=_authors(names, params),
        loading=loading(manifest),
        embedded=manifest.images == "embed",
        contents=_contents(manifest),
        own_pairs=Markdown(OWN_PAIRS),
        pull=code(f"csrdata pull {manifest.repo_id}@{manifest.tag or 'TAG'}"),
        training=training(manifest, continued=continues(figures)),
        search=params["generate_beams"],
        guidance=_guidance(params["generate_beams"]),
        scoring=_scoring(params["score_beams"]),
        what=what(figures),
        origins=origins({f"iteration {one.name}": one.by_origin for one in figures}),
        continues=continues(figures),
        rule=rule(params["select_pairs"]),
        models=_models(manifest),
        code=_code(manifest),
        inputs=_inputs(manifest.inputs),
        identity=code(manifest.identity),
        manifest_path=Markdown(MANIFEST),
        params_path=Markdown(PARAMS),
        params=fenced(yaml.safe_dump(params, sort_keys=False, allow_unicode=True), "yaml"),
        funnel=_funnel(manifest),
        statistics=_statistics(figures),
        truth=_truth(results, names),
        plots=[(Markdown(path), title) for path, title in plots.items()],
        results=_results(results, names, params["iterations"]),
        scorers=Markdown(_scorers(manifest)),
        origin=origin,
        licence=code(origin.licence),
        changelog=[
            {
                "title": f"{entry.tag or entry.identity[:12]}{f' ({entry.date})' if entry.date else ''}",
                "changes": [prose(change) for change in entry.changes],
            }
            for entry in manifest.changelog
        ],
    )


def _metadata(manifest: Manifest, origin: CardOrigin) -> str:
    """Return the YAML that the Hub and `load_dataset` read."""
    from huggingface_hub import DatasetCardData

    pairs = sum(one.pairs for one in manifest.iterations)
    models = [model.hub_id for model in manifest.models if HUB_ID.fullmatch(model.hub_id or "")]
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
    """Return a config per iteration (the last is the default), and one of all candidates with a split per iteration."""
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
                {"split": split_name(one.name), "path": candidate_glob(one.name)}
                for one in manifest.iterations
            ],
        },
    ]


def _dataset_info(manifest: Manifest) -> list[dict[str, Any]]:
    """Return features, rows and bytes by config, in the form of `datasets`, which checks the rows when it loads them."""
    images = parse_images(manifest.images)
    splits = {
        config(one.name): (pair_features(images), {SPLIT: files_of(manifest.files, pair_glob(one.name))})
        for one in manifest.iterations
    }
    splits[CANDIDATES] = (
        candidate_features(),
        {
            split_name(one.name): files_of(manifest.files, candidate_glob(one.name))
            for one in manifest.iterations
        },
    )
    return [
        {
            "config_name": name,
            "features": features._to_yaml_list(),  # noqa: SLF001 - only this method writes the form that the loader reads
            "splits": [
                {"name": split, "num_bytes": _bytes(files), "num_examples": _rows(files)}
                for split, files in parts.items()
            ],
            "download_size": sum(_bytes(files) for files in parts.values()),
            "dataset_size": sum(_bytes(files) for files in parts.values()),
        }
        for name, (features, parts) in splits.items()
    ]


def _authors(names: Sequence[str], params: Mapping[str, Any]) -> list[Markdown]:
    """Return one sentence per iteration about the policy that wrote its answers, from `iterations.*.previous`.

    Example: `Iteration 2: policy 1 wrote the answers. It was trained on the pairs of iteration 1, ...`
    """
    chain = params["iterations"]
    found = []
    for name in names:
        previous = chain[name]["previous"]
        if previous == BASE_POLICY:
            text = "the base policy wrote the answers."
        else:
            start = chain[previous]["previous"] if previous in chain else None
            began = "the base policy" if start == BASE_POLICY else f"policy {escape(start)}"
            where = "" if previous in names else " (not in this release)"
            text = (
                f"policy {escape(previous)} wrote the answers. It was trained on the pairs of iteration "
                f"{escape(previous)}{where}, by {method(params.get('train_dpo'))}, starting from {began}."
            )
        found.append(Markdown(f"Iteration {escape(name)}: {text}"))
    return found


def _contents(manifest: Manifest) -> Markdown:
    rows = []
    for one in manifest.iterations:
        files = files_of(manifest.files, pair_glob(one.name))
        rows.append((code(config(one.name)), code(SPLIT), _rows(files), _megabytes(files), "pairs"))
    for one in manifest.iterations:
        files = files_of(manifest.files, candidate_glob(one.name))
        what = "candidate sentences of the search"
        rows.append((code(CANDIDATES), code(split_name(one.name)), _rows(files), _megabytes(files), what))
    return table(("config", "split", "rows", "MB", "holds"), rows)


def _guidance(search: Mapping[str, Any]) -> Markdown:
    """Return the sentence about the ranking of the search's sentences."""
    guidance = search["guidance"]
    if guidance["kind"] == "none":
        return Markdown("The search does not rank them: it keeps them in the order of their rows.")
    by = {
        "reward": f"the calibrated reward, {_mixture(guidance)}{_repetition(guidance)}",
        "likelihood": f"the probability R_T alone, on the scale {code(guidance['scale'])}",
    }[guidance["kind"]]
    summed = ", summed over the answer so far" if search["rank_by"] == "cumulative" else ""
    return Markdown(f"The search ranks them by {by}{summed}.")


def _scoring(scoring: Mapping[str, Any]) -> Markdown:
    text = f"The reward of an answer is the {escape(scoring['aggregate'])} of {_mixture(scoring)} over its sentences"
    signal = scoring.get("signal", "search")
    eyes = "" if signal == "search" else f". R_I is that of the scorer {code(signal)}"
    return Markdown(f"{text}{_repetition(scoring)}{eyes}.")


def _mixture(section: Mapping[str, Any]) -> str:
    """Example: `0.9 R_I + 0.1 R_T on the scale `zscore``."""
    weight = section["image_weight"]
    return f"{weight:g} R_I + {1 - weight:.3g} R_T on the scale {code(section['scale'])}"


def _repetition(section: Mapping[str, Any]) -> str:
    """Return the words about the repetition threshold, if there is one."""
    if section["repetition_threshold"] is None:
        return ""
    limit = f"{section['repetition_threshold']:g}"
    return f" (R_I is 0 for a sentence whose text has a cosine of {limit} or more with an earlier sentence)"


def _models(manifest: Manifest) -> Markdown:
    rows = [
        (
            model.role,
            f"{model.hub_id} ({model.architecture})" if model.hub_id else model.architecture,
            code(model.sha256),
            code(model.revision) if model.revision else Markdown("-"),
        )
        for model in manifest.models
    ]
    return table(("role", "model", "SHA-256 of its files", "Hub revision"), rows)


def _code(manifest: Manifest) -> Markdown:
    """Return the package's version, the URL of its code if its metadata state one, and the project's commit."""
    url = code_url()
    commit = f", project commit {code(manifest.commit)}" if manifest.commit else ""
    return Markdown(f"csrdata {escape(manifest.csrdata)}{f' (<{url}>)' if url else ''}{commit}")


def code_url() -> str | None:
    """Return the URL of csrdata's code from the metadata of the installed package; None if they state none."""
    try:
        stated = importlib.metadata.metadata("csrdata").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    urls = {
        label.strip().lower(): url.strip() for label, _, url in (entry.partition(",") for entry in stated)
    }
    return next((urls[label] for label in CODE_LABELS if label in urls), None)


def _inputs(inputs: Mapping[str, str]) -> Markdown:
    if not inputs:
        return Markdown(
            "not recorded, because the project was run without DVC; parameters and models are those of the project at the "
            "time of the release"
        )
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Markdown(
        f"{len(inputs)} files, each by its MD5 in `{MANIFEST}` and `{LOCK}` (`{digest}` over them)"
    )


def _scorers(manifest: Manifest) -> str:
    """Return how the scorers of search, rewards and held-out columns relate to each other."""
    models = {model.role: model.sha256 for model in manifest.models}
    same = "held-out scorer" in models and models["held-out scorer"] == models.get("search scorer")
    guided = manifest.params["generate_beams"]["guidance"]["kind"] == "reward"
    search = "The search and the rewards use the same scorer. " if guided else ""
    if manifest.params["scorers"]["held_out"] is None:
        return search + "No other scorer judged the pairs: the `*_reward_held_out` columns are null."
    if same:
        return search + "The held-out scorer is that scorer too: its columns are no independent check."
    return search + "The `*_reward_held_out` columns come from a scorer that took no part in the search."


def _funnel(manifest: Manifest) -> Markdown:
    reasons = sorted({reason for one in manifest.iterations for reason in one.dropped})
    rows: list[tuple[object, ...]] = [
        ("prompts", *(one.prompts for one in manifest.iterations)),
        ("candidate sentences", *(one.candidates for one in manifest.iterations)),
        ("answers", *(one.responses for one in manifest.iterations)),
        (Markdown("**pairs kept**"), *(one.pairs for one in manifest.iterations)),
    ]
    if any(one.pairs != one.with_pairs for one in manifest.iterations):
        rows.append(("prompts with a pair", *(one.with_pairs for one in manifest.iterations)))
    rows += [
        (
            f"no pair: {reason.replace('_', ' ')}",
            *(one.dropped.get(reason, 0) for one in manifest.iterations),
        )
        for reason in reasons
    ]
    return table(_heads([one.name for one in manifest.iterations]), rows)


def _statistics(figures: Sequence[Figures]) -> Markdown:
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
                *(_contrast(getattr(one, name)) for one in figures),
            )
            for title, name in contrasts
        ),
        ("margin: 10%, 50%, 90%", *(_margins(one.margins) for one in figures)),
        ("held-out scorer prefers chosen, %", *(_share(one.held_out_agrees) for one in figures)),
        ("chosen has fewer words, %", *(f"{one.chosen_shorter:.1f}" for one in figures)),
        ("chance that chosen is the longer", *(f"{one.longer_wins:.3f}" for one in figures)),
        ("answers that ended by themselves, %", *(f"{one.finished:.1f}" for one in figures)),
    ]
    if any(one.reward for one in figures) and not any(one.reward_held_out for one in figures):
        rows = [row for row in rows if "held-out scorer" not in str(row[0])]
    fates = sorted({fate for one in figures for fate in one.by_fate})
    rows += [
        (f"candidates: {fate.replace('_', ' ')}", *(one.by_fate.get(fate, 0) for one in figures))
        for fate in fates
    ]
    return table(_heads([one.name for one in figures]), rows)


DASH = Markdown("-")
"""Shown for an unknown value."""


def _contrast(found: Contrast | None) -> str:
    return DASH if found is None else f"{found.chosen:.3g} / {found.rejected:.3g}"


def _margins(quantiles: Sequence[float] | None) -> str:
    return DASH if quantiles is None else ", ".join(f"{value:.3g}" for value in quantiles)


def _share(percent: float | None) -> str:
    return DASH if percent is None else f"{percent:.1f}"


def _truth(results: Results | None, names: Sequence[str]) -> Markdown | None:
    """Return the table of pairs by which answer is truer; None if the truth is unknown."""
    known = {name: results.truth[name] for name in names if name in results.truth} if results else {}
    if not known:
        return None

    def shares(count: str) -> list[str]:
        return [_percent(one, getattr(one, count)) for one in known.values()]

    rows = [
        (Markdown("**the chosen answer is truer**, % of pairs"), *shares("chosen")),
        ("both are equally true, % of pairs", *shares("equal")),
        ("the rejected answer is truer, % of pairs", *shares("rejected")),
        ("an answer says nothing about objects, % of pairs", *shares("unknown")),
    ]
    return table(_heads(list(known)), rows)


def _percent(share: TruthShare, count: int) -> str:
    whole = share.chosen + share.rejected + share.equal + share.unknown
    return f"{100 * count / whole:.1f}" if whole else "-"


def _results(
    results: Results | None, names: Sequence[str], chain: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the values of the section about training; None if nothing was measured."""
    if results is None or not results.splits:
        return None
    return {
        "sentences": [
            Markdown(f"Policy {escape(name)}. {line}") for name in names for line in sentences(results, name)
        ],
        "tables": tables(results, _in_order(names, chain), HEADLINE_FIGURES),
        "caption": caption(results),
    }


def _in_order(names: Sequence[str], chain: Mapping[str, Any]) -> list[str]:
    """Return the policies that a release is about: the base, then the iterations in order, each after its predecessors.

    Example: names ["b"] with `{"b": {"previous": "a"}, "a": {"previous": "base"}}` -> ["base", "a", "b"]
    """
    found = [BASE_POLICY]
    for name in names:
        line: list[str] = []
        while name in chain and name not in found and name not in line:
            line.append(name)
            name = chain[name]["previous"]  # noqa: PLW2901 - walks back along the chain
        found += reversed(line)
    return found


def _heads(names: Sequence[str]) -> list[str]:
    return ["", *(f"iteration {name}" for name in names)]


def _bytes(files: Sequence[File]) -> int:
    return sum(file.bytes for file in files)


def _rows(files: Sequence[File]) -> int:
    return sum(file.rows or 0 for file in files)


def _megabytes(files: Sequence[File]) -> str:
    return f"{_bytes(files) / 1e6:.1f}"
