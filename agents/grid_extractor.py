"""The network that looks at grids of numbers, such as a world model's latents, for SB3's policies."""

import gymnasium
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

CHANNELS = 64


class GridExtractor(BaseFeaturesExtractor):
    """Two convolutions, the second at half the resolution, and a linear layer.

    Args:
        observation_space: Of grids `[channels height width]`.
        features_dim: How many numbers come out.

    Raises:
        ValueError: It is of something else.
    """

    def __init__(self, observation_space: gymnasium.Space[object], features_dim: int = 256) -> None:
        if not is_grid_space(observation_space):
            raise ValueError(f"{observation_space} given, expected a float Box [channels height width].")
        super().__init__(observation_space, features_dim)
        shape = observation_space.shape
        assert shape is not None
        look = nn.Sequential(
            nn.Conv2d(shape[0], CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        with torch.no_grad():
            seen = look(torch.zeros(1, *shape)).shape[1]
        self.network = nn.Sequential(look, nn.Linear(seen, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Return `[b features_dim]`."""
        features: Tensor = self.network(observations)
        return features


def is_grid_space(space: gymnasium.Space[object]) -> bool:
    """Say whether observations are grids of floats, and no images of bytes."""
    return isinstance(space, Box) and len(space.shape) == 3 and space.dtype.kind == "f"
