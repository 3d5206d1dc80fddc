"""A policy that is told what it sees before it acts, and by which action it came there."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.interfaces import Policy

Watch = Callable[[Any, NDArray[Any], NDArray[np.bool_]], object]
"""`watch(observations, actions, is_first)`: the newest observations and what led to them; nothing, where one is first.
"""


class WatchingPolicy:
    """Shows each observation to somebody who keeps track, then lets a policy act.

    Planners that plan from states, not from observations, learn so where real environments stand. Put it outermost: the
    actions that are told are those that it returned, whatever the policies inside wanted.

    Args:
        policy: Who acts.
        watch: Who keeps track. It is called once in every `act`, before the policy.
    """

    def __init__(self, policy: Policy, watch: Watch) -> None:
        self._policy, self._watch = policy, watch
        self._actions: NDArray[Any] | None = None

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Tell what is seen, and return the policy's actions.

        Raises:
            ValueError: There are more or fewer environments than before, and not all begin an episode.
        """
        before = self._actions
        if before is None or len(before) != len(is_first):
            if not np.all(is_first):
                raise ValueError(
                    f"{len(is_first)} environments given that go on, after {0 if before is None else len(before)}; "
                    "what led to these observations is not known. Fix: a new policy, or is_first=True everywhere."
                )
            before = np.zeros(len(is_first), np.int64)
        self._watch(observations, before, is_first)
        self._actions = np.asarray(self._policy.act(observations, is_first))
        return self._actions.copy()
