"""The manifest of a folder of shards: its files, with the number of rows and the hash of each.

    {"fingerprint": {"params": "9f..."}, "shards": 2, "files": {"00000.parquet": {"rows": 12, "sha256": "3a..."}, ...}}

While several processes fill a folder together (`csrdata.storage.shard_shares`), a shard may have a record next to it
instead: `00007.json`, a manifest that lists this shard alone.

If memory ran out while a shard was made, its entry has one more field, the numbers of prompts in flight that were used:
`"prompts_at_once": [64, 32]`. Its last bits can differ from those of a shard that was made with 64 throughout.

A shard is valid only if the manifest or its record lists it and its bytes are unchanged. A check reads each file once, in
blocks (SHA-256: 0.7 to 2 GB per second on one core).
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.storage.disk import hash_path, read_json, write_json

FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One finished shard."""

    rows: int
    sha256: str
    prompts_at_once: tuple[int, ...] = ()
    """The prompts in flight that it was made with if memory ran out, in order; empty if params.yaml's number was enough."""

    def same_bytes(self, other: "ShardFile") -> bool:
        """Return whether both describe the same file."""
        return (self.rows, self.sha256) == (other.rows, other.sha256)


@dataclass(frozen=True, slots=True)
class ShardManifest:
    """The finished shards of a folder, and the fingerprint of their inputs."""

    fingerprint: dict[str, str]
    """Hashes of the inputs, by name: see `csrdata.storage.tables.fingerprint`."""
    shards: int
    """The number of shards when all are finished."""
    files: dict[str, ShardFile] = field(default_factory=dict)
    """The finished shards, by file name."""

    def names(self) -> list[str]:
        """Return the names of all shards, finished or not, in order."""
        return [shard_name(index) for index in range(self.shards)]


def shard_name(index: int) -> str:
    """Return the file name of a shard.

    Example: 7 -> "00007.parquet"
    """
    return f"{index:05d}.parquet"


def write_manifest(folder: Path, manifest: ShardManifest) -> None:
    """Write the manifest of a folder, atomically."""
    write_json(folder / FILE, _as_json(manifest))


def load_manifest(folder: Path) -> ShardManifest | None:
    """Return the manifest of a folder; None if it is missing, in an older format, or damaged."""
    try:
        raw = read_json(folder / FILE, made_by="")
    except (UserError, NotADirectoryError):
        return None
    return _parse(raw)


def record_name(shard: str) -> str:
    """Return the file name of a shard's record.

    Example: "00007.parquet" -> "00007.json"
    """
    return f"{Path(shard).stem}.json"


def write_record(folder: Path, manifest: ShardManifest) -> None:
    """Write the record of the one shard that a manifest lists, atomically."""
    (name,) = manifest.files
    write_json(folder / record_name(name), _as_json(manifest))


def load_records(folder: Path, like: ShardManifest, names: Iterable[str]) -> dict[str, ShardFile]:
    """Return the shards that have a record, by file name.

    A record is ignored if it is damaged, lists another shard, or is of other inputs.

    Args:
        folder: of the shards.
        like: has the fingerprint and the number of shards that a record must have.
        names: of the shards that are looked up.
    """
    found = {}
    for name in names:
        try:
            record = _parse(read_json(folder / record_name(name), made_by=""))
        except (UserError, NotADirectoryError):
            continue
        same = record is not None and (record.fingerprint, record.shards) == (like.fingerprint, like.shards)
        if record is not None and same and list(record.files) == [name]:
            found[name] = record.files[name]
    return found


def is_record(path: Path) -> bool:
    """Return whether a file has the name of a shard's record."""
    return re.fullmatch(r"\d{5,}\.json", path.name) is not None


def check_names(folder: Path, *, made_by: str) -> ShardManifest:
    """Return the manifest of a folder, after checking that it holds exactly the listed shards; their bytes are not read.

    Args:
        made_by: the command that makes the shards, as an error's next command.

    Raises:
        UserError: the manifest is missing, in an older format or damaged; a shard is missing, unfinished or not listed.
    """
    manifest = load_manifest(folder)
    there = {path.name for path in folder.glob("*.parquet")}
    if manifest is None:
        if not there:
            raise UserError(str(folder), got="no such table", expected="a folder of shards", do=made_by)
        got = "no readable list of shards" if (folder / FILE).exists() else "no such file"
        raise UserError(str(folder / FILE), got=got, expected="rows and hashes of the shards", do=made_by)
    for name in map(shard_name, range(manifest.shards)):  # no list: the number may be anything
        if name not in there or name not in manifest.files:
            got = "no such file" if name not in there else "an unfinished shard"
            raise UserError(
                str(folder / name), got=got, expected=f"one of {manifest.shards} shards", do=made_by
            )
    for name in sorted(there - set(manifest.names())):
        raise UserError(
            str(folder / name), got="one shard too many", expected=f"{manifest.shards} shards", do=made_by
        )
    return manifest


def check_shards(folder: Path, *, made_by: str) -> ShardManifest:
    """Return the manifest of a folder, after checking that it holds exactly the listed shards, with unchanged bytes.

    Raises:
        UserError: as for `check_names`, or the bytes of a shard have changed.
    """
    manifest = check_names(folder, made_by=made_by)
    for name, wanted in manifest.files.items():
        check_bytes(folder / name, wanted, made_by=made_by)
    return manifest


def check_bytes(path: Path, wanted: ShardFile, *, made_by: str) -> None:
    """Compare a shard's bytes with the hash in the manifest.

    Raises:
        UserError: they differ.
    """
    sha256 = hash_path(path)
    if sha256 != wanted.sha256:
        raise UserError(
            str(path),
            got=f"SHA-256 {sha256[:12]}…",
            expected=f"{wanted.sha256[:12]}…, the {wanted.rows} rows that {FILE} lists",
            do=made_by,
        )


def _parse(raw: dict[str, Any]) -> ShardManifest | None:
    """Return the manifest in a JSON object; None if a field is missing or malformed."""
    fingerprint, shards, files = raw.get("fingerprint"), raw.get("shards"), raw.get("files")
    if not isinstance(fingerprint, dict) or not isinstance(files, dict) or type(shards) is not int:
        return None
    if shards < 0 or not all(isinstance(value, str) for value in fingerprint.values()):
        return None
    found = {}
    for name, one in files.items():
        index = re.fullmatch(r"([0-9]{5,18})\.parquet", name)
        if index is None or name != shard_name(int(index[1])) or int(index[1]) >= shards:
            return None
        shard = _parse_file(one)
        if shard is None:
            return None
        found[name] = shard
    return ShardManifest(fingerprint, shards, found)


def _parse_file(one: object) -> ShardFile | None:
    """Return the entry of one shard; None if a field is missing or malformed."""
    if not isinstance(one, dict):
        return None
    rows, sha256, used = one.get("rows"), one.get("sha256"), one.get("prompts_at_once", [])
    if type(rows) is not int or rows < 0:
        return None
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return None
    if not isinstance(used, list) or not all(type(number) is int and number > 0 for number in used):
        return None
    return ShardFile(rows=rows, sha256=sha256, prompts_at_once=tuple(used))


def _as_json(manifest: ShardManifest) -> dict[str, Any]:
    """Return the manifest as a JSON object; a shard has the numbers of prompts in flight only if memory ran out."""
    plain = asdict(manifest)
    for one in plain["files"].values():
        if not one["prompts_at_once"]:
            del one["prompts_at_once"]
    return plain
