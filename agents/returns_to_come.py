"""What recorded episodes returned after each of their frames, as far as that is known."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0.05
"""Frames after which more than this share of the discounted future was not recorded have no known return."""


def returns_to_come(rewards: NDArray[Any], discount: float) -> NDArray[np.float64]:
    """Return the discounted rewards after each frame: of the next frame whole, of the one after discounted once.

    Args:
        rewards: `[episodes t]`: what came with each frame.
        discount: A step, in [0, 1].

    Returns:
        `[episodes t]`; what comes after the last frame counts as nothing.
    """
    found = np.zeros(rewards.shape)
    for t in range(rewards.shape[1] - 2, -1, -1):
        found[:, t] = rewards[:, t + 1] + discount * found[:, t + 1]
    return found


def known_frames(frames: int, discount: float) -> int:
    """Return how many frames of an episode, from its beginning, have a return that is known but for `UNKNOWN`.

    That is for episodes that were cut off by time, as those of Memory Maze are.

    Raises:
        ValueError: None, because episodes are too short for the discount.
    """
    unknown = frames if discount >= 1 else math.ceil(math.log(UNKNOWN) / math.log(max(discount, 1e-12)))
    if unknown >= frames:
        raise ValueError(
            f"episodes of {frames} frames and discount = {discount} given: after every one of them, more than "
            f"{UNKNOWN:.0%} of the future is missing. Fix: longer episodes, or a smaller discount."
        )
    return frames - unknown
