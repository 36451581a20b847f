"""A small detector for images whose objects are at the places of a grid: for each place, which object, and its attributes.

Its folder has two files, both untrusted:

- `detector.json`, validated against `GridConfig`: an allow-list of keys, types and sizes;
- `detector.safetensors`, the weights of `GridNetwork` with exactly the shapes that the configuration gives.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from csrdata.errors import UserError
from csrdata.relevance.claims import Claim, Vocabulary
from csrdata.validation import explain
from csrdata.weights import check_finite, check_shapes, read_shapes, weight_files

CONFIG, WEIGHTS = "detector.json", "detector.safetensors"
DO = "dvc repro prepare"
PLACE = "place"
"""The attribute that a place of the grid stands for."""
IMAGES = 256
"""Number of images per forward pass."""
MAX_CONFIG = 1_000_000
"""The most bytes of a configuration: 1,000 names with their phrases take about a tenth of it."""

Text = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Attribute = Annotated[str, Field(max_length=32, pattern=r"^[a-z][a-z_]*$")]
Values = Annotated[
    dict[Text, Annotated[list[Text], Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=1000),
]
Side = Annotated[int, Field(ge=1, le=64)]


class GridConfig(BaseModel):
    """The content of `detector.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: Literal["grid"]
    rows: Side
    columns: Side
    cell: Annotated[int, Field(ge=1, le=512)]
    """Side of a place, pixels: an image is scaled to `columns * cell` times `rows * cell`."""
    width: Annotated[int, Field(ge=1, le=2**14)]
    """Of both hidden layers."""
    names: Values
    """The objects, in the order of the network's outputs, each with the phrases that name it."""
    places: Values
    """The places in reading order, with their phrases."""
    attributes: Annotated[dict[Attribute, Values], Field(max_length=16)]
    """Other attributes, such as a colour."""

    def vocabulary(self) -> Vocabulary:
        """Return the names and attributes; a place is an attribute."""
        return Vocabulary(self.names, {**self.attributes, PLACE: self.places})


class GridNetwork(nn.Module):
    """Two hidden layers over the pixels of each place, and one output layer for the object and for each attribute."""

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, config.width, config.cell, stride=config.cell)
        self.hidden = nn.Linear(config.width, config.width)
        self.name = nn.Linear(config.width, len(config.names) + 1)
        self.attributes = nn.ModuleDict(
            {
                attribute: nn.Linear(config.width, len(values))
                for attribute, values in config.attributes.items()
            }
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits of each place's object and of its attributes.

        Args:
            pixels: [N, 3, rows * cell, columns * cell], -1..1.

        Returns:
            [N, places, names + 1], where the last one means no object; and [N, places, values] for each attribute.
        """
        seen = nn.functional.gelu(self.embed(pixels)).flatten(2).transpose(1, 2)
        hidden = nn.functional.gelu(self.hidden(seen))
        return self.name(hidden), {attribute: head(hidden) for attribute, head in self.attributes.items()}


@dataclass(frozen=True)
class GridDetections:
    """Probabilities of the objects of N images."""

    config: GridConfig
    names: NDArray[np.float64]
    """[N, places, names + 1]."""
    attributes: Mapping[str, NDArray[np.float64]]
    """[N, places, values] for each attribute, given that there is an object."""

    def probability(self, image: int, claim: Claim) -> float:
        """Return the probability at the claimed place, or at the most probable one if none is claimed.

        Object and attributes of a place are taken as independent.
        """
        chances = self.names[image, :, list(self.config.names).index(claim.name)].copy()
        for attribute, value in claim.attributes:
            if attribute == PLACE:
                mask = np.zeros(len(chances))
                mask[list(self.config.places).index(value)] = 1
                chances *= mask
            else:
                chances *= self.attributes[attribute][
                    image, :, list(self.config.attributes[attribute]).index(value)
                ]
        return float(chances.max())


@dataclass(frozen=True)
class GridDetector:
    """A `Detector` in eval mode and float32."""

    config: GridConfig
    network: GridNetwork
    device: str

    @property
    def vocabulary(self) -> Vocabulary:
        return self.config.vocabulary()

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> GridDetections:
        """Return the probabilities of all objects of the images."""
        size = (self.config.columns * self.config.cell, self.config.rows * self.config.cell)
        places = self.config.rows * self.config.columns
        names = np.zeros((len(images), places, len(self.config.names) + 1))
        attributes = {
            attribute: np.zeros((len(images), places, len(values)))
            for attribute, values in self.config.attributes.items()
        }
        for start in range(0, len(images), IMAGES):
            part = slice(start, start + IMAGES)
            pixels = torch.stack([pixels_of(image, size) for image in images[part]]).to(self.device)
            name, others = self.network(pixels)
            names[part] = name.softmax(-1).double().cpu().numpy()
            for attribute, logits in others.items():
                attributes[attribute][part] = logits.softmax(-1).double().cpu().numpy()
        return GridDetections(self.config, names, attributes)


def pixels_of(image: Image, size: tuple[int, int]) -> Tensor:
    """Return an image as the network's input, [3, height, width], -1..1; scaled if it has another size."""
    image = image.convert("RGB")
    if image.size != size:
        image = image.resize(size, Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def load_grid_detector(folder: Path, *, device: str = "cpu") -> GridDetector:
    """Load a detector in eval mode and float32, without running code from its folder.

    Raises:
        UserError: a file is missing; the configuration has a key or value that is not allowed; or the weights are pickled,
            damaged, not finite or not those of the configured network.
    """
    config = read_grid_config(folder)
    files = weight_files(folder, WEIGHTS, do=DO)
    # Built on the meta device first: a configuration of another network is refused before memory is allocated.
    with torch.device("meta"):
        shell = GridNetwork(config)
    expected = {name: tuple(value.shape) for name, value in shell.state_dict().items()}
    check_shapes(read_shapes(files, do=DO), expected, place=str(folder), do=DO)
    network = GridNetwork(config)
    network.load_state_dict({name: value for file in files for name, value in load_file(file).items()})
    check_finite(network.state_dict().items(), place=str(folder), do=DO)
    return GridDetector(config, network.to(device).eval().requires_grad_(False), device)


def read_grid_config(folder: Path) -> GridConfig:
    """Read a detector's configuration and validate it against the allow-list.

    Raises:
        UserError: the file is missing, too large or not JSON; a key is unknown or missing, or has a value that is not
            allowed; or there is not one place for each part of the grid.
    """
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG + 1)
    except OSError:
        raise UserError(str(folder), got=f"no {CONFIG} in it", expected="a detector", do=DO) from None
    try:
        raw = json.loads(content) if len(content) <= MAX_CONFIG else None
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        expected = f"a JSON object of at most {MAX_CONFIG:,} bytes"
        raise UserError(str(path), got="something else", expected=expected, do=DO)
    try:
        config = GridConfig.model_validate(raw)
    except ValidationError as error:
        raise explain(error, GridConfig, raw, place=str(path), do=DO) from None
    if len(config.places) != config.rows * config.columns:
        expected = f"{config.rows * config.columns}, one for each part of the grid"
        raise UserError(f"{path}: places", got=len(config.places), expected=expected, do=DO)
    return config
