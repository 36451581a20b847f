"""Find what must not be in a card or in metadata: paths of a machine, addresses of a remote, tokens.

The patterns are for free text, in which "R_T/R_I", "</s>", "0..1" and "https://host/path" are not paths. An error names the
kind of a token, and never shows the token.
"""

import re
from dataclasses import dataclass

_PATHS = {
    # Two levels, or one level after a quote, a colon or an equals sign: "/etc/hosts", `"/data"`, "path: /data".
    "an absolute path": r"""(?<![\w.:/~<>)\]}*%+-])/(?:[\w.@+-]+/)+[\w.@+-]*|(?:["'`=(]|[:-]\s)/[A-Za-z][\w.@+/-]*"""
    r"""|\b[A-Za-z]:\\{1,2}\w|\bfile:/+\w""",
    "a home path": r"(?<![\w~])~(?:[a-z_][\w.-]*)?/[\w.]|\$\{?HOME\b|%USERPROFILE%",
    "a parent path": r"(?<![\w.])\.\.[/\\]",
}
_TOKENS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a web token": r"\beyJ[\w-]{10,}\.[\w-]{10,}\.",
    "a password in an address": r"://[^\s/@:'\"]*:[^\s/@'\"]+@",
    "a token": r"""(?i)\b(?:[\w-]*[_-])?(?:token|secret|password|passwd|api[_-]?key)["']?\s*[=:]\s*"""
    r"""["']?(?=[^\s"']*\d)[^\s"',)]{12,}""",
}
_REMOTES = {
    "an address": r"\b(?:s3|s3a|gs|gdrive|azure|abfss?|adl|hdfs|webhdfs|ssh|sftp|oss|webdavs?|ftp|https?)://"
}

PATHS, TOKENS, REMOTES = (
    {name: re.compile(pattern) for name, pattern in patterns.items()}
    for patterns in (_PATHS, _TOKENS, _REMOTES)
)


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that must not be published."""

    line: int
    """Its line, counted from 1."""
    what: str
    """Its kind and, unless it is secret, its text: `a home path (~/data)`."""


def find_leak(
    text: str, *, paths: bool = True, remotes: bool = False, secrets: tuple[str, ...] = ()
) -> Leak | None:
    """Return the first leak in a text, tokens before paths.

    Args:
        text: a card or a file of metadata.
        paths: whether a path of a machine is a leak.
        remotes: whether an address is also a leak, as in a dvc.lock.
        secrets: exact texts that must not occur.

    Example: "a\\nread /home/ann/x.png" -> `Leak(2, "an absolute path (/home/ann/x.png)")`
    """
    for secret in secrets:
        if secret and secret in text:
            return Leak(_line(text, text.index(secret)), "the write token")
    for what, pattern in TOKENS.items():
        if found := pattern.search(text):
            return Leak(_line(text, found.start()), what)
    for what, pattern in {**(PATHS if paths else {}), **(REMOTES if remotes else {})}.items():
        if found := pattern.search(text):
            shown = found.group().lstrip("\"'`=(:- ")
            return Leak(_line(text, found.start()), f"{what} ({shown})")
    return None


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
