"""Findings about packages, files of DVC, images and disk."""

from pathlib import Path

import pytest
from PIL import Image

from csrdata.checking.disk import adapter_bytes, check_disk, shard_bytes
from csrdata.checking.findings import Finding, Level, as_json, collecting, error, fails, ok, warning
from csrdata.checking.images import SAMPLE, check_images
from csrdata.checking.packages import check_packages
from csrdata.checking.project_files import check_files
from csrdata.checking.units import duration, size
from csrdata.errors import UserError
from csrdata.images import load_image
from tests.tiny import pictures


def test_a_finding_is_one_line() -> None:
    """A finding prints as level, subject, words and next command, on one line."""
    finding = error("disk", "got\n1 byte", do="free some")
    assert finding.line() == "error   disk: got 1 byte. Next: free some"
    assert ok("disk", "fine").line() == "ok      disk: fine"


def test_errors_alone_fail() -> None:
    """Warnings do not fail; `--json` says whether a stage would."""
    findings = [ok("a", "b"), warning("a", "b", do="c")]
    assert not fails(findings)
    assert as_json([*findings, error("a", "b", do="c")]) == {
        "fails": True,
        "findings": [
            {"level": "ok", "subject": "a", "words": "b", "do": None},
            {"level": "warning", "subject": "a", "words": "b", "do": "c"},
            {"level": "error", "subject": "a", "words": "b", "do": "c"},
        ],
    }


def test_a_user_error_becomes_a_finding() -> None:
    """What a stage would raise keeps its four parts."""
    findings: list[Finding] = []
    with collecting(findings, "models"):
        raise UserError("scorers/search", got="no such folder", expected="a scorer", do="dvc repro prepare")
    assert [one.line() for one in findings] == [
        "error   models: scorers/search: got no such folder, expected a scorer. Next: dvc repro prepare"
    ]


def test_a_missing_package_names_its_extra() -> None:
    """A module that the stages import and that is not installed is an error with the command to paste."""
    (finding,) = check_packages(["policy", "train"], is_installed=lambda module: module != "peft")
    assert finding.level is Level.ERROR
    assert finding.words == "extra train: got no module peft, expected it installed"
    assert finding.do == "pip install 'csrdata[train]', then: csrdata check"
    assert [one.level for one in check_packages(["policy"])] == [Level.OK]


def test_outdated_dvc_files(tmp_path: Path) -> None:
    """A file that DVC reads and that this version would write otherwise is an error; so is a missing one."""
    dvc, code = tmp_path / "dvc.yaml", tmp_path / "code.yaml"
    dvc.write_text("stages: old\n", encoding="utf-8")
    findings = check_files({dvc: "stages: new\n", code: "a: b\n"}, do="csrdata dag")
    assert [one.words.partition(": got ")[2].partition(",")[0] for one in findings] == [
        "an outdated text",
        "no such file",
    ]
    assert {one.do for one in findings} == {"csrdata dag, then: csrdata check"}
    dvc.write_text("stages: new\n", encoding="utf-8")
    assert [one.level for one in check_files({dvc: "stages: new\n"}, do="csrdata dag")] == [Level.OK]


def _look(folder: Path, names: list[str], *, all_images: bool = False, sampled: bool = True) -> Finding:
    (finding,) = check_images(
        names,
        load=lambda name: load_image(name, root=folder, place="prompts"),
        all_images=all_images,
        sampled=sampled,
    )
    return finding


def test_a_damaged_image_costs_its_prompts(tmp_path: Path) -> None:
    """An image that does not decode is a warning with its name; if none decodes, an error."""
    pictures(tmp_path, 2)
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = _look(tmp_path, ["0.png", "1.png", "bad.png"])
    assert found.level is Level.WARNING
    assert "1 of 3 images read cannot be used and cost their prompts" in found.words
    assert "prompts: image bad.png: got another format or a damaged header" in found.words
    assert _look(tmp_path, ["bad.png"]).level is Level.ERROR
    assert _look(tmp_path, ["0.png", "1.png"]).words == "2 of 2 images are readable"


def test_a_missing_image_stops_a_stage_once_it_is_listed(tmp_path: Path) -> None:
    """A missing image is an error after sampling, and a warning before: it costs its prompts then."""
    pictures(tmp_path, 1)
    found = _look(tmp_path, ["0.png", "gone.png"])
    assert found.level is Level.ERROR
    assert (
        "1 of 2 images read cannot be opened, such as prompts: image gone.png: got no such file"
        in found.words
    )
    assert _look(tmp_path, ["0.png", "gone.png"], sampled=False).level is Level.WARNING


def test_a_seeded_sample_of_images_is_read() -> None:
    """Without --all-images the same 100 images are read each time; with it, all of them."""
    names = [f"{index}.png" for index in range(250)]

    def read(*, all_images: bool) -> list[str]:
        seen: list[str] = []

        def load(name: str) -> Image.Image:
            seen.append(name)
            return Image.new("RGB", (1, 1))

        check_images(names, load=load, all_images=all_images)
        return seen

    assert len(read(all_images=False)) == SAMPLE
    assert read(all_images=False) == read(all_images=False)
    assert read(all_images=True) == names


@pytest.mark.parametrize(
    ("free", "level", "word"),
    [
        (1_000, Level.ERROR, "got less than expected"),
        (1_500, Level.WARNING, "a second time"),
        (3_000, Level.OK, ""),
    ],
)
def test_disk_space(free: int, level: Level, word: str) -> None:
    """Too little space for the tables is an error; too little for a second copy in DVC's cache, a warning."""
    (finding,) = check_disk(Path(), tables=900, adapters=200, free=free)
    assert finding.level is level
    assert "at most 1.1 kB to write (tables 900 bytes, adapters 200 bytes)" in finding.words
    assert word in finding.words


def test_the_estimate_of_tables_and_adapters() -> None:
    """One depth gives `candidates` rows, each further one `candidates` for each live answer; policy t holds t adapters."""
    limits = {"max_sentence_tokens": 10, "max_response_tokens": 100}
    one = shard_bytes(1, iterations=1, roots=1, candidates=5, keep=4, max_sentences=1, **limits)
    assert one == pytest.approx(1.8 * 5 * (60 + 5 * 10))
    assert (
        shard_bytes(2, iterations=3, roots=1, candidates=5, keep=4, max_sentences=3, **limits) == one * 6 * 9
    )
    assert adapter_bytes(10, iterations=3) == 4 * 10 * (1 + 2 + 3)


def test_units() -> None:
    """Bytes and seconds are said in the unit that gives a short number."""
    assert [size(one) for one in (12, 1500, 2.5e6, 14e9)] == ["12 bytes", "1.5 kB", "2.5 MB", "14.0 GB"]
    assert [duration(one) for one in (2, 600, 7200, 864000)] == [
        "2.0 seconds",
        "10.0 minutes",
        "2.0 hours",
        "10.0 days",
    ]
