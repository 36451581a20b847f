"""A prompt that the policy cannot take is dropped with its reason, and the rest of the shard is unharmed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from csrdata.generation.admission import admit
from csrdata.policy.loading import Policy, load_policy
from csrdata.records import Dropped, Fate, Prompt, Sentence, Stop
from csrdata.search.pairs import refused
from csrdata.storage.tables import read_rows, write_rows
from tests.extending.word_scorer import SCORER
from tests.families import FAMILIES
from tests.family_way import search
from tests.scoring import scored
from tests.test_images import bomb
from tests.tiny import picture


def _save(**options: object) -> Callable[[Image.Image, Path], None]:
    return lambda image, path: image.save(path, **options)  # type: ignore[arg-type]


def _bomb(image: Image.Image, path: Path) -> None:
    path.write_bytes(bomb(10_000, 10_000))


def _sixteen_bits(image: Image.Image, path: Path) -> None:
    Image.new("I;16", (40, 30), 40_000).save(path)


def _rotated(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.resize((40, 20)).save(path, exif=exif)


TAKEN: dict[str, Callable[[Image.Image, Path], None]] = {
    "a_plain.png": _save(),
    "b_cmyk.jpg": lambda image, path: image.convert("CMYK").save(path),
    "c_16_bits.png": _sixteen_bits,
    "d_palette.png": lambda image, path: image.convert("P").save(path),
    "e_animated.gif": _save(save_all=True, append_images=[picture(7)]),
    "f_rotated.jpg": _rotated,
    "g_wide.png": lambda image, path: image.resize((20_000, 200)).save(path),
}
NOT_TAKEN: dict[str, tuple[Callable[[Image.Image, Path], None], str]] = {
    "h_thin.png": (lambda image, path: image.resize((700, 3)).save(path), "700 x 3 pixels"),
    "i_empty.png": (lambda _, path: path.write_bytes(b"") and None, "an empty file"),
    "j_bomb.png": (_bomb, "10000 x 10000 pixels"),
    "k_text.png": (lambda _, path: path.write_text("no image") and None, "another format"),
}


@pytest.fixture(scope="module", params=["llava", "qwen2_vl"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy of one fixed image size, and one of dynamic resolution."""
    return load_policy(FAMILIES[request.param](tmp_path_factory.mktemp(request.param)))


def _prompts(root: Path) -> tuple[list[Prompt], list[Prompt]]:
    """Save all images; return the prompts that a policy takes and those that it does not, by name in one order."""
    for name, write in TAKEN.items():
        write(picture(3), root / name)
    for name, (write, _) in NOT_TAKEN.items():
        write(picture(3), root / name)
    taken = [Prompt(name, name, "Describe it.") for name in TAKEN]
    return taken, [Prompt(name, name, "Describe it.") for name in NOT_TAKEN]


def test_bad_images_leave_the_rest_of_the_shard_as_it_is(policy: Policy, tmp_path: Path) -> None:
    """Odd images are read; damaged ones give one row with the reason; the other rows equal those of a shard without them."""
    good, bad = _prompts(tmp_path)
    mixed = [bad[0], *good[:3], bad[1], *good[3:], *bad[2:]]
    rows = search(policy, mixed, root=tmp_path)
    assert [row for row in rows if row.fate != Fate.REFUSED] == search(policy, good, root=tmp_path)
    assert list(dict.fromkeys(row.prompt_id for row in rows)) == [prompt.prompt_id for prompt in mixed]
    reasons = {row.prompt_id: row.text for row in rows if row.fate == Fate.REFUSED}
    assert set(reasons) == set(NOT_TAKEN)
    for name, (_, words) in NOT_TAKEN.items():
        assert words in reasons[name]
        assert str(tmp_path) not in reasons[name]


def test_a_refused_prompt_is_dropped_with_its_reason(policy: Policy, tmp_path: Path) -> None:
    """A shard of bad images alone is a valid table, has no answers, and gives a dropped prompt each."""
    _, bad = _prompts(tmp_path)
    rows = search(policy, bad, root=tmp_path)
    write_rows(tmp_path / "rows.parquet", rows, Sentence)
    assert read_rows(tmp_path / "rows.parquet", Sentence, made_by="") == rows
    found = scored(rows, [], root=tmp_path, held_out=SCORER)
    assert found == []
    assert [refused(row) for row in rows] == [
        Dropped(prompt.prompt_id, Stop.BAD_IMAGE.value, row.text)
        for prompt, row in zip(bad, rows, strict=True)
    ]


def test_a_prompt_without_room_for_an_answer_is_dropped(policy: Policy, tmp_path: Path) -> None:
    """As many tokens as the model has positions, or more: the numbers are in the reason."""
    picture(0).save(tmp_path / "a.png")
    long = Prompt("long", "a.png", "12345 67890 " * 1000)
    rows = search(policy, [Prompt("a", "a.png", "Describe it."), long], root=tmp_path)
    (row,) = [row for row in rows if row.prompt_id == "long"]
    assert (row.fate, row.stop, row.token_ids) == (Fate.REFUSED, Stop.TOO_LONG, [])
    assert row.text.endswith("tokens with its image, expected fewer than the model's 4096 positions")
    assert sum(row.prompt_id == "a" for row in rows) > 1


def test_an_answer_has_the_room_that_its_own_prompt_leaves(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit above the model's positions drops no prompt: each answer is cut where its own context ends."""
    picture(0).save(tmp_path / "a.png")
    prompts = [
        Prompt("a", "a.png", "Describe it."),
        Prompt("b", "a.png", "Describe it in many words, please."),
    ]
    free, _ = admit(prompts, root=tmp_path, policy=policy, max_response_tokens=60)
    assert [one.answer_tokens for one in free] == [60, 60]
    limit = max(one.tokens for one in free) + 5
    monkeypatch.setattr(policy.model.config.get_text_config(), "max_position_embeddings", limit)
    admitted, refused_rows = admit(prompts, root=tmp_path, policy=policy, max_response_tokens=60)
    assert refused_rows == []
    assert [one.tokens + one.answer_tokens for one in admitted] == [limit, limit]
    rows = search(policy, prompts, root=tmp_path)
    nodes = {(row.prompt_id, row.node_id): row for row in rows}

    def length(row: Sentence) -> int:
        before = 0 if row.parent_id < 0 else length(nodes[row.prompt_id, row.parent_id])
        return before + len(row.token_ids)

    longest = {name: max(length(row) for row in rows if row.prompt_id == name) for name in ("a", "b")}
    assert longest["b"] <= 5
    assert longest["a"] <= limit - free[0].tokens


def test_a_processor_that_refuses_every_prompt_is_no_fault_of_the_images(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own error goes on, in place of a project without a pair."""
    picture(0).save(tmp_path / "a.png")
    prompts = [Prompt(name, "a.png", "Describe it.") for name in ("a", "b")]
    monkeypatch.setattr(type(policy.processor.image_processor), "preprocess", _broken)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="broken"):
        search(policy, prompts, root=tmp_path)


def _broken(*_: object, **__: object) -> None:
    raise ValueError("broken")
