"""Wiring of `judge_answers`: candidates and the policy that wrote them in, its verdicts on two answers per prompt out."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.inputs import need, need_images, need_policy
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Prompt, Sentence, Verdict, Winner
from csrdata.search.contests import Contest, contest
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import read_rows, write_json, write_rows


def run(params: Params, name: str) -> None:
    """Let the policy that iteration `name` starts from judge the answers that it wrote."""
    from csrdata.policy.judging import judge
    from csrdata.policy.loading import load_policy

    set_up_process(params.compute)
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    images = need_images(params, (prompt.image for prompt in prompts))
    contests = list(_contests(name))
    previous = params.iterations[name].previous
    verdicts = judge(
        load_policy(
            need_policy(previous),
            device=params.compute.device,
            dtype=params.compute.dtype,
            wordings=read_wordings(need(paths.WORDINGS, made_by="dvc repro sample_prompts")),
        ),
        contests,
        images={prompt.prompt_id: prompt.image for prompt in prompts},
        root=images,
        judging=open_source(params.source).judging(),
        batch_size=params.evaluate_policy.batch_size,
    )
    write_rows(paths.verdicts(name), verdicts, Verdict)
    write_json(paths.stage_metrics("judge_answers", name), _metrics(verdicts, prompts=len(prompts)))


def _contests(name: str) -> Iterator[Contest]:
    """Yield the two answers to judge of each prompt that has two, shard by shard."""
    made_by = f"dvc repro generate_beams@{name}"
    for file in check_shards(paths.candidates(name), made_by=made_by).names():
        rows = read_rows(paths.candidates(name) / file, Sentence, made_by=made_by)
        for _, tree in groupby(rows, key=lambda row: row.prompt_id):
            if found := contest(list(tree)):
                yield found


def _metrics(verdicts: Sequence[Verdict], *, prompts: int) -> dict[str, float | None]:
    """Return figures of the verdicts for `dvc metrics show`: counts of prompts, and percentages."""
    readable = [one for one in verdicts if one.forward is not None and one.backward is not None]
    same = [one for one in readable if one.forward == one.backward]
    shown_first = sum(
        (one.forward == Winner.FIRST.value) + (one.backward == Winner.SECOND.value) for one in readable
    )
    return {
        "prompts": prompts,
        "judged": len(verdicts),
        "unreadable": len(verdicts) - len(readable),
        "ties": len(readable) - len(same),
        "agreed": len(same),
        "names_the_first_shown": 100 * shown_first / (2 * len(readable)) if readable else None,
    }
