"""What `diff` says about two versions small enough to check by hand, and where a version can come from."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from csrdata.errors import UserError
from csrdata.inspection.diff import (
    ChangedCounts,
    Diff,
    MovedIds,
    PairCounts,
    PromptCounts,
    Sides,
    Version,
    diff,
    read_version,
)
from csrdata.inspection.diff_report import diff_report
from csrdata.inspection.histogram import histogram
from csrdata.inspection.revisions import bring
from csrdata.records import Dropped, DropReason, Pair
from csrdata.storage.tables import read_json, read_rows, to_table, write_json, write_rows
from csrdata.text import json_text
from tests.inspection.made import PAIR
from tests.scores import pair_with, without_scores


def _pair(
    number: int, chosen: str, rejected: str, *, margin: float = 0.8, image: str = "images/0.png"
) -> Pair:
    return pair_with(
        PAIR, prompt_id=f"train-{number:05d}", image=image, chosen=chosen, rejected=rejected, margin=margin
    )


def _dropped(number: int, reason: DropReason) -> Dropped:
    return Dropped(f"train-{number:05d}", reason, "by hand")


def _version(label: str, pairs: list[Pair], dropped: list[Dropped], *, world: int | None = None) -> Version:
    return Version(label, pairs=to_table(pairs, Pair), dropped=to_table(dropped, Dropped), world=world)


OLD = _version(
    "old",
    [
        _pair(0, "cat", "dog"),
        _pair(1, "cat", "dog"),
        _pair(2, "cat", "dog"),
        _pair(3, "cat", "dog"),
        _pair(4, "cat", "dog"),
        _pair(5, "cat", "dog"),
        _pair(6, "cat", "dog"),
        _pair(7, "cat", "dog"),
    ],
    [_dropped(8, DropReason.UNDER_MARGIN), _dropped(9, DropReason.NO_RESPONSE)],
)
NEW = _version(
    "new",
    [
        _pair(0, "cat", "dog"),
        _pair(1, "cat", "dog", margin=1.0),  # rescored
        _pair(2, "dog", "cat"),  # flipped
        _pair(3, "dog", "fog"),  # both answers changed: the rejected one is now chosen over another
        _pair(4, "cat", "fog"),  # changed, rejected only
        _pair(6, "cat", "dog", image="images/9.png"),  # another question under the same id
        _pair(8, "cat", "dog"),  # was under the margin
    ],
    [_dropped(5, DropReason.LENGTH_GAP), _dropped(9, DropReason.NO_RESPONSE)],
)


def test_every_pair_has_one_outcome() -> None:
    """Same, flipped, changed and lost add up to side a; with added instead of lost, to side b."""
    pairs = diff(OLD, NEW).pairs
    assert pairs == PairCounts(a=8, b=7, same=2, rescored=1, flipped=1, changed=2, lost=3, added=2)
    kept = pairs.same + pairs.flipped + pairs.changed
    assert (kept + pairs.lost, kept + pairs.added) == (pairs.a, pairs.b)


def test_a_lost_pair_has_a_reason() -> None:
    """The reason for a lost pair: the reason of its drop, another question under its id, or no such prompt."""
    figures = diff(OLD, NEW)
    lost = {reason: count for reason, count in figures.why.lost.items() if count}
    added = {reason: count for reason, count in figures.why.added.items() if count}
    assert lost == {"length_gap": 1, "other_question": 1, "no_such_prompt": 1}
    assert added == {"under_margin": 1, "other_question": 1}
    assert figures.ids == MovedIds(
        flipped=["train-00002"],
        changed=["train-00003", "train-00004"],
        lost=["train-00005", "train-00006", "train-00007"],
        added=["train-00006", "train-00008"],
    )


def test_the_other_way_round_is_the_mirror() -> None:
    """Swapping the sides swaps lost with added and changes the signs of the changes."""
    there, back = diff(OLD, NEW), diff(NEW, OLD)
    assert (there.pairs.lost, there.pairs.added) == (
        back.pairs.added,
        back.pairs.lost,
    )
    assert there.paired.pairs == back.paired.pairs == 5
    assert there.paired.mean_margin_change == pytest.approx(0.2 / 5)
    assert back.paired.mean_margin_change == pytest.approx(-0.2 / 5)


def test_dropped_and_changed_are_counted_by_kind() -> None:
    """Reasons are counted on both sides; of a changed pair, the answers that differ are counted."""
    figures = diff(OLD, NEW)
    assert figures.dropped["under_margin"] == Sides(a=1, b=0)
    assert figures.dropped["length_gap"] == Sides(a=0, b=1)
    assert figures.changed == ChangedCounts(chosen=0, rejected=1, both=1)
    assert figures.prompts == PromptCounts(a=10, b=9, both=9, only_a=1, only_b=0)


def test_distributions_share_an_axis() -> None:
    """Both sides have the same bins, also if one side's values end earlier."""
    margin = diff(OLD, NEW).distributions["margin"]
    assert margin.a is not None
    assert margin.b is not None
    assert (margin.a.count, margin.b.count) == (8, 7)
    for side in (margin.a, margin.b):
        assert (side.histogram.low, side.histogram.high) == (0.8, 1.0)
    found = histogram([0.0, 1.0], bins=2, other=[4.0])
    assert found is not None
    assert (found.high, found.counts) == (4.0, (2, 0))


def test_a_version_equals_itself() -> None:
    """Equal versions: no pair is lost, added, flipped, changed or rescored."""
    figures = diff(OLD, OLD)
    assert figures.pairs.same == 8
    assert (
        sum(getattr(figures.pairs, kind) for kind in ("rescored", "flipped", "changed", "lost", "added")) == 0
    )


def _report(figures: Diff) -> str:
    screen = Console(file=io.StringIO(), width=120)
    screen.print(diff_report(figures))
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_pairs_of_another_world_are_not_compared_silently() -> None:
    """Where the microworld's version differs or is stated by one side alone, the report and the JSON say so."""
    old, new = (
        _version(label, [_pair(0, "cat", "dog")], [], world=world)
        for label, world in (("old", None), ("new", 2))
    )
    said = (
        "not comparable: the microworld's version is not stated in a and 2 in b; equal ids show other scenes"
    )
    assert said in _report(diff(old, new))
    assert json.loads(json_text(diff(old, new)))["worlds"] == {"a": None, "b": 2}
    assert "not comparable" not in _report(diff(new, new)) + _report(diff(old, old))


def test_nothing_on_one_side_gives_figures_and_a_report() -> None:
    """Against an empty version, all pairs are lost or added; means over nothing are null; the JSON keeps its keys."""
    figures = diff(OLD, _version("none", [], []))
    assert figures.pairs.lost == 8
    assert figures.why.lost["no_such_prompt"] == 8
    assert figures.paired.mean_margin_change is None
    assert figures.distributions["margin"].b is None
    assert json.loads(json_text(figures)).keys() == json.loads(json_text(diff(OLD, NEW))).keys()
    assert "lost" in _text(figures)


def _text(figures: Diff, *, width: int = 160) -> str:
    page = io.StringIO()
    Console(width=width, file=page).print(diff_report(figures))
    return page.getvalue()


def test_the_report_fits_an_ordinary_terminal() -> None:
    """In 80 columns no figure is cut or wrapped: the narrow page has the wide page's lines."""
    wide, narrow = (_text(diff(OLD, NEW), width=width) for width in (160, 80))
    assert "…" not in narrow
    assert _rows(wide) == _rows(narrow) != []


def _rows(page: str) -> list[str]:
    """Return the lines of the table of distributions: those that hold a histogram."""
    return [line.rstrip() for line in page.splitlines() if "█" in line]


def test_the_report_shows_both_sides_and_the_prompts() -> None:
    """The report has labels, outcomes with their reasons, and the ids of the pairs that are not the same."""
    text = _text(diff(OLD, NEW))
    for words in ("a: old", "b: new", "no such prompt", "flipped: train-00002", "with another margin"):
        assert words in text
    lines = [line for line in text.splitlines() if "no pair: length gap" in line]
    assert lines[0].split()[-3:] == ["0", "1", "+1"]


def _several(*sides: tuple[str, str, str], prompt: int = 0) -> list[Pair]:
    """Return pairs of one prompt from context, chosen and rejected."""
    return [
        pair_with(_pair(prompt, chosen, rejected), number=number, context=context)
        for number, (context, chosen, rejected) in enumerate(sides)
    ]


def test_several_pairs_of_a_prompt_are_matched_by_their_sides() -> None:
    """Other numbers are no change; the rest is compared in order, and what is left over is lost or added.

    a: A>B, C>D after x, E>F, G>H. b: C>D after x (same), B>A (flipped), E>K (E>F changed), and G>H is lost.
    """
    old = _version("old", _several(("", "A", "B"), ("x", "C", "D"), ("", "E", "F"), ("", "G", "H")), [])
    new = _version("new", _several(("x", "C", "D"), ("", "B", "A"), ("", "E", "K")), [])
    there, back = diff(old, new), diff(new, old)
    assert there.pairs == PairCounts(a=4, b=3, same=1, rescored=0, flipped=1, changed=1, lost=1, added=0)
    assert there.changed == ChangedCounts(chosen=0, rejected=1, both=0)
    assert (there.why.lost["fewer_pairs"], back.why.added["fewer_pairs"]) == (1, 1)
    assert back.pairs == PairCounts(a=3, b=4, same=1, rescored=0, flipped=1, changed=1, lost=0, added=1)
    assert there.prompts == PromptCounts(a=1, b=1, both=1, only_a=0, only_b=0)
    assert there.ids == MovedIds(["train-00000"], ["train-00000"], ["train-00000"], [])


def test_a_pair_and_its_reverse_are_two_pairs() -> None:
    """A>B and B>A in one prompt: each is the same as itself, in any order; the end is another side than a text."""
    both = _several(("", "A", "B"), ("", "B", "A"))
    end = [pair_with(both[0], context="x", rejected="", number=0)]
    assert (
        diff(_version("a", both, []), _version("b", _several(("", "B", "A"), ("", "A", "B")), [])).pairs.same
        == 2
    )
    ended = _version("b", end, [])
    assert diff(ended, ended).pairs.same == 1
    goes_on = _version("c", [pair_with(end[0], rejected=" C.", rejected_complete=False)], [])
    assert diff(ended, goes_on).changed == ChangedCounts(chosen=0, rejected=1, both=0)


def test_a_prompt_with_two_outcomes_is_refused(tmp_path: Path) -> None:
    """A prompt with a pair and a reason for none is refused: it could not be counted."""
    write_rows(tmp_path / "pairs.parquet", [_pair(0, "cat", "dog")], Pair)
    write_rows(tmp_path / "dropped.parquet", [_dropped(0, DropReason.UNDER_MARGIN)], Dropped)
    with pytest.raises(UserError, match="iteration 1: prompt train-00000: got pairs and a reason for none"):
        read_version(
            "iteration 1",
            pairs=tmp_path / "pairs.parquet",
            dropped=tmp_path / "dropped.parquet",
            made_by="dvc repro select_pairs@1",
        )


def test_a_prompt_that_keeps_a_pair_is_not_dropped(tmp_path: Path) -> None:
    """Curation took a pair out of one prompt that keeps another, and both out of a second: one dropped prompt."""
    write_rows(tmp_path / "pairs.parquet", [_pair(0, "cat", "dog")], Pair)
    rows = [
        Dropped("train-00000", DropReason.LABEL, "pair 1 is labelled bad"),
        Dropped("train-00001", DropReason.LABEL, "pair 0 is labelled bad"),
        Dropped("train-00001", DropReason.WHERE, "pair 1: not true: margin > 1"),
    ]
    write_rows(tmp_path / "dropped.parquet", rows, Dropped)
    curated = read_version(
        "b", pairs=tmp_path / "pairs.parquet", dropped=tmp_path / "dropped.parquet", made_by="dvc repro"
    )
    before = [_pair(0, "cat", "dog"), _pair(0, "cat", "fog"), _pair(1, "cat", "dog"), _pair(1, "cat", "fog")]
    figures = diff(_version("a", before, []), curated)
    assert (figures.prompts.b, figures.pairs.same, figures.pairs.lost) == (2, 1, 3)
    assert (figures.dropped["label"], figures.dropped["where"]) == (Sides(a=0, b=1), Sides(a=0, b=0))
    assert (figures.why.lost["label"], figures.why.lost["fewer_pairs"]) == (2, 1)


TABLE = Path("data/select_pairs/1/pairs.parquet")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: at HEAD~1 there is one pair and world 1, at HEAD two and 2; the pairs are in DVC's remote too."""
    folder = tmp_path_factory.mktemp("repository")

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    def dvc(*words: str) -> None:
        run(sys.executable, "-m", "dvc", *words)

    run("git", "init", "-q")
    dvc("init", "-q")
    dvc("remote", "add", "-d", "shelf", str(tmp_path_factory.mktemp("remote")))
    for count in (1, 2):
        write_json(folder / "metrics/prepare.json", {"world": count})
        write_rows(folder / TABLE, [_pair(number, "cat", "dog") for number in range(count)], Pair)
        dvc("add", "-q", str(TABLE.parent))
        run("git", "add", "-A")
        run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", str(count))
        dvc("push", "-q")
    return folder


def _pairs_at(revision: str, repository: Path, target: Path) -> int:
    bring(revision, {TABLE: target}, repository=repository)
    return len(read_rows(target, Pair, made_by=""))


def test_a_revision_is_read_from_the_cache_or_the_remote(repository: Path, tmp_path: Path) -> None:
    """A revision's tables are read, whatever the working tree holds; without a cache they come from the remote."""
    before = (repository / TABLE).read_bytes()
    assert _pairs_at("HEAD~1", repository, tmp_path / "old.parquet") == 1
    assert _pairs_at("HEAD", repository, tmp_path / "new.parquet") == 2
    shutil.rmtree(repository / ".dvc/cache")
    assert _pairs_at("HEAD~1", repository, tmp_path / "again.parquet") == 1
    assert (repository / TABLE).read_bytes() == before


@pytest.mark.parametrize(
    ("revision", "table", "message"),
    [
        ("v9", TABLE, "revision v9: got unknown Git revision 'v9', expected a git revision of this project"),
        (
            "HEAD",
            Path("data/select_pairs/9/pairs.parquet"),
            "9/pairs.parquet: got no such file, expected an output",
        ),
    ],
)
def test_what_is_not_there_is_one_line(
    repository: Path, tmp_path: Path, revision: str, table: Path, message: str
) -> None:
    """An unknown revision, and a file that the revision lacks, are one-line errors."""
    with pytest.raises(UserError) as error:
        bring(revision, {table: tmp_path / "x.parquet"}, repository=repository)
    assert message in str(error.value)


def test_a_file_that_a_revision_may_lack(repository: Path, tmp_path: Path) -> None:
    """An optional file is read where the revision has it, from git as well; where it has none, nothing is written."""
    here, nowhere = tmp_path / "here.json", tmp_path / "nowhere.json"
    bring(
        "HEAD~1",
        {TABLE: tmp_path / "x.parquet"},
        optional={Path("metrics/prepare.json"): here, Path("metrics/summary.json"): nowhere},
        repository=repository,
    )
    assert read_json(here, made_by="") == {"world": 1}
    assert not nowhere.exists()


def test_content_that_nobody_kept_is_one_line(repository: Path, tmp_path: Path) -> None:
    """If a file is in no cache and no remote, the error says how to make it again."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(repository), str(clone)], check=True)
    (clone / ".dvc/config").write_text("")
    with pytest.raises(UserError, match="got only its hash, expected the file in DVC's cache or remote"):
        bring("HEAD", {TABLE: tmp_path / "x.parquet"}, repository=clone)


def test_a_folder_without_git_is_one_line(tmp_path: Path) -> None:
    """Without a git repository, a revision is refused."""
    with pytest.raises(UserError, match="is not a git repository, expected a git revision of this project"):
        bring("HEAD", {TABLE: tmp_path / "x.parquet"}, repository=tmp_path)


def test_pairs_without_scores_are_compared_by_their_texts() -> None:
    """Pairs without scores are compared with scored ones by answers and words; what one side lacks has no change."""
    bare = Version(
        "bare", pairs=to_table([without_scores(_pair(1, "cat", "dog"))], Pair), dropped=OLD.dropped[:0]
    )
    scored = Version("scored", pairs=to_table([_pair(1, "cat", "a dog")], Pair), dropped=OLD.dropped[:0])
    same, other = diff(bare, bare), diff(bare, scored)
    assert (same.pairs.same, same.pairs.rescored) == (1, 0)
    assert other.paired.mean_margin_change is None
    assert other.paired.mean_rejected_words_change == 1.0
    assert other.distributions["margin"].a is None
