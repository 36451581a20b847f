"""What `csrdata check` works on: prompts, images and models, as the stages would read them, whether or not they have run.

What `prepare` and `sample_prompts` have written is taken. Before that, the prompts of a real source are sampled in memory.
Only the microworld has nothing to show before `prepare` has drawn it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csrdata import paths
from csrdata.checking.findings import Finding, fails, ok, refusal, warning
from csrdata.errors import UserError
from csrdata.evaluation_sets.answerable import keep_answerable
from csrdata.images import ImageRoot
from csrdata.params import FILE, Params
from csrdata.pipeline.evaluation_sets import open_sets, shrinking_splits
from csrdata.pipeline.inputs import images_folder, need_exclusion, need_images, need_policy, need_scorer
from csrdata.pipeline.pinning import pin_policy, pin_scorer
from csrdata.pipeline.scorers import trained_scorers
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Prompt
from csrdata.sections.models import AnyScorer, JudgeScorer, MicroworldModels
from csrdata.sections.scorers import Role, own_folder, scorer_folder, scorer_of, scorer_place, scorer_roles
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.sampled import ImageReader, in_words
from csrdata.storage.tables import read_rows

SAMPLE_PROMPTS = "dvc repro sample_prompts"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The prompts of a project, and where their images are."""

    prompts: list[Prompt]
    root: Path | ImageRoot
    sampled: bool
    """Whether `sample_prompts` has run."""
    wordings: Mapping[str, str] = field(default_factory=dict)
    """Rendered prompts, as stored."""


def read_prompts(params: Params) -> tuple[Inputs | None, list[Finding]]:
    """Return the prompts as stored, or else sampled in memory; None with a finding without prompts."""
    try:
        inputs = _stored(params) if paths.PROMPTS.exists() else _sampled(params)
    except UserError as problem:
        return None, [refusal("prompts", problem)]
    if inputs is None:
        return None, []
    how = "as sample_prompts wrote them" if inputs.sampled else "sampled for this check"
    return inputs, [ok("prompts", f"{len(inputs.prompts)}, {how}")]


def _stored(params: Params) -> Inputs:
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLE_PROMPTS)
    root = need_images(params, (prompt.image for prompt in prompts))
    return Inputs(prompts, root, sampled=True, wordings=read_wordings(paths.WORDINGS))


def _sampled(params: Params) -> Inputs | None:
    """Return the prompts that `sample_prompts` would sample, those with unusable images among them."""
    if isinstance(params.source, MicroworldSource):
        return None
    folder, exclusion = images_folder(params), need_exclusion(params)
    source = open_source(params.source, images=folder)
    asked = source.prompts(count=params.sample_prompts.prompts, seed=params.sample_prompts.seed)
    return Inputs(
        [prompt for prompt in asked if not exclusion.covers(prompt.prompt_id)], folder, sampled=False
    )


def check_origin(params: Params) -> list[Finding]:
    """Return a warning for each licence that `push` will ask for."""
    if isinstance(params.source, MicroworldSource):
        return []
    stated = params.source.origin.model_dump()
    missing = [f"{FILE}: source.origin.{key}" for key, value in stated.items() if value is None]
    do = "state what you know about images and outputs before: csrdata push"
    words = f"{', '.join(missing)}: got null, expected a text: push will refuse"
    return [warning("licences", words, do=do)] if missing else [ok("licences", "stated in source.origin")]


def check_pairs(params: Params) -> list[Finding]:
    """Return whether pairs from elsewhere can be made: the import is there, the source has a rule."""
    settings = params.select_pairs
    try:
        if settings.kind == "imported":
            from csrdata.pipeline import imported_pairs

            found = imported_pairs.images(settings, params=params)
            return [ok("imported pairs", f"with {len(found)} images in {settings.folder}")]
        if settings.kind == "corrupted":
            from csrdata.pipeline import corrupted_pairs

            corrupted_pairs.rule(params)
    except UserError as problem:
        return [refusal("pairs", problem)]
    return []


def check_sets(params: Params, inputs: Inputs) -> list[Finding]:
    """Return whether each evaluation set can be sampled: its files and images are read, as `sample_prompts` reads them."""
    findings = []
    root = inputs.root if isinstance(inputs.root, Path) else inputs.root.folder
    source, images = open_source(params.source, images=root), ImageReader(root)
    shrinking = shrinking_splits(params.evaluation_sets, source)
    for name, one in open_sets(params.evaluation_sets, source).items():
        subject = f"evaluation_sets.{name}"
        try:
            found = keep_answerable(
                one.ask(inputs.prompts),
                images=images,
                exclusion=need_exclusion(params),
                shrinking=shrinking,
            )
        except UserError as problem:
            findings.append(refusal(subject, problem))
            continue
        words = f"{len(found.asked.questions)} questions, {len(found.asked.truths)} images with known objects"
        if found.left_out:
            words = f"{words}; {len(found.left_out)} left out, such as {in_words(found.left_out[0])}"
        findings.append(ok(subject, words))
    return findings


@dataclass(frozen=True, slots=True)
class Models:
    """Where the models of a project are."""

    policy: Path
    """The base's folder: a model or a pointer to one."""
    records: Mapping[Role, Path | None]
    """For each scorer of the project, the folder of its record; None for its usual place."""


def find_models(params: Params, scratch: Path) -> tuple[Models | None, list[Finding]]:
    """Return the base policy and the scorers; None with findings if one is missing or cannot be used.

    What `prepare` has written is taken. Models of others are resolved into a temporary folder before; their files go to the
    cache of the Hub, as `prepare` would bring them.

    Args:
        params: the project's.
        scratch: a temporary folder.
    """
    findings: list[Finding] = []
    records: dict[Role, Path | None] = {}
    base = paths.policy(paths.BASE)
    if isinstance(params.prepare, MicroworldModels) and not base.exists():
        return None, []
    try:
        if isinstance(params.prepare, MicroworldModels) or base.exists():
            policy = need_policy(paths.BASE)
            findings.append(ok("policy", f"{policy}, as prepare wrote it"))
        else:
            policy = scratch / "policy"
            found = pin_policy(params.prepare, at=policy)
            findings.append(ok("policy", f"{found.name}, which prepare will record"))
    except UserError as problem:
        return None, [refusal("policy", problem)]
    missing = _untrained(params)
    for role in scorer_roles(params.scorers):
        records[role] = None
        if role not in missing:
            try:
                words, records[role] = _find_scorer(params, role, scratch)
                findings.append(ok(scorer_place(role), words))
            except UserError as problem:
                findings.append(refusal(scorer_place(role), problem))
    return None if missing or fails(findings) else Models(policy, records), findings


def with_base_at(params: Params, folder: Path) -> Params:
    """Return the parameters with a judge that is the base in another folder: until `prepare` has run it is elsewhere."""

    def moved(scorer: AnyScorer) -> AnyScorer:
        return scorer.model_copy(update={"folder": str(folder)}) if _is_base(scorer) else scorer

    own = params.scorers
    scorers = own.model_copy(
        update={
            "search": moved(own.search),
            "held_out": None if own.held_out is None else moved(own.held_out),
            "others": {role: moved(scorer) for role, scorer in own.others.items()},
        }
    )
    return params.model_copy(update={"scorers": scorers})


def _is_base(scorer: AnyScorer) -> bool:
    return isinstance(scorer, JudgeScorer) and Path(scorer.folder) == paths.policy(paths.BASE)


def _untrained(params: Params) -> list[Role]:
    """Return the scorers that `prepare` trains and has not trained yet."""
    if not isinstance(params.prepare, MicroworldModels):
        return []
    folders = trained_scorers(params).folders
    return [role for role, folder in folders.items() if not folder.exists()]


def _find_scorer(params: Params, role: Role, scratch: Path) -> tuple[str, Path | None]:
    """Return what a scorer is, in words, and the folder of its record if that is not the usual one.

    Raises:
        UserError: it is missing, changed or not a scorer.
    """
    settings = scorer_of(params.scorers, role)
    folder = scorer_folder(settings, role=role)
    if folder is None:
        return "asks the policy", None
    if _is_base(settings):
        return "asks the base", None
    if own_folder(settings) is not None or folder.exists():
        return f"{need_scorer(folder)}, as it was written", None
    pinned = pin_scorer(params, role, at=scratch / role)
    return f"{', '.join(one.name for one in pinned)}, which prepare will record", scratch / role
