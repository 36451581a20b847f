"""One small iteration, computed by hand: a prompt with a pair, and a prompt without."""

from csrdata.records import (
    NO_PARENT,
    Dropped,
    DropReason,
    Fate,
    Pair,
    PairScores,
    Prompt,
    Response,
    Sentence,
    Stop,
)
from csrdata.storage.iteration_tables import LoadedIteration
from csrdata.storage.tables import to_table

PROMPTS = [
    Prompt("train-00000", "images/0.png", "Describe."),
    Prompt("train-00001", "images/1.png", "Describe."),
]


def sentence(node: int, parent: int, text: str, *, fate: Fate, relevance: float | None = 20.0) -> Sentence:
    stop = Stop.SENTENCE_END if text else Stop.END
    return Sentence(
        prompt_id="train-00000",
        node_id=node,
        parent_id=parent,
        depth=1 if parent == NO_PARENT else 2,
        group=0,
        text=text,
        token_ids=[1, 2],
        logprob=-2.0,
        relevance=relevance,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=None if relevance is None else 0.5,
        stop=stop,
        fate=fate,
        canonical=True,
    )


SENTENCES = [
    sentence(0, NO_PARENT, " A red circle.", fate=Fate.KEPT_BEST),
    sentence(1, NO_PARENT, " A [blue] star.", fate=Fate.KEPT_WORST, relevance=2.0),
    sentence(2, NO_PARENT, " A fog.", fate=Fate.PRUNED, relevance=10.0),
    sentence(3, 0, "", fate=Fate.FINISHED, relevance=None),
    sentence(4, 1, "", fate=Fate.FINISHED, relevance=None),
]


def response(leaf: int, text: str, *, words: int, reward: float, likelihood: float) -> Response:
    return Response(
        prompt_id="train-00000",
        leaf_id=leaf,
        text=text,
        words=words,
        sentences=1,
        tokens=4,
        logprob=-4.0,
        reward=reward,
        likelihood=likelihood,
        relevance=10.0,
        relevance_held_out=10.0,
        reward_held_out=reward,
        finished=True,
        canonical=True,
    )


RESPONSES = [
    response(3, "A red circle.", words=3, reward=0.9, likelihood=0.1),
    response(4, "A [blue] star here.", words=4, reward=0.1, likelihood=0.2),
]
PAIR = Pair(
    prompt_id="train-00000",
    image="images/0.png",
    prompt="Describe.",
    chosen="A red circle.",
    rejected="A [blue] star here.",
    origin="csr_search",
    scores=PairScores(
        chosen_leaf=3,
        rejected_leaf=4,
        chosen_reward=0.9,
        rejected_reward=0.1,
        margin=0.8,
        chosen_reward_held_out=0.9,
        rejected_reward_held_out=0.1,
        chosen_relevance=10.0,
        rejected_relevance=10.0,
        chosen_logprob=-4.0,
        rejected_logprob=-4.0,
        chosen_tokens=4,
        rejected_tokens=4,
        chosen_words=3,
        rejected_words=4,
    ),
)
DROPPED = Dropped("train-00001", DropReason.NO_RESPONSE, "0 answers, 0 finished, 0 of them canonical")

ITERATION = LoadedIteration(
    "1",
    prompts=to_table(PROMPTS, Prompt),
    candidates=to_table(SENTENCES, Sentence),
    responses=to_table(RESPONSES, Response),
    pairs=to_table([PAIR], Pair),
    dropped=to_table([DROPPED], Dropped),
)
EMPTY = LoadedIteration(
    "1",
    prompts=to_table(PROMPTS, Prompt),
    candidates=to_table([], Sentence),
    responses=to_table([], Response),
    pairs=to_table([], Pair),
    dropped=to_table([], Dropped),
)
