"""A small search whose sentences a server samples: by the server of transformers and by vLLM alike."""

from pathlib import Path
from typing import Any

from csrdata.generation.answer_server import AnswerServer, rules_of
from csrdata.generation.clock import Clock
from csrdata.generation.served import generate_served
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import banned_ids, end_ids
from csrdata.records import Prompt, Sentence
from tests.extending.word_scorer import SCORER
from tests.teaching import TEXTS

PROMPTS = [Prompt(f"p{index}", f"images/{index}.png", text) for index, text in enumerate(TEXTS[:3])]
NAME = "p" * 32
"""The policy's, that client and server must share."""


def client(address: str, policy: Policy, *, named: str = NAME, **keys: Any) -> AnswerServer:
    """Return the client of a server, with some of its settings changed."""
    model: Any = policy.model
    rules = rules_of(
        vocabulary=model.config.get_text_config().vocab_size,
        ends=end_ids(policy.model, policy.processor),
        banned=banned_ids(policy.model, policy.processor),
    )
    settings = {"in_flight": 8, "patience": 5.0, "seconds": 30.0, "temperature": 1.0}
    return AnswerServer(address, policy=named, rules=rules, **(settings | keys))


def searched(
    root: Path,
    policy: Policy,
    server: AnswerServer,
    replies: Path,
    *,
    count: int = 3,
    keep_best: int = 1,
    tolerance: float = 1e-4,
) -> list[Sentence]:
    """Search answers to `PROMPTS`, whose images are in `root`."""
    return generate_served(
        PROMPTS,
        root=root,
        policy=policy,
        scorer=SCORER,
        server=server,
        replies=replies,
        count=count,
        seed=0,
        tolerance=tolerance,
        keep_best=keep_best,
        keep_worst=1,
        rank_by="sentence",
        max_sentence_tokens=10,
        max_response_tokens=24,
        max_sentences=3,
        prompts_at_once=2,
        guidance="reward",
        image_weight=0.5,
        scale="unit",
        repetition_threshold=None,
        clock=Clock(),
    )
