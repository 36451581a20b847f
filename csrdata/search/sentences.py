"""Where a sentence ends, found in text, so that any tokenizer may stand behind it.

The decoder asks after every token: does the text so far end a sentence (`boundary`)? Most answers are certain at once.
Where only the characters that follow can tell ("3." may become "3.5"), the answer is `NEXT`, and `ends_before` decides
when they are there. `split` applies the same rules to a whole text.

These are rules for plain prose, not a parser: an ordinary word with a full stop ends its sentence even where no white
space follows ("example.com"), because waiting for certainty would cost one decoded token per sentence. A text without
a letter or a digit is no sentence and never ends; it clings to the one after it.
"""

import re
from enum import Enum, auto

STOPS = frozenset(".!?…。！？")
"""Characters that end a sentence."""
CLOSERS = frozenset("\"'”’»›)]}」』）】*")
"""Characters that may follow the stop and still belong to its sentence."""
TERMINATORS = STOPS | CLOSERS | {"\n"}
"""A sentence can end only where one of these was just written: newer text without any of them never ends one."""

_OPENERS = "\"'“‘«‹([{「『（【*"
_BRACKETS = tuple(zip("([{“«「『（【", ")]}”»」』）】", strict=True))

# Titles and the like: a name or an explanation always follows.
_NEVER = frozenset("Mr Mrs Ms Mx Dr Prof St Gen Sen Rep Rev Hon Capt Lt Col Sgt vs cf viz e.g i.e".split())
# Short for something that a number follows; without one they are words ("No.").
_NUMBERED = frozenset(
    "No no Nos nos Fig Figs fig figs Eq Eqs Sec Ch Vol vol p pp Jan Feb Aug Sept Oct Nov Dec".split()
)
# Abbreviations that may as well be a sentence's last word.
_OPEN_ENDED = frozenset("etc al approx Inc Ltd Co Corp Jr Sr Ave Rd Blvd ft lb oz".split())

_LIST_MARKER = re.compile(r"[(\[]?\d{1,3}\.")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")


class Boundary(Enum):
    """Whether a text ends a sentence."""

    NO = auto()
    END = auto()
    """For certain."""
    NEXT = auto()
    """Only the characters that follow can tell: ask `ends_before`."""


class _Needs(Enum):
    """What has to follow for a doubtful end to be one; a new line or the end of the text always will do."""

    BLANK = auto()
    """White space: "3." is not "3.5", and no quote closes."""
    CAPITAL = auto()
    """White space and a capital (or a letter of a script without cases): "etc. The"."""
    NO_NUMBER = auto()
    """White space and anything but a digit: "No. The" but not "No. 5"."""
    LINE = auto()
    """Nothing else: "J. Smith" looks like an end in every other respect."""


def boundary(text: str) -> Boundary:
    """Say whether `text`, a sentence so far, ends here. White space around it does not matter, except a new line.

    Examples:
        "A red circle." -> END             " Is it red?" -> END           "It is 红色的。" -> END
        "It is 3." -> NEXT (3.5?)          "It is 3.5" -> NO              "It is 3.5." -> NEXT
        "Ask Mr." -> NO                    "Shapes, e.g." -> NO           "No." -> NEXT (No. 5?)
        "Circles, stars etc." -> NEXT      "By J." -> NEXT (J. Smith?)    "Wait..." -> NEXT
        'It says "Stop.' -> NEXT (a quote is still open)                  'It says "Stop."' -> NEXT ("...", he said?)
        "1." -> NO (opens a list)          "1. A red circle." -> END      "A title\\n" -> END
        "" -> NO                           "\\n" -> NO                     "..." -> NO (no sentence yet)
    """
    core = text.strip()
    if not any(character.isalnum() for character in core):
        return Boundary.NO
    blanks = text[len(text.rstrip()) :]
    if "\n" in blanks:
        return Boundary.END
    verdict = _examine(core)
    if isinstance(verdict, Boundary):
        return verdict
    return Boundary.END if blanks and verdict is _Needs.BLANK else Boundary.NEXT


def ends_before(text: str, following: str) -> bool:
    """Say whether `following`, decoded after a text whose boundary is `NEXT`, confirms that the sentence ended.

    Args:
        text: the sentence so far.
        following: what was decoded after it, usually one token's text; "" at the end of the sequence.

    Examples:
        "It is 3.", "5" -> False           "It is 3.", " The" -> True     "It is 3.", "" -> True
        "stars etc.", " and" -> False      "stars etc.", " The" -> True   "By J.", " Smith" -> False
        "No.", " The" -> True              "No.", " 5" -> False           'It says "Stop.', '"' -> False
    """
    core = text.strip()
    after = text[len(text.rstrip()) :] + following
    verdict = _examine(core)
    if isinstance(verdict, Boundary):
        return verdict is Boundary.END
    if not after:
        return True
    if not after[0].isspace():
        return False
    visible = after.lstrip()
    if "\n" in after[: len(after) - len(visible)]:
        return True
    return _confirms(verdict, visible)


def split(text: str) -> list[str]:
    """Split a whole text into its sentences, white space stripped; none is empty, no visible character is lost.

    Example: 'Mr. Fox sees 3.5 circles. "Really?" he asks!' -> ['Mr. Fox sees 3.5 circles.', '"Really?" he asks!']
    """
    sentences: list[str] = []
    start = 0
    for index, character in enumerate(text):
        # A run such as `?!"` is one end, not three.
        goes_on = text[index + 1 : index + 2] in STOPS | CLOSERS
        if character not in TERMINATORS or (goes_on and character != "\n"):
            continue
        so_far = text[start : index + 1]
        verdict = boundary(so_far)
        if verdict is Boundary.END or (verdict is Boundary.NEXT and ends_before(so_far, text[index + 1 :])):
            sentences.append(so_far.strip())
            start = index + 1
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def _examine(core: str) -> Boundary | _Needs:
    """Look at the end of a stripped text: `NO`, `END`, or what it needs to be an end."""
    stem = core.rstrip("".join(CLOSERS))
    if not stem or stem[-1] not in STOPS:
        return Boundary.NO
    if stem != core:
        return _Needs.CAPITAL
    stop = _examine_stop(stem)
    return _Needs.BLANK if stop is Boundary.END and _is_open(stem) else stop


def _examine_stop(stem: str) -> Boundary | _Needs:
    """Look at a text that ends with a stop."""
    if stem.endswith(("..", "…")):
        return _Needs.CAPITAL
    if stem[-1] != ".":
        return Boundary.END
    if _LIST_MARKER.fullmatch(stem):
        return Boundary.NO
    return _examine_word(re.split(r"\s", stem[:-1])[-1].lstrip(_OPENERS))


def _examine_word(word: str) -> Boundary | _Needs:
    """Look at the word before a full stop."""
    if word in _NEVER or word.lower() in {"e.g", "i.e"}:
        return Boundary.NO
    if word in _NUMBERED:
        return _Needs.NO_NUMBER
    if len(word) == 1 and word.isupper() and word.isascii():
        return _Needs.LINE
    if (
        word in _OPEN_ENDED
        or _DOTTED.fullmatch(word)
        or (len(word) == 1 and word.isalpha() and word.isascii())
    ):
        return _Needs.CAPITAL
    return _Needs.BLANK if not word or word[-1].isdigit() else Boundary.END


def _is_open(text: str) -> bool:
    """Say whether a quote or a bracket is still open, so that a closing one may belong to the sentence."""
    if text.count('"') % 2:
        return True
    return any(text.count(left) > text.count(right) for left, right in _BRACKETS)


def _confirms(needs: _Needs, visible: str) -> bool:
    """Say whether the text after the white space is what was needed; white space alone satisfies only `BLANK`."""
    if needs is _Needs.BLANK:
        return True
    opening = visible.lstrip(_OPENERS)[:1]
    if needs is _Needs.NO_NUMBER:
        return bool(opening) and not opening.isdigit()
    return needs is _Needs.CAPITAL and opening.isalpha() and not opening.islower()
