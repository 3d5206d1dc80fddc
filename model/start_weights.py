"""The weights a training of the world model starts with: a trained tokenizer's, and maybe those of another run."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import CheckpointError, check_fit, load_weights
from model.config import LSSVWMConfig, WorldModelConfig
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


def take_encoder(tokenizer: Tokenizer, source: Path) -> None:
    """Gives a tokenizer the encoder of another, for good: what is trained from now on is a decoder for its latents.

    Args:
        tokenizer: changed; its encoder needs no gradient any more.
        source: as `open_tokenizer` takes it.

    Raises:
        CheckpointError: as `open_tokenizer`, or the encoders differ in shape.
    """
    taken = open_tokenizer(source)
    theirs, ours = (replace(c, decoder_channels=(1,), bottleneck_noise=0.0) for c in (taken.config, tokenizer.config))
    if theirs != ours:
        raise CheckpointError(
            f"--encoder-of {source} has an encoder of another shape than --preset makes: {theirs} for {ours}. Pass the "
            "preset it was trained with."
        )
    tokenizer.encoder.load_state_dict(taken.encoder.state_dict())
    tokenizer.encoder.requires_grad_(False)
    tokenizer.scale.copy_(taken.scale)


def weights_to_start_from(source: Path, world: WorldModel, keep_layers: Sequence[int] = ()) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint that has the shape and the encoder of the world model of this run.

    The decoder may be another: latents do not depend on it, and this run's own is kept.

    Args:
        source: the checkpoint.
        world: what shall start with them; holds the tokenizer of this run.
        keep_layers: which of the checkpoint's layers this network's layers start as, counted from 0; none for all.

    Raises:
        CheckpointError: it is missing or damaged, of another shape, or has another encoder.
    """
    config, weights = load_weights(source)
    check_fit(source, WorldModel(config).state_dict(), weights)
    if keep_layers:
        config, weights = _with_layers(source, config, weights, keep_layers)
    if _spelled_out(config.dynamics) != _spelled_out(world.config.dynamics):
        raise CheckpointError(
            f"--start-from {source} is a network of another shape, or for other actions, poses or rewards, than "
            "--preset, --conditioning and --recordings make. Pass the --preset and --conditioning it was trained with "
            "and recordings of the same environment; for some of its layers only, --keep-layers."
        )
    own = {f"tokenizer.{key}": value for key, value in world.tokenizer.state_dict().items()}
    encodes = [key for key in own if not key.startswith("tokenizer.decoder.")]
    if any(key not in weights or not torch.equal(weights[key], own[key]) for key in encodes):
        raise CheckpointError(
            f"--start-from {source} was trained on latents of another tokenizer than --tokenizer. Pass the one it was "
            "trained with, or one with another decoder for the same latents (train_tokenizer.py --encoder-of)."
        )
    return {k: v for k, v in weights.items() if k.startswith("dynamics.")} | own


def _spelled_out(config: LSSVWMConfig) -> LSSVWMConfig:
    """The same with a block size for each layer, which is how two configs of one network are told to be equal."""
    return replace(config, block_sizes=tuple(config.block_size(i) for i in range(config.layers)))


def _with_layers(
    source: Path, config: WorldModelConfig, weights: dict[str, Tensor], layers: Sequence[int]
) -> tuple[WorldModelConfig, dict[str, Tensor]]:
    """A checkpoint of which only the given layers are left, in this order."""
    d = config.dynamics
    if any(i not in range(d.layers) for i in layers):
        raise CheckpointError(
            f"--keep-layers {' '.join(map(str, layers))} given, expected numbers from 0 to {d.layers - 1}: "
            f"--start-from {source} has {d.layers} layers."
        )
    stem = "dynamics.backbone.layers."
    kept = {k: v for k, v in weights.items() if not k.startswith(stem)}
    for new, old in enumerate(layers):
        of_layer = f"{stem}{old}."
        kept |= {f"{stem}{new}.{k.removeprefix(of_layer)}": v for k, v in weights.items() if k.startswith(of_layer)}
    dynamics = replace(d, layers=len(layers), block_sizes=tuple(d.block_size(i) for i in layers))
    return replace(config, dynamics=dynamics), kept


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
    free = ("num_actions", "action_size", "action_low", "action_high", "reward_values")
    theirs = replace(d, **{name: getattr(own, name) for name in free})
    names = [f.name for f in fields(own) if getattr(theirs, f.name) != getattr(own, f.name)]
    if names:
        told = ", ".join(f"{name} = {getattr(theirs, name)} for {getattr(own, name)}" for name in names)
        raise CheckpointError(
            f"--start-from {source} is another network than --preset, --backbone, --conditioning and --tokenizer make: "
            f"it has {told}. Pass those it was trained with; only actions and rewards may be others."
        )
    kept = world.state_dict()
    found = {k: v for k, v in weights.items() if k.startswith("dynamics.") and k in kept and v.shape == kept[k].shape}
    return kept | found
