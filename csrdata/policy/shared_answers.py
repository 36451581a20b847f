"""Greedy answers to several questions about an image, which is encoded once.

Image and template are a prefix that the questions share: it is encoded once, the tokens of all questions behind it are fed
in one pass (`csrdata.policy.question_block`), and all answers are decoded together. Answers equal those of
`csrdata.policy.answering.answer` up to ties in the last bits of a logit.

Where a shared prefix gives other logits than the whole prompt, as for a model that reads a prompt in both directions, the
questions are answered by `answer`. That is tried once for each shape of image inputs.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from csrdata.images import ImageRoot, load_image
from csrdata.policy.answering import Reply, answer, rendered_prompts
from csrdata.policy.asking import frame_of
from csrdata.policy.choosing import choose_path, near
from csrdata.policy.loading import Policy
from csrdata.policy.one_by_one import plain_logits
from csrdata.policy.prompting import answer_text, banned_ids, encode, end_ids
from csrdata.policy.question_block import PREFIX_TOKENS, QuestionPasses, cuts, image_shape
from csrdata.progress import progress as bar_of
from csrdata.records import Question


def answer_by_image(
    policy: Policy,
    questions: Sequence[Question],
    *,
    root: Path | ImageRoot,
    max_new_tokens: int,
    images_at_once: int,
    title: str = "answers",
    progress: bool = True,
) -> list[Reply]:
    """Answer each question greedily, all questions about an image together; return the replies in the same order.

    Args:
        policy: the policy that answers.
        questions: in any order.
        root: the folder that image paths are relative to.
        max_new_tokens: limit on the tokens of one answer, end-of-sequence included.
        images_at_once: images whose questions are answered together, 1 or more.
        title: label of the progress bar.
        progress: show the progress bar.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty or contains a special token.
    """
    return SharedAnswers(policy, max_new_tokens=max_new_tokens).answer(
        questions, root=root, images_at_once=images_at_once, title=title, progress=progress
    )


class SharedAnswers:
    """Answers questions by shared passes; remembers for which images that is right, so that several calls try it once."""

    def __init__(self, policy: Policy, *, max_new_tokens: int) -> None:
        """Prepare to answer; see `answer_by_image`."""
        self.policy, self.limit = policy, max_new_tokens
        self.passes: QuestionPasses | None = None
        """None until an image was tried that can share a prefix."""
        self.ends = set(end_ids(policy.model, policy.processor))
        self.banned = banned_ids(policy.model, policy.processor)
        self.frame = frame_of(policy)
        tokenizer = policy.tokenizer
        self.special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        self.before = sum(token in self.special for token in self._ids(self.frame.before))
        self.numbers = itertools.count()
        self.tokens: dict[tuple[int, int], int] = {}
        """By size of image: the tokens of its prefix; 0 if questions cannot share it."""
        self.tried: dict[tuple[object, ...], int] = {}
        """The same by shape of the image's inputs: many sizes may have one."""

    @torch.inference_mode()
    def answer(
        self,
        questions: Sequence[Question],
        *,
        root: Path | ImageRoot,
        images_at_once: int,
        title: str = "answers",
        progress: bool = True,
    ) -> list[Reply]:
        """Answer each question greedily; see `answer_by_image`.

        Raises:
            UserError: an image is missing or unreadable, or a question is empty or contains a special token.
        """
        rendered_prompts(self.policy, questions)  # refuses a bad question before any is answered
        by_image: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            by_image.setdefault(question.image, []).append(index)
        replies: dict[int, Reply] = {}
        left: list[int] = []
        with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
            for images in _batched(by_image, images_at_once):
                loaded = {
                    name: load_image(
                        name, root=root, place=f"question {questions[by_image[name][0]].question_id}"
                    )
                    for name in images
                }
                head = questions[by_image[images[0]][0]].text
                shared = [name for name in images if self._shares(loaded[name], head)]
                left += [index for name in images if name not in shared for index in by_image[name]]
                asked = [index for name in shared for index in by_image[name]]
                found = self._answers(
                    [loaded[name] for name in shared],
                    [[questions[index].text for index in by_image[name]] for name in shared],
                    head,
                )
                replies.update(zip(asked, found, strict=True))
                bar.update(len(asked))
        if left:
            others = answer(
                self.policy,
                [questions[index] for index in left],
                root=root,
                max_new_tokens=self.limit,
                batch_size=images_at_once,
                title=title,
                progress=progress,
            )
            replies.update(zip(left, others, strict=True))
        return [replies[index] for index in range(len(questions))]

    def _shares(self, image: Image, head: str) -> bool:
        """Return whether questions about this image can share a prefix; each shape of image inputs is tried once."""
        if image.size not in self.tokens:
            inputs = self._encoded([image], head)
            shape = image_shape(inputs)
            if shape not in self.tried:
                self.tried[shape] = self._try(image, inputs, head)
            self.tokens[image.size] = self.tried[shape]
        return self.tokens[image.size] > 0

    def _answers(self, images: Sequence[Image], questions: Sequence[Sequence[str]], head: str) -> list[Reply]:
        """Return the replies to the questions about each image, image by image.

        Args:
            images: N images whose size was tried.
            questions: one list for each image.
            head: the question whose prompt gives the prefixes.
        """
        passes = self.passes
        if not images or passes is None:
            return []
        numbers = [next(self.numbers) for _ in images]
        passes.admit_parts(self._parts(images, numbers, head))
        owners = [number for number, own in zip(numbers, questions, strict=True) for _ in own]
        tails = [self._tail(text) for own in questions for text in own]
        return [self._reply(tokens) for tokens in self._decode(passes, owners, tails)]

    def _try(self, image: Image, inputs: Mapping[str, Any], head: str) -> int:
        """Return the tokens of the image's prefix if that gives the logits of the whole prompt, else 0."""
        tail = self._tail(head)
        if not tail or inputs["input_ids"][0, -len(tail) :].tolist() != tail:
            return 0
        model = self.policy.model
        choice = choose_path(model, lambda _: inputs, [0], at_once=1, answer_tokens=self.limit + len(tail))
        if not choice.together:
            return 0
        self.passes = passes = QuestionPasses(model)
        number = next(self.numbers)
        passes.admit([number], self._prefixes([image], head))
        same = near(passes.begin_behind([number], [tail]), plain_logits(model, inputs, [()]))
        return inputs["input_ids"].shape[1] - len(tail) if same else 0

    def _decode(
        self, passes: QuestionPasses, owners: Sequence[int], tails: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """Return the tokens of the answer to each question; a row goes on until its answer ends."""
        generated: list[list[int]] = [[] for _ in tails]
        rows = list(range(len(tails)))
        best = self._best(passes.begin_behind(owners, tails))
        while True:
            for row, token in zip(rows, best, strict=True):
                generated[row].append(token)
            going = [
                place
                for place, row in enumerate(rows)
                if best[place] not in self.ends and len(generated[row]) < self.limit
            ]
            if not going:
                return generated
            if len(going) < len(rows):
                passes.keep(going)
            rows = [rows[place] for place in going]
            best = self._best(passes.feed([best[place] for place in going]))

    def _parts(
        self, images: Sequence[Image], numbers: Sequence[int], head: str
    ) -> Iterator[tuple[Sequence[int], Mapping[str, Tensor]]]:
        """Yield the numbers and the inputs of the prefixes, at most `PREFIX_TOKENS` tokens at a time."""
        for start, end in cuts([self.tokens[image.size] for image in images], most=PREFIX_TOKENS):
            yield numbers[start:end], self._prefixes(images[start:end], head)

    def _best(self, logits: Tensor) -> list[int]:
        logits = logits.float()
        logits[:, self.banned] = -torch.inf
        best: list[int] = logits.argmax(-1).tolist()
        return best

    def _reply(self, tokens: Sequence[int]) -> Reply:
        finished = bool(tokens) and tokens[-1] in self.ends
        return Reply(answer_text(self.policy.processor, tokens), tuple(tokens), finished)

    def _encoded(self, images: Sequence[Image], head: str) -> Mapping[str, Any]:
        prompts = [self.policy.prompt(head)] * len(images)
        return encode(self.policy.processor, images, prompts).to(self.policy.device, self.policy.model.dtype)

    def _prefixes(self, images: Sequence[Image], head: str) -> dict[str, Any]:
        """Return the inputs without the tokens of the question: whatever runs along a prompt is cut."""
        inputs = self._encoded(images, head)
        along, cut = inputs["input_ids"].shape, len(self._tail(head))
        return {
            name: value[:, :-cut] if isinstance(value, Tensor) and value.shape[:2] == along else value
            for name, value in inputs.items()
        }

    def _tail(self, question: str) -> list[int]:
        """Return the prompt's tokens behind the last special token before the question: they depend on nothing before it."""
        ids = self._ids(self.policy.prompt(question))
        places = [place for place, token in enumerate(ids) if token in self.special]
        return ids[places[self.before - 1] + 1 :] if 0 < self.before <= len(places) else []

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _batched(names: Mapping[str, object], size: int) -> Iterator[list[str]]:
    listed = list(names)
    yield from (listed[start : start + size] for start in range(0, len(listed), size))
