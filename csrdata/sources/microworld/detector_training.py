"""Train a small detector on the scenes of a split: for each place of the grid, its shape and its colour.

It learns from the truth about drawn scenes, not from sentences, so that its mistakes are not those of a CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from csrdata.progress import progress
from csrdata.relevance.detector import load_detector
from csrdata.relevance.grid_detector import CONFIG, WEIGHTS, GridConfig, GridNetwork
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw, draw_all
from csrdata.sources.microworld.folders import is_complete, whole_folder
from csrdata.sources.microworld.language import PLACE_PHRASES
from csrdata.sources.microworld.optimisation import cosine_schedule
from csrdata.sources.microworld.scorer_metrics import FALSE_PARTS, contests
from csrdata.sources.microworld.scorer_training import pixels
from csrdata.sources.microworld.world import (
    COLOURS,
    PLACES,
    SHAPES,
    Scene,
    sample_scenes,
    stable_number,
)

ROWS = COLUMNS = 3
WIDTH = 192
NOTHING = len(SHAPES)
"""The network's output for a place without an object."""
COLOUR = "colour"


def train_detector(
    folder: Path,
    *,
    split: str,
    scenes: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 0.02,
    warm_up: int = 20,
) -> None:
    """Train on `scenes` scenes of `split` and save into `folder`; a folder finished with these settings is kept.

    `batch`: images per step.
    `learning_rate`, `weight_decay`: of AdamW; the rate rises in `warm_up` steps and falls as a cosine.
    """
    settings = {key: value for key, value in locals().items() if key != "folder"}
    # The first scenes stand for the rules of the world.
    known = stable_number(*sample_scenes(split=split, count=50, seed=seed))
    settings |= {"width": WIDTH, "threads": torch.get_num_threads(), "scenes_hash": known}
    if is_complete(folder, settings):
        return
    torch.manual_seed(stable_number("detector weights", split, seed) % 2**31)
    rng = np.random.default_rng(stable_number("detector batches", split, seed))
    drawn = sample_scenes(split=split, count=scenes, seed=seed)
    images = torch.from_numpy(draw_all(drawn))
    shapes, colours = labels(drawn)
    config = detector_config()
    network = GridNetwork(config)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, cosine_schedule(steps, warm_up))
    order: list[int] = []
    bar = progress(range(steps), title=f"train {folder.name}", unit="step")
    for step in bar:
        while len(order) < batch:
            order.extend(rng.permutation(len(drawn)).tolist())
        rows, order = order[:batch], order[batch:]
        names, attributes = network(pixels(images[rows]))
        loss = F.cross_entropy(names.flatten(0, 1), shapes[rows].flatten())
        # The colour of a place without an object is -100, which counts for nothing.
        loss = loss + F.cross_entropy(attributes[COLOUR].flatten(0, 1), colours[rows].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    with whole_folder(folder, settings) as part:
        weights = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
        save_file(weights, part / WEIGHTS)
        (part / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def detector_config() -> GridConfig:
    """Return the detector's sizes, and how the microworld's sentences name its shapes, colours and places."""
    return GridConfig(
        kind="grid",
        rows=ROWS,
        columns=COLUMNS,
        cell=IMAGE_SIZE // ROWS,
        width=WIDTH,
        names={shape: [shape] for shape in SHAPES},
        places={place: list(PLACE_PHRASES[place]) for place in PLACES},
        attributes={COLOUR: {colour: [colour] for colour in COLOURS}},
    )


def labels(scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shape and the colour at each place, [scenes, places]; `NOTHING` and -100 where there is no object."""
    shapes = torch.full((len(scenes), len(PLACES)), NOTHING)
    colours = torch.full((len(scenes), len(PLACES)), -100)
    for row, scene in enumerate(scenes):
        for thing in scene.objects:
            place = PLACES.index(thing.place)
            shapes[row, place], colours[row, place] = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
    return shapes, colours


def detector_metrics(folder: Path, scenes: Sequence[Scene], *, seed: int) -> dict[str, float]:
    """Return how often the detector's score prefers the true sentence, as `scorer_metrics` does for a CLIP."""
    found = load_detector(folder, device="cpu").open([Image.fromarray(draw(scene)) for scene in scenes])
    held = [(row, contest) for row, scene in enumerate(scenes) for contest in contests(scene, seed=seed)]
    wins = dict.fromkeys(FALSE_PARTS, 0)
    for row, contest in held:
        true, *false = (score.value or 0.0 for score in found.relevance([row] * 4, contest.texts()))
        for part, value in zip(FALSE_PARTS, false, strict=True):
            wins[part] += true > value
    return {f"prefers_true_{part}": 100 * count / len(held) for part, count in wins.items()}
