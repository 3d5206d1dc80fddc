"""A training run on disk: everything needed to go on after a kill as if nothing had happened.

Data order and noise follow from (seed, step) alone (`step_generator`), so the state is: weights, their moving average,
the optimizers' moments, and two counters. It is written as safetensors and JSON; reading it executes nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from model.checkpoint import CheckpointError, load_tensors, save_tensors

TENSORS_FILE = "training_state.safetensors"
_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimisation steps done.
        seconds: time spent training, over all restarts.
        frames: frames trained on, over all restarts and devices.
    """

    step: int = 0
    seconds: float = 0.0
    frames: int = 0


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The source of all noise of one optimisation step; the same after a restart."""
    mixed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)).item())
    return torch.Generator(device).manual_seed((mixed + 0x9E3779B97F4A7C15 * step) % 2**63)


def save_training_state(
    folder: Path, progress: Progress, model: nn.Module, average: nn.Module, optimizers: Sequence[Optimizer]
) -> None:
    """Writes a run's state; a kill while writing leaves the previous state.

    Args:
        folder: the run's folder.
        progress: the counters.
        model: what is trained.
        average: its moving average.
        optimizers: their moments are saved under the names of the parameters.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    scalars: dict[str, float] = {}
    for key, value in get_optimizer_state_dict(model, list(optimizers), options=_FLAT).items():
        if isinstance(value, Tensor):
            tensors[f"optimizer.{key}"] = value
    scalars |= asdict(progress)
    tensors["progress"] = torch.tensor(bytearray(json.dumps(scalars).encode()), dtype=torch.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / TENSORS_FILE, {k: v.clone() for k, v in tensors.items()})


def load_training_state(
    folder: Path, model: nn.Module, average: nn.Module, optimizers: Sequence[Optimizer]
) -> Progress | None:
    """Restores a run's state in place.

    Returns:
        The counters, or None when the folder holds no run.

    Raises:
        CheckpointError: the file is damaged or belongs to a network of another shape.
    """
    path = folder / TENSORS_FILE
    if not path.exists():
        return None
    tensors = load_tensors(path)
    try:
        progress = Progress(**json.loads(bytes(tensors.pop("progress").tolist())))
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds no training run (its counters are missing or unreadable: {error!r}). A file of "
            "weights alone cannot be continued: start a new run in another folder."
        ) from error
    try:
        model.load_state_dict(_under("model.", tensors))
        average.load_state_dict(_under("average.", tensors))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} belongs to a network of another shape ({str(error).splitlines()[-1].strip()}). Continue with the "
            "preset the run was started with, or start a new run in another folder."
        ) from error
    flat: dict[str, Any] = dict(get_optimizer_state_dict(model, list(optimizers), options=_FLAT))
    moments, saved = {k for k, v in flat.items() if isinstance(v, Tensor)}, _under("optimizer.", tensors).keys()
    if moments != saved:
        odd = sorted(moments ^ saved)
        raise CheckpointError(
            f"{path} was written with other optimizers ({len(odd)} moments differ, the first is '{odd[0]}'). Continue "
            "with the optimizer the run was started with, or start a new run in another folder."
        )
    flat.update(_under("optimizer.", tensors))
    set_optimizer_state_dict(model, list(optimizers), flat, options=_FLAT)
    return progress


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
