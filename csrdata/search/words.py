"""The length of a text in words: the measure for pairs, limits on length, and reports.

In scripts with spaces between words, the count is `len(text.split())`: white space separates words, punctuation does not.
Chinese, Japanese, Thai, Lao, Khmer and Burmese have no spaces between words. There each letter or digit counts as one word;
combining marks and punctuation do not count. Korean has spaces and is counted like English.

`words` gives the words themselves, for comparisons of texts.
"""

import re

_LETTERS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3031-\u3035\u303b"  # Han iteration marks, zero
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3100-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"  # Han, rare characters
)
_UNSPACED = re.compile(f"[{_LETTERS}]")
_RUN = re.compile(f"[^{_LETTERS}]+")
_PARTS = re.compile(f"[{_LETTERS}]|[^{_LETTERS}]+")


def word_count(text: str) -> int:
    """Return the number of words of a text; in a script without spaces, the number of its letters and digits.

    Examples: "There is a red circle." -> 5; "这是iPhone手机。" -> 5 (four characters and a name); "빨간 원이 있다." -> 3
    """
    return sum(_count(piece) for piece in text.split())


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; in a script without spaces, its letters and digits.

    Examples: "It's a red circle." -> it's a red circle; "这是iPhone。" -> 这 是 iphone
    """
    found: list[str] = []
    for piece in text.lower().split():
        for part in _PARTS.findall(piece):
            core = part.strip("".join(character for character in part if not character.isalnum()))
            found += [core] if core else []
    return found


def _count(piece: str) -> int:
    """Count the words of a text without white space."""
    if not _UNSPACED.search(piece):
        return 1
    letters = sum(match[0].isalnum() for match in _UNSPACED.finditer(piece))
    others = sum(any(map(str.isalnum, match[0])) for match in _RUN.finditer(piece))
    return letters + others
