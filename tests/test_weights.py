"""Weights on disk: a fingerprint that tells models apart and reads only samples."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from csrdata.errors import UserError
from csrdata.weights import BLOCK, BLOCKS, check_finite, fingerprint, read_shapes, weight_files

DO = "dvc repro"


def model(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a small tensor and one that is sampled."""
    generator = torch.Generator().manual_seed(seed)
    return {"small": torch.randn(3, generator=generator), "large": torch.randn(200_000, generator=generator)}


def saved(folder: Path, *parts: dict[str, torch.Tensor]) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{index}.safetensors" for index in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        save_file(part, file)
    return files


def test_a_fingerprint_is_the_models(tmp_path: Path) -> None:
    """Equal weights give equal fingerprints, however they are spread over files; name, type and value all count."""
    weights = model()
    expected = fingerprint(saved(tmp_path / "one", weights))
    split = saved(tmp_path / "two", {"large": weights["large"]}, {"small": weights["small"]})
    assert fingerprint(split) == expected
    changed = (
        model(seed=1),
        {**weights, "small": weights["small"] + 1},
        {**weights, "large": weights["large"] * 1.001},
        {"renamed": weights["small"], "large": weights["large"]},
        {**weights, "small": weights["small"].view(torch.int32)},
        {**weights, "large": weights["large"].view(2, -1)},
    )
    for index, other in enumerate(changed):
        assert fingerprint(saved(tmp_path / f"other{index}", other)) != expected


def test_a_fingerprint_reads_the_first_and_the_last_byte_of_a_large_tensor(tmp_path: Path) -> None:
    """Sampled blocks are spread over the whole file; bytes between blocks are not read."""
    weights = model()
    expected = fingerprint(saved(tmp_path / "one", weights))
    for index in (0, -1):
        other = model()
        other["large"][index] += 1
        assert fingerprint(saved(tmp_path / f"end{index}", other)) != expected
    between = model()
    between["large"][2 * BLOCK // 4] += 1
    assert weights["large"].nbytes > 2 * BLOCK * BLOCKS
    assert fingerprint(saved(tmp_path / "between", between)) == expected


def test_weights_are_safetensors(tmp_path: Path) -> None:
    """No file, a pickle, and a file of another kind are each one line; shapes are read without values."""
    with pytest.raises(
        UserError, match=r"model.safetensors: got no such file, expected weights as safetensors"
    ):
        weight_files(tmp_path, "model.safetensors", do=DO)
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"got model.pt, a pickle, which can run code"):
        weight_files(tmp_path, "model.safetensors", do=DO)
    save_file(model(), tmp_path / "model.safetensors")
    assert read_shapes(weight_files(tmp_path, "model.safetensors", do=DO), do=DO) == {
        "small": (3,),
        "large": (200_000,),
    }


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_finite(value: float) -> None:
    """NaN and both infinities are refused by the tensor's name; empty and whole-number tensors are fine."""
    check_finite(
        [("empty", torch.zeros(0)), ("ids", torch.arange(3)), ("one", torch.ones(1))], place="m", do=DO
    )
    with pytest.raises(
        UserError, match=r"m: bad: got NaN or infinity, expected finite weights. Next: dvc repro"
    ):
        check_finite([("bad", torch.tensor([0.0, value, 1.0]))], place="m", do=DO)
