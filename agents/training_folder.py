"""The folder of a training: the policy, and what it was trained with and how far."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import LABELS
from agents.pretrained import PRETRAINED, WEIGHTS_FILE
from agents.results import write_json
from agents.time_budget import TrainingProgress
from agents.training_guard import check_weights

Settings = TypeVar("Settings", bound=Any)

POLICY_FILE, TRAINING_FILE = "policy.zip", "training.json"
OLDER = {
    "precision": "float32", "start_from": None, "start_from_policy": None, "critic_warmup": 0, "pessimism": 0.0,
}  # fmt: skip
"""Settings that were not recorded once, as they were then."""


def save_training(folder: Path, config: dict[str, Any], learner: BaseAlgorithm, progress: TrainingProgress) -> None:
    """Write policy, settings and progress; each file appears whole or not at all, and never with broken weights.

    Args:
        folder: Where to.
        config: The settings of the training, as JSON has them.
        learner: Whose policy, optimizer included.
        progress: How far it has come.

    Raises:
        TrainingError: Weights of the policy are not finite. What was there before stays.
    """
    check_weights(learner)
    partial_file = folder / "policy.partial.zip"
    learner.save(partial_file)
    partial_file.replace(folder / POLICY_FILE)
    write_json(folder / TRAINING_FILE, {"config": config, "progress": asdict(progress)})


def policy_file(folder: Path) -> Path:
    """Return the file of the policy in a folder: SB3's, or the weights alone of one that ships with wmgym."""
    weights = folder / WEIGHTS_FILE
    return weights if weights.exists() and not (folder / POLICY_FILE).exists() else folder / POLICY_FILE


def say_replaced(folder: Path, say: Callable[[str], object] = print) -> None:
    """Tell that the policy in a folder will be replaced, if there is one.

    Args:
        folder: Of a training that begins.
        say: Told so.
    """
    if (folder / POLICY_FILE).exists():
        say(f"{folder} holds the policy of an earlier run: it is replaced. --resume would go on with it.")


def read_training(folder: Path) -> dict[str, Any]:
    """Return what `save_training` wrote beside the policy, under "config" and "progress".

    Settings that were not recorded once are there, as they were then.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        ValueError: It is damaged.
    """
    path = folder / TRAINING_FILE
    expected = "expected the folder of a training in dreams, or of a clone"
    try:
        found = json.loads(path.read_text())
        config = dict(found["config"])
        algorithm = "recurrent_ppo" if config.get("recurrent") else "ppo"  # how it was told once, and clones tell it
        return {"config": OLDER | {"algorithm": algorithm} | config, "progress": dict(found["progress"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists():
            raise FileNotFoundError(
                f"{folder}: there is no {TRAINING_FILE}, for there is no such folder; {expected}, or what ships with "
                f"wmgym: {', '.join(PRETRAINED)}. Check the path."
            ) from error
        raise FileNotFoundError(
            f"{folder}: there is no {TRAINING_FILE} in it, {expected}. One that was killed within its first minute "
            "has to start again."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error!r}), {expected}. Train again.") from error


def settings_of_training(
    folder: Path, world_model: str, names: Sequence[str], *, tokenizer: str | None = None
) -> dict[str, Any]:
    """Return some settings of the training in a folder, if its policy belongs to this world model.

    Args:
        folder: Of the training.
        world_model: Fingerprint of the world model, as the training's own settings have it.
        names: Of the settings.
        tokenizer: Fingerprint of its tokenizer: if given, clones on latents of any world model with this tokenizer are
            taken, too. They learned in no dream, and see the same.

    Raises:
        FileNotFoundError: There is no training.
        ValueError: It is damaged, belongs to another world model, or has no such settings.
    """
    config = read_training(folder)["config"]
    if config.get("world_model") != world_model and (why := why_it_does_not_fit(config, tokenizer)):
        place = config.get("checkpoint") or "that shipped with wmgym then"
        fix = "the same --checkpoint as in training, or train again"
        if name := next((name for name, ours in PRETRAINED.items() if ours == folder), None):
            fix = f"leave --checkpoint away, with which alone {name} fits, or clone one with clone_behaviour.py"
        raise ValueError(
            f"{folder}: its policy was trained with another world model (checkpoint {place!r}, weights "
            f"{config.get('world_model', 'not told')}) than the one chosen now ({world_model}), and {why}. Fix: {fix}."
        )
    if missing := [name for name in names if name not in config]:
        raise ValueError(
            f"{folder}: its {TRAINING_FILE} says nothing of {', '.join(missing)}, expected the folder of a training by "
            "the same script. Most likely another one trained this policy: judge it, or go on, with that one."
        )
    return {name: config[name] for name in names}


def why_it_does_not_fit(config: dict[str, Any], tokenizer: str | None) -> str | None:
    """Say why a policy does not fit other world models than its own; None if it does.

    Args:
        config: The settings of its training.
        tokenizer: Fingerprint of the other one's tokenizer; None where policies of other world models are not taken.
    """
    if tokenizer is None:
        return "here only its own one will do"
    if "teacher" not in config:
        return "it learned in that one's dreams"
    if config.get("observation") != "latent":
        return f"it sees {config.get('observation')}, which each world model makes in its own way"
    if "tokenizer" not in config:
        return "its training is of before it was recorded which tokenizer made its latents"
    own: str = config["tokenizer"]
    return None if own == tokenizer else f"its latents are of another tokenizer ({own}, not {tokenizer})"


def with_settings_of(
    folder: Path,
    args: Settings,
    usual: Settings,
    world_model: str,
    names: Sequence[str],
    *,
    tokenizer: str | None = None,
) -> Settings:
    """Return arguments with some settings of the training in a folder; print which of them were asked to be others.

    Args:
        folder: Of the training.
        args: A dataclass with these settings.
        usual: The same as it is when nothing is asked for; what is not other than there counts as not asked for.
        world_model: Fingerprint; see `settings_of_training`, also for what is raised.
        names: Of the settings.
        tokenizer: Likewise.
    """
    kept = settings_of_training(folder, world_model, names, tokenizer=tokenizer)
    overruled = [name for name in names if getattr(args, name) not in (getattr(usual, name), kept[name])]
    if overruled:
        told = ", ".join(f"{name} = {kept[name]}, not {getattr(args, name)}" for name in overruled)
        print(f"As in the training in {folder}: {told}")
    if kept.get("start_from"):
        kept["start_from"] = Path(kept["start_from"])
    return replace(args, **kept)


def name_of_agent(config: dict[str, Any]) -> str:
    """Return what to call a policy trained in dreams, from the settings of its training."""
    begun = f", from {config['start_from']}" if config["start_from"] else ""
    return f"{LABELS[config['algorithm']]} trained in dreams{begun}"
