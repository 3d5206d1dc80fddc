"""A policy of many environments as the walker of one, whose frames are recorded."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.interfaces import Policy

See = Callable[[NDArray[np.uint8], Any, bool], Any]
"""`see(frame, action, is_first)`: what the policy is shown of the newest frame, and which action led to it; none, if it
is the first."""


class PolicyWalker:
    """Walks one episode as a policy does, which sees what something makes of the frames.

    Args:
        policy: Who acts, in one environment.
        see: What it sees by; called once a step, before the policy.
    """

    def __init__(self, policy: Policy, see: See) -> None:
        self._policy, self._see = policy, see
        self._last: Any = None

    def act(self, observation: NDArray[np.uint8], info: Mapping[str, Any]) -> Any:
        """Return the policy's action.

        Args:
            observation: The newest frame.
            info: Not looked at.
        """
        begins = self._last is None
        seen = np.asarray(self._see(observation, self._last, begins))
        self._last = self._policy.act(seen[None], np.array([begins]))[0]
        return self._last
