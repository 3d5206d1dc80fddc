"""Policies that are told what they see before they act, and by which action they came there; or shown other things."""

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


class ShownInstead:
    """Lets a policy act by what somebody else shows, in place of what it is given.

    Args:
        policy: Who acts.
        show: `show() -> observations`: what it sees, once in every `act`; inside a `WatchingPolicy` the newest.
    """

    def __init__(self, policy: Policy, show: Callable[[], Any]) -> None:
        self._policy, self._show = policy, show

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the policy's actions; the observations are not looked at."""
        return np.asarray(self._policy.act(self._show(), is_first))
