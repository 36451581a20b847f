"""Workloads of the benchmarks: the microworld's policy (micro), and a wider LLaVA with random weights (wide)."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from benchmarks.batched import BatchedGenerate
from benchmarks.naive import Continuation, continue_answer
from csrdata import paths
from csrdata.errors import UserError
from csrdata.generation.guidance import guide
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.passes import SharedPasses
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.policy.proposing import DiverseGroups
from csrdata.records import Sentence
from csrdata.relevance.open_clip import OpenClipScorer, load_open_clip
from csrdata.search.beam import Branch, Proposal, Propose, search
from csrdata.sources.microworld.conversation import CHAT_TEMPLATE, IMAGE, build_tokenizer
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.world import sample_scenes

REQUEST = "Describe this image."


@dataclass(frozen=True)
class Workload:
    """A policy, a scorer, images, and the settings of the search."""

    name: str
    policy: Policy
    scorer: OpenClipScorer
    images: Sequence[Image.Image]
    ends: tuple[int, ...]
    """Tokens that end an answer; empty if sentences are forced to their limit."""
    closers: tuple[int, ...]
    """Tokens that end a sentence."""
    banned: tuple[int, ...]
    max_sentence_tokens: int
    max_sentences: int
    groups: int = 5
    diversity_penalty: float = 1.0
    keep_best: int = 3
    keep_worst: int = 2
    max_response_tokens: int = 1024

    def decoder(self, count: int) -> SentenceDecoder:
        """Return our decoder, with the first `count` prompts admitted."""
        decoder = self._decoder()
        decoder.admit(range(count), self._inputs(range(count)))
        return decoder

    def admitting(self) -> Propose:
        """Return our decoder as a function that admits prompts when they start."""
        decoder = self._decoder()

        def propose(branches: Sequence[Branch]) -> list[list[Proposal]]:
            if new := [branch.prompt for branch in branches if branch.state is None]:
                decoder.admit(new, self._inputs(new))
            return decoder.propose(branches)

        return propose

    def _decoder(self) -> SentenceDecoder:
        return SentenceDecoder(
            SharedPasses(self.policy.model),
            self.policy.tokenizer,
            prompt_ids=[str(number) for number in range(len(self.images))],
            proposing=DiverseGroups(self.groups, self.diversity_penalty),
            max_sentence_tokens=self.max_sentence_tokens,
            max_response_tokens=self.max_response_tokens,
            end_ids=self.ends,
            banned_ids=self.banned,
        )

    def prefix_bytes(self, count: int) -> int:
        """Return the bytes of the keys and values of the first `count` prompts."""
        passes = SharedPasses(self.policy.model)
        passes.admit(range(count), self._inputs(range(count)))
        return 0 if passes.prefix is None else passes.prefix.bytes()

    def batched(self, count: int) -> BatchedGenerate:
        """Return transformers' own batched generation over the first `count` prompts."""
        return BatchedGenerate(
            self.policy,
            self._inputs(range(count)),
            groups=self.groups,
            penalty=self.diversity_penalty,
            sentence_limit=self.max_sentence_tokens,
            closers=self.closers,
            ends=self.ends,
            banned=self.banned,
        )

    def naive(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Propose by the straightforward decoder: everything is encoded again for every node."""
        return [
            [
                Proposal(
                    group,
                    each.text,
                    each.tokens,
                    each.logprob,
                    each.stop,
                    (*self._before(branch), *each.tokens),
                )
                for group, each in enumerate(self.continue_one(branch))
            ]
            for branch in branches
        ]

    def continue_one(self, branch: Branch) -> list[Continuation]:
        """Return each group's sentence at one node of the straightforward search."""
        return continue_answer(
            self.policy,
            self.images[branch.prompt],
            REQUEST,
            self._before(branch),
            groups=self.groups,
            penalty=self.diversity_penalty,
            sentence_limit=self.max_sentence_tokens,
            response_limit=self.max_response_tokens,
            ends=self.ends,
            banned=self.banned,
        )

    def forced(self, *, tokens: int, sentences: int) -> "Workload":
        """Return the same workload with every sentence forced to `tokens` and every answer to `sentences`."""
        return replace(
            self,
            ends=(),
            closers=(),
            banned=tuple(sorted({*self.banned, *self.ends, *self.closers})),
            max_sentence_tokens=tokens,
            max_sentences=sentences,
        )

    def search(self, propose: Propose, count: int, *, at_once: int | None = None) -> list[list[Sentence]]:
        """Search the first `count` prompts, CLIP included; return the candidates of each prompt."""
        return search(
            [str(number) for number in range(count)],
            propose=propose,
            guide=guide(
                self.scorer,
                self.images[:count],
                guidance="reward",
                image_weight=0.9,
                scale="zscore",
                repetition_threshold=0.6,
            ),
            keep_best=self.keep_best,
            keep_worst=self.keep_worst,
            rank_by="sentence",
            max_sentences=self.max_sentences,
            at_once=at_once,
        )

    @staticmethod
    def _before(branch: Branch) -> tuple[int, ...]:
        return branch.state if isinstance(branch.state, tuple) else ()

    def _inputs(self, prompts: Sequence[int]) -> dict[str, torch.Tensor]:
        rendered = [render_prompt(self.policy.processor, REQUEST)] * len(prompts)
        return dict(encode(self.policy.processor, [self.images[prompt] for prompt in prompts], rendered))


def micro(count: int) -> Workload:
    """Return the shipped policy and scorer on `count` held-out scenes; needs `dvc repro prepare`."""
    policy_folder = paths.policy(paths.BASE)
    if not policy_folder.is_dir():
        raise UserError(
            str(policy_folder), got="no such folder", expected="the base policy", do="dvc repro prepare"
        )
    policy = load_policy(policy_folder)
    return Workload(
        "micro",
        policy,
        load_open_clip(Path("scorers/search")),
        _scenes(count),
        ends=tuple(end_ids(policy.model, policy.processor)),
        closers=tuple(_closers(policy)),
        banned=tuple(banned_ids(policy.model, policy.processor)),
        max_sentence_tokens=74,
        max_sentences=12,
    )


def wide(count: int) -> Workload:
    """Return a LLaVA with random weights: 4 layers of width 512, 576 image tokens, sentences forced to 20 tokens."""
    with tempfile.TemporaryDirectory() as folder:
        policy = random_llava(Path(folder))
    closers = _closers(policy)
    ends = end_ids(policy.model, policy.processor)
    return Workload(
        "wide",
        policy,
        load_open_clip(Path("scorers/search")),
        _scenes(count),
        ends=(),
        closers=(),
        banned=tuple(sorted({*banned_ids(policy.model, policy.processor), *ends, *closers})),
        max_sentence_tokens=20,
        max_sentences=3,
    )


def _scenes(count: int) -> list[Image.Image]:
    return [Image.fromarray(draw(scene)) for scene in sample_scenes(split="held_out", count=count, seed=0)]


def _closers(policy: Policy) -> list[int]:
    """Return the tokens that contain a full stop or another sign that ends a sentence."""
    size = len(policy.tokenizer)
    texts = policy.tokenizer.batch_decode([[index] for index in range(size)])
    return [index for index, text in enumerate(texts) if set(text) & set(".!?\n\N{HORIZONTAL ELLIPSIS}")]


def random_llava(
    folder: Path,
    *,
    width: int = 512,
    layers: int = 4,
    vocabulary: int = 0,
    side: int = 336,
    patch: int = 14,
    heads: int = 8,
) -> Policy:
    """Save and load a LLaVA with random weights; its vocabulary is at least the tokenizer's.

    Args:
        folder: to save it in.
        width, layers, heads: of its language model.
        vocabulary: tokens, at least.
        side, patch: pixels of an image's side and of a patch's: (side / patch) squared image tokens, 576 by default.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=256,
                intermediate_size=1024,
                num_hidden_layers=4,
                num_attention_heads=8,
                image_size=side,
                patch_size=patch,
            ),
            text_config=LlamaConfig(
                vocab_size=max(vocabulary, len(tokenizer)),
                hidden_size=width,
                intermediate_size=width * 43 // 16,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=heads,
                initializer_range=0.1,
                **special,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    )
    model.generation_config = GenerationConfig(do_sample=False, **special)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return load_policy(folder)


WORKLOADS = {"micro": micro, "wide": wide}
