"""Episodes that end with their first reward, in a world whose rewards are known beforehand."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

from agents.first_reward import EndAtReward
from agents.sb3_vec_env import SB3VecEnv


class Counting(VectorEnv):
    """Observation = steps of the episode; environment i is rewarded at its steps i + 1 and i + 2; the limit is 4."""

    metadata: ClassVar = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.single_observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.count = np.zeros(num_envs, int)

    def seen(self):
        return self.count[:, None].astype(np.float32)

    def reset(self, *, seed=None, options=None):
        mask = np.ones(self.num_envs, bool) if options is None else options["reset_mask"]
        self.count[mask] = 0
        return self.seen(), {}

    def step(self, actions):
        self.count += 1
        rewarding = np.arange(self.num_envs) + 1
        rewards = ((self.count == rewarding) | (self.count == rewarding + 1)).astype(np.float32)
        truncated = self.count == 4
        final, info = self.seen(), {}
        for row in np.flatnonzero(truncated):
            info = self._add_info(info, {"final_obs": final[row], "final_info": {}}, int(row))
        self.count[truncated] = 0
        return self.seen(), rewards, np.zeros(self.num_envs, bool), truncated, info


def test_an_episode_ends_with_its_first_reward_and_the_next_begins():
    env = EndAtReward(Counting(6))
    env.reset()
    seen = [env.step(np.zeros(6, int)) for _ in range(4)]
    rewards, terminated, truncated = (np.stack([step[i] for step in seen]) for i in (1, 2, 3))
    # environment 0 is rewarded at every first step, 1 at every second, 2 at the third, 3 at the limit, 4 never
    assert rewards.T.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert (terminated == (rewards > 0)).all()
    assert truncated.T.tolist() == [[False] * 4] * 3 + [[False, False, False, True]] * 3
    observations = np.stack([step[0][:, 0] for step in seen])
    assert observations.T[:3].tolist() == [[0, 0, 0, 0], [1, 0, 1, 0], [1, 2, 0, 1]]


def test_the_last_observation_of_every_ended_episode_is_given():
    env = EndAtReward(Counting(6))
    env.reset()
    for _ in range(4):
        *_, terminated, truncated, info = env.step(np.zeros(6, int))
        ended = terminated | truncated
        assert info["_final_obs"].tolist() == ended.tolist()
    assert [float(final[0]) for final in info["final_obs"][ended]] == [1, 2, 4, 4, 4]


def test_stable_baselines_takes_the_end_for_an_end_and_not_for_a_limit():
    env = SB3VecEnv(EndAtReward(Counting(4)))
    env.reset()
    for _ in range(4):
        _, _, ended, infos = env.step(np.zeros(4, int))
    assert ended.tolist() == [True, True, False, True]
    assert [info["TimeLimit.truncated"] for info in infos] == [False] * 4
    assert [float(info["terminal_observation"][0]) for info in infos if "terminal_observation" in info] == [1, 2, 4]


def test_it_needs_an_environment_that_resets_itself_in_the_same_step():
    env = Counting(2)
    env.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    with pytest.raises(ValueError, match="SAME_STEP"):
        EndAtReward(env)
