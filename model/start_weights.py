"""The weights a training of the world model starts with: a trained tokenizer's, and maybe those of another run."""

from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import CheckpointError, check_fit, load_weights
from model.tokenizer import Tokenizer
from model.world_model import WorldModel


def open_tokenizer(folder: Path) -> Tokenizer:
    """Opens the tokenizer of a run of train_tokenizer.py, or that of a world model; not looked up on the network.

    Args:
        folder: the run's folder, or a checkpoint of a world model.

    Raises:
        CheckpointError: there is no such folder, it holds something else, or weights that are damaged or not finite.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no tokenizer at {folder}: there is no such folder. Expected the run folder of a tokenizer. Check the "
            "path, or train one with experiments/train_tokenizer.py."
        )
    config, weights = load_weights(folder)
    if any(key.startswith("dynamics.") for key in weights):
        of_tokenizer = "tokenizer."
        weights = {k.removeprefix(of_tokenizer): v for k, v in weights.items() if k.startswith(of_tokenizer)}
    tokenizer = Tokenizer(config.tokenizer)
    check_fit(folder, tokenizer.state_dict(), weights)
    tokenizer.load_state_dict(weights)
    return tokenizer


def weights_to_start_from(source: Path, world: WorldModel) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint that has the shape and the tokenizer of the world model of this run.

    Args:
        source: the checkpoint.
        world: what shall start with them; holds the tokenizer of this run.

    Raises:
        CheckpointError: it is missing or damaged, of another shape, or has another tokenizer.
    """
    config, weights = load_weights(source)
    check_fit(source, WorldModel(config).state_dict(), weights)
    if config != world.config:
        raise CheckpointError(
            f"--start-from {source} is a network of another shape, or for other actions, poses or rewards, than "
            "--preset, --conditioning and --recordings make. Pass the --preset and --conditioning it was trained with "
            "and recordings of the same environment."
        )
    own = world.tokenizer.state_dict()
    if any(not torch.equal(weights[f"tokenizer.{key}"], value) for key, value in own.items()):
        raise CheckpointError(
            f"--start-from {source} was trained on latents of another tokenizer than --tokenizer. Pass the one it was "
            "trained with."
        )
    return weights


def weights_to_transfer(source: Path, world: WorldModel) -> dict[str, Tensor]:
    """Reads the network of a checkpoint of another world: how to remember is learned on one and used on others.

    Args:
        source: the checkpoint; its latents, actions and rewards may be others.
        world: what shall start with them.

    Returns:
        Weights for all of the world model: of its dynamics those of the checkpoint, for other latents as they are, but
        for actions and rewards only if there are as many; all else is its own, the tokenizer first of all.

    Raises:
        CheckpointError: it is missing or damaged, or its dynamics differ in more than actions and rewards.
    """
    config, weights = load_weights(source)
    check_fit(source, WorldModel(config).state_dict(), weights)
    own, d = world.config.dynamics, config.dynamics
    theirs = replace(d, num_actions=own.num_actions, reward_values=own.reward_values)
    names = [f.name for f in fields(own) if getattr(theirs, f.name) != getattr(own, f.name)]
    if names:
        told = ", ".join(f"{name} = {getattr(theirs, name)} for {getattr(own, name)}" for name in names)
        raise CheckpointError(
            f"--start-from {source} is another network than --preset, --backbone, --conditioning and --tokenizer make: "
            f"it has {told}. Pass those it was trained with; only actions and rewards may be others."
        )
    kept = world.state_dict()
    found = {k: v for k, v in weights.items() if k.startswith("dynamics.") and v.shape == kept[k].shape}
    return kept | found
