"""The layout of a release; all files of the folder go to the Hub.

README.md                                      the card
iteration_1/train-00000-of-00001.parquet       the pairs of iteration 1: TRL's columns and scores; one config per iteration
candidates/iteration_1-00000-of-00001.parquet  every sentence of its search; one split per iteration
csrdata/prompts.parquet                        the project's tables
csrdata/iteration_1/{responses,pairs,dropped}.parquet
csrdata/iteration_1/{candidates,responses}.json    the fingerprints of the folders of shards
images/unpaired-00000-of-00001.parquet         the images of prompts without a pair (with `--images embed`)
plots/*.png                                    the card's plots
provenance/{manifest.json,params.yaml,dvc.lock,results.json}

Every table names an image by its content, `images/SHA256.EXT`, so a release contains no path of a project. A release may
also come from a stranger, so each of its paths is compared with the patterns here, and no other path is read or written.
"""

import re
from collections.abc import Sequence

CARD = "README.md"
PLOTS = "plots"
PARAMS = "provenance/params.yaml"
LOCK = "provenance/dvc.lock"
RESULTS = "provenance/results.json"
"""The figures of the card about truth and training, if they are known."""
PROMPTS = "csrdata/prompts.parquet"
CANDIDATES = "candidates"
"""The config of the candidates, and its folder."""
SPLIT = "train"
"""The only split of a config of pairs."""
IMAGES = "images"
"""The folder in image names; the images of pairs are in the pairs' rows."""
UNPAIRED = f"{IMAGES}/unpaired-*.parquet"
"""A glob that matches the files of images of prompts without a pair."""

PROJECT_IMAGES = "data/images"
"""The folder to which a pull writes images, relative to the project."""

NAME_EXPECTED = "at most 32 lower-case letters, digits, - and _, a letter or digit first"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Names that Windows reserves for devices: no file can have them there."""
_IMAGE = re.compile(r"images/(?P<sha256>[0-9a-f]{64})\.(?P<extension>[a-z0-9]{1,5})")
_SHARD = r"-[0-9]{5}-of-[0-9]{5}\.parquet"


def is_iteration_name(name: str) -> bool:
    """Return whether a text may be the name of an iteration, which becomes part of paths.

    Example: "1", "no-guidance" -> True; "../x", "A", "con", "" -> False
    """
    return bool(_NAME.fullmatch(name)) and not _DEVICE.fullmatch(name)


def is_release_path(path: str, names: Sequence[str]) -> bool:
    """Return whether a release of the iterations `names` may contain a file with this path, the manifest aside."""
    configs = "|".join(re.escape(config(name)) for name in names)
    splits = "|".join(re.escape(split_name(name)) for name in names)
    patterns = (
        *(re.escape(fixed) for fixed in (CARD, PARAMS, LOCK, RESULTS, PROMPTS)),
        rf"({configs})/{SPLIT}{_SHARD}",
        rf"{CANDIDATES}/({splits}){_SHARD}",
        rf"csrdata/({configs})/(responses|pairs|dropped)\.parquet",
        rf"csrdata/({configs})/(candidates|responses)\.json",
        rf"{IMAGES}/unpaired{_SHARD}",
        rf"{PLOTS}/[a-z0-9_-]{{1,64}}\.png",
    )
    return bool(names) and re.fullmatch("|".join(f"({pattern})" for pattern in patterns), path) is not None


def needed_paths(names: Sequence[str]) -> set[str]:
    """Return the files that a release must contain, each iteration's files of pairs and candidates aside."""
    tables = {own_table(name, table) for name in names for table in ("responses", "pairs", "dropped")}
    return {CARD, PARAMS, PROMPTS} | tables


def image_name(sha256: str, extension: str) -> str:
    """Return an image's name in a release.

    Example: "5f...", "png" -> "images/5f....png"
    """
    return f"{IMAGES}/{sha256}.{extension}"


def parse_image_name(name: str) -> tuple[str, str] | None:
    """Return the SHA-256 and the extension in an image's name; None for any other text."""
    found = _IMAGE.fullmatch(name)
    return None if found is None else (found["sha256"], found["extension"])


def project_image(name: str) -> str:
    """Return the path to which a pull writes an image, relative to the project.

    Example: "images/5f....png" -> "data/images/5f....png"
    """
    return f"{PROJECT_IMAGES}/{name.removeprefix(f'{IMAGES}/')}"


def unpaired_file(index: int, of: int) -> str:
    """Return the path of one file of images of prompts without a pair."""
    return f"{IMAGES}/unpaired-{index:05d}-of-{of:05d}.parquet"


def config(name: str) -> str:
    """Return the name of an iteration's config of pairs, which is also its folder.

    Example: "1" -> "iteration_1"
    """
    return f"iteration_{name}"


def split_name(name: str) -> str:
    """Return the split of an iteration's candidates, with which its files begin.

    `datasets` allows letters, digits and underscores in a split's name. Iterations of one project differ in theirs; see
    `same_split`.

    Example: "1" -> "iteration_1"; "warm-up" -> "iteration_warm_up"
    """
    return config(name).replace("-", "_")


def same_split(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first iteration whose split an earlier one has, and that one; None if all splits differ.

    Example: ["a_b", "1", "a-b"] -> ("a-b", "a_b")
    """
    seen: dict[str, str] = {}
    for name in names:
        if split_name(name) in seen:
            return name, seen[split_name(name)]
        seen[split_name(name)] = name
    return None


def pair_file(name: str, index: int, of: int) -> str:
    """Return the path of one file of an iteration's pairs."""
    return f"{config(name)}/{SPLIT}-{index:05d}-of-{of:05d}.parquet"


def candidate_file(name: str, index: int, of: int) -> str:
    """Return the path of one file of an iteration's candidates."""
    return f"{CANDIDATES}/{split_name(name)}-{index:05d}-of-{of:05d}.parquet"


def own_table(name: str, table: str) -> str:
    """Return the path of a project's table of an iteration: `responses`, `pairs` or `dropped`."""
    return f"csrdata/{config(name)}/{table}.parquet"


def shard_manifest(name: str, table: str) -> str:
    """Return the path of the fingerprint of a folder of shards: `candidates` or `responses`."""
    return f"csrdata/{config(name)}/{table}.json"


def pair_glob(name: str) -> str:
    """Return a glob that matches exactly the files of an iteration's pairs."""
    return f"{config(name)}/{SPLIT}-*.parquet"


def candidate_glob(name: str) -> str:
    """Return a glob that matches exactly the files of an iteration's candidates: those of "1" and not those of "10".

    No split has a `-`, so the first one in a file's name ends the split: the files of `1-b` do not match those of `1`.
    """
    return f"{CANDIDATES}/{split_name(name)}-*.parquet"
