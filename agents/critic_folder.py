"""A critic on disk: its weights, and what they are values of."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agents.results import write_json
from agents.return_critic import CriticSettings, ReturnCritic

WEIGHTS_FILE, CRITIC_FILE = "critic.safetensors", "critic.json"


def save_critic(folder: Path, critic: ReturnCritic, known: dict[str, Any]) -> None:
    """Write weights and settings; each file appears whole or not at all.

    Args:
        folder: Made if it is not there.
        critic: What to write.
        known: What a user has to know besides, as JSON has it: at least `discount`, `observation`, `world_model`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (WEIGHTS_FILE + ".partial")
    save_file({name: value.contiguous() for name, value in critic.state_dict().items()}, partial)
    partial.replace(folder / WEIGHTS_FILE)
    write_json(folder / CRITIC_FILE, {"settings": asdict(critic.settings)} | known)


def load_critic(folder: Path, world_model: str) -> tuple[ReturnCritic, dict[str, Any]]:
    """Read what `save_critic` wrote, and check that it sees the same world model; nothing is unpickled.

    Args:
        folder: Where it is.
        world_model: What tells the world model chosen now from others, as `save_critic` was told.

    Raises:
        FileNotFoundError: There is no critic.
        ValueError: It is damaged, or of another world model.
    """
    expected = "expected the folder of experiments/train_critic.py"
    try:
        known = json.loads((folder / CRITIC_FILE).read_text())
        settings = known.pop("settings")
        critic = ReturnCritic(CriticSettings(**settings | {"shape": tuple(settings["shape"])}))
        critic.load_state_dict(load_file(folder / WEIGHTS_FILE))
        found = str(known["world_model"])
        float(known["discount"]), str(known["observation"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder}: there is no {Path(error.filename or '').name} in it, {expected}."
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder}: the critic cannot be read ({error!r}), {expected}. Train it again.") from error
    if found != world_model:
        raise ValueError(
            f"{folder}: the critic was trained on what another world model shows (weights {found}) than the one chosen "
            f"now ({world_model}). Fix: the same --checkpoint as in training, or train a critic for this one."
        )
    return critic.eval(), known
