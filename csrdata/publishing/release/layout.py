"""Where each thing is in a release; the folder is exactly what goes to the Hub.

README.md                                      the card
iteration_1/train-00000-of-00001.parquet       the pairs of iteration 1: TRL's columns and scores; one config an iteration
candidates/iteration_1-00000-of-00001.parquet  every sentence of its search; one split an iteration
csrdata/prompts.parquet                        the project's own tables
csrdata/iteration_1/{responses,pairs,dropped}.parquet
csrdata/iteration_1/{candidates,responses}.json    what the shards were made from: their folder's fingerprint
images/unpaired-00000-of-00001.parquet         the images of prompts without a pair (with `--images embed`)
plots/*.png                                    what the card shows
provenance/{manifest.json,params.yaml,dvc.lock,results.json}

Every table names an image `images/SHA256.EXT`, by its content: a release holds no path of a project. A release comes from
strangers too, so each name in it is compared with the patterns here, and no other path is ever read or written.
"""

import re
from collections.abc import Sequence

CARD = "README.md"
PLOTS = "plots"
PARAMS = "provenance/params.yaml"
LOCK = "provenance/dvc.lock"
RESULTS = "provenance/results.json"
"""What the card says about truth and training, where it is known."""
PROMPTS = "csrdata/prompts.parquet"
CANDIDATES = "candidates"
"""The config of the candidates, and its folder."""
SPLIT = "train"
"""The one split of a config of pairs."""
IMAGES = "images"
"""The folder that image names begin with; the images of pairs are in the pairs' rows."""
UNPAIRED = f"{IMAGES}/unpaired-*.parquet"
"""What matches the files of images of prompts without a pair."""

PROJECT_IMAGES = "data/images"
"""Where a pull puts images, relative to the project."""

NAME_EXPECTED = "at most 32 lower-case letters, digits, - and _, a letter or digit first"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Names that Windows keeps for devices: no file can have them there."""
_IMAGE = re.compile(r"images/(?P<sha256>[0-9a-f]{64})\.(?P<extension>[a-z0-9]{1,5})")
_SHARD = r"-[0-9]{5}-of-[0-9]{5}\.parquet"


def is_iteration_name(name: str) -> bool:
    """Return whether an iteration may be called so: its name becomes part of paths.

    Example: "1", "no-guidance" -> True; "../x", "A", "con", "" -> False
    """
    return bool(_NAME.fullmatch(name)) and not _DEVICE.fullmatch(name)


def is_release_path(path: str, names: Sequence[str]) -> bool:
    """Return whether a release of the iterations `names` may hold a file of this path, the manifest aside."""
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
    """Return the files without which a release is not whole, each iteration's shards aside."""
    tables = {own_table(name, table) for name in names for table in ("responses", "pairs", "dropped")}
    return {CARD, PARAMS, PROMPTS} | tables


def image_name(sha256: str, extension: str) -> str:
    """Return an image's name in a release.

    Example: "5f...", "png" -> "images/5f....png"
    """
    return f"{IMAGES}/{sha256}.{extension}"


def parse_image_name(name: str) -> tuple[str, str] | None:
    """Return the SHA-256 and the extension of an image's name; None of anything else."""
    found = _IMAGE.fullmatch(name)
    return None if found is None else (found["sha256"], found["extension"])


def project_image(name: str) -> str:
    """Return where a pull puts an image, relative to the project.

    Example: "images/5f....png" -> "data/images/5f....png"
    """
    return f"{PROJECT_IMAGES}/{name.removeprefix(f'{IMAGES}/')}"


def unpaired_file(index: int, of: int) -> str:
    """Return one file of the images of prompts without a pair."""
    return f"{IMAGES}/unpaired-{index:05d}-of-{of:05d}.parquet"


def config(name: str) -> str:
    """Return the config of an iteration's pairs, which is also its folder.

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
    """Return one file of an iteration's pairs."""
    return f"{config(name)}/{SPLIT}-{index:05d}-of-{of:05d}.parquet"


def candidate_file(name: str, index: int, of: int) -> str:
    """Return one file of an iteration's candidates."""
    return f"{CANDIDATES}/{split_name(name)}-{index:05d}-of-{of:05d}.parquet"


def own_table(name: str, table: str) -> str:
    """Return an iteration's own table: `responses`, `pairs` or `dropped`."""
    return f"csrdata/{config(name)}/{table}.parquet"


def shard_manifest(name: str, table: str) -> str:
    """Return the manifest of a folder of shards: `candidates` or `responses`."""
    return f"csrdata/{config(name)}/{table}.json"


def pair_glob(name: str) -> str:
    """Return what matches the files of an iteration's pairs, and no other."""
    return f"{config(name)}/{SPLIT}-*.parquet"


def candidate_glob(name: str) -> str:
    """Return what matches the files of an iteration's candidates, and no other: `iteration_1` is no `iteration_10`.

    No split has a `-`, so that the first one in a file's name ends it: the files of `1-b` do not match those of `1`.
    """
    return f"{CANDIDATES}/{split_name(name)}-*.parquet"
