"""A value network: what going on like the walker of some recordings will return, from what an agent sees now."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from agents.grid_extractor import GridExtractor
from agents.search_settings import check_least


@dataclass(frozen=True)
class CriticSettings:
    """What network, and how it learns.

    Attributes:
        shape: Of one observation: `[n]`, or a grid `[channels height width]`, which gets convolutions.
        hidden: Width of the two hidden layers.
        dropout: Share of what they pass on that is hidden while learning, in [0, 1): against learning mazes by heart.
        epochs: Times that every frame is learned from.
        batch: Frames of an update.
        learning_rate: Of AdamW at the beginning; it falls to zero along a cosine.
        weight_decay: AdamW's.
    """

    shape: tuple[int, ...]
    hidden: int = 256
    dropout: float = 0.2
    epochs: int = 6
    batch: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Refuses numbers that say no network."""
        check_least(self, hidden=1, dropout=0.0, epochs=1, batch=1, learning_rate=0.0, weight_decay=0.0)
        if self.dropout >= 1:
            raise ValueError(f"dropout = {self.dropout}, expected a share in [0, 1).")


class ReturnCritic(nn.Module):
    """Maps observations to values in units of the discounted return.

    It scales what comes in and out by the mean and spread of what it learned from. `values` is what planners take for a
    critic.

    Args:
        settings: Of the network.
    """

    def __init__(self, settings: CriticSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(settings.shape))
        self.register_buffer("spread", torch.ones(settings.shape))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        width, drop = settings.hidden, settings.dropout
        look: nn.Module = nn.Flatten()
        seen = math.prod(settings.shape)
        if len(settings.shape) == 3:
            look, seen = GridExtractor(Box(-np.inf, np.inf, settings.shape, np.float32), width), width
        self.network = nn.Sequential(
            look, nn.Linear(seen, width), nn.ReLU(), nn.Dropout(drop),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, observations: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
        """Return the values in units of `scale`, less `offset`."""
        mean, spread = self.get_buffer("mean"), self.get_buffer("spread")
        values: Tensor = self.network((observations - mean) / spread)
        return values[:, 0]

    @torch.no_grad()
    def values(self, observations: Any) -> NDArray[np.float64]:
        """Return `[b]` the values of `[b ...]` observations; dropout is off, whatever the mode.

        Raises:
            ValueError: They are of another shape than those it learned from.
        """
        given = torch.as_tensor(np.asarray(observations, np.float32))
        if tuple(given.shape[1:]) != self.settings.shape:
            raise ValueError(
                f"observations of shape {tuple(given.shape)} given, expected [b, "
                f"{', '.join(map(str, self.settings.shape))}], as the critic learned from. Likely cause: the "
                "environment shows something else. Fix: its observation= as in the critic's training."
            )
        learning = self.training
        self.eval()
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        found: NDArray[np.float64] = (self(given) * scale + offset).double().numpy()
        self.train(learning)
        return found


def fit_critic(
    settings: CriticSettings,
    observations: NDArray[Any],
    returns: NDArray[np.float64],
    *,
    seed: int,
    on_epoch: Callable[[int, ReturnCritic], object] = lambda epoch, critic: None,
) -> ReturnCritic:
    """Fit a network to returns by least squares.

    Args:
        settings: Of the network and its learning.
        observations: `[episodes t ...]`, in any float type.
        returns: `[episodes t]`: what came after each, from `agents.returns_to_come`.
        seed: Fixes weights, order and dropout.
        on_epoch: Told the number of the epoch, from 1 on, and the critic, after each.

    Raises:
        ValueError: Observations and returns are not each other's.
        FloatingPointError: An observation or return is not finite, or learning diverged.

    Randomness: torch's default generator, with a state of its own that ends with the call; numpy's of the seed.
    """
    shape = (*returns.shape, *settings.shape)
    if observations.shape != shape or not returns.size:
        raise ValueError(f"observations of shape {observations.shape} given, expected {shape} with at least one frame.")
    flat = torch.from_numpy(observations.reshape(-1, *settings.shape))
    targets = torch.from_numpy(returns.ravel()).float()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        critic = ReturnCritic(settings)
        _measure(critic, flat, targets)
        optimizer = torch.optim.AdamW(critic.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        updates = settings.epochs * -(-len(flat) // settings.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        wanted = (targets - critic.get_buffer("offset")) / critic.get_buffer("scale")
        rng = np.random.default_rng(seed)
        for epoch in range(1, settings.epochs + 1):
            critic.train()
            for rows in torch.from_numpy(rng.permutation(len(flat))).split(settings.batch):
                loss = functional.mse_loss(critic(flat[rows].float()), wanted[rows])
                optimizer.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
                if not torch.isfinite(norm):
                    raise FloatingPointError(
                        f"a loss of {loss.item():g} has a gradient of norm {norm.item():g}, expected finite numbers. "
                        f"Likely cause: observations that are not finite, or learning_rate = {settings.learning_rate}."
                    )
                optimizer.step()
                schedule.step()
            on_epoch(epoch, critic.eval())
    return critic.eval()


def explained_variance(critic: ReturnCritic, observations: NDArray[Any], returns: NDArray[np.float64]) -> float:
    """Return which share of the variance of returns the critic's values explain: 1 all, 0 as a constant, or less.

    Args:
        critic: Best asked about episodes that it did not learn from.
        observations: `[episodes t ...]`.
        returns: `[episodes t]`, not all alike.
    """
    found = np.concatenate([critic.values(episode) for episode in observations])
    return float(1 - np.mean((found - returns.ravel()) ** 2) / np.var(returns))


def _measure(critic: ReturnCritic, observations: Tensor, returns: Float[Tensor, " n"], at_once: int = 8192) -> None:
    """Set the critic's means and spreads; what never changes is left in its units."""
    parts = observations.split(at_once)
    mean = sum((part.double().sum(0) for part in parts), torch.zeros(())) / len(observations)
    spread = (sum(((part - mean) ** 2).sum(0) for part in parts) / len(observations)).sqrt()
    if not (torch.isfinite(spread).all() and torch.isfinite(returns).all()):
        raise FloatingPointError("an observation or return is not finite. Likely cause: features of a damaged model.")
    scale = returns.std(unbiased=False)
    for name, value in (("mean", mean), ("offset", returns.mean())):
        critic.get_buffer(name).copy_(value)
    for name, value in (("spread", spread), ("scale", scale)):
        critic.get_buffer(name).copy_(torch.where(value > 1e-6, value, 1.0))
