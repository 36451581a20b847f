"""In words for a card: how a policy was trained on its pairs, from the parameters of `train_dpo`."""

from collections.abc import Mapping
from typing import Any

from csrdata.publishing.card.markdown import Markdown, code

MARGINS = {
    "weight": ", each pair weighted by its margin",
    "target": ", with each pair's margin as the target",
}


def method(training: Mapping[str, Any] | None) -> Markdown:
    """Return what follows "trained by": the loss of pairs and the term that is added to it.

    Args:
        training: parameters of `train_dpo`, of this or an earlier version; None if they are not known.

    Example: `DPO plus 3 times the chosen answers' mean token loss`
    """
    stated = training or {}
    if not stated.get("dpo_weight", 1):
        return Markdown("fine-tuning on the chosen answers alone")
    words = "DPO"
    if (loss := stated.get("loss", "sigmoid")) != "sigmoid":
        words += f" with the loss {code(loss)}"
    if stated.get("ld_alpha") is not None:
        words += f", the tokens beyond the shorter answer's length weighted {stated['ld_alpha']:g}"
    words += MARGINS.get(str(stated.get("margin")), "")
    if stated.get("sft_weight"):
        words += f" plus {stated['sft_weight']:g} times the chosen answers' mean token loss"
    return Markdown(words)
