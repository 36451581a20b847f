"""Two prompts the whole way: what each step's failure becomes."""

from collections.abc import Sequence
from dataclasses import replace

from csrdata.checking.findings import Level
from csrdata.checking.trial import Step, try_pairs, try_search, try_training
from csrdata.errors import UserError
from csrdata.records import Dropped, DropReason, Fate, Pair, Prompt, Response, Sentence, Stop

PROMPTS = [Prompt("p0", "0.png", "Describe it."), Prompt("p1", "1.png", "Describe it.")]
ROW = Sentence(
    prompt_id="p0",
    node_id=0,
    parent_id=-1,
    depth=1,
    group=0,
    text="A circle.",
    token_ids=[5, 6],
    logprob=-1.0,
    relevance=50.0,
    relevance_truncated=False,
    repetition=0.0,
    guidance_reward=0.0,
    stop=Stop.END.value,
    fate=Fate.FINISHED.value,
    canonical=True,
)
REFUSED = replace(
    ROW, text="600 tokens with its image, expected at most 512", token_ids=[], fate=Fate.REFUSED.value
)
RESPONSE = Response(
    "p0", 0, "A circle.", 2, 1, 2, -1.0, 1.0, 1.0, 50.0, 50.0, 1.0, finished=True, canonical=True
)


def _dropped(prompt: Prompt, tree: Sequence[Sentence], responses: Sequence[Response]) -> list[Dropped]:
    return [Dropped(prompt.prompt_id, DropReason.NO_RESPONSE.value, "0 of 2")]


def test_the_search_of_one_prompt_is_timed_apart() -> None:
    """The two prompts are searched together and the first alone; depth and tokens are read from the rows."""
    asked: list[int] = []

    def search(prompts: Sequence[Prompt]) -> tuple[list[Sentence], float]:
        asked.append(len(prompts))
        return [ROW, replace(ROW, node_id=1, depth=2, token_ids=[1, 2, 3, 4])], 3.0 * len(prompts)

    found = try_search(PROMPTS, search)
    assert (found.seconds_of_one, found.seconds_of_all) == (3.0, 6.0)
    assert (found.depth, found.sentence_tokens) == (2, 3.0)
    assert [one.line() for one in found.findings] == [
        "ok      search: 2 candidates of up to 2 sentences, 3.0 tokens each"
    ]
    assert {1, 2} == set(asked)


def test_a_search_that_fails() -> None:
    """A user's mistake keeps its words; another error names the stage that shows its traceback; memory says what to lower."""

    def failing(problem: Exception) -> str:
        def search(prompts: Sequence[Prompt]) -> tuple[list[Sentence], float]:
            raise problem

        (finding,) = try_search(PROMPTS, search).findings
        assert finding.level is Level.ERROR
        return finding.line()

    mistake = UserError("prompt p0", got="the text <image>", expected="no special token", do="reword it")
    assert failing(mistake) == (
        "error   search: prompt p0: got the text <image>, expected no special token. Next: reword it"
    )
    assert failing(KeyError("pixel_values")) == (
        "error   search: got KeyError: 'pixel_values', expected generate_beams to run. "
        "Next: see its traceback: csrdata run generate_beams --iteration 1"
    )
    assert "Next: lower generate_beams.prompts_at_once or train_dpo.batch_size" in failing(
        RuntimeError("not enough memory: you tried to allocate")
    )


def test_prompts_that_the_policy_does_not_take() -> None:
    """One refused prompt is a warning with its reason; two are an error."""
    other = replace(REFUSED, prompt_id="p1")
    warned = try_search(PROMPTS, lambda _: ([ROW, other], 1.0)).findings
    assert warned[1].line() == (
        "warning search: the policy does not take prompt p1: 600 tokens with its image, expected at most 512"
    )
    failed = try_search(PROMPTS, lambda _: ([REFUSED, other], 1.0))
    assert failed.findings[0].words.startswith("the policy takes none of 2 prompts: 600 tokens")
    assert failed.findings[0].level is Level.ERROR
    assert failed.sentences == ()


def test_long_and_unreadable_answers() -> None:
    """Sentences over the scorer's limit are counted; answers that are never read back as their tokens are an error."""
    row = replace(ROW, relevance_truncated=True, canonical=False)
    _, cut, unlike = try_search(PROMPTS, lambda _: ([row], 1.0)).findings
    assert cut.words.startswith("1 of 1 candidates are longer than the scorer's text limit")
    assert unlike.level is Level.ERROR
    assert unlike.words.startswith("none of 1 answers gives its own tokens again")


def test_a_pair_is_selected_or_made() -> None:
    """Without a selected pair any two answers make one, so that training is tried; without two, that is a warning."""
    rows = [RESPONSE, replace(RESPONSE, leaf_id=1, text="A square.")]
    pairs, findings = try_pairs(PROMPTS, [ROW], score=lambda _: rows, select=_dropped)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("A circle.", "A square.")]
    assert findings[1].words == (
        "2 prompts with at most 3 sentences give no pair (no_response, 0 of 2); "
        "the training step takes any two of their answers"
    )
    none, findings = try_pairs(PROMPTS, [ROW], score=lambda _: rows[:1], select=_dropped)
    assert none == []
    assert findings[1].level is Level.WARNING
    assert findings[1].words.endswith("no two different answers: no training step was tried")


def test_several_pairs_of_one_prompt() -> None:
    """Selection sees the candidates and the answers of one prompt; its pairs are counted, and the prompts that give some."""

    def two(prompt: Prompt, tree: Sequence[Sentence], responses: Sequence[Response]) -> list[Pair | Dropped]:
        if {row.prompt_id for row in [*tree, *responses]} != {"p0"}:
            return list(_dropped(prompt, tree, responses))
        pair = Pair("p0", "0.png", "Describe it.", " A circle.", " A square.", "check")
        return [pair, replace(pair, number=1, context=" A star.")]

    pairs, findings = try_pairs(PROMPTS, [ROW], score=lambda _: [RESPONSE], select=two)
    assert [pair.number for pair in pairs] == [0, 1]
    assert findings[1].words == "1 of 2 prompts give 2 pairs"


def test_a_training_step() -> None:
    """A step tells its loss and reference; one that is not a number, or that fails, is an error."""
    pairs = [Pair("p0", "0.png", "Describe it.", "A circle.", "A square.", "check")]
    step = Step(loss=0.69, reference_gap=2e-6, seconds=1.0, preflight_seconds=0.5)
    assert try_training(pairs, lambda _: step)[1][0].words == (
        "two steps of 1 pairs: loss 0.690, references within 2e-06 nats"
    )
    (nan,) = try_training(pairs, lambda _: replace(step, loss=float("nan")))[1]
    assert nan.level is Level.ERROR
    assert nan.words == "got a loss that is not a number, expected a finite one"

    def failing(_: Sequence[Pair]) -> Step:
        raise UserError("pair p0: image tokens", got=4, expected="8", do="dvc repro")

    none, (finding,) = try_training(pairs, failing)
    assert none is None
    assert finding.line() == "error   training: pair p0: image tokens: got 4, expected 8. Next: dvc repro"
