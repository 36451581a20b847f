"""A model folder with which other programs answer as csrdata does: its own settings are those of csrdata's greedy answers.

Programs such as lmms-eval render the folder's chat template, let the tokenizer add special tokens, and decode with the
folder's generation config. The config gets csrdata's settings; the token limit is the program's. Whether the prompt's tokens
are csrdata's is tried: a template and a tokenizer may both begin a sequence.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import AutoConfig, AutoProcessor, GenerationConfig

from csrdata.errors import UserError
from csrdata.policy.prompting import banned_ids, render_prompt, text_ids

_PROBE = "Is there a dog?"


def model_type(folder: Path) -> str:
    """Return the family of a model folder, as transformers names it."""
    return str(AutoConfig.from_pretrained(str(folder), local_files_only=True).model_type)


def answer_greedily(folder: Path) -> None:
    """Write csrdata's settings into a model folder's generation config.

    Args:
        folder: with weights, processor and chat template, as `write_checkpoint` leaves it.

    Raises:
        UserError: its processor gives a prompt other tokens than csrdata does.
    """
    auto: Any = AutoProcessor
    processor: Any = auto.from_pretrained(str(folder), local_files_only=True)
    content = [{"type": "image"}, {"type": "text", "text": _PROBE}]
    shown = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    if processor.tokenizer(shown)["input_ids"] != text_ids(processor, render_prompt(processor, _PROBE)):
        expected, do = "the tokens of csrdata's prompt", "csrdata evaluate --iteration T --set NAME"
        raise UserError(f"a prompt of {folder.name}", got="other tokens", expected=expected, do=do)
    config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    settings: Any = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    # `banned_ids` reads these two of a model, whose weights are not needed.
    model: Any = SimpleNamespace(config=config, generation_config=settings)
    settings.suppress_tokens = banned_ids(model, processor) or None
    settings.repetition_penalty = 1.0
    settings.do_sample, settings.temperature, settings.top_p, settings.top_k = False, None, None, None
    settings.save_pretrained(str(folder))
