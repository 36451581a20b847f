"""Yes/no questions about images: how probable "yes" is against "no" as the beginning of a policy's answer.

The questions about an image share its prefix: image and template are encoded once, then the questions' tokens are fed in
one pass (`csrdata.policy.question_block`), or token by token where a model goes on in copies of its cache. Where that
gives other logits than encoding the whole prompt, as for a model that reads a prompt in both directions, each question is
encoded as a separate prompt.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrdata.errors import UserError
from csrdata.policy.choosing import near, passes_for
from csrdata.policy.loading import Policy
from csrdata.policy.one_by_one import PlainPasses, plain_logits
from csrdata.policy.passes import Node, Passes
from csrdata.policy.prompting import encode, special_texts
from csrdata.policy.question_block import QuestionPasses, image_shape

ROWS = 256
"""Questions that are asked together, at most."""
IMAGES = 8
"""Images whose questions are asked together, at most."""
QUESTION_TOKENS = 128
"""Tokens of a long question: the path of decoding is tried with so many."""

Pair = tuple[int, str]
"""An image's index and a question."""


@dataclass(frozen=True)
class Frame:
    """The policy's prompt around a question."""

    before: str
    after: str

    def around(self, question: str) -> str:
        """Return a question as the policy's prompt."""
        return f"{self.before}{question}{self.after}"


def frame_of(policy: Policy) -> Frame:
    """Return the frame of a policy's prompts, as rendered at sampling: a template may print another date today."""
    text = min(policy.wordings, default="Is this true?").strip()
    before, _, after = policy.prompt(text).rpartition(text)
    return Frame(before, after)


@dataclass(frozen=True)
class _Prefix:
    """What is encoded once: an image, and a prompt without its last tokens."""

    image: int
    question: str
    tail: int
    """The number of the prompt's last tokens that are left out; 0 for a whole prompt."""


@dataclass
class Asker:
    """Asks a policy about the images of one shard; answers are kept, so that no question is asked twice of an image.

    The same calls in the same order give the same values.
    """

    policy: Policy
    images: Sequence[Image]
    _known: dict[Pair, float] = field(default_factory=dict)
    _prefixes: dict[int, _Prefix] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _passes: Passes | None = None
    _head: str = ""
    """The question whose prompts give the prefixes."""
    _shares: bool = False
    """Whether the questions about an image share its prefix."""

    def __post_init__(self) -> None:
        """Read from the policy what does not depend on a question."""
        self._frame = frame_of(self.policy)
        self._special = special_texts(self.policy.processor)
        tokenizer = self.policy.tokenizer
        self._yes, self._no = first_tokens(tokenizer)
        self._special_ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        self._before = sum(token in self._special_ids for token in _ids(tokenizer, self._frame.before))

    def can_ask(self, question: str) -> bool:
        """Return whether a question is text alone: it spells out no special token, such as the image placeholder."""
        return not any(token in question for token in self._special)

    @torch.inference_mode()
    def ask(self, owners: Sequence[int], questions: Sequence[str]) -> list[float]:
        """Return P(yes) / (P(yes) + P(no)), 0..1, of each question about its image.

        Args:
            owners: for each of the N questions, the index of its image.
            questions: N questions; `can_ask` holds for each.

        Raises:
            UserError: the policy's chat template fails.
        """
        pairs = list(zip(owners, questions, strict=True))
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new and self._passes is None:
            self._choose(new)
        for block in _blocks(new):
            logits = self._logits(block).float()
            yes, no = (logits[:, ids].logsumexp(-1) for ids in (self._yes, self._no))
            self._known.update(zip(block, (yes - no).sigmoid().tolist(), strict=True))
        return [self._known[pair] for pair in pairs]

    def _choose(self, pairs: Sequence[Pair]) -> None:
        """Choose the path of decoding, and whether questions share a prefix: on one image of each size."""
        self._head = pairs[0][1]
        by_size: dict[tuple[int, int], int] = {}
        for image in dict.fromkeys(image for image, _ in pairs):
            by_size.setdefault(self.images[image].size, image)
        tried = [self._number(image, self._head, tail=0) for image in by_size.values()]
        self._passes = passes_for(
            self.policy.model, self._encoded, tried, at_once=IMAGES, answer_tokens=QUESTION_TOKENS
        )
        if isinstance(self._passes, PlainPasses):
            return
        if self._passes.together:
            self._passes = QuestionPasses(self.policy.model)
        tried = list({image_shape(self._encoded([number])): number for number in tried}.values())
        expected = torch.cat(
            [plain_logits(self.policy.model, self._encoded([number]), [()]) for number in tried]
        )
        tail = self._tail(self._head)
        ends = [self._encoded([number])["input_ids"][0, -len(tail) :].tolist() == tail for number in tried]
        self._shares = bool(tail) and all(ends)
        blocks = _blocks([(self._prefixes[number].image, self._head) for number in tried])
        if self._shares and not near(torch.cat([self._logits(block) for block in blocks]), expected):
            self._shares = False

    def _logits(self, block: Sequence[Pair]) -> Tensor:
        """Return the logits behind each question's prompt, [N, V]."""
        passes = self._passes
        if passes is None:
            raise ValueError("no path has been chosen")
        rows: dict[int, list[list[int]]] = {}
        if self._shares:
            left_out = len(self._tail(self._head))
            number_of = {
                image: self._number(image, self._head, tail=left_out)
                for image in dict.fromkeys(image for image, _ in block)
            }
            for image, question in block:
                rows.setdefault(number_of[image], []).append(self._tail(question))
        else:
            rows = {self._number(image, question, tail=0): [[]] for image, question in block}
        numbers = list(rows)
        if isinstance(passes, QuestionPasses):
            passes.admit_parts([(numbers, self._encoded(numbers))])
        else:
            for number in numbers:
                passes.admit([number], self._encoded([number]))
        return _feed(passes, rows)

    def _number(self, image: int, question: str, *, tail: int) -> int:
        """Return a new number for a prefix; the numbers of an earlier block are of no use any more."""
        number = next(self._numbers)
        self._prefixes[number] = _Prefix(image, question, tail)
        return number

    def _encoded(self, numbers: Sequence[int]) -> Mapping[str, Tensor]:
        """Return the model's inputs of prefixes, padded on the left."""
        prefixes = [self._prefixes[number] for number in numbers]
        inputs = encode(
            self.policy.processor,
            [self.images[prefix.image] for prefix in prefixes],
            [self._frame.around(prefix.question) for prefix in prefixes],
        ).to(self.policy.device, self.policy.model.dtype)
        (tail,) = {prefix.tail for prefix in prefixes}
        return _without_last(inputs, tail) if tail else inputs

    def _tail(self, question: str) -> list[int]:
        """Return the prompt's tokens behind the last special token before the question; none, if there is no such token.

        Tokenizers cut a text at special tokens, so that the tokens behind one do not depend on what stands before it.
        """
        ids = _ids(self.policy.tokenizer, self._frame.around(question))
        places = [place for place, token in enumerate(ids) if token in self._special_ids]
        return ids[places[self._before - 1] + 1 :] if 0 < self._before <= len(places) else []


def first_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the tokens with which "yes" may begin, and those of "no", with and without a space or a capital.

    A token that begins both, such as a space of its own, is left out.

    Raises:
        UserError: no token tells the two apart.
    """
    yes, no = (
        {
            _ids(tokenizer, space + form)[0]
            for form in (word, word.capitalize(), word.upper())
            for space in ("", " ")
        }
        for word in ("yes", "no")
    )
    if not yes - no or not no - yes:
        raise UserError(
            str(tokenizer.name_or_path) or "the policy",
            got="a tokenizer that begins yes and no with the same tokens",
            expected="one that tells yes from no by the first token",
            do="take another scorer than self_check in params.yaml, then: dvc repro",
        )
    return sorted(yes - no), sorted(no - yes)


def _feed(passes: Passes, rows: Mapping[int, Sequence[Sequence[int]]]) -> Tensor:
    """Feed each row its tokens behind its prefix; return the logits behind the last one, [N, V], prefix by prefix."""
    if isinstance(passes, QuestionPasses) and all(tail for own in rows.values() for tail in own):
        owners = [number for number, own in rows.items() for _ in own]
        return passes.begin_behind(owners, [tail for own in rows.values() for tail in own])
    most = max(len(own) for own in rows.values())
    begun = passes.begin([Node(number, (), None) for number in rows], groups=most)
    tails = [tail for own in rows.values() for tail in own]
    active = [place * most + group for place, own in enumerate(rows.values()) for group in range(len(own))]
    found = {row: begun[slot // most] for row, slot in enumerate(active) if not tails[row]}
    kept = [slot for row, slot in enumerate(active) if tails[row]]
    waiting = [row for row in range(len(tails)) if tails[row]]
    if len(kept) < most * len(rows) and kept:
        passes.keep(kept)
    for step in range(max(map(len, tails))):
        logits = passes.feed([tails[row][step] for row in waiting])
        ended = [len(tails[row]) == step + 1 for row in waiting]
        found |= {row: logits[place] for place, row in enumerate(waiting) if ended[place]}
        going = [place for place in range(len(waiting)) if not ended[place]]
        if going and len(going) < len(waiting):
            passes.keep(going)
        waiting = [waiting[place] for place in going]
    return torch.stack([found[row] for row in range(len(tails))])


def _blocks(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Group questions by image, and cut them into blocks of at most `ROWS` questions and `IMAGES` images."""
    by_image: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_image.setdefault(pair[0], []).append(pair)
    blocks: list[list[Pair]] = []
    images: set[int] = set()
    for pair in itertools.chain.from_iterable(by_image.values()):
        if not blocks or len(blocks[-1]) == ROWS or len(images | {pair[0]}) > IMAGES:
            blocks.append([])
            images = set()
        blocks[-1].append(pair)
        images.add(pair[0])
    return blocks


def _without_last(inputs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the inputs of B prompts without their last tokens: whatever runs along a prompt is cut."""
    along = inputs["input_ids"].shape
    return {
        name: value[:, :-count] if isinstance(value, Tensor) and value.shape[:2] == along else value
        for name, value in inputs.items()
    }


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
