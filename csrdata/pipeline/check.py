"""Wiring of `csrdata check`: a project's parameters in; what would fail later out. Nothing of the project is written.

Two prompts go through the stages' own functions, with the project's models, on its device. The policy is loaded twice, one
after the other, as `generate_beams` and `train_dpo` load it.
"""

import gc
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrdata.checking.disk import adapter_bytes, check_disk, shard_bytes
from csrdata.checking.findings import Finding, collecting, fails, ok, refusal, warning
from csrdata.checking.images import check_images
from csrdata.checking.packages import check_packages
from csrdata.checking.project_files import check_files
from csrdata.checking.units import size
from csrdata.errors import UserError
from csrdata.images import load_image
from csrdata.params import Params
from csrdata.pipeline import runtime
from csrdata.pipeline.check_inputs import (
    SAMPLE_PROMPTS,
    Inputs,
    Models,
    check_origin,
    check_pairs,
    check_sets,
    find_models,
    read_prompts,
    with_base_at,
)
from csrdata.pipeline.dag import FILE, Form, dvc_yaml, project_files
from csrdata.pipeline.proposing import live_answers, open_proposing
from csrdata.pipeline.scorers import embeds_texts, open_scorer
from csrdata.records import Pair, Prompt, Response, Sentence
from csrdata.sections import stopping
from csrdata.sections.method import AnyPairs, ImportedPairs
from csrdata.sections.scorers import Role, scorer_place

if TYPE_CHECKING:
    from PIL.Image import Image

    from csrdata.checking.estimate import Shape
    from csrdata.checking.trial import Searched, Step
    from csrdata.policy.choosing import PathChoice
    from csrdata.policy.loading import Policy
    from csrdata.relevance.base import Scorer

MEASURED = 20
"""Prompts whose tokens are counted, the two that are tried among them."""


def check(params: Params, *, all_images: bool = False) -> list[Finding]:
    """Return what would fail later, what is unusual and what is fine, in the order in which it was checked.

    Args:
        params: the project's.
        all_images: read every image, not a sample.
    """
    findings = _dag(params)
    findings += (packages := check_packages())
    if fails(packages):
        return [*findings, *_disk(params, adapter=0)]
    said: list[Finding] = []
    with collecting(said, "device"):
        runtime.set_up_process(params.compute)
        said += _device(params)
    findings += check_origin(params)
    findings += check_pairs(params)
    inputs, read = read_prompts(params)
    said += read
    if inputs is not None:
        images = list(dict.fromkeys(prompt.image for prompt in inputs.prompts))
        load = partial(_load, inputs)
        said += check_images(images, load=load, all_images=all_images, sampled=inputs.sampled)
        findings += check_sets(params, inputs)
    findings += said
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch:
        models, resolved = find_models(params, Path(scratch))
        findings += resolved
        if models is not None and inputs is not None and not fails(said):
            with _quietly():
                return [*findings, *_try(with_base_at(params, models.policy), inputs, models)]
    if (models is None and not fails(resolved)) or (inputs is None and not fails(said)):
        stage = "prepare" if models is None else "sample_prompts"
        words = "it has not run: two prompts could not be tried, nor memory and time estimated"
        findings.append(warning(stage, words, do=f"{SAMPLE_PROMPTS}, then: csrdata check"))
    return [*findings, *_disk(params, adapter=0)]


def _dag(params: Params) -> list[Finding]:
    """Compare dvc.yaml and code.yaml with what this version of csrdata writes; csrdata's repository has the former alone."""
    if Path("stages/prepare.py").is_file():
        return check_files({FILE: dvc_yaml(params, Form.REPOSITORY)}, do="make dag")
    return check_files(project_files(params), do="csrdata dag")


def _device(params: Params) -> list[Finding]:
    compute = params.compute
    words = f"{compute.device} with {size(_memory(params))}, {compute.dtype}"
    if compute.device == "cpu" and compute.dtype != "float32":
        return [warning("device", f"{words}: slow on a CPU", do="set compute.dtype to float32")]
    return [ok("device", words)]


def _memory(params: Params) -> int:
    """Return the bytes of the device's memory."""
    if params.compute.device == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import torch

    return int(torch.cuda.get_device_properties(params.compute.device).total_memory)


def _load(inputs: Inputs, image: str) -> "Image":
    return load_image(image, root=inputs.root, place="prompts")


def _disk(params: Params, *, adapter: int) -> list[Finding]:
    settings = params.generate_beams
    proposing = open_proposing(settings.proposal)
    tables = shard_bytes(
        params.sample_prompts.prompts,
        iterations=len(params.iterations),
        roots=proposing.roots,
        candidates=proposing.candidates,
        keep=live_answers(settings),
        max_sentences=settings.max_sentences,
        max_sentence_tokens=settings.max_sentence_tokens,
        max_response_tokens=settings.max_response_tokens,
    )
    return check_disk(
        Path(), tables=tables, adapters=adapter_bytes(adapter, iterations=len(params.iterations))
    )


def _try(params: Params, inputs: Inputs, models: Models) -> list[Finding]:
    """Try two prompts from start to end; return what that shows, and the estimates of disk, memory and time."""
    from csrdata.checking.trial import PROMPTS, try_pairs, try_training
    from csrdata.pipeline.trial_pairs import selection

    some, load = _readable(inputs), os.getloadavg()[0]
    tried = [prompt for prompt, _ in some[:PROMPTS]]
    try:
        facts, findings = _search(params, inputs, models, some)
    except UserError as problem:
        return [refusal("models", problem), *_disk(params, adapter=0)]
    _free()
    adapter = facts.shape.adapter(params.train_dpo.lora_rank)
    searched = facts.searched
    if not searched.sentences:
        return [*findings, *_disk(params, adapter=adapter)]
    pairs, said = try_pairs(
        tried,
        searched.sentences,
        score=lambda rows: _score(params, inputs, models, rows),
        select=selection(params),
    )
    findings += said
    _free()
    step = None
    if pairs:
        step, said = try_training(pairs, lambda chosen: _train(params, inputs, models, chosen))
        findings += said
    return [*findings, *_disk(params, adapter=adapter), *_budget(params, facts, step, load=load)]


def _readable(inputs: Inputs) -> "list[tuple[Prompt, Image]]":
    """Return at most `MEASURED` prompts with readable images: the first, then those with long texts and other images."""
    first = inputs.prompts[0]

    def order(prompt: Prompt) -> tuple[bool, bool, int, str]:
        return prompt != first, prompt.image == first.image, -len(prompt.text), prompt.prompt_id

    found = []
    for prompt in sorted(inputs.prompts, key=order):
        with suppress(UserError):  # `check_images` counts them
            found.append((prompt, _load(inputs, prompt.image)))
        if len(found) == MEASURED:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the estimates need to know of the models and of the trial."""

    searched: "Searched"
    shape: "Shape"
    path: "PathChoice"
    prompt_tokens: int
    """Of the longest prompt that was measured, with its image."""
    scorer_bytes: int


def _search(
    params: Params, inputs: Inputs, models: Models, some: "Sequence[tuple[Prompt, Image]]"
) -> tuple[_Facts, list[Finding]]:
    """Load the policy and the search's scorer; check template, limits and path; search the two prompts."""
    from csrdata.checking.decoding_path import check_path, decoding_path
    from csrdata.checking.estimate import shape_of
    from csrdata.checking.limits import check_context, check_sentences, measure
    from csrdata.checking.template import check_template
    from csrdata.checking.trial import PROMPTS, try_search

    settings = params.generate_beams
    policy = _policy(params, inputs, models)
    search_scorer = _scorer(params, models, "search", policy)
    tried, images = [prompt for prompt, _ in some[:PROMPTS]], [image for _, image in some[:PROMPTS]]
    findings = check_template(policy, tried[0].text)
    measured = [measure(policy, prompt, image) for prompt, image in some]
    findings += check_context(
        policy,
        measured,
        max_response_tokens=settings.max_response_tokens,
        max_new_tokens=params.evaluate_policy.max_new_tokens,
    )
    findings += check_sentences(
        max_sentence_tokens=settings.max_sentence_tokens,
        max_response_tokens=settings.max_response_tokens,
        text_limits=_text_limits(params, models, policy),
    )
    path = decoding_path(
        policy,
        tried,
        images,
        at_once=len(tried),
        answer_tokens=settings.max_response_tokens,
    )
    findings += check_path(path)
    searched = try_search(tried, lambda chosen: _generate(params, inputs, policy, search_scorer, chosen))
    facts = _Facts(
        searched,
        shape_of(policy.model),
        path,
        prompt_tokens=max(one.whole for one in measured),
        scorer_bytes=_weights_of(search_scorer, policy),
    )
    return facts, [*findings, *searched.findings]


def _scorer(params: Params, models: Models, role: Role, policy: "Policy") -> "Scorer":
    return open_scorer(
        params, role, device=params.compute.device, policy=lambda: policy, at=models.records[role]
    )


def _text_limits(params: Params, models: Models, policy: "Policy") -> dict[str, int | None]:
    """Return the tokens of a text that each scorer reads, by its place in params.yaml; None if it does not say.

    A detector, a self-check and a judge are left out: they have no limit.
    """
    found: dict[str, int | None] = {}
    for role in models.records:
        if not embeds_texts(params.scorers, role):
            continue
        opened: Any = _scorer(params, models, role, policy)
        opened = getattr(opened, "scorer", opened)  # of a noisy one, what is under the noise
        members = [one for _, one in getattr(opened, "members", [(1.0, opened)])]
        limits = [getattr(one, "context_length", None) for one in members]
        found[scorer_place(role)] = min((one for one in limits if one is not None), default=None)
    return found


def _policy(params: Params, inputs: Inputs, models: Models) -> "Policy":
    from csrdata.policy.loading import load_policy

    return load_policy(
        models.policy,
        device=params.compute.device,
        dtype=params.compute.dtype,
        wordings=inputs.wordings,
    )


def _weights_of(scorer: "Scorer", policy: "Policy") -> int:
    """Return the bytes of the weights that a scorer, or an ensemble's members, have beside the policy's.

    They are those of a judge's model too. A self-check asks the policy itself, and a detector may have none: 0.
    """
    from csrdata.generation.self_check import SelfCheck

    opened: Any = scorer
    opened = getattr(opened, "scorer", opened)  # of a noisy one, what is under the noise
    size = 0
    for _, one in getattr(opened, "members", [(1.0, opened)]):
        model = one.policy().model if isinstance(one, SelfCheck) else getattr(one, "model", None)
        if model is not None and model is not policy.model:
            size += sum(own.numel() * own.element_size() for own in model.parameters())
    return size


def _generate(
    params: Params, inputs: Inputs, policy: "Policy", scorer: "Scorer", prompts: Sequence[Prompt]
) -> tuple[list[Sentence], float]:
    """Search a shard of these prompts as `generate_beams` does; return its rows and the seconds of its activities."""
    from csrdata.checking.trial import SENTENCES
    from csrdata.generation.clock import Clock
    from csrdata.generation.generating import generate

    settings, clock = params.generate_beams, Clock()
    rows = generate(
        prompts,
        root=inputs.root,
        policy=policy,
        scorer=scorer,
        proposing=open_proposing(settings.proposal),
        **settings.model_dump(
            exclude={"proposal", "prompts_per_shard", "guidance", "max_sentences", "prompts_at_once"}
        ),
        max_sentences=min(SENTENCES, settings.max_sentences),
        prompts_at_once=min(len(prompts), settings.prompts_at_once),
        guidance=settings.guidance.kind,
        image_weight=settings.guidance.image_weight,
        scale=settings.guidance.scale,
        repetition_threshold=settings.guidance.repetition_threshold,
        clock=clock,
    )
    return rows, sum(clock.take().values())


def _score(params: Params, inputs: Inputs, models: Models, rows: Sequence[Sentence]) -> list[Response]:
    """Measure the candidates of the trial as `measure_signals` does, and score their answers as `score_beams` does."""
    from csrdata.generation.clock import Clock
    from csrdata.generation.signals import OTHER_IMAGES, measure
    from csrdata.search.responses import score

    settings = params.score_beams
    policy = cache(partial(_policy, params, inputs, models))
    opened = {
        role: open_scorer(params, role, device=params.compute.device, policy=policy, at=at)
        for role, at in models.records.items()
    }
    signals = measure(
        rows,
        images={prompt.prompt_id: prompt.image for prompt in inputs.prompts},
        root=inputs.root,
        search=opened.pop("search"),
        scorers=opened,
        other_images=OTHER_IMAGES,
        clock=Clock(),
    )
    return score(
        rows,
        signals,
        signal=settings.signal,
        image_weight=settings.image_weight,
        scale=settings.scale,
        repetition_threshold=settings.repetition_threshold,
        aggregate_by=settings.aggregate,
    )


def _train(params: Params, inputs: Inputs, models: Models, pairs: Sequence[Pair]) -> "Step":
    """Train two steps as `train_dpo` does, into a temporary folder; the second one, which is warm, is timed."""
    from csrdata.checking.step_clock import StepClock
    from csrdata.checking.trial import Step
    from csrdata.policy.training import train

    section = params.train_dpo
    runtime.set_up_process(params.compute, seed=section.seed)
    policy = _policy(params, inputs, models)
    batch = min(section.batch_size, len(pairs))
    settings = section.model_dump() | {"epochs": 2, "batch_size": batch, "accumulation": 1, "warmup_share": 0}
    clock = StepClock(policy.model.get_decoder())  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="csrdata-") as scratch, clock:
        report = train(
            policy,
            list(pairs[:batch]),
            root=inputs.root,
            adapter_folder=Path(scratch),
            **settings,
            progress=False,
        )
    return Step(
        loss=report.steps[0].loss,
        reference_gap=report.reference_gap,
        seconds=clock.step / batch,
        preflight_seconds=clock.preflight / batch,
    )


def _budget(params: Params, facts: _Facts, step: "Step | None", *, load: float) -> list[Finding]:
    """Return the estimates of memory and time at the project's settings; `load` is the machine's before the trial."""
    from csrdata.checking.budget import check_generation_memory, check_time, check_training_memory
    from csrdata.checking.estimate import (
        Pace,
        generation_seconds,
        training_memory,
        training_seconds,
    )
    from csrdata.checking.memory_plan import MemoryPlan, plan_search

    settings, train, prompts = params.generate_beams, params.train_dpo, params.sample_prompts.prompts
    searched, longest = facts.searched, facts.prompt_tokens
    most = min(settings.max_response_tokens, settings.max_sentences * settings.max_sentence_tokens)
    sentence = max(len(row.token_ids) for row in searched.sentences)
    usual = min(most, round(settings.max_sentences * searched.sentence_tokens))
    together = min(settings.prompts_at_once, settings.prompts_per_shard, prompts)
    at_once = together if facts.path.together else 1
    accelerator, available = params.compute.device != "cpu", _memory(params)

    def plan(answer: int, of_sentence: int) -> MemoryPlan:
        return plan_search(
            facts.shape,
            available=available,
            prompt_tokens=longest,
            keep=live_answers(settings),
            candidates=open_proposing(settings.proposal).candidates,
            answer_tokens=answer,
            sentence_tokens=of_sentence,
            scorer_bytes=facts.scorer_bytes,
            accelerator=accelerator,
            graphs=facts.path.kind == "graphs",
        )

    findings = check_generation_memory(
        plan(usual, sentence),
        plan(most, settings.max_sentence_tokens),
        at_once=at_once,
        useful=min(settings.prompts_per_shard, prompts) if facts.path.together else 1,
        accelerator=accelerator,
    )
    findings += check_training_memory(
        training_memory(
            facts.shape,
            batch_size=train.batch_size,
            sides=2 if train.dpo_weight else 1,
            prompt_tokens=longest,
            answer_tokens=usual,
            lora_rank=train.lora_rank,
            gradient_checkpointing=train.gradient_checkpointing,
            keeps_attention=params.compute.device == "cpu",
        ),
        available=available,
        batch_size=train.batch_size,
        accumulation=train.accumulation,
    )
    pace = Pace(
        one=searched.seconds_of_one,
        two=searched.seconds_of_all,
        step=0.0 if step is None else step.seconds,
        preflight=0.0 if step is None else step.preflight_seconds,
    )
    depths = (searched.depth, settings.max_sentences)
    seconds = [
        generation_seconds(pace, prompts=prompts, at_once=at_once, depth=depth, tried_depth=searched.depth)
        for depth in depths
    ]
    return findings + check_time(
        search=None if params.select_pairs.kind == "imported" else (seconds[0], seconds[1]),
        depths=depths,
        training=training_seconds(
            pace, pairs=most_pairs(params.select_pairs, prompts=prompts), epochs=train.epochs
        ),
        iterations=len(params.iterations),
        load=load,
        cores=os.cpu_count() or 1,
    )


def most_pairs(settings: AnyPairs, *, prompts: int) -> int:
    """Return the most pairs of an iteration: those of an import, or else as many as the prompts may give.

    Args:
        settings: the section `select_pairs`.
        prompts: of the project.
    """
    if isinstance(settings, ImportedPairs):
        from csrdata.pipeline.imported_pairs import count

        with suppress(UserError):  # `check_pairs` has said what is wrong with it
            return count(settings)
        return 0
    return stopping.most_pairs(settings, prompts=prompts) or 0


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the warnings of libraries and the stages' own lines: what matters is a finding."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _free() -> None:
    """Give the accelerator's memory back that no object holds."""
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
