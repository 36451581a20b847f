"""The detection of sentence ends. It uses text alone, so it works with any tokenizer.

After every token the decoder calls `boundary`: does the text so far end a sentence? The answer is usually certain. It is
`NEXT` if the following characters decide ("3." may become "3.5"); `ends_before` then decides when they are known. `split`
applies the same rules to a whole text.

The rules are for plain prose. A full stop after an ordinary word ends the sentence even if no white space follows
("example.com"), because waiting for certainty would cost one decoded token per sentence. A text without a letter or a digit
is not a sentence and never ends; it is joined to the next one. Thai and Lao have no mark for the end of a sentence: only a
new line, or the limit on a sentence's tokens, ends one.
"""

import re
from enum import Enum, auto

_LATIN = ".!?…‼‽⁇⁈⁉"
_EAST_ASIAN = "。．！？｡﹒﹖﹗"
_INDIAN = "\u0964\u0965\u1c3b\u1c3c\uabeb\uaaf0\uaaf1"  # danda and double danda; Lepcha; Meetei Mayek
_ARABIC = "\u061d\u061e\u061f\u06d4\u0700\u0701\u0702"  # Arabic, Urdu, Syriac
_OTHERS = (
    "\u0589"  # Armenian
    "\u1362\u1367\u1368"  # Ethiopic
    "\u104a\u104b"  # Burmese
    "\u17d4\u17d5"  # Khmer
    "\u1803\u1809"  # Mongolian
    "\u07f9\u166e\u1735\u1736\u1944\u1945\u1c7e\u1c7f\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua92f"  # N'Ko to Kayah Li
    "\u1b5a\u1b5b\u1b5e\u1b5f\ua8ce\ua8cf\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f"  # Balinese, Saurashtra, Javanese, Cham
)
STOPS = frozenset(_LATIN + _EAST_ASIAN + _INDIAN + _ARABIC + _OTHERS)
"""Characters that end a sentence: Unicode's Sentence_Terminal in the scripts in use today, and the ellipsis."""
CLOSERS = frozenset("\"'”’»›)]}」』）】*")
"""Characters that can follow the stop and still belong to its sentence."""
TERMINATORS = STOPS | CLOSERS | {"\n"}
"""A sentence can end only after one of these: new text without any of them does not end a sentence."""

_FULL_STOPS = frozenset(".．﹒")
"""Stops that also occur in abbreviations and numbers."""
_OPENERS = "\"'“‘«‹([{「『（【*"
_BRACKETS = tuple(zip("([{“«「『（【", ")]}”»」』）】", strict=True))

# Titles and similar abbreviations: a name or an explanation always follows.
_NEVER = frozenset("Mr Mrs Ms Mx Dr Prof St Gen Sen Rep Rev Hon Capt Lt Col Sgt vs cf viz e.g i.e Ph".split())
# Abbreviations before a number; without a number some of them are words ("No.").
_NUMBERED = frozenset(
    "No no Nos nos Fig Figs fig figs Eq Eqs Sec Ch Vol vol p pp Jan Feb Aug Sept Oct Nov Dec".split()
)
# Abbreviations that can also be a sentence's last word.
_OPEN_ENDED = frozenset("etc al approx Inc Ltd Co Corp Jr Sr Ave Rd Blvd ft lb oz".split())
# Abbreviations often followed by a name ("a Ph.D. Student"): an end only if the next word is one of `_OPENING_WORDS`.
_BEFORE_NAMES = frozenset("Ph.D M.Sc B.Sc M.Ed B.Ed D.Phil".split())
_OPENING_WORDS = frozenset(
    "A An The This That These Those There Here He She It We They You I His Her Its Their Our My Your "
    "In On At To From With By For Of As Near Above Below Behind Under Between Around Inside Outside "
    "And But Or So Yet If When While Where Because Although After Before Then Also However "
    "What Who Why How Which Is Are Was Were Do Does Did Can Could Some Many Most All Both Each Every No Not One Two".split()
)

_MARKER = re.compile(r"(?:^|(?<=\s))[(\[]?(\d{1,3})\.(?=\s|$)")
"""A number that opens an item of a list: "1.", "(2."."""
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")


class Boundary(Enum):
    """Whether a text ends a sentence."""

    NO = auto()
    END = auto()
    """It certainly does."""
    NEXT = auto()
    """The following characters decide: call `ends_before`."""


class _Needs(Enum):
    """What must follow an uncertain end to confirm it. A new line or the end of the text always confirms it."""

    BLANK = auto()
    """White space: so "3." is not the start of "3.5", and no closing quote follows."""
    CAPITAL = auto()
    """White space and a capital, or a letter of a script without case: "etc. The"."""
    OPENING = auto()
    """White space and a word that often starts a sentence: "in the U.S. The" but not "the U.S. Army"."""
    NO_NUMBER = auto()
    """White space and a character other than a digit: "No. The" but not "No. 5"."""
    LINE = auto()
    """A new line or the end of the text only: "J. Smith" has white space and a capital too."""


def boundary(text: str) -> Boundary:
    """Return whether `text`, the sentence so far, ends here. White space around it is ignored, except a new line at the end.

    Examples:
        "A red circle." -> END             " Is it red?" -> END           "It is 红色的。" -> END
        "It is 3." -> NEXT (3.5?)          "It is 3.5" -> NO              "It is 3.5." -> NEXT
        "Ask Mr." -> NO                    "Shapes, e.g." -> NO           "No." -> NEXT (No. 5?)
        "Circles, stars etc." -> NEXT      "By J." -> NEXT (J. Smith?)    "Wait..." -> NEXT
        'It says "Stop.' -> NEXT (a quote is still open)                  'It says "Stop."' -> NEXT ("...", he said?)
        "1." -> NO (opens a list)          "1. A red circle." -> END      "A title\\n" -> END
        "1. a circle 2." -> NO (a list in a line)                         "In the U.S." -> NEXT (U.S. Army?)
        "" -> NO                           "\\n" -> NO                     "..." -> NO (no sentence yet)
    """
    core = text.strip()
    if not any(character.isalnum() for character in core):
        return Boundary.NO
    blanks = text[len(text.rstrip()) :]
    if "\n" in blanks:
        return Boundary.END
    result = _examine(core)
    if isinstance(result, Boundary):
        return result
    return Boundary.END if blanks and result is _Needs.BLANK else Boundary.NEXT


def ends_before(text: str, following: str) -> bool:
    """Return whether `following`, decoded after a text whose boundary is `NEXT`, confirms that the sentence ended.

    Args:
        text: the sentence so far.
        following: the text decoded after it, usually of one token; "" at the end of the sequence. The beginning of a word
            is treated as the whole word. Without a word, only an end that needs just white space is confirmed.

    Examples:
        "It is 3.", "5" -> False           "It is 3.", " The" -> True     "It is 3.", "" -> True
        "stars etc.", " and" -> False      "stars etc.", " The" -> True   "By J.", " Smith" -> False
        "No.", " The" -> True              "No.", " 5" -> False           'It says "Stop.', '"' -> False
    """
    core = text.strip()
    after = text[len(text.rstrip()) :] + following
    result = _examine(core)
    if isinstance(result, Boundary):
        return result is Boundary.END
    if not after:
        return True
    if not after[0].isspace():
        return False
    visible = after.lstrip()
    if "\n" in after[: len(after) - len(visible)]:
        return True
    return _confirms(result, visible)


def split(text: str) -> list[str]:
    """Split a text into sentences, stripped of white space. No sentence is empty; no visible character is lost.

    Example: 'Mr. Fox sees 3.5 circles. "Really?" he asks!' -> ['Mr. Fox sees 3.5 circles.', '"Really?" he asks!']
    """
    sentences: list[str] = []
    start = 0
    for index, character in enumerate(text):
        # Several marks in a row, such as `?!"`, are one end.
        goes_on = text[index + 1 : index + 2] in STOPS | CLOSERS
        if character not in TERMINATORS or (goes_on and character != "\n"):
            continue
        so_far = text[start : index + 1]
        result = boundary(so_far)
        if result is Boundary.END or (result is Boundary.NEXT and ends_before(so_far, text[index + 1 :])):
            sentences.append(so_far.strip())
            start = index + 1
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def _examine(core: str) -> Boundary | _Needs:
    """Return whether a stripped text ends a sentence: `NO`, `END`, or what must follow."""
    stem = core.rstrip("".join(CLOSERS))
    if not stem or stem[-1] not in STOPS:
        return Boundary.NO
    if stem != core:
        return _Needs.CAPITAL
    stop = _examine_stop(stem)
    return _Needs.BLANK if stop is Boundary.END and _is_open(stem) else stop


def _examine_stop(stem: str) -> Boundary | _Needs:
    """Return the same for a text that ends with a stop."""
    if stem.endswith(("..", "…")):
        return _Needs.CAPITAL
    if stem[-1] not in _FULL_STOPS:
        return Boundary.END
    if _is_marker(stem):
        return Boundary.NO
    return _examine_word(re.split(r"\s", stem[:-1])[-1].lstrip(_OPENERS))


def _examine_word(word: str) -> Boundary | _Needs:
    """Return the same for the word before a full stop."""
    if word in _NEVER or word.lower() in {"e.g", "i.e"}:
        return Boundary.NO
    if word in _NUMBERED:
        return _Needs.NO_NUMBER
    if len(word) == 1 and word.isupper() and word.isascii():
        return _Needs.LINE
    if word in _BEFORE_NAMES or (_DOTTED.fullmatch(word) and word.isupper()):
        return _Needs.OPENING
    if (
        word in _OPEN_ENDED
        or _DOTTED.fullmatch(word)
        or (len(word) == 1 and word.isalpha() and word.isascii())
    ):
        return _Needs.CAPITAL
    return _Needs.BLANK if not word or word[-1].isdigit() else Boundary.END


def _is_marker(stem: str) -> bool:
    """Return whether a text ends with the number of a list item: its first word, "1." after a colon, or the next number.

    Examples: "2." -> True; "There are: 1." -> True; "1. a circle 2." -> True; "It has 2." -> False
    """
    last: int | None = None
    ends = False
    for match in _MARKER.finditer(stem):
        number, before = int(match[1]), stem[: match.start()].rstrip()
        opens = not before or (number == 1 and before.endswith(":"))
        is_marker = opens or (last is not None and number == last + 1)
        last = number if is_marker else last
        ends = is_marker and match.end() == len(stem)
    return ends


def _is_open(text: str) -> bool:
    """Return whether a quote or a bracket is still open, so that a closing one may follow."""
    if text.count('"') % 2:
        return True
    return any(text.count(left) > text.count(right) for left, right in _BRACKETS)


def _confirms(needs: _Needs, visible: str) -> bool:
    """Return whether the text after the white space meets the need; an empty text meets only `BLANK`."""
    if needs is _Needs.BLANK:
        return True
    words = visible.lstrip(_OPENERS)
    opening = words[:1]
    if needs is _Needs.OPENING:
        return re.split(r"[^\w]", words, maxsplit=1)[0] in _OPENING_WORDS
    if needs is _Needs.NO_NUMBER:
        return bool(opening) and not opening.isdigit()
    return needs is _Needs.CAPITAL and opening.isalpha() and not opening.islower()
