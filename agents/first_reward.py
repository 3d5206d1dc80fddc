"""Episodes that end with their first reward: what a model says of the time after it is not worth learning from."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper


class EndAtReward(VectorWrapper[Any, Any, Any]):
    """Terminates an episode where it is rewarded, and starts another in the same step.

    An agent in a learned model finds where the model errs. Around a reward, where things change at once, a model that
    predicts the mean pays the same reward for several frames; and what comes after it was rarely seen. Ended there,
    an episode is worth at most one reward, the earlier the more.

    Args:
        env: Must reset itself in the step that ends an episode, and reset single environments by
            `options["reset_mask"]`.

    Raises:
        ValueError: It resets itself in another way.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"{env} has autoreset_mode = {mode}, expected {AutoresetMode.SAME_STEP}.")

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step; where a reward came, terminate and start again."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        rewarded = np.asarray(rewards) > 0
        early = rewarded & ~(terminated | truncated)
        if early.any():
            last = observations
            observations, _ = self.env.reset(options={"reset_mask": early})
            for row in map(int, np.flatnonzero(early)):
                info = self._add_info(info, {"final_obs": last[row].copy(), "final_info": {}}, row)
        return observations, rewards, terminated | rewarded, truncated, info
