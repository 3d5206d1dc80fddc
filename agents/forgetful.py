"""A policy that loses its memory again and again: what its memory is worth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.interfaces import Policy


class Forgetful:
    """A policy that believes, every so many steps of an episode, that it has only begun.

    Args:
        policy: Who acts, with what it remembers since.
        every: Steps from one loss of memory to the next, at least 1.

    Raises:
        ValueError: `every` is less.

    Randomness: none of its own.
    """

    def __init__(self, policy: Policy, every: int) -> None:
        if every < 1:
            raise ValueError(f"every = {every}, expected 1 step or more.")
        self._policy, self._every = policy, every
        self._age: NDArray[np.int64] = np.zeros(0, np.int64)

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> Any:
        """Return the policy's actions."""
        if len(self._age) != len(is_first):
            self._age = np.zeros(len(is_first), np.int64)
        self._age = np.where(is_first, 0, self._age)
        begins = self._age % self._every == 0
        self._age += 1
        return self._policy.act(observations, is_first | begins)
