"""Take real frames into a world model's memory, however many there are."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Latent
from model.memory import Memory
from model.world_model import WorldModel
from wmgym.codec import frames_to_tensor
from wmgym.context import Context

FRAMES_AT_ONCE = 64  # bounds what a long context occupies while it is taken in


def take_in(
    world: WorldModel, memory: Memory, contexts: Sequence[Context]
) -> tuple[Memory, Latent, Float[Tensor, "b f"]]:
    """Return memory after the last frame, and that frame's latents and features.

    Args:
        world: The model.
        memory: Of as many dreams as there are contexts; it is not changed.
        contexts: Equally long.
    """
    actions = torch.from_numpy(np.stack([context.actions for context in contexts])).to(world.device)
    piece = max(1, FRAMES_AT_ONCE // len(contexts))
    for begin in range(0, actions.shape[1], piece):
        span = slice(begin, begin + piece)
        pixels = frames_to_tensor(np.stack([context.frames[span] for context in contexts]), world.device)
        latents = world.tokenizer.encode(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        features, memory = world.dynamics.observe(memory, latents, actions[:, span])
    return memory, latents[:, -1].clone(), features[:, -1].clone()
