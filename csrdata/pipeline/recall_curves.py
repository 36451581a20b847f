"""What `match_recall` wrote, read back: each policy's figures at every end-of-sequence bias.

`summarize` and `final` find the bias on it, each with the bootstrap over the whole procedure.
"""

from collections.abc import Mapping, Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.equal_recall import Curve, biased_curves, check_setting, describing, plain_curves
from csrdata.evaluation.record import describe_evaluation, read_record
from csrdata.evaluation.scorecard import Known
from csrdata.params import FILE
from csrdata.pipeline.answers import evaluated_by, read_answers
from csrdata.pipeline.inputs import read_left_out
from csrdata.records import BiasedAnswer, Question
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import read_rows


def read_curves(
    policies: Sequence[str], questions: Sequence[Question], known: Mapping[str, Known]
) -> dict[str, dict[str, Curve]]:
    """Return the figures of each policy at every bias, by policy and split.

    Raises:
        UserError: answers are missing, or a policy was asked other questions than the table has, or in another way.
    """
    found: dict[str, dict[str, Curve]] = {}
    asked = describing(questions, known)
    left_out = read_left_out()
    for policy in policies:
        made_by = f"dvc repro {'match_base' if policy == paths.BASE else f'match_recall@{policy}'}"
        record = read_record(open_json(paths.biased_record(policy), made_by=made_by))
        tokens = read_record(open_json(paths.evaluation_record(policy), made_by=evaluated_by(policy)))
        present = describe_evaluation(
            asked, known, left_out=left_out, max_new_tokens=tokens.description_tokens
        )
        if record.protocol() != present.protocol():
            raise UserError(
                str(paths.biased_record(policy)),
                got="other questions, truth, rules or token limits",
                expected=f"those of {paths.evaluation_record(policy)}",
                do=made_by,
            )
        answers = read_rows(paths.biased_answers(policy), BiasedAnswer, made_by=made_by)
        found[policy] = biased_curves(asked, answers, known, made_by=made_by)
    return found


def read_base_curves(
    questions: Sequence[Question], known: Mapping[str, Known], *, setting: str
) -> dict[str, Curve]:
    """Return the base's figures without a bias, by split: curves of one point.

    Args:
        questions: the evaluation questions.
        known: by split, what is known about the images.
        setting: the setting split.

    Raises:
        UserError: the answers are missing, or the setting split has no description of an image whose objects are known.
    """
    asked = describing(questions, known)
    check_setting(setting, asked, place=f"{FILE}: match_recall.split", do=f"fix {FILE}, then: dvc repro")
    return plain_curves(asked, read_answers(paths.BASE), known, made_by=evaluated_by(paths.BASE))
