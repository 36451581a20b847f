"""The pass over all pairs before training: every batch is validated, and the reference's log-probabilities are computed.

The reference is the policy without its new adapter. One pass per iteration: the steps reuse its values, and a run that was
killed hands them to the next (`csrdata.policy.resuming`). The log-probabilities that the search stored check these values
and do not replace them: they are sums over sentences from other batches, which differ in the last bits (in 16 bits by
tenths of a nat), and a wrong policy would go unnoticed. Several processes share the batches of one process among them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from csrdata.images import ImageRoot, describe_image
from csrdata.policy import launched, processes
from csrdata.policy.loading import WEIGHTS, Policy, read_chain
from csrdata.policy.objective import Objective, answer_logprobs
from csrdata.policy.preflight import check_batch
from csrdata.policy.resuming import Known, Work
from csrdata.policy.rows import columns_of
from csrdata.progress import progress as bar_of
from csrdata.records import Pair
from csrdata.storage.tables import fingerprint, hash_path
from csrdata.weights import fingerprint as fingerprint_of_weights
from csrdata.weights import weight_files

_PROCESSOR_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files of a model's folder that decide which tokens a text and an image become."""


def pass_over(
    trainer: Any,
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    batch_size: int,
    work: Work | None,
    progress: bool,
) -> Known | None:
    """Validate every batch of training's collator; return the pairs under the reference, None if the loss needs none.

    Args:
        trainer: a `PairTrainer` on the rows of the pairs.
        policy: that the trainer trains.
        pairs: N pairs.
        batch_size: pairs per forward pass.
        work: keeps the values for the next run, and has those of the run before; it is open.
        progress: whether to show a bar.

    Raises:
        UserError: an image does not load, or a batch does not hold what was generated (`check_batch`).
    """
    known = processes.decided(lambda: None if work is None else work.references(pairs=len(pairs)))
    if known is not None:
        return known
    parts = processes.gathered(
        lambda: _part(trainer, policy, pairs, batch_size=batch_size, progress=progress)
    )
    if not trainer.objective.dpo_weight:
        return None
    rows = [row for _, row in sorted(row for part in parts for row in part)]
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    known = Known((columns[0], columns[1]), (columns[2], columns[3]), (columns[4], columns[5]))
    if work is not None and launched.number() == 0:
        work.keep_references(known)
    return known


def _part(
    trainer: Any, policy: Policy, pairs: Sequence[Pair], *, batch_size: int, progress: bool
) -> list[tuple[int, tuple[float, ...]]]:
    """Return this process's share of the pairs: the place of each, and its values in the order of `Known`."""
    trainer.model.eval()
    model = trainer.model.get_base_model()
    objective: Objective = trainer.objective
    found: list[tuple[int, tuple[float, ...]]] = []
    starts = range(0, len(pairs), batch_size)[launched.number() :: processes.count()]
    for start in bar_of(starts, title="preflight", unit="batch", disable=not progress):
        part = pairs[start : start + batch_size]
        rows = [trainer.train_dataset[start + offset] for offset in range(len(part))]
        batch = {name: value.to(policy.device) for name, value in trainer.data_collator(rows).items()}
        features = trainer.encode_images(batch)
        check_batch(batch, part, policy=policy, model=model, sides=objective.sides, features=features)
        if not objective.dpo_weight:
            continue
        tokens, mask = trainer.reference_tokens(batch, features), batch["completion_mask"][:, 1:]
        values = [
            side.float().tolist()
            for ld_alpha in (None, objective.ld_alpha)
            for side in answer_logprobs(tokens, mask, ld_alpha=ld_alpha).chunk(2)
        ]
        values += [side.tolist() for side in mask.sum(dim=1).chunk(2)]
        found += enumerate(zip(*values, strict=True), start)
    return found


def reference_key(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    root: Path | ImageRoot,
    objective: Objective,
    batch_size: int,
) -> dict[str, str]:
    """Return a hash of each thing that the reference's log-probabilities depend on, by name.

    They are `policy` (weights of the base and all adapters), `template` (the processor's files), `pairs` (rendered texts and
    the images' bytes) and `numbers` (number format, device, batch, weights of tokens, versions).

    Raises:
        UserError: an image does not load.
    """
    chain = read_chain(policy.folder)
    files = sorted(path for pattern in _PROCESSOR_FILES for path in chain.model.glob(pattern))
    known = {} if isinstance(root, Path) else root.files
    folder = root if isinstance(root, Path) else root.folder
    images = {pair.image: pair.prompt_id for pair in pairs}
    hashes = {
        path: known[path].sha256
        if path in known
        else describe_image(path, root=folder, place=f"prompt {prompt_id}").sha256
        for path, prompt_id in images.items()
    }
    return fingerprint(
        policy=[
            fingerprint_of_weights(weight_files(chain.model, WEIGHTS, do="dvc repro")),
            *map(hash_path, chain.adapters),
        ],
        template=[[path.name, hash_path(path)] for path in files],
        pairs=[columns_of(policy, pairs, sides=objective.sides), hashes],
        numbers=[
            str(policy.model.dtype),
            policy.device.type,
            batch_size,
            objective.ld_alpha,
            torch.__version__,
            torch.get_num_threads(),
        ],
    )
