"""The card: metadata that the loader takes, code that runs, figures that are the tables', a changelog."""

import ast
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.summary import PairSummary, PolicySummary, Summary
from csrdata.inspection.histogram import Histogram
from csrdata.params import load_params
from csrdata.pipeline.results import PUBLISHED, find_results, world_of_project
from csrdata.publishing.card import plots
from csrdata.publishing.card.dataset import _scoring, code_url
from csrdata.publishing.card.dataset import card as write_card
from csrdata.publishing.card.figures import figures
from csrdata.publishing.card.markdown import Markdown, code, escape, fenced, prose, render, table
from csrdata.publishing.card.pairs import rule
from csrdata.publishing.origins import StatedOrigin, model_licence, of_source, origin
from csrdata.publishing.release.layout import RESULTS
from csrdata.publishing.release.manifest import Change, Counts, Manifest, Model, read_manifest
from csrdata.publishing.release.results import Measured, Results, TruthShare, caption, change, parse_results
from csrdata.records import Truth
from csrdata.sources.microworld.claim_parser import to_truth
from csrdata.sources.microworld.source import ORIGIN
from csrdata.sources.microworld.world import Scene, SceneObject
from csrdata.storage.dvc_lock import dvc_hash
from csrdata.storage.tables import read_json, write_json, write_rows
from tests.publishing.project import (
    MODELS,
    PROMPTS,
    change_params,
    make_project,
    pairs_of,
    release,
    rewrite,
)
from tests.publishing.rendered import parts_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("made")
    release(make_project(parent / "project"), parent / "release", commit="5" * 40)
    return parent


@pytest.fixture(scope="module")
def card(made: Path) -> str:
    return (made / "release/README.md").read_text(encoding="utf-8")


def test_the_metadata_are_the_hubs(card: str) -> None:
    """Licence, task, size, languages and configs as the Hub names them; the last iteration is the default."""
    data = DatasetCard(card).data.to_dict()
    assert (data["license"], data["task_categories"], data["size_categories"]) == (
        "apache-2.0",
        ["image-text-to-text"],
        ["n<1K"],
    )
    assert (data["language"], data["base_model"]) == (["en"], "open/clip")
    configs = {one["config_name"]: one for one in data["configs"]}
    assert list(configs) == ["iteration_1", "iteration_2", "candidates"]
    assert [name for name, one in configs.items() if one.get("default")] == ["iteration_2"]
    assert [one["split"] for one in configs["candidates"]["data_files"]] == ["iteration_1", "iteration_2"]


def test_every_piece_of_code_is_python_and_loading_works(card: str, made: Path, monkeypatch: Any) -> None:
    """The three lines of the card, unchanged except for the dataset's path, print a pair's image and margin."""
    pieces = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(pieces) == 2
    for piece in pieces:
        ast.parse(piece)
    assert 'revision="v1"' in pieces[0]
    monkeypatch.setenv("HF_DATASETS_CACHE", str(made / "cache"))
    here = (
        pieces[0].replace('"me/set"', repr(str(made / "release"))).replace('revision="v1"', "revision=None")
    )
    names: dict[str, Any] = {"print": lambda *words: names.update(said=words)}
    exec(here, names)  # noqa: S102 - the card's own lines
    image, chosen, margin = names["said"]
    assert (image.size, chosen[0]["role"], margin) == ((28, 28), "assistant", 1.0)


def test_the_statistics_are_the_tables(card: str) -> None:
    """Funnel, means and shares, worked out by hand from the project's rows."""
    rows = {line.split(" | ")[0]: line for line in card.splitlines() if line.startswith("| ")}
    assert rows["| prompts"] == "| prompts | 7 | 7 |"
    assert rows["| **pairs kept**"] == "| **pairs kept** | 6 | 6 |"
    assert rows["| no pair: under margin"] == "| no pair: under margin | 1 | 1 |"
    assert rows["| reward R(y), chosen / rejected"].endswith("| 1.15 / -0.1 | 1.15 / -0.1 |")
    assert rows["| relevance R_I, chosen / rejected"].endswith("| 42.5 / 20 | 42.5 / 20 |")
    assert rows["| chosen has fewer words, %"] == "| chosen has fewer words, % | 50.0 | 50.0 |"
    assert rows["| held-out scorer prefers chosen, %"].endswith("| 100.0 | 100.0 |")
    assert rows["| candidates: finished"] == "| candidates: finished | 14 | 14 |"
    # Three of six chosen answers are a word shorter than every rejected one, three are as long: (3 * 6 * 0.5) / 36.
    assert rows["| chance that chosen is the longer"].endswith("| 0.250 | 0.250 |")


def test_what_made_it_is_named_exactly(card: str, made: Path) -> None:
    """Models by hash and Hub revision, the code's version and commit, the identity, the parameters."""
    manifest = read_manifest(made / "release")
    for exact in ("c" * 64, "d" * 40, "5" * 40, manifest.identity, f"csrdata {manifest.csrdata}"):
        assert exact in card
    stated = yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])
    assert stated == json.loads(json.dumps(manifest.params))
    assert "2405.14622" in card.partition("## Citation")[2]
    making = card.partition("## How it was made")[2]
    assert f"cosine of {stated['score_beams']['repetition_threshold']:g} or more" in making
    assert f"{stated['train_dpo']['sft_weight']:g} times the chosen answers' mean token loss" in card
    assert "by csrdata's microworld" in card.partition("## Licence")[2]


def test_pairs_of_sentences_are_said_in_words() -> None:
    """By evidence: both shares, and which pairs with the end there are. By relevance, evidence is explained at the ends."""
    selection = {
        "kind": "sentences",
        "order": "evidence",
        "min_gap": 8.0,
        "chosen_share": 0.67,
        "rejected_share": 0.33,
        "repetition_threshold": 0.6,
        "per_prompt": 4,
        "ends": "stop",
        "end_gap": 5.0,
        "seed": 0,
    }
    said = str(rule(selection))
    assert "at least 0.67 of the most evidence becomes the chosen side" in said
    assert "with at most 0.33 of it the rejected side, if they are at least 8 apart; the 4 beginnings" in said
    assert "A sentence that repeats an earlier one has no evidence." in said
    assert said.endswith(
        "it wins against the most probable sentence if every sentence's evidence is at most -5. A prompt has at most 4 of "
        "these pairs."
    )
    assert str(rule(selection | {"ends_per_prompt": 1})).endswith("A prompt has at most 1 of these pairs.")
    assert str(rule(selection | {"ends_per_prompt": None})) == said
    said = str(rule(selection | {"order": "relevance", "ends": "evidence"}))
    assert "with the lowest relevance R_I become" in said
    assert "is no side" in said
    assert (
        "every sentence's evidence, R_I minus the mean R_I with images of other prompts, is at most" in said
    )
    assert "it loses to the sentence with the most evidence if that is at least 5." in said
    assert "end" not in str(rule(selection | {"order": "truth", "ends": "none"}))[-40:]


def test_pairs_of_a_list_are_said_in_words() -> None:
    """How long the list is, and how far apart two of its answers are."""
    said = str(rule({"kind": "ranked", "answers": 4, "margin": 0.5, "max_length_gap": 1.0}))
    assert "4 are listed: the best, the worst, and evenly spaced ones between" in said
    assert "Every two of them make a pair (at least 0.5 apart)." in said


def test_the_reward_is_said_in_words() -> None:
    """Aggregate, scale, weights and the signal; a section of an earlier version has no signal."""
    scoring = {"image_weight": 0.9, "scale": "zscore", "repetition_threshold": None, "aggregate": "sum"}
    assert _scoring(scoring) == (
        "The reward of an answer is the sum of 0.9 R_I + 0.1 R_T on the scale `zscore` over its sentences."
    )
    released = {"scale": "sibling_rank", "aggregate": "mean_plus_one", "signal": "search"}
    assert _scoring(scoring | released) == (
        "The reward of an answer is the sum of 0.9 R_I + 0.1 R_T on the scale `sibling_rank` over its sentences, divided by "
        "their number plus one."
    )
    assert _scoring(scoring | {"signal": "spots"}).endswith("its sentences, where R_I is the signal `spots`.")


def test_every_plot_of_the_card_is_there_and_shows_something(card: str, made: Path) -> None:
    """Each picture decodes, is small, and has chosen's blue in it."""
    names = re.findall(r"!\[[^]]+\]\((plots/[a-z]+\.png)\)", card)
    assert sorted(names) == sorted(f"plots/{path.name}" for path in (made / "release/plots").iterdir())
    for name in names:
        assert (made / "release" / name).stat().st_size < 40_000
        with Image.open(made / "release" / name) as image:
            colours = {colour: count for count, colour in image.convert("RGB").getcolors() or []}
            assert image.width == 1440
        assert colours[(47, 109, 179)] > 1000


def test_the_changelog_says_what_changed(tmp_path: Path) -> None:
    """Against the release before: iterations, pairs, parameters, models; older entries stay, the same data adds none."""
    project = make_project(tmp_path / "project")
    first = release(project, tmp_path / "a", names=("1",))
    assert [entry.changes for entry in first.changelog] == [["the first release"]]
    change_params(project, "select_pairs", min_gap=9.0)
    rewrite(project, pairs_of()[:5])
    second = release(project, tmp_path / "b", previous=first, tag="v2", models=MODELS[:2])
    text = (tmp_path / "b/README.md").read_text(encoding="utf-8").partition("## Changes")[2]
    assert second.changelog[1:] == first.changelog
    for sentence in (
        "iteration 1: 6 -> 5 pairs, 7 -> 7 prompts, 28 -> 28 candidates",
        "iteration 2 added: 6 pairs from 7 prompts",
        "`select_pairs.min_gap`: `8.0` -> `9.0`",
        "`train_dpo.beta`: none -> `1.0`",
        "search scorer left out",
    ):
        assert sentence in second.changelog[0].changes
        assert f"- {sentence}" in text
    assert text.index("### v2") < text.index("### v1")
    again = release(project, tmp_path / "c", previous=second, tag="v3", models=MODELS[:2])
    assert again.changelog == second.changelog


def test_other_rows_alone_are_a_change(tmp_path: Path) -> None:
    """New data with equal counts and parameters still get an entry in the changelog."""
    project = make_project(tmp_path / "project")
    first: Manifest = release(project, tmp_path / "a")
    rewrite(project, [*pairs_of()[:5], pairs_of("2")[5]])
    second = release(project, tmp_path / "b", previous=first)
    assert second.changelog[0].changes == ["the data files differ; counts, parameters and models do not"]


EVIL = "<script>x</script> [a](javascript:b) ![c](d) | `e` *f* \n# g\n```\n</details>\u202e\x1b[2J"
"""What a hostile text would like to be: HTML, a link, an image, a cell, a heading, the end of a block, a colour."""

PHOTOS = origin(
    "photographs",
    licence="cc-by-4.0",
    images="my photographs, CC BY 4.0",
    outputs="Llama 3.2 Community License",
)

MEASURED = Results(
    pairs={"2": "a" * 64},
    truth={"2": TruthShare(chosen=3, rejected=1, equal=1, unknown=1)},
    confidence=95,
    splits={
        "held_out": {
            "base": {"chair_s": Measured(42.1, 39.2, 45.0, None), "recall": Measured(90.3, 89.1, 91.5, None)},
            "1": {"chair_s": Measured(41.0, 38.0, 44.0, 0.3), "recall": Measured(89.0, 88.0, 90.0, 0.2)},
            "2": {"chair_s": Measured(28.0, 25.2, 30.8, 0.0005), "recall": Measured(92.2, 91.0, 93.4, 0.04)},
        }
    },
)


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_of_photographs_says_what_the_user_set(tmp_path: Path) -> None:
    """The card has the user's three licences and none of the microworld's statements about its own images."""
    release(make_project(tmp_path / "project"), tmp_path / "out", origin=PHOTOS)
    text = card_of(tmp_path / "out")
    for untrue in (
        "drawing",
        "apache",
        "third party",
        "no person",
        "microworld trained",
        "synthetic",
        "coloured",
    ):
        assert untrue not in text.lower()
    licences = text.partition("## Licence")[2].partition("## Citation")[0].split("\n- ")[1:]
    assert [line.strip() for line in licences] == [
        "dataset: `cc-by-4.0`",
        "images: my photographs, CC BY 4.0",
        "answers: Llama 3.2 Community License",
    ]
    assert DatasetCard(text).data.to_dict()["license"] == "cc-by-4.0"


def test_licences_are_known_stated_or_asked_for() -> None:
    """The microworld's licences are known; one option replaces all of them; the error names the missing options."""
    assert origin("microworld", ORIGIN) == of_source(ORIGIN)
    with pytest.raises(
        UserError, match=r"^--image-license, --output-license: got none.* replaces everything"
    ):
        origin("microworld", ORIGIN, licence="cc-by-4.0")
    with pytest.raises(
        UserError, match=r"^--license, --image-license, --output-license: got none.*of the kind coco"
    ):
        origin("coco")
    with pytest.raises(
        UserError, match=r"^--output-license: got none, expected the licence of the dataset, of the"
    ):
        origin("coco", licence="cc-by-4.0", images="COCO 2014", outputs=" ")
    with pytest.raises(UserError, match=r"--license: got <b>, expected a name such as cc-by-4\.0"):
        origin("microworld", ORIGIN, licence="<b>", images="a", outputs="b")
    assert (PHOTOS.licence, PHOTOS.limits, PHOTOS.tags, PHOTOS.languages) == ("cc-by-4.0", (), (), ())


def test_the_card_names_the_policy_that_wrote_each_iteration(made: Path, tmp_path: Path, card: str) -> None:
    """With `--iteration 2` alone, the card names the policy that wrote its answers, in the release or not."""
    release(made / "project", tmp_path / "two", names=("2",))
    second = card_of(tmp_path / "two")
    assert "base policy wrote the answers" not in second
    assert (
        "- Iteration 2: policy 1 wrote the answers. It was trained on the pairs of iteration 1 (not in this release), by "
        "DPO plus 30 times the chosen answers' mean token loss, starting from the base policy."
    ) in second
    assert "- Iteration 1: the base policy wrote the answers." in card
    assert (
        "- Iteration 2: policy 1 wrote the answers. It was trained on the pairs of iteration 1, by DPO"
        in card
    )


def test_without_a_held_out_scorer_the_card_says_so_once(made: Path) -> None:
    """No row of the statistics is about it, and the limits say that no other scorer judged the pairs."""
    manifest = read_manifest(made / "release")
    scorers = {**manifest.params["scorers"], "held_out": None}
    blind = [
        dataclasses.replace(one, reward_held_out=None, held_out_agrees=None)
        for one in figures(made / "release", ["1", "2"])
    ]
    text = write_card(
        dataclasses.replace(manifest, params={**manifest.params, "scorers": scorers}),
        origin=of_source(ORIGIN),
        figures=blind,
        plots={},
    )
    assert "held-out scorer prefers chosen" not in text
    assert "reward by the held-out scorer" not in text
    assert text.count("No other scorer judged the pairs: the `*_reward_held_out` columns are null.") == 1
    assert "took no part in the search" not in text


@pytest.mark.parametrize(
    ("proposal", "words", "continued"),
    [
        ({"kind": "groups", "groups": 5, "diversity_penalty": 0.5}, "5 groups of diverse group decoding, diversity penalty 0.5.", True),
        ({"kind": "sample", "count": 4, "temperature": 0.7, "seed": 0}, "4 samples for each unfinished answer, at temperature 0.7.", True),
        ({"kind": "answers", "count": 2, "temperature": 0.7, "seed": 0}, "2 answers are sampled from the policy at temperature 0.7.", False),
    ],
)  # fmt: skip
def test_the_card_says_how_candidates_were_proposed(
    made: Path, proposal: dict[str, object], words: str, *, continued: bool
) -> None:
    """Groups, sampled sentences or sampled answers, with their settings; sampled answers are not ranked."""
    manifest = read_manifest(made / "release")
    searched = {**manifest.params["generate_beams"], "proposal": proposal}
    text = write_card(
        dataclasses.replace(manifest, params={**manifest.params, "generate_beams": searched}),
        origin=of_source(ORIGIN),
        figures=figures(made / "release", ["1", "2"]),
        plots={},
    )
    making = " ".join(text.partition("## How it was made")[2].partition("<details>")[0].split())
    assert words in making
    assert ("worst are continued" in making) == continued


def test_no_text_of_others_is_markup(tmp_path: Path) -> None:
    """Any text of a table, a manifest or an option is shown as text: it adds no tag, link, image, heading, cell or block."""
    evil_model = Model(EVIL, EVIL, sha256=EVIL, hub_id=EVIL, revision=EVIL)
    first = release(make_project(tmp_path / "project"), tmp_path / "a")
    before = dataclasses.replace(
        first, identity="0", changelog=[Change(EVIL, EVIL, "0", [EVIL, "`" + EVIL])], models=[evil_model]
    )
    manifest = release(
        tmp_path / "project",
        tmp_path / "out",
        origin=origin("x", licence="mit", images=EVIL, outputs=EVIL),
        previous=before,
        models=[evil_model],
        commit=EVIL,
        params={**first.params, EVIL: EVIL},
    )
    assert manifest.identity != first.identity
    hostile, plain = (parts_of(card_of(folder)) for folder in (tmp_path / "out", tmp_path / "a"))
    assert hostile["html"] == plain["html"]
    assert set(hostile["links"]) == set(plain["links"])
    assert hostile["images"] == plain["images"]
    assert len(hostile["headings"]) == len(plain["headings"]) + 1  # of the changelog's older entry
    assert hostile["columns"] == plain["columns"]
    assert "\x1b" not in card_of(tmp_path / "out")
    assert "\u202e" not in card_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>", "&lt;script>"),
        ("a & b | c", "a &amp; b &#124; c"),
        ("R_I _x_ *y*", r"R_I \_x\_ \*y\*"),
        ("# h", r"\# h"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("-0.5, 1.5", "-0.5, 1.5"),
        ("two\nlines\x1b[2J\u2028\ud800", "two lines \\[2J \ufffd"),
        (Markdown("<b>"), "<b>"),
        (7, "7"),
    ],
)
def test_a_value_is_shown_and_does_nothing(text: object, shown: str) -> None:
    """Markup of Markdown or HTML is escaped; plain words, numbers and csrdata's Markdown are unchanged."""
    assert escape(text) == shown


def test_code_and_tables_hold_any_text() -> None:
    """A fence is longer than what it holds, a cell stays one cell, code between backticks stays code."""
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert fenced("x\n```\ny", "yaml") == "````yaml\nx\n```\ny\n````"
    assert prose("`a.b`: `1` -> `2` <i>") == "`a.b`: `1` -> `2` &lt;i>"
    assert table(["h"], [["a|b"], [code("a|b")]]).splitlines()[2:] == ["| a&#124;b |", "| `a\\|b` |"]


def test_a_template_asks_for_every_value() -> None:
    """A value that the template uses but that is missing is an error, not an empty text."""
    with pytest.raises(Exception, match="'metadata' is undefined"):
        render("model.md.jinja")


def test_truth_and_training_are_shown_where_they_are_known(made: Path, tmp_path: Path, card: str) -> None:
    """The shares of truer answers and each change in words, by the test's p; without figures there is no section."""
    assert "Results of training on it" not in card
    assert "truer" not in card
    release(made / "project", tmp_path / "out", names=("2",), results=MEASURED)
    text = card_of(tmp_path / "out")
    assert "| **the chosen answer is truer**, % of pairs | 50.0 |" in text
    assert "| the rejected answer is truer, % of pairs | 16.7 |" in text
    assert (
        "- Policy 2. Split held out: CHAIR_S fell (42.1 to 28.0 % of answers), recall rose (90.3 to 92.2 % of objects)."
    ) in text
    assert (
        r"| CHAIR_S | % of answers | 42.1 [39.2, 45.0] | 41.0 [38.0, 44.0] | 28.0 [25.2, 30.8] \* |" in text
    )
    manifest = read_manifest(tmp_path / "out")
    assert RESULTS in {file.path for file in manifest.files}
    assert manifest.identity == release(made / "project", tmp_path / "again", names=("2",)).identity


@pytest.mark.parametrize(
    ("after", "word"),
    [
        (Measured(52.0, 50.0, 54.0, 0.01), "rose"),
        (Measured(30.0, 28.0, 32.0, 0.01), "fell"),
        (Measured(41.0, 38.0, 44.0, 0.2), "did not change clearly"),
        (Measured(42.0, 39.0, 45.0, None), "did not change clearly"),
        (Measured(30.0, 28.0, 32.0, None), "fell"),
    ],
)
def test_a_change_is_clear_or_not_claimed(after: Measured, word: str) -> None:
    """The paired test decides; without one, intervals that do not overlap."""
    assert change(Measured(42.0, 39.0, 45.0, None), after) == word


@pytest.fixture
def summarized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the current folder, with a summary of its pairs and the truth about its images."""
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    scene = Scene("a", "harbour", (SceneObject("circle", "red", "top left"),))
    truths = [to_truth(scene, image=prompt.image, split="train") for prompt in PROMPTS]
    write_rows(paths.TRUTH, truths, Truth)
    split = {
        name: PolicySummary(
            {"chair_s": Figure(28.0, 25.0, 31.0, None if name == "base" else 0.001)}, false_by_kind={}
        )
        for name in ("base", "1", "2", "3")
    }
    entry = PairSummary(
        kept=6,
        with_pairs=6,
        dropped={},
        chosen_reward=1.15,
        rejected_reward=-0.1,
        chosen_reward_held_out=None,
        rejected_reward_held_out=None,
        truth_preference=None,
    )
    summary = Summary(
        iterations=("base", "1", "2", "3"),
        splits={"held_out": split},
        pairs={"1": entry, "2": entry},
        training={},
        prepared=None,
        world=2,
    )
    write_json(paths.SUMMARY, summary.as_json())
    return root


def test_results_travel_with_a_release(
    summarized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truth and training are computed once; a project that has only the release's file gives the same results again."""
    params = load_params()
    found = find_results(params, ["2"])
    assert found is not None
    assert list(found.splits["held_out"]) == ["base", "1", "2"]
    assert found.truth["2"] == TruthShare(chosen=6, rejected=0, equal=0, unknown=0)
    assert found.world == 2
    assert "The images are of microworld version 2;" in caption(found)
    write_json(tmp_path / "results.json", dataclasses.asdict(found))
    pulled = make_project(tmp_path / "pulled")
    monkeypatch.chdir(pulled)
    assert find_results(params, ["2"]) is None
    (pulled / PUBLISHED).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "results.json").rename(pulled / PUBLISHED)
    assert find_results(params, ["2"]) == found
    assert world_of_project() == 2
    rewrite(pulled, pairs_of("2")[:5], "2")
    assert find_results(params, ["2"]) is None


def test_a_summary_of_other_pairs_is_left_out(summarized: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of training on older pairs do not reach the card, and one line says so."""
    rewrite(summarized, pairs_of("2")[:5], "2")
    found = find_results(load_params(), ["2"])
    assert found is not None
    assert found.splits == {}
    assert "no figures of training: metrics/summary.json: pairs of iteration 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"splits": {"held_out": {"base": {}}}}, "splits.held_out.base.false_by_kind: got no such key"),
        ({"pairs": []}, "pairs: got [], expected an object"),
        ({"iterations": ["1"]}, "iterations: got ['1'], expected base, then the iterations"),
    ],
)
def test_a_summary_of_another_form_is_left_out(
    summarized: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], message: str
) -> None:
    """A summary that another version wrote, or that was edited, is one line; the card has what else is known."""
    write_json(summarized / paths.SUMMARY, read_json(paths.SUMMARY, made_by="") | changed)
    found = find_results(load_params(), ["2"])
    assert found is not None
    assert (found.splits, list(found.truth)) == ({}, ["2"])
    said = capsys.readouterr().err
    assert said.startswith(f"the card has no figures of training: metrics/summary.json: {message}")
    assert said.endswith("Next: dvc repro summarize\n")


def test_a_summary_that_dvc_made_from_older_pairs_is_left_out(
    summarized: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a dvc.lock, the summary is the file that it records, made from the pairs that it records last."""

    def write_lock(*, read: str) -> None:
        out = {"path": paths.pairs("2").as_posix(), "md5": "new"}
        dep, made = (
            {"path": out["path"], "md5": read},
            {"path": str(paths.SUMMARY), "md5": dvc_hash(paths.SUMMARY)},
        )
        stages = {"select_pairs@2": {"outs": [out]}, "summarize": {"deps": [dep], "outs": [made]}}
        Path("dvc.lock").write_text(json.dumps({"stages": stages}), encoding="utf-8")

    write_lock(read="new")
    found = find_results(load_params(), ["2"])
    assert found is not None
    assert found.splits != {}
    write_lock(read="old")
    found = find_results(load_params(), ["2"])
    assert found is not None
    assert found.splits == {}
    assert "dvc.lock: summarize: got made from an older data/select_pairs/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {"pairs": {}, "truth": {"1": {"chosen": -1}}, "confidence": None, "splits": {}},
        {"pairs": {}, "truth": {}, "confidence": "95", "splits": {}},
        {
            "pairs": {},
            "truth": {},
            "confidence": 95,
            "splits": {"a": {"base": {"<b>": dict.fromkeys("vlh", 1)}}},
        },
        {"pairs": {}, "truth": {}, "confidence": None, "splits": {}, "world": "2"},
    ],
)
def test_results_from_elsewhere_are_checked(raw: object) -> None:
    """A file that csrdata did not write is refused in one line."""
    with pytest.raises(UserError, match="expected results as csrdata push writes them"):
        parse_results(raw, place="metrics/published.json")


def test_counts_are_on_the_plots(tmp_path: Path) -> None:
    """Ten times as many pairs with the same distribution give another plot, because its axis shows counts."""
    few = plots._histograms("t", {"1": [Histogram(0, 1, (1, 2))]}, unit="words", counted="pairs")
    many = plots._histograms("t", {"1": [Histogram(0, 1, (10, 20))]}, unit="words", counted="pairs")
    assert few.tobytes() != many.tobytes()
    bars = [plots._funnel("t", [Counts("1", n, 1, 1, n - 1, {"under_margin": 1})]) for n in (2, 4)]
    assert bars[0].tobytes() != bars[1].tobytes()


def test_an_address_of_the_code_is_not_invented(card: str) -> None:
    """The card links the code only where the package's metadata state where it is."""
    stated = re.search(r"^- code: csrdata [\w.]+( \(<(.+?)>\))?, project commit", card, flags=re.MULTILINE)
    assert stated is not None
    assert stated[2] == code_url()


def test_params_state_licences_and_options_come_first() -> None:
    """What params.yaml says counts, an option replaces its part, and what neither says is refused with both names."""
    said = StatedOrigin(licence="cc-by-4.0", images="COCO 2014, CC BY 4.0", outputs="Llama 2's terms")
    found = origin("llava", stated=said)
    assert (found.licence, found.images, found.outputs) == (
        "cc-by-4.0",
        "COCO 2014, CC BY 4.0",
        "Llama 2's terms",
    )
    assert origin("llava", stated=said, licence="mit").licence == "mit"
    with pytest.raises(
        UserError,
        match=r"^params.yaml: source.origin.images \(--image-license\), params.yaml: source.origin.outputs "
        r"\(--output-license\): got null, .* a card never claims what nobody said. Next: set it in params.yaml or",
    ):
        origin("llava", stated=StatedOrigin(licence="cc-by-4.0"))


def test_a_policys_licence_is_known_or_stated() -> None:
    """An option comes first, then what is known, then params.yaml; the licence of the dataset says nothing about it."""
    said = StatedOrigin(licence="cc-by-4.0", images="COCO 2014", outputs="its terms", policy="llama2")
    assert model_licence(ORIGIN, stated=None, licence=None, base=None) == "apache-2.0"
    assert model_licence(ORIGIN, stated=None, licence="mit", base=None) == "mit"
    assert model_licence(None, stated=said, licence=None, base="them/base") == "llama2"
    assert model_licence(None, stated=said, licence="mit", base="them/base") == "mit"
    with pytest.raises(
        UserError,
        match=r"^params.yaml: source.origin.policy \(--license\): got null, expected the licence of the policy; .* a "
        r"card never claims what nobody said. Next: see the licence of them/base, then the same command with --license",
    ):
        model_licence(None, stated=dataclasses.replace(said, policy=None), licence=None, base="them/base")
    with pytest.raises(
        UserError, match=r"^--license: got none, expected the licence of the policy.* of its base, then"
    ):
        model_licence(None, stated=None, licence=None, base=None)
    with pytest.raises(UserError, match=r"^--license: got Llama 2, expected a name such as cc-by-4\.0"):
        model_licence(None, stated=said, licence="Llama 2", base=None)


def test_a_bar_of_a_fraction_of_a_pixel_is_drawn() -> None:
    """One pair next to 100,000: the plot is drawn, whatever the ratio of its bars."""
    for least in range(1, 400, 7):
        spike = Histogram(0, 1, (100_000, least))
        drawn = plots._histograms("t", {"1": [spike, spike]}, unit="R_I", counted="answers")
        assert drawn.size[0] > 0
