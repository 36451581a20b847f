"""Pairs that continue an answer, and several of one prompt: released, read back, trained on, exported."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline.export_pairs import export_pairs, plain_text
from csrdata.policy.collating import PairCollator
from csrdata.policy.loading import load_policy
from csrdata.policy.rows import dataset_of
from csrdata.policy.sides import BOTH
from csrdata.publishing.export.formats import FORMATS
from csrdata.publishing.export.writing import PLAIN
from csrdata.publishing.release.gates import check
from csrdata.publishing.release.restore import restore
from csrdata.records import Pair, Prompt, Wording
from csrdata.storage.tables import read_rows, write_rows
from tests.publishing.continued import OPENING, continued_pairs
from tests.publishing.project import (
    edit,
    image_name,
    iterations,
    make_project,
    pairs_of,
    release,
    rewrite,
)
from tests.publishing.test_gates import state_anew
from tests.tiny import tiny_llava

FILE = "iteration_1/train-00000-of-00001.parquet"


def made_pairs() -> list[Pair]:
    return [*continued_pairs(pairs_of()[0]), *pairs_of()[1:]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first iteration has pairs of every form, and its release."""
    parent = tmp_path_factory.mktemp("made")
    rewrite(make_project(parent / "project"), made_pairs())
    release(parent / "project", parent / "release", names=("1",))
    return parent


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    release(made / "project", tmp_path / "copy", names=("1",))
    return tmp_path / "copy"


def rows_of(folder: Path) -> Any:
    return load_dataset(str(folder), "iteration_1", cache_dir=str(folder.parent / "cache"))["train"]


def test_a_release_says_how_sides_continue(made: Path) -> None:
    """It passes the gates; context and sides joined are the generated texts, and the columns say what ends."""
    check(made / "release")
    rows = rows_of(made / "release")
    assert len(rows) == len(made_pairs())
    for row, pair in zip(rows, made_pairs(), strict=True):
        for name in ("prompt_id", "number", "context", "chosen_complete", "rejected_complete", "origin"):
            assert row[name] == getattr(pair, name)
        for side in BOTH:
            assert row["context"] + row[side][0]["content"] == pair.context + getattr(pair, side)


def test_the_round_trip_is_exact(made: Path, tmp_path: Path) -> None:
    """Pulled and written again: the same pairs, and the same bytes in every file."""
    restore(made / "release", iterations(tmp_path / "back", ("1",)), images_root=tmp_path / "back")
    images = [image_name((made / "project" / pair.image).read_bytes()) for pair in made_pairs()]
    assert read_rows(tmp_path / "back" / paths.pairs("1"), Pair, made_by="") == [
        replace(pair, image=f"data/{image}") for pair, image in zip(made_pairs(), images, strict=True)
    ]
    (tmp_path / "back/params.yaml").write_bytes((made / "project/params.yaml").read_bytes())
    release(tmp_path / "back", tmp_path / "again", names=("1",))
    files = [path.relative_to(made / "release") for path in (made / "release").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (made / "release" / file).read_bytes(), file


def test_the_card_says_what_a_pair_is(made: Path) -> None:
    """In words, with a table of origins and their counts; without such pairs, none of it."""
    text = (made / "release/README.md").read_text(encoding="utf-8")
    assert (
        "A pair is an image, an instruction and two answers, or the beginning of an answer and two ways to continue it. What "
        "decided which one is chosen: a rule that made the other one false; the evidence for the sentence; a reward; a "
        "score of the sentence."
    ) in " ".join(text.split())
    counts = dict(re.findall(r"^\| `(\w+)` \|.* \| (\d+) \|$", text, flags=re.MULTILINE))
    assert counts == {"corrupted": "1", "csr_ends": "2", "csr_search": "6", "csr_sentences": "3"}
    assert "| margin: 10%, 50%, 90% |" in text
    release(made / "project", made / "plain", names=("2",))
    plain = (made / "plain/README.md").read_text(encoding="utf-8")
    assert (
        "A pair is an image, an instruction and two answers. What decided which one is chosen: a reward."
        in plain
    )
    assert "as_text" in text
    assert "as_text" not in plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"rejected_complete": False},
            "row 3: rejected: got [{'role': 'assistant', 'content': ''}], expected one message",
        ),
        (
            {"context": " "},
            "row 3: rejected: got [{'role': 'assistant', 'content': ''}], expected one message",
        ),
        ({"context": None}, "row 3: context: got null, expected String"),
        ({"chosen_complete": None}, "row 3: chosen_complete: got null, expected Boolean"),
        ({"number": None}, "row 3: number: got null, expected Int64"),
    ],
)
def test_an_end_without_a_beginning_is_refused(folder: Path, change: dict[str, Any], words: str) -> None:
    """An empty side is the end of an answer that was begun, or a mistake that a gate names."""
    edit(folder / FILE, lambda rows: rows[3].update(change))
    with pytest.raises(UserError) as caught:
        check(state_anew(folder))
    assert words in str(caught.value)


def test_equal_sides_differ_in_their_end(folder: Path) -> None:
    """The same text that ends and goes on is a pair; the same text twice is none."""
    edit(folder / FILE, lambda rows: rows[5].update(chosen_complete=False))
    with pytest.raises(UserError, match="row 5: got two equal answers"):
        check(state_anew(folder))


def test_a_release_of_two_answers_alone_is_refused(folder: Path) -> None:
    """A release of format 2, whose pairs have no such columns, is one line."""
    path = folder / "provenance/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(
        UserError, match=r"got format 2, expected format 3\. Next: ask its owner to push it again"
    ):
        restore(folder, iterations(folder / "back", ("1",)))


@pytest.fixture(scope="module")
def policy(made: Path) -> Path:
    """A tiny LLaVA as the project's base, with the rendered prompts."""
    return tiny_llava(made / "project" / paths.policy(paths.BASE))


@pytest.fixture
def project(made: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made / "project")
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="")
    loaded = load_policy(policy)
    rendered = {prompt.text: loaded.prompt(prompt.text) for prompt in prompts}
    write_rows(paths.WORDINGS, [Wording(text, rendered[text]) for text in sorted(rendered)], Wording)
    return made / "project"


def ours(policy: Path, pairs: list[Pair]) -> Any:
    """Return the batch on which csrdata itself trains."""
    loaded = load_policy(policy)
    rows = dataset_of(loaded, pairs, root=Path(), sides=BOTH)
    collator = PairCollator(
        processor=loaded.processor,
        max_length=None,
        image_token=loaded.model.config.image_token_id,
        sides=BOTH,
    )
    return collator([rows[index] for index in range(len(pairs))])


def tokens(batch: Any) -> list[list[tuple[int, int]]]:
    """Return the tokens of each row without padding, and whether each is trained on."""
    rows = zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"].bool(), strict=True)
    return [list(zip(ids[real].tolist(), trained[real].tolist(), strict=True)) for ids, trained, real in rows]


def trl_batch(policy: Path, rows: Any, folder: Path, **options: Any) -> tuple[Any, Any]:
    """Return TRL's trainer on some rows, and its batch of all of them."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(policy),
        args=DPOConfig(
            output_dir=str(folder),
            max_length=None,
            max_steps=1,
            per_device_train_batch_size=2,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=rows,
        processing_class=AutoProcessor.from_pretrained(policy),
    )
    return trainer, trainer.data_collator([rows[index] for index in range(len(rows))])


def test_the_cards_code_trains_on_it(made: Path, project: Path, policy: Path, tmp_path: Path) -> None:
    """`as_text`, as the card has it, gives TRL the tokens on which csrdata trains: an end only where a side ends."""
    from transformers import AutoProcessor

    text = (made / "release/README.md").read_text(encoding="utf-8")
    code = text.partition("def as_text")[2].partition("\n# max_length")[0]
    names: dict[str, Any] = {
        "pairs": rows_of(made / "release"),
        "processor": AutoProcessor.from_pretrained(policy),
    }
    exec(f"def as_text{code}", names)  # noqa: S102 - the card's own lines
    trainer, batch = trl_batch(policy, names["pairs"], tmp_path / "out")
    assert tokens(batch) == tokens(ours(policy, made_pairs()))
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_the_export_for_trl_has_the_tokens_of_training(project: Path, policy: Path, tmp_path: Path) -> None:
    """Loaded by the printed code, the rows are plain text that TRL reads as csrdata trains."""
    done = export_pairs(tmp_path / "out", to="trl", iterations=["1"], options=PLAIN)
    names: dict[str, Any] = {}
    cache = f'split="train", cache_dir={str(tmp_path / "cache")!r}'
    exec(done.usage.replace('split="train"', cache), names)  # noqa: S102 - our own lines
    rows = names["train_dataset"]
    assert rows["prompt_id"] == [pair.prompt_id for pair in made_pairs()]
    assert rows[2]["prompt"].endswith(f"ASSISTANT:{OPENING}")
    trainer, batch = trl_batch(policy, rows, tmp_path / "trained")
    assert tokens(batch) == tokens(ours(policy, made_pairs()))
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize(
    "to", sorted(name for name, known in FORMATS.items() if known.text_row is None and not known.viewer)
)
def test_a_trainer_of_conversations_is_refused(project: Path, tmp_path: Path, to: str) -> None:
    """It would write an end behind a sentence: one line names the pair and the trainer that can."""
    with pytest.raises(UserError) as caught:
        export_pairs(tmp_path / "out", to=to, iterations=["1"], options=PLAIN)
    assert str(caught.value) == (
        f"--to: got {to}, and pair train-00000, number 2, which continues an answer, expected a trainer that can continue "
        "one: trl, or csrdata itself. Next: csrdata export --to trl DIR, or train here: dvc repro train_dpo"
    )
    assert not (tmp_path / "out").exists()
    rewrite(project, made_pairs()[7:], "2")
    assert export_pairs(tmp_path / "whole", to=to, iterations=["2"], options=PLAIN).pairs == 5


def test_tokens_across_the_boundary_are_refused(project: Path) -> None:
    """A beginning that ends within a token would be read as other tokens: TRL has no way to say it, csrdata's training does."""
    as_texts: Callable[[Pair], Any] = plain_text("1")
    with pytest.raises(
        UserError, match=r"pair train-00000, number 2: got other tokens than were generated.*train here"
    ):
        as_texts(replace(made_pairs()[2], context=" There is a re", chosen="d circle."))
