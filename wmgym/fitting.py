"""A network fitted to the recordings it shall be trained on: their actions, rewards and poses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.config import LSSVWMConfig, WorldModelConfig
from model.data import LatentStore
from model.start_weights import weights_to_start_from, weights_to_transfer
from model.tokenizer import Tokenizer
from model.world_model import WorldModel
from wmgym.clips import POSE_KEYS, refuse_without_poses
from wmgym.encoding import first_episode
from wmgym.errors import ContextError
from wmgym.fidelity import refuse_other_worlds
from wmgym.model_actions import with_actions_of
from wmgym.recording import Episode, Scan


def fit_to_recordings(
    dynamics: LSSVWMConfig, tokenizer: Tokenizer, folder: Path, found: Scan, held_out: Sequence[Episode]
) -> LSSVWMConfig:
    """Return the config with the actions of the recordings, having looked whether all fit together.

    Args:
        dynamics: What was asked for.
        tokenizer: Trained.
        folder: What to call the recordings.
        found: The recordings.
        held_out: What the training is measured on.

    Raises:
        RecordingError: There is no episode, or all are damaged.
        ContextError: Held-out episodes are of another world, or the model has poses and an episode has none.
        ValueError: The tokenizer makes latents of another size than the network is for.
    """
    WorldModelConfig(tokenizer.config, dynamics)  # refuses latents of another size
    first = first_episode(folder, found, tokenizer.config.frame_size)
    fitted = with_actions_of(dynamics, first)
    refuse_other_worlds(held_out, fitted, tokenizer.config.frame_size)
    if dynamics.pose_size:
        refuse_without_poses([first, *held_out])
    return fitted


def build_world(
    dynamics: LSSVWMConfig,
    tokenizer: Tokenizer,
    store: LatentStore,
    start_from: Path | None,
    transfer: bool = False,
    keep_layers: Sequence[int] = (),
) -> WorldModel:
    """Return a world model around a trained tokenizer, with fresh weights or those of another run.

    Args:
        dynamics: Its rewards become those of the recordings if they do not hold them all.
        tokenizer: Trained.
        store: The recordings, encoded.
        start_from: Checkpoint whose weights to take; None for fresh ones.
        transfer: It is a checkpoint of another world: take all weights of its network that fit, and no tokenizer.
        keep_layers: Which of the layers of `start_from` to start with; none for all. Not for a `transfer`.

    Randomness: fresh weights are drawn from torch's default generator.

    Raises:
        ContextError: The model has poses, and those of a recording are not known.
        CheckpointError: The weights to start from do not fit.
    """
    if dynamics.pose_size and not store.has_poses:
        raise ContextError(
            f"--conditioning pose given, but the latents in {store.folder} do not say of every frame where the camera "
            f"was: some recordings lack {' or '.join(POSE_KEYS)}, or an earlier release encoded them. Record an "
            "environment that tells, start with another --output, or pass --conditioning action."
        )
    rewards = store.reward_values()
    if any(value not in dynamics.reward_values for value in rewards):
        dynamics = replace(dynamics, reward_values=rewards)
    world = WorldModel(WorldModelConfig(tokenizer.config, dynamics))
    world.tokenizer.load_state_dict(tokenizer.state_dict())
    if start_from is not None:
        found = (
            weights_to_transfer(start_from, world)
            if transfer
            else weights_to_start_from(start_from, world, keep_layers)
        )
        world.load_state_dict(found)
    return world


def diverged(step: int, learning_rate: float, folder: Path, saved: bool) -> FloatingPointError:
    """Return what to raise when the gradient is not finite.

    Args:
        step: At which it was not.
        learning_rate: Of the training.
        folder: Of the run.
        saved: Whether a state of it was saved there.
    """
    kept = f"The last saved state is in {folder}: delete that folder to start from scratch, or go on from it."
    return FloatingPointError(
        f"the gradient is not finite at step {step}: training diverged. Lower --learning-rate {learning_rate:g} "
        "and start again. " + (kept if saved else "Nothing was saved yet.")
    )
