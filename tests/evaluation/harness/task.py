"""A local task of lmms-eval: yes/no questions of a project, with POPE's rule of lmms-eval (equal strings)."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from csrdata.records import Question

TASK = "microworld_yes_no"
_YAML = """\
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
task: {task}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visual
doc_to_text: !function utils.text
doc_to_target: answer
process_results: !function utils.score
generation_kwargs:
  max_new_tokens: {limit}
  temperature: 0
  do_sample: false
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1.0
"""
_UTILS = '''\
"""Questions and the rule of the task."""

import io

from PIL import Image


def visual(doc):
    return [Image.open(io.BytesIO(doc["picture"])).convert("RGB")]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def score(doc, results):
    return {"accuracy": float(results[0].lower().strip() == doc["answer"])}
'''


def write_task(folder: Path, questions: Sequence[Question], *, root: Path, limit: int) -> Path:
    """Write the task's files: questions and images as Parquet, the YAML and its code.

    Args:
        folder: new.
        questions: yes/no questions.
        root: of the images.
        limit: tokens of an answer.
    """
    folder.mkdir()
    rows = {
        "question_id": [one.question_id for one in questions],
        "question": [one.text for one in questions],
        "answer": [str(one.answer) for one in questions],
        "picture": [(root / one.image).read_bytes() for one in questions],
    }
    file = folder / "questions.parquet"
    pl.DataFrame(rows).write_parquet(file)
    text = _YAML.format(file=file, task=TASK, limit=limit)
    (folder / f"{TASK}.yaml").write_text(text, encoding="utf-8")
    (folder / "utils.py").write_text(_UTILS, encoding="utf-8")
    return folder
