"""Small search trees for tests, written by hand."""

from csrdata.records import NO_PARENT, Fate, Prompt, Sentence, Stop

PROMPT = Prompt("p1", "images/1.png", "Describe the image.")


def node(
    number: int,
    parent: int,
    text: str,
    relevance: float | None = None,
    *,
    logprob: float = -1.0,
    stop: Stop | None = None,
    canonical: bool = True,
    repetition: float = 0.0,
    prompt_id: str = PROMPT.prompt_id,
) -> Sentence:
    """Return a candidate; without a text it is the end."""
    stop = stop or (Stop.SENTENCE_END if text else Stop.END)
    return Sentence(
        prompt_id=prompt_id,
        node_id=number,
        parent_id=parent,
        depth=1 if parent == NO_PARENT else 2,
        group=0,
        text=text,
        token_ids=[5, 6, 7] if text else [2],
        logprob=logprob,
        relevance=relevance if text.strip() else None,
        relevance_truncated=False,
        repetition=repetition if text.strip() else None,
        guidance_reward=0.0 if text.strip() else None,
        stop=stop,
        fate=Fate.FINISHED if stop is Stop.END else Fate.KEPT_BEST,
        canonical=canonical,
    )


def end(number: int, parent: int, *, logprob: float = -1.0, canonical: bool = True) -> Sentence:
    """Return the end as a candidate."""
    return node(number, parent, "", logprob=logprob, canonical=canonical)
