"""Exploration that lasts: now and then one random action for several steps, whatever the policy would do."""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.interfaces import Policy

BURST_STEPS = (2, 8)
"""Shortest and longest burst."""


def start_for_share(share: float) -> float:
    """Return the `start` of `WithBursts` with which a share of all steps is spent in bursts.

    With bursts of mean length `l`, a burst comes with `1 / start - 1` steps of the policy, so the share is
    `l / (l + 1 / start - 1)`.

    Args:
        share: In [0, 1].

    Raises:
        ValueError: It is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}, expected one in [0, 1].")
    return share / (share + sum(BURST_STEPS) / 2 * (1 - share))


class WithBursts:
    """A policy whose actions give way to bursts of one random action, as in temporally extended epsilon-greedy.

    A single random action leads nowhere where it takes five to turn around; a policy that has learned to go on stays
    at a wall for good.

    Args:
        policy: What acts in between; it sees every observation.
        action_space: Where the random actions come from; bounded.
        start: Probability, at each step outside of a burst, that one begins; 0 leaves the policy alone.
        seed: Fixes the bursts.

    Raises:
        ValueError: `start` is no probability.

    Randomness: a generator of its own (and, for other spaces than `Discrete`, that of a copy of the space); three draws
    an act for each environment, whether they are used or not.

    Source: W. Dabney, G. Ostrovski, A. Barreto, Temporally-extended epsilon-greedy exploration, arXiv:2006.01782.
    Declared deviation: the length of a burst is uniform between `BURST_STEPS`, not zeta-distributed.
    """

    def __init__(self, policy: Policy, action_space: spaces.Space[Any], *, start: float, seed: int) -> None:
        if not 0 <= start <= 1:
            raise ValueError(f"start = {start}, expected a probability in [0, 1].")
        self._policy, self._space, self._start = policy, copy.deepcopy(action_space), start
        self._rng = np.random.default_rng(seed)
        self._space.seed(seed)
        self._left: NDArray[np.int64] = np.zeros(0, np.int64)
        self._burst: NDArray[Any] = np.zeros(0, np.int64)

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the policy's actions, or those of the bursts under way; a new episode starts without one."""
        chosen = np.asarray(self._policy.act(observations, is_first))
        if len(self._left) != len(is_first):
            self._left, self._burst = np.zeros(len(is_first), np.int64), np.zeros_like(chosen)
        self._left[is_first] = 0
        begins = (self._rng.random(len(is_first)) < self._start) & (self._left == 0)
        actions = self._draw(len(is_first))
        lengths = self._rng.integers(BURST_STEPS[0], BURST_STEPS[1] + 1, size=len(is_first))
        axes = (-1, *[1] * (chosen.ndim - 1))
        self._burst = np.where(begins.reshape(axes), actions, self._burst)
        self._left = np.where(begins, lengths, self._left)
        bursting = self._left > 0
        self._left = np.maximum(self._left - 1, 0)
        return np.where(bursting.reshape(axes), self._burst, chosen)

    def _draw(self, count: int) -> NDArray[Any]:
        """Return so many actions."""
        if isinstance(self._space, spaces.Discrete):
            return np.asarray(self._rng.integers(self._space.n, size=count) + self._space.start)
        return np.stack([self._space.sample() for _ in range(count)])
