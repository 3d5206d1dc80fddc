"""Trained models to be compared: which system each is, how it was trained, and whether they may stand side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import tensors_digest
from model.world_model import WorldModel
from wmgym.errors import CheckpointError

NOT_OF_THE_SYSTEM = {"seed", "output", "recordings", "validation", "tokenizer", "start_from", "minutes"}
NOT_OF_THE_SYSTEM |= {"save_every", "validate_every", "max_episodes", "contexts", "clips", "clip_frames"}

WHAT_SYSTEMS_ARE = {"backbone", "mode", "clean_prefix", "stages"}
"""Settings in which systems may differ, as what they are or need."""


@dataclass(frozen=True)
class TrainedRun:
    """A trained model.

    Attributes:
        name: Of the system: its backbone, and `_no_clean` or `_prefix` if it was trained by `diffusion_forcing` without
            or with clean prefixes.
        seed: Of its training.
        settings: Of its training.
        about: What rows say of it: parameters, bytes of its memory (None if it grows), and what it was trained on.
        world: The model.
    """

    name: str
    seed: int
    settings: dict[str, Any]
    about: dict[str, Any]
    world: WorldModel


def open_runs(folders: Sequence[Path]) -> list[TrainedRun]:
    """Open run folders of train_world_model.py, or checkpoints of them.

    Args:
        folders: Runs of one system differ in nothing but their seed.

    Raises:
        CheckpointError: One is missing, damaged or does not say how it was trained; two are the same run, or runs of
            one system were trained differently; or their tokenizers differ.
    """
    runs = [_open(folder) for folder in folders]
    first = {run.name: (folder, run) for folder, run in reversed(list(zip(folders, runs, strict=True)))}
    met: set[tuple[str, int]] = set()
    tokenizer = tensors_digest(runs[0].world.tokenizer.state_dict())
    for folder, run in zip(folders, runs, strict=True):
        other, alike = first[run.name]
        keys = run.settings.keys() | alike.settings.keys()
        odd = sorted(k for k in keys - NOT_OF_THE_SYSTEM if run.settings.get(k) != alike.settings.get(k))
        if odd:
            raise CheckpointError(
                f"{folder} and {other} are both {run.name}, but were trained with different {odd[0]} "
                f"({run.settings.get(odd[0])} and {alike.settings.get(odd[0])}): their mean would be that of no "
                "system. Pass only runs that differ in their seed."
            )
        if (run.name, run.seed) in met:
            raise CheckpointError(
                f"{folder} is a second {run.name} of seed {run.seed}, expected each seed once. Pass it once."
            )
        met.add((run.name, run.seed))
        if tensors_digest(run.world.tokenizer.state_dict()) != tokenizer:
            raise CheckpointError(
                f"{folder} has another tokenizer than {folders[0]}: what differs between them would not be memory "
                "alone. Pass runs of one tokenizer."
            )
    return runs


def trained_differently(runs: Sequence[TrainedRun]) -> list[str]:
    """Return what would be compared beside the systems: settings of their trainings that differ between them.

    Args:
        runs: As `open_runs` returned them.
    """
    keys = {key for run in runs for key in run.settings} - NOT_OF_THE_SYSTEM - WHAT_SYSTEMS_ARE
    found = []
    for key in sorted(keys):
        by_value: dict[str, list[str]] = {}
        for run in runs:
            by_value.setdefault(str(run.settings.get(key)), []).append(run.name)
        if len(by_value) > 1:
            told = "; ".join(f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in by_value.items())
            found.append(f"**Trained differently**, which the order below does not know: `{key}` is {told}.")
    return found


def _open(folder: Path) -> TrainedRun:
    checkpoint = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    world = WorldModel.from_pretrained(checkpoint, local_files_only=True)
    try:
        record = json.loads((checkpoint / "training.json").read_text())
        settings, progress = record["settings"], record["progress"]
        name = settings.get("backbone", "lssvwm")
        if settings["mode"] == "diffusion_forcing" and name != "dfot":
            name += "_prefix" if settings.get("clean_prefix", 0.5) else "_no_clean"
        settings = settings | {"episodes": record.get("episodes")}
        # a setting that was changed on the way is not what the run began with
        settings = settings | {f"changed {i}": change for i, change in enumerate(record.get("changed_settings", []))}
        dynamics = world.dynamics
        about = {
            "parameters": sum(p.numel() for p in dynamics.parameters()),
            "memory_bytes": None if dynamics.config.attention == "full" else dynamics.initial_memory(1).nbytes,
            "frames_trained": progress["frames"],
            "tokens_trained": progress["frames"] * world.config.dynamics.tokens,
            "steps_trained": progress["step"],
            "minutes_trained": round(progress["seconds"] / 60, 2),
            "seed": settings["seed"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint} does not say how it was trained ({type(error).__name__}: {error}), expected the "
            "training.json that train_world_model.py writes. Pass a run folder of that script."
        ) from error
    return TrainedRun(name, settings["seed"], settings, about, world)
