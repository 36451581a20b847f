"""`make final`: the base and the last policy on the test split, once, when every setting is final.

No stage draws, asks about or answers for the test split, so nothing can be chosen by it. This module is not a stage of the
DAG: it draws the images itself, and its record is made once. A record of other settings is never replaced: who removes it
draws other images, with `--test-seed`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from csrdata import paths
from csrdata.entry import leaving_in_words, say
from csrdata.errors import UserError
from csrdata.evaluation import table
from csrdata.evaluation.equal_recall import Curve, biased_curves, describing, plain_curves
from csrdata.evaluation.equal_recall_intervals import AtRecall, at_recall
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.evaluation.summarizing import summarize_recall, summarize_splits, with_recall
from csrdata.evaluation.summary import Summary, read_prepared, read_world
from csrdata.evaluation_sets.base import Asked
from csrdata.images import ImageRoot
from csrdata.params import FILE, Params, load_params, values_to_hash
from csrdata.pipeline import works_here
from csrdata.pipeline.evaluate_policy import answer_questions
from csrdata.pipeline.graph import steps
from csrdata.pipeline.match_recall import answer_at_biases
from csrdata.pipeline.recall_curves import read_base_curves, read_curves
from csrdata.pipeline.run_all import form_here
from csrdata.pipeline.runtime import machine, set_up_process
from csrdata.pipeline.source import open_source
from csrdata.pipeline.staleness import LOCK, Project, why_stale
from csrdata.pipeline.stopping import ran
from csrdata.pipeline.truth import known_truth
from csrdata.pipeline.wordings import render_wordings
from csrdata.records import Answer, BiasedAnswer, Question, Truth
from csrdata.sections.evaluation import MatchRecall
from csrdata.sections.scorers import scorer_folder
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.sampled import ImageReader
from csrdata.storage.disk import read_json, refusals_in_words
from csrdata.storage.dvc_lock import read_lock
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import atomic_file, fingerprint, read_rows, write_json, write_rows
from csrdata.strict_yaml import read_yaml

COMMAND = "python -m csrdata.pipeline.final"
"""What `make final` runs; it works in a project of `csrdata init` too."""
MARKDOWN = paths.FINAL.with_suffix(".md")
BEFORE = paths.FINAL.with_name("final.before.json")
"""Where a record of the same parameters goes that other models made, on another processor for instance."""
ANSWERS = paths.TEST_SCENES / "answers"
MOST_DIGITS = 9
"""Of a seed."""


def main() -> None:
    """Make the record of the project in the present folder; a user's mistake is one line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Evaluate base and last policy on the test split."
    )
    parser.add_argument("--test-seed", metavar="N", help="in place of source.test_seed; 0 or more")
    text = parser.parse_args().test_seed
    with leaving_in_words("final", reword=works_here), refusals_in_words("final", again=COMMAND):
        run(load_params(), test_seed=None if text is None else _seed(text))


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        expected = f"a whole number, 0 or more, of at most {MOST_DIGITS} digits"
        raise UserError("--test-seed", got=text, expected=expected, do=f"{COMMAND} --test-seed 2")
    return int(text)


def run(params: Params, *, test_seed: int | None = None) -> None:
    """Evaluate the base and the last policy on the test split, and write `metrics/final.json` and `metrics/final.md`.

    Nothing is done if the record of the same settings is there, whatever its test seed.

    Args:
        params: the project's.
        test_seed: scenes and questions of the test split are drawn from it, 0 or more; None: `source.test_seed`.

    Raises:
        UserError: the source is not the microworld, a stage is out of date, or there is a record of other settings.
    """
    source = params.source
    if not isinstance(source, MicroworldSource):
        raise UserError(
            f"{FILE}: source.kind",
            got=source.kind,
            expected="microworld: no other source has a test split",
            do="add an evaluation set that no setting is chosen by (docs/evaluation.md)",
        )
    made = paths.FINAL.is_file()
    seed = _recorded_seed() if made else test_seed
    if seed is not None:  # no stage depends on it: they are checked with the project's parameters
        source = source.model_copy(update={"test_seed": seed})
    tested = params.model_copy(update={"source": source})
    if made:
        _check_same(_params_hash(tested))
    check_current(params)
    settings = final_settings(tested)
    if made:
        _check_same(settings)
        say(f"{paths.FINAL}: the record of these settings is there already; nothing was done")
        return
    record = evaluate(params, source)
    facts = machine(params.compute)
    with atomic_file(MARKDOWN) as partial:
        text = table.markdown(record, confidence=params.summarize.confidence)
        partial.write_text(f"{text}\n{_notes(source, settings, facts)}\n", encoding="utf-8")
    write_json(
        paths.FINAL,
        {
            "settings": settings,
            "test": {"images": source.test_images, "seed": source.test_seed},
            "machine": facts,
            "summary": record.as_json(),
        },
    )
    say(f"{paths.FINAL}, {MARKDOWN}: written")


def _recorded_seed() -> int | None:
    """Return the test seed of the record; None if it does not say."""
    there = read_json(paths.FINAL, made_by=f"rm {paths.FINAL}, then: {COMMAND}").get("test")
    seed = there.get("seed") if isinstance(there, dict) else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 else None


def check_current(params: Params) -> None:
    """Check that every stage is up to date, by the hashes in dvc.lock.

    Raises:
        UserError: one is not; the error names the first one and why.
    """
    project = Project(params, read_yaml(FILE), form_here())
    lock = read_lock(LOCK) if LOCK.is_file() else {}
    for step in steps(params):
        reason = why_stale(step, lock, project)
        if reason is not None:
            raise UserError(
                step.name,
                got=reason,
                expected="a complete run with the settings that are final",
                do=f"dvc repro, then: {COMMAND}",
            )


def final_settings(params: Params) -> dict[str, str]:
    """Return the SHA-256 of everything that the figures depend on: the parameters, both policies and the scorers."""
    search, held_out = params.scorers.search, params.scorers.held_out
    scorers = {"search": scorer_folder(search, role="search")}
    if held_out is not None:
        scorers["held_out"] = scorer_folder(held_out, role="held_out")
    policies = {"base": paths.policy(paths.BASE), "policy": paths.policy(_last(params))}
    return _params_hash(params) | fingerprint(**policies, **scorers)


def _params_hash(params: Params) -> dict[str, str]:
    """Return the SHA-256 of all parameters but `engine`, which changes no result."""
    return fingerprint(params=values_to_hash(params, exclude={"engine"}))


def evaluate(params: Params, source: MicroworldSource) -> Summary:
    """Draw the test split, and return the figures of the base and the last policy on it.

    At the base's recall, the bias is the one that was found on the setting split of `match_recall`; no bias is chosen by the
    test split. The images, their truth and the answers are written to `data/final`.
    """
    from csrdata.sources.microworld.images import write_scenes
    from csrdata.sources.microworld.source import Microworld
    from csrdata.sources.microworld.world import TEST

    set_up_process(params.compute)
    write_scenes(paths.TEST_SCENES, sizes={TEST: source.test_images}, seed=source.test_seed)
    world = Microworld(
        paths.TEST_SCENES,
        questions_per_image=source.questions_per_image,
        seed=source.test_seed,
        made_by=COMMAND,
    )
    questions = world.questions()
    known = {TEST: Known({truth.image: truth for truth in world.truths()}, world.claim_parser())}
    policies = (paths.BASE, _last(params))
    asking = _Asking(params, questions)
    answers = {name: asking.answers(name) for name in policies}
    cards = {name: scorecards(questions, answers[name], known, made_by=COMMAND) for name in policies}
    splits, equal_recall = summarize_splits(cards, **params.summarize.model_dump()), None
    if params.match_recall is not None:
        found, curves = _at_recall(params, params.match_recall, asking, answers[paths.BASE], known)
        splits = with_recall(splits, found)
        equal_recall = summarize_recall(found, curves, split=params.match_recall.split)
    prepared = open_json(paths.PREPARE_METRICS, made_by="dvc repro prepare")
    return Summary(
        iterations=policies,
        splits=splits,
        pairs={},
        training={},
        prepared=read_prepared(prepared),
        evaluation=describe_evaluation(
            questions,
            known,
            left_out=(),
            max_new_tokens=params.evaluate_policy.max_new_tokens,
            decoding=params.evaluate_policy.decoding,
        ),
        equal_recall=equal_recall,
        world=read_world(prepared),
    )


class _Asking:
    """Asks the policies the questions of the test split, and writes their answers next to the images."""

    def __init__(self, params: Params, questions: Sequence[Question]) -> None:
        files = ImageReader(Path()).files(one.image for one in questions)
        self.params, self.questions = params, questions
        self.images = ImageRoot(Path(), {file.image: file for file in files})
        self.wordings = render_wordings({one.text: f"question {one.question_id}" for one in questions})

    def answers(self, name: str) -> list[Answer]:
        """Return a policy's answers to all questions."""
        found = answer_questions(
            self.params, name, self.questions, images=self.images, wordings=self.wordings
        )
        write_rows(ANSWERS / f"{name}.parquet", found, Answer)
        return found

    def biased_answers(
        self, settings: MatchRecall, name: str, questions: Sequence[Question]
    ) -> list[BiasedAnswer]:
        """Return a policy's answers to some of the questions at every bias."""
        found = answer_at_biases(
            self.params, settings, name, questions, images=self.images, wordings=self.wordings
        )
        write_rows(ANSWERS / f"{name}_biased.parquet", found, BiasedAnswer)
        return found


def _at_recall(
    params: Params,
    settings: MatchRecall,
    asking: _Asking,
    base: Sequence[Answer],
    known: Mapping[str, Known],
) -> tuple[dict[str, AtRecall], dict[str, dict[str, Curve]]]:
    """Return both policies' figures at the base's recall, and their curves, on the setting split and on the test split.

    The bootstrap repeats the whole procedure, as in `summarize`: it finds the bias again on images drawn from the setting
    split, and measures the figure there on images drawn from the test split.

    Args:
        params: all parameters.
        settings: those of `match_recall`.
        asking: asks the questions of the test split.
        base: the base's answers to them, without a bias.
        known: what is known about the images of the test split.

    Raises:
        UserError: what `match_recall` wrote is missing, or is of other questions.
    """
    policies = (paths.BASE, _last(params))
    seen = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    truths = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    seen_known = known_truth(params.evaluation_sets, open_source(params.source), Asked(seen, truths))
    plain = read_base_curves(seen, seen_known, setting=settings.split)
    curves = {
        name: {settings.split: own[settings.split]}
        for name, own in read_curves(policies, seen, seen_known).items()
    }
    asked = describing(asking.questions, known)
    for name in policies:
        answers = asking.biased_answers(settings, name, asked)
        curves[name] |= biased_curves(asked, answers, known, made_by=COMMAND)
    at_zero = {settings.split: plain[settings.split], **plain_curves(asked, base, known, made_by=COMMAND)}
    found = at_recall({**curves, paths.BASE: at_zero}, split=settings.split, **params.summarize.model_dump())
    return found, curves


def _check_same(settings: dict[str, str]) -> None:
    """Refuse to replace the record of other settings.

    Args:
        settings: all of `final_settings`, or some.

    Raises:
        UserError: the record is of other settings, or cannot be read.
    """
    there = read_json(paths.FINAL, made_by=f"rm {paths.FINAL}, then: {COMMAND}").get("settings")
    before = there if isinstance(there, dict) else {}
    changed = sorted(name for name in settings if before.get(name) != settings[name])
    if changed and "params" not in changed:
        raise UserError(
            str(paths.FINAL),
            got=f"a record of these parameters with other models ({', '.join(changed)})",
            expected="no record: it is made once",
            do=f"to keep both: mv {paths.FINAL} {BEFORE}, then: {COMMAND}",
        )
    if changed:
        raise UserError(
            str(paths.FINAL),
            got=f"a record of other settings ({', '.join(changed)})",
            expected="no record: it is made once, and settings that were chosen after it are not tested by it",
            do=f"git restore {FILE}, or remove {paths.FINAL} on purpose, then, with other images: {COMMAND} --test-seed N",
        )


def _notes(source: MicroworldSource, settings: dict[str, str], facts: dict[str, str | int]) -> str:
    """Return what the figures depend on, as the last paragraph of the Markdown."""
    return (
        f"test split: {source.test_images} images, seed {source.test_seed}, evaluated once; "
        f"params SHA-256 {settings['params']}; answered on {facts['processor']} ({facts['instructions']}), "
        f"{facts['threads']} threads, torch {facts['torch']}"
    )


def _last(params: Params) -> str:
    """Return the name of the last iteration that ran; the base if none did."""
    return [paths.BASE, *ran(params.iterations)][-1]


if __name__ == "__main__":
    main()
