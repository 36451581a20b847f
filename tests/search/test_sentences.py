"""Sentence ends: certain ends, ends that depend on the next characters, and splitting without loss."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrdata.search.sentences import STOPS, TERMINATORS, Boundary, boundary, ends_before, split
from csrdata.sources.microworld.parsing import all_sentences

PIECES = [
    *(
        " A",
        " The",
        " a",
        " red",
        " circle",
        " star",
        " Army",
        ",",
        ":",
        " 3",
        " 3.5",
        " 1.",
        " 2.",
        " 3.",
    ),
    *(
        " circle.",
        " star!",
        " Is it?",
        " What?!",
        " Wait...",
        " etc.",
        " p.m.",
        " Mr.",
        " No.",
        " J.",
        " e.g.",
    ),
    *(
        " U.S.",
        " Ph.D.",
        ' "Stop."',
        " (It is.)",
        ' "A',
        " (red",
        " star)",
        "\n",
        " 红色的。",
        " वृत्त है।",
        " دائرة؟",
    ),
]
"""Texts of tokens: nothing comes after a stop or a new line in a token, none is part of a word, or a bracket or quote alone."""

PROSE = st.text(st.sampled_from(list("aB3 .!?…\"')(\n。“”*")), max_size=30)


@pytest.mark.parametrize(
    "text",
    [
        "A red circle.",
        " A red circle.",
        "Is it red?",
        "It is red!",
        "There are 3!",
        "它是红色的。",
        "它是红色的吗？",
        "1. A red circle.",
        "A title\n",
        "Objects:\n\n",
        "A red circle. ",
        "(It is red) and round.",
        "The boys' dog.",
        "There are 3. ",
    ],
)
def test_plain_ends_are_certain_at_once(text: str) -> None:
    """An ordinary stop, a CJK stop and a new line end a sentence without look-ahead."""
    assert boundary(text) is Boundary.END


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\n\n",
        "...",
        ". ",
        "1.",
        " 12.",
        "A red",
        "It is 3.5",
        "Mr.",
        "Ask (Dr.",
        "Circles, e.g.",
        "I.e.",
        "x vs.",
        "(a)",
        "don't",
    ],
)
def test_these_never_end(text: str) -> None:
    """Empty text, list markers, titles and abbreviations that something must follow do not end a sentence."""
    assert boundary(text) is Boundary.NO


@pytest.mark.parametrize(
    ("text", "following", "ended"),
    [
        ("It is 3.", "5", False),
        ("It is 3.", " The", True),
        ("It is 3.", "\n", True),
        ("It is 3.", " 3.5", True),
        ("(It is 3.", ")", False),
        ("It is .", "5", False),
        ("No.", " 3.5", False),
        ("No.", " The", True),
        ("No.", " ", False),
        ("See Fig.", " 2", False),
        ("Circles, stars etc.", " and", False),
        ("Circles, stars etc.", " The", True),
        ("Circles, stars etc.", ",", False),
        ("At 5 p.m.", " The", True),
        ("At 5 p.m.", " it", False),
        ("By J.", " Smith", False),
        ("By J.", "\nThe", True),
        ("Shapes, e", ".", False),
        ("Shapes, e.", "g", False),
        ("Wait...", " what", False),
        ("Wait...", " What", True),
        ("Wait…", ' "What', True),
        ("Wait..", ".", False),
        ('It says "Stop.', '"', False),
        ('It says "Stop.', " Then", True),
        ('"Really?"', " she", False),
        ('"Really?"', " The", True),
        ("(It is red.)", " 它", True),
    ],
)
def test_what_follows_decides_the_doubtful(text: str, following: str, ended: bool) -> None:
    """Decimals, numbers, initials, ellipses and open quotes end a sentence only if what follows allows it."""
    if text[-1] in '.?!…")':
        assert boundary(text) is Boundary.NEXT
    assert ends_before(text, following) is ended


@pytest.mark.parametrize(
    "text", ["It is 3.", "No.", "stars etc.", "By J.", "Wait...", 'It says "Stop.', '"Really?"']
)
def test_the_end_of_the_sequence_confirms_every_doubtful_end(text: str) -> None:
    """At the end of the sequence every uncertain end is an end."""
    assert boundary(text) is Boundary.NEXT
    assert ends_before(text, "")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n ", []),
        ("A red circle. A blue star.", ["A red circle.", "A blue star."]),
        ("Mr. Fox has 3.5 circles. He ate 2.", ["Mr. Fox has 3.5 circles.", "He ate 2."]),
        ("No. There is none.", ["No.", "There is none."]),
        ("What?! Yes...", ["What?!", "Yes..."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("1. A circle.\n2. A star.", ["1. A circle.", "2. A star."]),
        ("A title\n\nA circle", ["A title", "A circle"]),
        ("它是红色的。它很大！", ["它是红色的。", "它很大！"]),
        (
            "Shapes, e.g. a star, i.e. one. J. Smith drew it.",
            ["Shapes, e.g. a star, i.e. one.", "J. Smith drew it."],
        ),
        ("Hm... fine. Wait... The end", ["Hm... fine.", "Wait...", "The end"]),
        ("She has a Ph.D. in art. He has none.", ["She has a Ph.D. in art.", "He has none."]),
        ("A Ph.D. The end.", ["A Ph.D.", "The end."]),
        ("The Ph.D. Thesis is red.", ["The Ph.D. Thesis is red."]),
        (
            "The U.S. Army has it. It is in the U.S. The end.",
            ["The U.S. Army has it.", "It is in the U.S.", "The end."],
        ),
        ("1. a circle 2. a star", ["1. a circle 2. a star"]),
        (
            "There are: 1. a circle 2. a star. Both are red.",
            ["There are: 1. a circle 2. a star.", "Both are red."],
        ),
        ("There are: 1. A circle. 2. A star.", ["There are: 1. A circle.", "2. A star."]),
        ("It has 2. It is 3.", ["It has 2.", "It is 3."]),
        ("(1. a circle) (2. a star)", ["(1. a circle) (2. a star)"]),
        ("यह लाल है। यह बड़ा है॥ क्या?", ["यह लाल है।", "यह बड़ा है॥", "क्या?"]),
        ("هذه دائرة حمراء. هل هي كبيرة؟ نعم.", ["هذه دائرة حمراء.", "هل هي كبيرة؟", "نعم."]),
        ("یہ سرخ ہے۔ یہ بڑا ہے۔", ["یہ سرخ ہے۔", "یہ بڑا ہے۔"]),
        ("Սա կարմիր է։ Այն մեծ է։", ["Սա կարմիր է։", "Այն մեծ է։"]),
        ("ቀይ ክብ አለ። ትልቅ ነው፧ አዎ።", ["ቀይ ክብ አለ።", "ትልቅ ነው፧", "አዎ።"]),
        ("စက်ဝိုင်း ရှိသည်။ အနီ။", ["စက်ဝိုင်း ရှိသည်။", "အနီ။"]),
        ("មានរង្វង់។ វាក្រហម។", ["មានរង្វង់។", "វាក្រហម។"]),
        ("赤い丸です。大きいですか？はい｡", ["赤い丸です。", "大きいですか？", "はい｡"]),
        ("高さは３．５です．はい．", ["高さは３．５です．", "はい．"]),
    ],
)
def test_a_text_splits_into_its_sentences(text: str, sentences: list[str]) -> None:
    """`split` applies the same rules to a whole text."""
    assert split(text) == sentences


@given(PROSE)
def test_splitting_loses_no_visible_character(text: str) -> None:
    """Joined again, the sentences hold every visible character in order; none is empty or padded."""
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)


@given(PROSE, PROSE.map(lambda text: "".join(c for c in text if c not in TERMINATORS)))
def test_only_text_with_a_terminator_can_end_a_sentence(text: str, newer: str) -> None:
    """New text without a terminator never ends a sentence, so the decoder need not check it."""
    if boundary(text) is Boundary.NO:
        assert boundary(text + newer) is Boundary.NO


@pytest.mark.parametrize("stop", sorted(STOPS - set(".…．﹒")))
def test_every_other_stop_is_certain(stop: str) -> None:
    """Only a full stop and an ellipsis can be inside a sentence; every other stop is certain."""
    assert boundary(f"Ξ{stop}") is Boundary.END
    assert split(f"Ξ{stop} Ξ{stop}") == [f"Ξ{stop}", f"Ξ{stop}"]


def test_the_microworld_ends_where_it_did() -> None:
    """Each sentence of the microworld ends at its last character, with certainty, and not before."""
    for sentence in all_sentences():
        assert boundary(sentence) is Boundary.END
        assert all(boundary(sentence[:end]) is Boundary.NO for end in range(len(sentence)))


def decoded(pieces: list[str]) -> list[str]:
    """Split as the decoder does: piece after piece, with one more piece if a boundary is uncertain."""
    found, text = [], ""
    for index, piece in enumerate(pieces):
        text += piece
        ended = boundary(text)
        following = pieces[index + 1] if index + 1 < len(pieces) else ""
        if ended is Boundary.END or (ended is Boundary.NEXT and ends_before(text, following)):
            found.append(text.strip())
            text = ""
    return [*found, text.strip()] if text.strip() else found


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_the_decoder_and_split_agree(pieces: list[str]) -> None:
    """One piece of look-ahead gives the same ends as the whole rest of the text."""
    assert decoded(pieces) == split("".join(pieces))
