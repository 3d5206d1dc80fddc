"""Environments whose frames are scaled down before anybody sees them."""

from typing import Any

import gymnasium
import numpy as np

from wmgym.square_frames import squash


def with_smaller_frames(env: gymnasium.Env[Any, Any], size: int) -> gymnasium.Env[Any, Any]:
    """Return an environment whose frames are scaled down by averaging (`wmgym.square_frames`).

    Args:
        env: Shows uint8 frames `(H, W, 3)`.
        size: Height and width to scale to, pixels.

    Raises:
        ValueError: It shows no pictures, or smaller ones.
    """
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3 or size > min(space.shape[:2]):
        raise ValueError(
            f"frames of {size}x{size} asked for, and the environment shows {space}: expected pictures at least as "
            "large, because they are only scaled down. Ask for smaller ones."
        )
    smaller = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
    return gymnasium.wrappers.TransformObservation(env, lambda frame: squash(frame, size), smaller)
