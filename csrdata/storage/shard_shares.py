"""Shards that several processes make together, on any number of machines with one shared folder.

Process `part` of `of` makes the shards whose number modulo `of` is `part`. It lists a finished shard in a separate record
(`00007.json`), so that no two processes write the same file. When all shards have one, whoever comes last, or the next run
of the stage, writes the manifest and removes the records. The folder then has the bytes that one process would have written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.storage import shard_manifest
from csrdata.storage.shard_manifest import ShardFile
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True, slots=True)
class Share:
    """Which shards a process makes."""

    part: int
    """0 to `of` - 1."""
    of: int
    """1 or more."""

    def __str__(self) -> str:
        return f"{self.part}/{self.of}"

    def numbers(self, shards: int) -> list[int]:
        """Return the numbers of the shards of this share.

        Example: share 1/3 of 8 shards -> 1 4 7
        """
        return list(range(self.part, shards, self.of))


class ShareStore(ShardStore):
    """The store of a share: it makes and lists its own shards, and leaves those of the others alone."""

    def __init__(self, store: ShardStore, share: Share) -> None:
        super().__init__(
            store.folder, store.record, fingerprint=store.empty.fingerprint, shards=store.empty.shards
        )
        self.share = share

    def own(self) -> list[int]:
        return self.share.numbers(self.empty.shards)

    def add(self, index: int, written: ShardFile) -> None:
        """List a finished shard in its record. If the process is killed before this, the shard is made again."""
        shard_manifest.write_record(self.folder, self._with({self.path(index).name: written}))

    def finish(self) -> None:
        """Write the manifest and remove the records if the shards of all shares are there; else change nothing.

        Two processes may do so at the same time: they write the same bytes.
        """
        listed = self._present()
        if len(listed) == self.empty.shards:
            self._manifest = self._with(listed)
            super().finish()

    def waiting(self) -> Sequence[int]:
        """Return the numbers of the shards of all shares that are not finished, in order; no shard is read."""
        present = self._present()
        return [index for index in range(self.empty.shards) if self.path(index).name not in present]

    def _present(self) -> dict[str, ShardFile]:
        listed = self.listed(self.empty.names())
        return {name: one for name, one in listed.items() if (self.folder / name).is_file()}
