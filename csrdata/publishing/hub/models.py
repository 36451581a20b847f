"""A model of the Hub at one commit: a branch or tag is resolved once, and the files that are needed go to the Hub's cache.

The cache is `huggingface_hub`'s own, so that a model that the user has is not downloaded again. With HF_HUB_OFFLINE set,
everything comes from the cache.
"""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csrdata.errors import UserError
from csrdata.hub_client import connect
from csrdata.pinned import COMMIT, Pinned, facts, place_of
from csrdata.publishing.folders import room

if TYPE_CHECKING:
    from csrdata.hub_client import Connection

Select = Callable[[Collection[str], str], Sequence[str]]
"""Given all names of a repository's files and its place in words, return those to bring; raise where some are missing."""


def pin(
    repo_id: str, revision: str | None, select: Select, *, key: str, known: Pinned | None = None
) -> Pinned:
    """Resolve a model of the Hub, bring its files to the cache, and return the record of them.

    Args:
        repo_id: `OWNER/NAME`.
        revision: a branch, tag or commit; None for the main branch.
        select: which files are needed.
        key: of params.yaml that names the model, for errors.
        known: an earlier record. Of the same model and revision, its commit and its files stay, whatever the branch is
            now; a file that is missing from the cache is downloaded again.

    Raises:
        UserError: the model, the revision or a file is missing, this user may not read it, the Hub is away, or the
            download is not what was recorded.
    """
    kept = known if known is not None and (known.id, known.asked) == (repo_id, revision) else None
    wanted = revision if kept is None else kept.revision
    if kept is not None and all((place_of(kept) / name).is_file() for name in kept.files):
        return kept
    commit, names = _bring(repo_id, wanted, select, key=key)
    if kept is not None:
        return kept
    found = Pinned(id=repo_id, revision=commit, asked=revision, files={})
    return found.model_copy(update={"files": facts(place_of(found), names)})


def _bring(repo_id: str, revision: str | None, select: Select, *, key: str) -> tuple[str, Sequence[str]]:
    """Bring a model's files to the cache; return its commit and their names."""
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise UserError(
            "the Hub's client", got=str(error), expected="huggingface_hub", do="pip install 'csrdata[hub]'"
        ) from None
    if constants.HF_HUB_OFFLINE:
        return _from_cache(repo_id, revision, select, key=key)
    place = f"hub {repo_id}"
    with connect(repo_id, repo_type="model") as connection:
        info = connection.ask(lambda: connection.api.model_info(repo_id, revision=revision))
        if not re.fullmatch(COMMIT, info.sha or ""):
            raise UserError(place, got=f"the commit {info.sha}", expected="40 hex digits", do="dvc repro")
        names = select([file.rfilename for file in info.siblings or []], place)
        # By the name that was asked for: the cache then knows that name too, for a run without the Hub.
        commit = _download(connection, revision, names)
    if commit != info.sha:
        got = f"commit {commit[:12]} after {str(info.sha)[:12]}"
        raise UserError(place, got=got, expected="one commit: somebody pushed meanwhile", do="dvc repro")
    return str(info.sha), names


def _download(connection: "Connection", revision: str | None, names: Sequence[str]) -> str:
    """Bring files to the cache and return their commit."""
    from huggingface_hub import constants, snapshot_download

    again = "make room, or set HF_HOME to a larger disk, then: dvc repro"
    with room(Path(constants.HF_HUB_CACHE), expected=f"room for {connection.repo_id}", do=again):
        folder = connection.ask(
            lambda: snapshot_download(
                connection.repo_id,
                revision=revision,
                endpoint=connection.api.endpoint,
                token=connection.token or False,
                allow_patterns=[re.sub(r"([*?\[])", r"[\1]", name) for name in names],
            )
        )
    return Path(folder).name


def _from_cache(repo_id: str, revision: str | None, select: Select, *, key: str) -> tuple[str, Sequence[str]]:
    """Return a model's commit and files as the cache has them, in its documented layout: `refs` and `snapshots`.

    The library itself refuses a snapshot of which some files were not downloaded, such as pickles and pictures.
    """
    snapshots = place_of(Pinned(id=repo_id, revision="0" * 40, files={})).parent
    commit = revision or "main"
    ref = snapshots.parent / "refs" / commit
    if ref.is_file():
        commit = ref.read_text(encoding="utf-8").strip()
    folder = snapshots / commit
    if not re.fullmatch(COMMIT, commit) or not folder.is_dir():
        at = f" --revision {revision}" if revision else ""
        raise UserError(
            f"params.yaml: {key}",
            got=f"{repo_id}{f' at {revision}' if revision else ''}, which the cache lacks",
            expected="a model in the cache, as HF_HUB_OFFLINE is set",
            do=f"HF_HUB_OFFLINE=0 hf download {repo_id}{at}",
        )
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return commit, select(names, f"hub {repo_id}")
