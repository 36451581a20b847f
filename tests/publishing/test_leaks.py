"""What counts as a path of a machine, an address or a token in free text, and what only looks like one."""

import pytest

from csrdata.publishing.release.leaks import Leak, find_leak


@pytest.mark.parametrize(
    "text",
    [
        "read /home/ann/x.png",
        '"path": "/data"',
        "path: /mnt",
        "- /mnt",
        "cmd: /usr/bin/python train.py",
        "file:///etc/hosts",
        r"C:\Users\ann\x.png",
        r'"C:\\Users\\ann"',
        "~/x.png",
        "~ann/x.png",
        "$HOME/x",
        "${HOME}/x",
        "%USERPROFILE%",
        "../x.png",
        "a/../../x",
        r"..\x",
        "hf_" + "a1B2" * 9,
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "AKIA" + "ABCDEFGH12345678",
        "sk-" + "a1B2" * 9,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "https://ann:secret@host/x",
        "token=Zx81kkPq20aaLm",
        'HF_TOKEN: "Zx81kkPq20aaLm"',
        "api_key = Zx81kkPq20aaLm",
    ],
)
def test_a_leak_is_found(text: str) -> None:
    """A leak is reported with its line, among lines without a leak."""
    found = find_leak(f"first line\n{text}\nlast line")
    assert found is not None
    assert found.line == 2


@pytest.mark.parametrize(
    "text",
    [
        "R_T/R_I and chosen / rejected, 0..1, km/h, 3/4",
        "</s> and <image>, a/b/c, data/images/7.png, ./x",
        "https://arxiv.org/abs/2405.14622 and (https://huggingface.co/docs/trl/dpo)",
        "[arXiv 2405.14622](https://arxiv.org/abs/2405.14622)",
        "~1,000 rows, ~10/s",
        "max_sentence_tokens: 74  # tokens of one sentence; chosen_tokens: 1024",
        "the token that ends a turn: </s>",
        "hf://datasets/me/set@v1",
        "password: see the manual",
    ],
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    """Figures, ratios, special tokens, links and paths inside the project stay."""
    assert find_leak(text) is None


def test_an_address_is_a_leak_where_a_remote_could_stand() -> None:
    """In a dvc.lock, the address of a bucket or host is a leak; elsewhere it is a link."""
    assert find_leak("path: s3://bucket/data") is None
    assert find_leak("path: s3://bucket/data", remotes=True) == Leak(1, "an address (s3://)")


def test_a_token_is_not_shown_and_a_path_is() -> None:
    """The error shows a path, so that the user can remove it, but never a token."""
    assert find_leak("a\n'/srv/x/y'") == Leak(2, "an absolute path (/srv/x/y)")
    assert find_leak("hf_" + "a1B2" * 9) == Leak(1, "a Hugging Face token")
