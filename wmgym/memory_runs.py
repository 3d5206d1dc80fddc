"""Trained models to be compared: which system each is, how it was trained, and whether they may stand side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import tensors_digest
from model.world_model import WorldModel
from wmgym.errors import CheckpointError

NOT_OF_THE_SYSTEM = {"seed", "output", "recordings", "validation", "tokenizer", "save_every", "validate_every"}
NOT_OF_THE_SYSTEM |= {"contexts", "clips", "clip_frames", "commit"}
"""What runs of one system may differ in. Of what they were trained on the number of episodes and frames must agree."""

BEFORE = "steps before"
"""Setting: of the trainings whose weights a run started with, all together; 0 if not known."""

WHAT_SYSTEMS_ARE = {"backbone", "mode", "clean_prefix", "stages", "pose_origin"}
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
        CheckpointError: One is missing, damaged, not trained to its end or does not say how it was trained; two are the
            same run, or runs of one system were trained differently; or their tokenizers differ.
    """
    runs = [_open(folder) for folder in folders]
    first = {run.name: (folder, run) for folder, run in reversed(list(zip(folders, runs, strict=True)))}
    met: set[tuple[str, int]] = set()
    tokenizer = tensors_digest(runs[0].world.tokenizer.state_dict())
    for folder, run in zip(folders, runs, strict=True):
        other, alike = first[run.name]
        keys = run.settings.keys() | alike.settings.keys()
        odd = sorted(k for k in keys - NOT_OF_THE_SYSTEM if _setting(run, k) != _setting(alike, k))
        if odd:
            raise CheckpointError(
                f"{folder} and {other} are both {run.name}, but were trained with different {odd[0]} "
                f"({_setting(run, odd[0])} and {_setting(alike, odd[0])}): their mean would be that of no "
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


def told_of(runs: Sequence[TrainedRun]) -> list[str]:
    """Return what to know of the trainings before their table is read, a sentence or two each.

    Args:
        runs: As `open_runs` returned them.
    """
    size = runs[0].world.config.tokenizer.frame_size
    told = [f"Frames of {size}x{size} pixels."]
    gone_on = [run for run in runs if run.settings["start_from"]]
    if gone_on:
        which = "Each training" if len(gone_on) == len(runs) else f"{len(gone_on)} of {len(runs)} trainings"
        where = "on another world" if all(run.settings.get("transfer") for run in gone_on) else "before"
        steps = " or ".join(f"{n:,}" if n else "unknown" for n in sorted({run.settings[BEFORE] for run in gone_on}))
        told[0] += (
            f" {which} went on from weights that the same system had learned {where}, in {steps} steps that are not "
            "counted here."
        )
    return told + trained_differently(runs)


def trained_differently(runs: Sequence[TrainedRun]) -> list[str]:
    """Return what would be compared beside the systems: settings of their trainings that differ between them.

    Args:
        runs: As `open_runs` returned them.
    """
    keys = {key for run in runs for key in run.settings} - NOT_OF_THE_SYSTEM - WHAT_SYSTEMS_ARE | {"commit"}
    found = []
    for key in sorted(keys):
        by_value: dict[str, list[str]] = {}
        for run in runs:
            by_value.setdefault(str(_setting(run, key)), []).append(f"{run.name} {run.seed}")
        if len(by_value) > 1:
            if key == "commit":
                by_value = {value[:7]: [f"{len(names)} runs"] for value, names in by_value.items()}
            told = "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
            found.append(f"**Trained differently**, which the order below does not know: `{key}` is {told}.")
    return found


def _setting(run: TrainedRun, key: str) -> Any:
    """A setting; one that an earlier release did not have was off."""
    return run.settings.get(key) or None


def _steps_before(record: dict[str, Any]) -> int:
    """Steps of the training that a run went on from, and of that which this one went on from, and so on."""
    before = record.get("start_from")
    return before["progress"]["step"] + _steps_before(before) if before else 0


def _bytes_kept(world: WorldModel) -> int | None:
    """Bytes between two frames of a dream; None if they grow. Whoever sees later frames keeps those of its window."""
    c = world.config.dynamics
    if c.attention == "full":
        return None
    if not c.steppable:
        return 4 * c.attention_window * c.latent_channels * c.latent_size**2
    return world.dynamics.initial_memory(1).nbytes


def _refuse_unfinished(checkpoint: Path, settings: dict[str, Any], progress: dict[str, Any]) -> None:
    steps = settings.get("steps")
    short = progress["step"] < steps if steps else progress["seconds"] < 60 * settings["minutes"]
    if short:
        asked = f"{steps} steps" if steps else f"{settings['minutes']:g} minutes"
        raise CheckpointError(
            f"{checkpoint} has been trained for {progress['step']} steps, {progress['seconds'] / 60:.1f} minutes, and "
            f"{asked} were asked for: its learning rate has not come down yet. Let the training go on to its end first."
        )


def _open(folder: Path) -> TrainedRun:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder. Expected a run folder of train_world_model.py.")
    checkpoint = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    world = WorldModel.from_pretrained(checkpoint, local_files_only=True)
    try:
        record = json.loads((checkpoint / "training.json").read_text())
        settings, progress = record["settings"], record["progress"]
        name = settings.get("backbone", "lssvwm")
        if settings["mode"] == "diffusion_forcing" and name != "dfot":
            name += "_prefix" if settings.get("clean_prefix", 0.5) else "_no_clean"
        _refuse_unfinished(checkpoint, settings, progress)
        about_data = {key: record.get(key) for key in ("episodes", "recorded_frames", "commit")}
        settings = settings | about_data | {"start_from": bool(settings.get("start_from"))}
        settings[BEFORE] = _steps_before(record)
        # a setting that was changed on the way is not what the run began with
        settings = settings | {f"changed {i}": change for i, change in enumerate(record.get("changed_settings", []))}
        dynamics = world.dynamics
        about = {
            "parameters": sum(p.numel() for p in dynamics.parameters()),
            "memory_bytes": _bytes_kept(world),
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
