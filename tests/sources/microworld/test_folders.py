"""A trained model is kept only if its settings and bytes are unchanged."""

from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.sources.microworld.folders import SETTINGS_FILE, is_complete, whole_folder
from csrdata.storage.disk import SUMS, check_sums
from tests.faults.damages import Damage, deleted, empty, flipped, foreign, truncated

SETTINGS = {"steps": 3, "shape": (1, 2)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    with whole_folder(tmp_path / "model", SETTINGS) as part:
        (part / "model.safetensors").write_bytes(bytes(range(200)))
        (part / "config.json").write_text("{}")
    return tmp_path / "model"


def test_a_finished_model_is_kept(model: Path) -> None:
    """A folder is complete with its own settings; not with other settings, and not if it is missing."""
    assert is_complete(model, SETTINGS)
    assert not is_complete(model, {**SETTINGS, "steps": 4})
    assert not is_complete(model.parent, SETTINGS)


@pytest.mark.parametrize(
    "damage", [truncated, flipped, empty, foreign, deleted], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", SETTINGS_FILE, SUMS])
def test_a_damaged_model_is_trained_again(model: Path, file: str, damage: Damage) -> None:
    """If any file is changed, removed or added, the folder no longer counts as finished."""
    damage(model / file)
    assert not is_complete(model, SETTINGS)


def test_a_stage_that_reads_a_damaged_model_names_the_file(model: Path) -> None:
    """The error has the place, both hashes and the command that makes the folder; so has one about an extra file."""
    flipped(model / "model.safetensors")
    with pytest.raises(
        UserError, match=r"model\.safetensors: got SHA-256 \w{12}…, expected SHA-256 \w{12}…\. Next: x"
    ):
        check_sums(model, made_by="x")
    flipped(model / "model.safetensors")
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json: got SHA-256 \w{12}…, expected no such file"):
        check_sums(model, made_by="x")


def test_a_folder_of_the_users_is_not_replaced(model: Path) -> None:
    """A folder without the settings file was not trained here: training into it is refused, and it is unchanged."""
    (model / SETTINGS_FILE).unlink()
    with (
        pytest.raises(UserError, match="got a folder that holds other things"),
        whole_folder(model, SETTINGS),
    ):
        pytest.fail("it was opened")
    assert (model / "model.safetensors").is_file()
