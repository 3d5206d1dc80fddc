"""What an agent may see of a dream, and the space of each; dreams and observed real environments share it."""

import numpy as np
from gymnasium import spaces

from model.config import WorldModelConfig

OBSERVATIONS = ("pixels", "latent", "features")
"""The frame; the frame as the tokenizer encodes it; what the model makes of the frame and its past."""


def check_observation(observation: str) -> None:
    """Refuse names of no observation.

    Raises:
        ValueError: It is none of `OBSERVATIONS`.
    """
    if observation not in OBSERVATIONS:
        raise ValueError(f"observation = {observation!r}, expected one of {', '.join(map(repr, OBSERVATIONS))}.")


def observation_space(config: WorldModelConfig, observation: str) -> spaces.Box:
    """Return the space of one observation.

    Args:
        config: Of the world model.
        observation: One of the names above.

    Raises:
        ValueError: It is none of them.
    """
    dynamics, size = config.dynamics, config.tokenizer.frame_size
    shapes = {
        "latent": (dynamics.latent_channels, dynamics.latent_size, dynamics.latent_size),
        "features": (dynamics.features,),
    }
    check_observation(observation)
    if observation == "pixels":
        return spaces.Box(0, 255, (size, size, 3), np.uint8)
    return spaces.Box(-np.inf, np.inf, shapes[observation], np.float32)
