"""DQN for many environments at once: each explores for itself, and a buffer that was lost is filled by the policy."""

from typing import Any

import numpy as np
from stable_baselines3 import DQN

STEPS_TO_FILL = 80
"""Steps of each environment in the replay buffer before there is learning."""


class ManyDreamsDQN(DQN):
    """SB3's DQN, but for three things that matter with many environments and with trainings that go on later.

    SB3 draws once whether all environments take a random action or none; here each draws for itself. A learner that
    goes on with an empty replay buffer fills it up by its policy, exploring as much as before; SB3 would act at random.
    And exploration falls only while there is learning, over `exploration_fraction` of the training that was left when
    learning began; SB3's falls while the buffer is filled, too, and may be over when learning begins.

    Source: V. Mnih et al., Human-level control through deep reinforcement learning, Nature 518, 2015. Declared
    deviations: n-step returns (`n_steps`), and SB3's Huber loss.
    """

    _explored: float | None = None  # the share of its schedule that exploration has gone through; None: not known
    _held = _filled = 0.0  # what that was, and the share of the training that was over, when the buffer was full

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return the best actions; unless deterministic, some of them random ones by `exploration_rate`.

        Randomness: numpy's default generator and that of the action space, as in SB3.
        """
        actions, state = self.policy.predict(observation, state, episode_start, deterministic=True)
        if not deterministic:
            actions = np.asarray(actions).copy()
            exploring = np.random.random(actions.shape) < self.exploration_rate  # noqa: NPY002  (SB3 seeds this one)
            drawn = np.array([self.action_space.sample() for _ in range(actions.size)]).reshape(actions.shape)
            actions = np.where(exploring, drawn, actions)
        return actions, state

    def _on_step(self) -> None:
        """Do as SB3 does after a step, but let exploration wait until there is learning."""
        super()._on_step()
        over = 1 - self._current_progress_remaining
        if self._explored is None:
            self._explored = over if self._n_updates else 0.0  # of trainings that did not keep it, it was that
        if self.num_timesteps <= self.learning_starts:
            self._held, self._filled = self._explored, over
        since = max(0.0, over - self._filled) / (1 - self._filled) if self._filled < 1 else 1.0
        self._explored = self._held + (1 - self._held) * since
        self.exploration_rate = self.exploration_schedule(1 - self._explored)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[Any, Any]:
        """Act at random until learning begins, but only if nothing was learned before."""
        return super()._sample_action(0 if self._n_updates else learning_starts, action_noise, n_envs)

    def fill_again(self) -> int:
        """Let the replay buffer, which is empty after loading, be filled before learning goes on.

        Returns:
            Steps that this takes: as many as before the first update.
        """
        steps = steps_to_fill(self.buffer_size, self.n_envs)
        self.learning_starts = self.num_timesteps + steps
        return steps


def steps_to_fill(buffer_size: int, num_envs: int) -> int:
    """Return how many steps, of all environments, are in a replay buffer before there is learning."""
    return min(STEPS_TO_FILL * num_envs, buffer_size // 2)
