"""Small tokenizers of the classes that the families in `tests/families.py` use, trained on a few lines."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

CORPUS = [
    "USER: Describe the image. ASSISTANT: There is a red circle at the top left.",
    "Assistant: A blue square sits in the lower right corner. In the middle I see a green star.",
    "Is there a triangle? Yes. No, there is none. What do you see in this picture?",
    "There is a red circle. In the middle I see a star.",
    "Describe it.",
    "A dog lies on the sofa. A cat sits near the window. The man holds a cup.",
] * 4

Merges = list[tuple[str, str]]


def _trained(bpe: Tokenizer, trainer: trainers.BpeTrainer) -> tuple[dict[str, int], Merges]:
    bpe.train_from_iterator(CORPUS, trainer)
    model = json.loads(bpe.to_str())["model"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return model["vocab"], [(left, right) for left, right in pairs]


def _byte_level(specials: Sequence[str]) -> tuple[dict[str, int], Merges]:
    """Return a byte-level BPE's vocabulary and merges, as GPT-2, Qwen and Llama 3 have."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420 + len(specials),
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    return _trained(bpe, trainer)


def _sentence_piece(specials: Sequence[str]) -> tuple[dict[str, int], Merges]:
    """Return a SentencePiece-like BPE's vocabulary and merges: bytes as a fallback, an underline for a space."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=470 + len(specials),
        special_tokens=[*specials, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    return _trained(bpe, trainer)


def _add_special(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
    tokens = [AddedToken(name, special=True, normalized=False) for name in names]
    tokenizer.add_tokens(tokens, special_tokens=True)


def qwen(extra: Sequence[str], **options: Any) -> PreTrainedTokenizerBase:
    """Return a Qwen2 tokenizer: answers end with `<|im_end|>`."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra]
    vocab, merges = _byte_level(names)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", **options
    )
    _add_special(tokenizer, names)
    tokenizer.padding_side = "left"
    return tokenizer


def llama(extra: Sequence[str], **options: Any) -> PreTrainedTokenizerBase:
    """Return a Llama 2 tokenizer as transformers 5 builds one."""
    vocab, merges = _sentence_piece(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, pad_token="<pad>", add_bos_token=True, **options)
    _add_special(tokenizer, extra)
    return tokenizer


def old_llama(extra: Sequence[str]) -> PreTrainedTokenizerBase:
    """Return a Llama 2 tokenizer as older folders hold one: its normaliser puts the underline before the text."""
    vocab, merges = _sentence_piece(["<unk>", "<s>", "</s>"])
    bpe = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )
    _add_special(tokenizer, extra)
    return tokenizer


def gemma(extra: Sequence[str], **options: Any) -> PreTrainedTokenizerBase:
    """Return a Gemma tokenizer."""
    vocab, merges = _sentence_piece(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *extra])
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, **options)
    _add_special(tokenizer, extra)
    return tokenizer


def gpt2(extra: Sequence[str]) -> PreTrainedTokenizerBase:
    """Return the tokenizer of Idefics3 and SmolVLM: answers end with `<end_of_utterance>`."""
    names = ["<|im_start|>", "<|im_end|>", "<end_of_utterance>", *extra]
    vocab, merges = _byte_level(names)
    tokenizer = GPT2Tokenizer(
        vocab=vocab,
        merges=merges,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        unk_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    _add_special(tokenizer, names)
    tokenizer.padding_side = "left"
    return tokenizer


def fast(names: Sequence[str], *, last: Sequence[str] = (), **options: Any) -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer as Llama 3, Mistral and GLM have: `names` get the first ids, `last` the last ones."""
    vocab, merges = _byte_level(names)
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="left", **options)
    _add_special(tokenizer, [*names, *last])
    return tokenizer
