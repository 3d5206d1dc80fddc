"""Scripted policies that look at nothing: what anyone scores who moves about, in dreams and in reality."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from agents.evaluate import RandomPolicy
from agents.interfaces import Policy
from agents.walkers import FORWARD, LEFT, NOTHING, RIGHT, StickyWalker, Walker

STRAIGHT_STEPS, TURN_STEPS = (5, 20), (3, 10)
"""Shortest and longest: a turn of 3 to 10 steps is one of about 55 to 180 degrees."""


class ForwardWalker:
    """Go straight on for a random while, turn left or right for another, and so on.

    Args:
        rng: The generator consumed.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.reset()

    def reset(self) -> None:
        """Begin by going straight on."""
        self._action, self._left = LEFT, 0

    def act(self, observation: Any, info: Any) -> int:
        """Return the action under way, or that of the next stretch."""
        if self._left == 0:
            goes_on = self._action != FORWARD
            self._action = FORWARD if goes_on else int(self._rng.choice([LEFT, RIGHT]))
            low, high = STRAIGHT_STEPS if goes_on else TURN_STEPS
            self._left = int(self._rng.integers(low, high + 1))
        self._left -= 1
        return self._action


class StillWalker:
    """Do nothing: whatever it scores, the world gives away."""

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Any, info: Any) -> int:
        """Return the action that does nothing."""
        return NOTHING


class BlindWalkers:
    """Walkers that look at nothing, one in each of many environments.

    Args:
        make: Makes one from its generator.
        seed: Fixes all of them.
    """

    def __init__(self, make: Callable[[np.random.Generator], Walker], seed: int) -> None:
        self._make, self._seed = make, seed
        self._walkers: list[Walker] = []

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the action of each walker."""
        if len(self._walkers) != len(is_first):
            self._walkers = [self._make(np.random.default_rng([self._seed, i])) for i in range(len(is_first))]
        for i in np.flatnonzero(is_first):
            self._walkers[i].reset()
        return np.array([walker.act(None, {}) for walker in self._walkers])


BLIND: dict[str, Callable[[Discrete, int], Policy]] = {
    "random": lambda space, seed: RandomPolicy(space, seed),
    "sticky": lambda space, seed: BlindWalkers(lambda rng: StickyWalker(rng, actions=int(space.n)), seed),
    "forward": lambda space, seed: BlindWalkers(ForwardWalker, seed),
    "still": lambda space, seed: BlindWalkers(lambda rng: StillWalker(), seed),
}
"""By name, what makes one from the space of actions and a seed."""
OF_MAZES = ("forward", "still")
"""Those that take one of Memory Maze's actions; elsewhere it means something else."""
