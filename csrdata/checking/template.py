"""Whether processor, chat template and end tokens agree: an answer ends with a token that training writes again.

Generation ends an answer at the tokens of the generation config and at the one that the chat template writes behind an
assistant's turn (`csrdata.policy.prompting.end_ids`). A token that the tokenizer splits can end nothing.
"""

from collections.abc import Sequence
from typing import Any

from csrdata.checking.findings import Finding, collecting, error, ok, warning
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import completion_ids, end_ids, end_token, is_canonical

_SENTENCES = ("There is a red circle.", " A blue square sits in the corner.", "Two dogs play on the grass")
"""Texts whose tokens must survive a round trip: one as it begins an answer, one as it goes on, one without a stop."""


def check_template(policy: Policy, instruction: str) -> list[Finding]:
    """Return what the chat template makes of an instruction, and which tokens end an answer.

    Args:
        policy: its processor and its generation config are compared.
        instruction: of a prompt.
    """
    findings: list[Finding] = []
    with collecting(findings, "chat template"):
        rendered = policy.prompt(instruction)
        findings.append(ok("chat template", f"a prompt becomes {_quoted(rendered)}"))
    with collecting(findings, "end tokens"):
        findings += _check_ends(policy)
    return findings


def _check_ends(policy: Policy) -> list[Finding]:
    tokenizer: Any = policy.tokenizer
    end = end_token(policy.processor)
    of_template = tokenizer.convert_tokens_to_ids(end)
    place = f"{policy.folder}: end of an answer"
    if of_template is None or tokenizer.decode([of_template]) != end:
        words = f"{place}: got {end}, expected one token of the tokenizer"
        do = "set eos_token in tokenizer_config.json, or take the model's own chat template"
        return [error("end tokens", words, do=f"{do}, then: csrdata check")]
    listed = _listed(policy.model.generation_config)
    ends = end_ids(policy.model, policy.processor)
    names = ", ".join(str(tokenizer.decode([one])) for one in ends)
    if unknown := [one for one in listed if one >= len(tokenizer)]:
        words = f"{place}: got eos_token_id {unknown[0]} in generation_config.json, expected less than {len(tokenizer)}"
        return [
            error("end tokens", words, do="take the generation_config.json of this tokenizer: csrdata check")
        ]
    findings = []
    if of_template not in listed:
        others = ", ".join(str(tokenizer.decode([one])) for one in listed) or "none"
        words = f"the chat template ends an answer with {end}, generation_config.json with {others}: each of them ends one"
        findings.append(warning("end tokens", words))
    if broken := [text for text in _SENTENCES for one in ends if not _survives(policy, text, one, ends)]:
        words = f"the text {_quoted(broken[0])} gives other tokens when it is read again: such answers make no pair"
        findings.append(warning("tokenizer", words, do="see how many answers are canonical: csrdata stats"))
    return findings or [ok("end tokens", f"{names}: chat template and generation config agree")]


def _survives(policy: Policy, text: str, end: int, ends: Sequence[int]) -> bool:
    """Return whether a text's own tokens are read as the same text, and as the same tokens again."""
    return is_canonical(policy.processor, completion_ids(policy.processor, text, end=end), ends=ends)


def _listed(config: Any) -> list[int]:
    """Return the end tokens of a generation config."""
    found = None if config is None else config.eos_token_id
    return found if isinstance(found, list) else [] if found is None else [found]


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 160 else f"{text[:120]}...{text[-30:]}")
