"""The columns of a release: preference pairs as TRL reads them, and every candidate sentence.

A pair is a conversation in TRL's standard columns (`images`, `prompt`, `chosen`, `rejected`). Contents are plain strings,
and the image comes before the user's turn, as TRL 1.16 inserts it. Where all pairs are whole answers, these are trimmed,
because a chat template puts a space or a line break before an answer. Where some pairs continue an answer, all sides are as
generated: behind the column `context` they are its text. No conversation says that a turn does not end, so the card has code
that makes plain text of such pairs.

The release also contains the project's own table with the generated text, whose tokens the log-probabilities describe.
`Features` are written into the Parquet files, so that `load_dataset` returns images; for a file written by polars it would
return a struct of bytes.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from csrdata.columns import columns
from csrdata.errors import UserError
from csrdata.records import Pair, Record, Sentence

if TYPE_CHECKING:
    from datasets import Features

Images = Literal["embed", "reference"]
"""`embed`: a row contains its image's bytes. `reference`: a row contains only its image's name."""

CONVERSATION = ("prompt", "chosen", "rejected")
"""The columns that hold messages."""

SIDES = ("context", "chosen_complete", "rejected_complete")
"""The columns that say how the sides of a pair continue an answer."""

IMAGE_PATH = "image_path"
"""The column of the name of a pair's image. It is not `image`, which TRL's collator would read as the image itself."""

KEPT = tuple(column.name for column in columns(Pair) if column.name not in {*CONVERSATION, "image"})
"""The columns of a pair that do not change: ids, scores, lengths."""

_OF_PAIR = {field.name for field in fields(Pair)}

ITERATION = "iteration"
"""The column of a candidate's iteration: the one whose search proposed it."""

_TYPES = {"String": "string", "Int64": "int64", "Float64": "float64", "Boolean": "bool"}


def parse_images(word: str) -> Images:
    """Return the value of `--images` or of a manifest's `images`, as a literal type.

    Raises:
        UserError: the value is neither `embed` nor `reference`.
    """
    for known in get_args(Images):
        if word == known:
            return known  # type: ignore[no-any-return]
    raise UserError("images", got=word, expected="embed or reference", do="csrdata push --help")


def pair_features(images: Images) -> "Features":
    """Return the features of the pairs; with `reference`, there is no column `images`."""
    from datasets import Features, Image, List, Value

    messages = List({"role": Value("string"), "content": Value("string")})
    types = {column.name: column.dtype for column in columns(Pair)}
    return Features(
        {
            **({"images": List(Image())} if images == "embed" else {}),
            **dict.fromkeys(CONVERSATION, messages),
            IMAGE_PATH: Value("string"),
            **{name: Value(_TYPES[types[name]]) for name in KEPT},
        }
    )


def pair_row(pair: Pair, image: bytes | None, *, trimmed: bool = True) -> dict[str, Any]:
    """Return a pair's row.

    Args:
        pair: its image under the release's name.
        image: the bytes of its image file; None if rows only name it.
        trimmed: without the white space around its two answers; False for a set in which some pairs continue an answer.

    Example: `Pair(chosen=" A cat.", image="images/5f.png", ...)` -> `{"images": [{"bytes": ..., "path": "5f.png"}],
    "chosen": [{"role": "assistant", "content": "A cat."}], "image_path": "images/5f.png", ...}`
    """
    embedded = {} if image is None else {"images": [{"bytes": image, "path": pair.image.rpartition("/")[2]}]}
    chosen, rejected = (text.strip() if trimmed else text for text in (pair.chosen, pair.rejected))
    return {
        **embedded,
        "prompt": [_message("user", pair.prompt.strip())],
        "chosen": [_message("assistant", chosen)],
        "rejected": [_message("assistant", rejected)],
        IMAGE_PATH: pair.image,
        **{name: getattr(pair if name in _OF_PAIR else pair.scores, name) for name in KEPT},
    }


def candidate_features() -> "Features":
    """Return the features of the candidates: the columns of `csrdata.records.Sentence`, and the iteration."""
    from datasets import Features, Value

    return Features({ITERATION: Value("string"), **_features(Sentence)})


def _features(record: Record) -> dict[str, Any]:
    from datasets import List, Value

    return {
        column.name: List(Value(_TYPES[column.dtype[5:-1]]))
        if column.dtype.startswith("List(")
        else Value(_TYPES[column.dtype])
        for column in columns(record)
    }


def _message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
