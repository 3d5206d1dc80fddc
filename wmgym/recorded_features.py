"""What a world model makes of recorded episodes: the features that an agent would have seen on the way."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from model.world_model import WorldModel
from wmgym.clips import ClipBatch, cut_clips
from wmgym.fidelity import encode, refuse_other_worlds
from wmgym.recording import Episode

FRAMES_AT_ONCE = 20


def observed_features(world: WorldModel, clips: ClipBatch) -> Iterator[Float[Tensor, "b t f"]]:
    """Show real frames in order to an empty memory, some at a time; yield what the model makes of them.

    Args:
        world: The model.
        clips: From their beginnings.
    """
    memory = world.dynamics.initial_memory(len(clips.images))
    for t in range(0, clips.images.shape[1], FRAMES_AT_ONCE):
        part = clips.between(t, t + FRAMES_AT_ONCE)
        features, memory = world.dynamics.observe(memory, encode(world, part.images), part.actions, part.poses)
        yield features


@torch.inference_mode()
def features_of(
    world: WorldModel, episodes: Sequence[Episode], progress: Callable[[int], object] = lambda frames: None
) -> Float[Tensor, "b t f"]:
    """Return the features of every frame of whole episodes, on the CPU.

    They are what `wmgym.wrappers.WorldModelObservation` shows of the same frames, to rounding.

    Args:
        world: The model.
        episodes: Of one length.
        progress: Is told how many frames more were observed.

    Raises:
        ContextError: An episode is of another world than the model.
    """
    config = world.config
    refuse_other_worlds(episodes, config.dynamics, config.tokenizer.frame_size)
    parts = []
    for features in observed_features(world, cut_clips(world, episodes, 1, len(episodes[0].image))):
        parts.append(features.cpu())
        progress(features.shape[0] * features.shape[1])
    return torch.cat(parts, dim=1)
