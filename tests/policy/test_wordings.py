"""A prompt is rendered once: what a chat template prints on another day changes no later stage."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.policy.loading import load_policy
from csrdata.policy.prompting import render_prompt
from csrdata.records import Pair, Sentence
from tests.extending.word_scorer import SCORER
from tests.family_way import PROMPTS, TEXTS, search, step
from tests.scores import by_reward
from tests.scoring import scored
from tests.teaching import teach
from tests.tiny import LLAVA_TEMPLATE, pictures, tiny_llava

NOW = re.compile(r"\d\d \w+ \d\d:\d\d:\d\d\.\d{6}")
"""What the template prints of the clock."""
SAMPLED = "28 November 14:06:10.527129"
"""What it printed when the prompts were sampled: the search, and with it the pairs, depend on this text."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A taught policy whose chat template prints the date and the time to the microsecond, and two images."""
    root = tmp_path_factory.mktemp("dated")
    folder = tiny_llava(root / "policy")
    dated = LLAVA_TEMPLATE.replace(
        "{{ bos_token }}", "{{ bos_token }}{{ strftime_now('%d %B %H:%M:%S.%f') }} "
    )
    (folder / "chat_template.jinja").write_text(dated, encoding="utf-8")
    teach(folder, texts=TEXTS)
    pictures(root / "images", 2)
    return root


@pytest.fixture(scope="module")
def wordings(project: Path) -> Mapping[str, str]:
    """The prompts as they were rendered at sampling, on a day that is the same in every run of this test."""
    processor = load_policy(project / "policy").processor
    rendered = {text: render_prompt(processor, text) for text in TEXTS}
    assert rendered != {text: render_prompt(processor, text) for text in TEXTS}
    stored = {text: NOW.sub(SAMPLED, prompt) for text, prompt in rendered.items()}
    assert all(SAMPLED in prompt for prompt in stored.values())
    return stored


def _pairs(project: Path, sentences: list[Sentence]) -> list[Pair]:
    responses = scored(sentences, PROMPTS, root=project, held_out=SCORER)
    return [row for row in by_reward(PROMPTS, responses) if isinstance(row, Pair)]


def test_tomorrows_training_sees_the_prompts_of_the_search(
    project: Path, wordings: Mapping[str, str], tmp_path: Path
) -> None:
    """With stored wordings, two searches are equal and the reference is the search's; without, training is refused."""
    rows = search(load_policy(project / "policy", wordings=wordings), PROMPTS, root=project)
    assert rows == search(load_policy(project / "policy", wordings=wordings), PROMPTS, root=project)
    pairs = _pairs(project, rows)
    report = step(
        load_policy(project / "policy", wordings=wordings), pairs, root=project, to=tmp_path / "adapter"
    )
    assert report.references_checked == len(pairs) > 0
    assert report.reference_gap is not None
    assert report.reference_gap < 1e-4
    with pytest.raises(UserError, match="another policy or prompt wrote it"):
        step(load_policy(project / "policy"), pairs, root=project, to=tmp_path / "other")
