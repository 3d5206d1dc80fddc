"""The folder of a training: the policy, and what it was trained with and how far."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.results import write_json
from agents.time_budget import TrainingProgress

POLICY_FILE, TRAINING_FILE = "policy.zip", "training.json"
OLDER = {"precision": "float32"}
"""Settings that were not recorded once, as they were then."""


def save_training(folder: Path, config: dict[str, Any], learner: BaseAlgorithm, progress: TrainingProgress) -> None:
    """Write policy, settings and progress; each file appears whole or not at all.

    Args:
        folder: Where to.
        config: The settings of the training, as JSON has them.
        learner: Whose policy, optimizer included.
        progress: How far it has come.
    """
    partial_file = folder / "policy.partial.zip"
    learner.save(partial_file)
    partial_file.replace(folder / POLICY_FILE)
    write_json(folder / TRAINING_FILE, {"config": config, "progress": asdict(progress)})


def read_training(folder: Path) -> dict[str, Any]:
    """Return what `save_training` wrote beside the policy, under "config" and "progress".

    Raises:
        FileNotFoundError: There is nothing of the kind.
        ValueError: It is damaged.
    """
    path = folder / TRAINING_FILE
    expected = "expected the folder of a training in dreams"
    try:
        found = json.loads(path.read_text())
        return {"config": dict(found["config"]), "progress": dict(found["progress"])}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: there is no {TRAINING_FILE} in it, {expected}. One that was killed within its first minute "
            "has to start again."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error!r}), {expected}. Train again.") from error


def settings_of_training(folder: Path, world_model: str, names: Sequence[str]) -> dict[str, Any]:
    """Return some settings of the training in a folder, if it was in dreams of this world model.

    Args:
        folder: Of the training.
        world_model: What tells the world model from others, as the training's own settings have it.
        names: Of the settings.

    Raises:
        FileNotFoundError: There is no training.
        ValueError: It is damaged, was in dreams of another world model, or has no such settings.
    """
    config = read_training(folder)["config"]
    if config["world_model"] != world_model:
        raise ValueError(
            f"{folder}: its policy was trained in dreams of another world model (checkpoint "
            f"{config['checkpoint'] or 'that ships with wmgym'!r}, weights {config['world_model']}) than the one "
            "chosen now. Pass the same --checkpoint as in training."
        )
    config = OLDER | config
    if missing := [name for name in names if name not in config]:
        raise ValueError(
            f"{folder}: its {TRAINING_FILE} says nothing of {', '.join(missing)}, expected the folder of a training by "
            "the same script. Most likely another one trained this policy: judge it, or go on, with that one."
        )
    return {name: config[name] for name in names}
