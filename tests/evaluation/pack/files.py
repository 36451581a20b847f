"""Small hand-made files in the public form of each benchmark, and answers to them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.evaluation_sets.coco_files import write_coco

POPE = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "no"},
    {"question_id": 3, "image": "b.jpg", "text": "Is there a car in the image?", "label": "yes"},
    {"question_id": 4, "image": "b.jpg", "text": "Is there a bus in the image?", "label": "no"},
    {"question_id": 5, "image": "c.jpg", "text": "Is there a cup in the image?", "label": "no"},
]
POPE_SAYS = ["yes", "Yes, a cat.", "A vehicle.", "There is nothing.", "yes"]


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def array(path: Path, value: object) -> Path:
    """Write one JSON value."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def amber_files(folder: Path) -> tuple[Path, Path, Path, Path]:
    """Write annotations, queries, word list and safe words: two descriptions and six yes/no questions about two images."""
    facts = [
        {"id": 1, "type": "generative", "truth": ["sky", "person", "dog"], "hallu": ["cloud", "tree"]},
        {"id": 2, "type": "generative", "truth": ["table"], "hallu": ["cat", "dog"]},
        {"id": 3, "type": "discriminative-attribute-state", "truth": "yes"},
        {"id": 4, "type": "discriminative-hallucination", "truth": "no"},
        {"id": 5, "type": "discriminative-hallucination", "truth": "no"},
        {"id": 6, "type": "discriminative-attribute-number", "truth": "no"},
        {"id": 7, "type": "relation", "truth": "yes"},
        {"id": 8, "type": "discriminative-relation", "truth": "no"},
    ]
    queries = [
        {"id": row["id"], "image": f"AMBER_{1 + row['id'] % 2}.jpg", "query": f"Question {row['id']}?"}
        for row in facts
    ]
    words = {
        "sky": [],
        "person": ["man", "people"],
        "dog": ["puppy"],
        "cloud": [],
        "tree": ["forest", "bush"],
        "table": ["desk"],
        "cat": ["kitten"],
        "light": [],
    }
    safe = folder / "safe_words.txt"
    safe.write_text("light\nline\n", encoding="utf-8")
    return (
        array(folder / "annotations.json", facts),
        array(folder / "query_all.json", queries),
        array(folder / "relation.json", words),
        safe,
    )


AMBER_SAYS = {
    "1": "A man and two dogs under bushes. A light in the sky, a kitten.",
    "2": "Desks and a puppy, a puppy.",
    "3": "Yes",
    "4": "No",
    "5": "Yes",
    "6": "No, two.",
    "7": "No",
    "8": "No",
}


def hallusion_rows() -> list[dict[str, Any]]:
    """Return two sets of questions: one that depends on its pictures, one that a picture supplements."""
    asked = [
        ("VD", "illusion", "1", "0", "0", "0", "1", "Yes."),
        ("VD", "illusion", "1", "0", "0", "1", "0", "Yes, it is."),
        ("VD", "illusion", "2", "0", "1", "0", "0", "No, it is not."),
        ("VD", "illusion", "2", "0", "1", "1", "1", "It is larger."),
        ("VS", "chart", "0", "3", "0", "0", "1", "I am unsure."),
        ("VS", "chart", "1", "3", "1", "0", "1", "yes"),
        ("VS", "chart", "2", "3", "2", "0", "0", "No"),
    ]
    names = ("category", "subcategory", "visual_input", "set_id", "figure_id", "question_id", "gt_answer")
    return [
        {
            **dict(zip(names, row[:-1], strict=True)),
            "question": "Is the left one larger?",
            "gt_answer_details": "",
            "sample_note": "",
            "filename": None if row[2] == "0" else f"./hallusion_bench/{row[0]}/{row[3]}_{row[4]}.png",
            "model_prediction": row[-1],
        }
        for row in asked
    ]


def options_of(kind: str, folder: Path) -> list[str]:
    """Write the files of a kind of `csrdata evaluate --set`, and return its `--with` options."""
    folder.mkdir(parents=True, exist_ok=True)
    pope = lines(folder / "pope.json", POPE)
    splits = {name: f"{name}={pope}" for name in ("random", "popular", "adversarial")}
    write_coco(folder)
    instances, captions = f"instances=[{folder}/instances.json]", f"captions=[{folder}/captions.json]"
    neg = array(folder / "neg.json", {"coco": {"dog": ["1.png", "2.png"], "cat": ["1.png"]}})
    pos = array(folder / "pos.json", {"coco": {"dog": ["3.png"], "cat": ["4.png"]}})
    asked = lines(folder / "asked.jsonl", [{"image_id": one, "question": "Describe it."} for one in (9, 25)])
    amber = zip(("annotations", "queries", "relation", "safe_words"), amber_files(folder), strict=True)
    return {
        "amber": [f"{key}={file}" for key, file in amber],
        "coco_chair": [instances, captions, "images=4", "seed=0"],
        "dash_b": [f"negatives={neg}", f"positives={pos}"],
        "hallusion_bench": [f"file={array(folder / 'hb.json', hallusion_rows())}"],
        "object_halbench": [f"file={asked}", instances, captions],
        "pope": [f"file={pope}", "strategy=random"],
        "pope_built": [instances, "strategy=random", "images=2", "per_image=2", "seed=0"],
        "pope_splits": list(splits.values()),
        "repope": [f"file={pope}", "strategy=random"],
        "repope_splits": list(splits.values()),
    }[kind]
