"""Rewards less a penalty for what a learned world is not sure of, against agents that live where it errs."""

import math
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper


class Pessimism(VectorWrapper[Any, Any, Any]):
    """Takes `weight * disagreement` of every step off its reward.

        r'(s, a) = r(s, a) - weight * u(s, a)

    with `u` the environment's own `disagreement` of the step, and `weight` the paper's lambda. Wrapped around
    `EndAtReward`, not inside it: that one looks at rewards as they are.

    Args:
        env: Has `disagreement`: `[num_envs]` of its last step, such as `DreamVectorEnv(disagreement_samples=2)`.
        weight: Reward taken off for a disagreement of 1; 0 changes nothing.

    Raises:
        ValueError: The environment does not tell its disagreement, or the weight is negative or not finite.

    Source: T. Yu et al., MOPO: Model-based offline policy optimization, arXiv:2005.13239, Eq. 4. Declared deviation:
    their `u` is the largest predicted standard deviation in an ensemble of models; here one model draws the next frame
    several times, so that the penalty knows what this model finds open, and not what it never learned.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], weight: float) -> None:
        super().__init__(env)
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight = {weight} given, expected 0 or more.")
        try:
            self._disagreement()
        except AttributeError as error:
            raise ValueError(
                f"{env} does not tell its disagreement ({error}), expected an environment that does. Fix: pass "
                "disagreement_samples=2 when the dreams are made."
            ) from error
        self._weight = weight

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step; return rewards less the penalty."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        penalised = np.asarray(rewards) - self._weight * self._disagreement()
        return observations, penalised, terminated, truncated, info

    def _disagreement(self) -> Any:
        whole: Any = self.env.unwrapped
        return whole.disagreement
