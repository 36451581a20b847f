"""The wiring of `generate_beams.proposal.kind: served`: the policy's name, the replies' files, and a stage that runs again."""

from pathlib import Path
from typing import Any

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params, check_params
from csrdata.pipeline import generate_beams
from csrdata.pipeline.proposing import live_answers, open_proposing
from csrdata.pipeline.served import NAME, reply_inputs
from csrdata.policy.loading import load_policy
from tests.generation.policy_server import serving
from tests.pipeline.test_shards import make_project, small_search

SERVED: dict[str, Any] = {
    "kind": "served",
    "count": 2,
    "temperature": 1.0,
    "seed": 0,
    "server": "127.0.0.1:9",
}
SERVED |= {"tolerance": 1e-3, "in_flight": 4, "patience": 20.0}


def params(**keys: Any) -> Params:
    raw = small_search().model_dump()
    raw["generate_beams"] |= {"proposal": SERVED | keys, "max_sentences": 2, "prompts_per_shard": 3}
    raw["generate_beams"] |= {
        "max_sentence_tokens": 8,
        "max_response_tokens": 20,
        "keep_worst": 0,
        "keep_best": 1,
    }
    return Params.model_validate(raw)


def test_a_stage_keeps_what_a_server_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that are made again need no server and have the same bytes; replies of another seed are removed."""
    monkeypatch.chdir(tmp_path)
    make_project()
    name = reply_inputs(params(), "1")["policy"][:NAME]
    with serving(load_policy(paths.policy(paths.BASE)), name=name) as server:
        generate_beams.run(params(server=server.address, seed=7), "1")
        assert len(list(paths.replies("1").iterdir())) == 2
        generate_beams.run(params(server=server.address), "1")
    made = sorted(paths.candidates("1").glob("*.parquet"))
    replies = sorted(paths.replies("1").iterdir())
    assert (len(made), len(replies)) == (2, 2)
    before = [path.read_bytes() for path in (*made, *replies)]
    for path in made:
        path.unlink()
    generate_beams.run(params(server=server.address, patience=0.5), "1")
    assert [path.read_bytes() for path in (*made, *replies)] == before
    with pytest.raises(UserError, match=r"^server 127\.0\.0\.1:\d+: got no connection"):
        generate_beams.run(params(server=server.address, seed=1, patience=0.5), "1")
    generate_beams.run(small_search(), "1")
    assert not paths.replies("1").exists()


def test_where_no_server_is_asked_sentences_are_sampled_here() -> None:
    """`csrdata check` and best-of-n answers sample with the same settings; the live answers are those of the search."""
    settings = params(count=3, seed=5).generate_beams
    assert (open_proposing(settings.proposal).candidates, live_answers(settings)) == (3, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"server": "http://x:1"}, "proposal.server: got http://x:1, expected"),
        ({"server": "host"}, "proposal.server: got host, expected"),
        ({"in_flight": 0}, "proposal.in_flight: got 0, expected"),
        ({"tolerance": 0.0}, "proposal.tolerance: got 0.0, expected"),
        ({"patience": float("inf")}, "proposal.patience: got inf, expected"),
    ],
)
def test_a_server_that_cannot_be_is_one_line(change: dict[str, Any], words: str) -> None:
    """An address is HOST:PORT; numbers have their ranges."""
    raw = params().model_dump()
    raw["generate_beams"]["proposal"] |= change
    with pytest.raises(UserError) as caught:
        check_params(raw, Path("params.yaml"))
    assert f"generate_beams.{words}" in str(caught.value)
