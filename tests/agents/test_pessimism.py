"""Rewards less a penalty, in a world that tells what it is unsure of."""

import numpy as np
import pytest

from agents.first_reward import EndAtReward
from agents.pessimism import Pessimism
from agents.sb3_vec_env import SB3VecEnv
from tests.agents.test_first_reward import Counting


class Unsure(Counting):
    """Environment i is unsure by i at every step."""

    @property
    def disagreement(self):
        return np.arange(self.num_envs, dtype=np.float32)


def test_the_penalty_is_taken_off_and_nothing_else_changes():
    plain, env = Unsure(4), Pessimism(Unsure(4), 0.5)
    plain.reset()
    env.reset()
    for _ in range(6):
        expected, found = plain.step(np.zeros(4, int)), env.step(np.zeros(4, int))
        np.testing.assert_allclose(found[1], expected[1] - [0, 0.5, 1, 1.5])
        for i in (0, 2, 3):
            np.testing.assert_array_equal(found[i], expected[i])
        assert found[4].keys() == expected[4].keys()


def test_episodes_end_with_rewards_as_they_are():
    """The penalty is larger than the reward of environment 3, which still ends its episode."""
    env = SB3VecEnv(Pessimism(EndAtReward(Unsure(4)), 0.5))
    env.reset()
    ends = []
    for _ in range(3):
        _, rewards, ended, _ = env.step(np.zeros(4, int))
        ends.append(ended)
    assert rewards.tolist() == [1, -0.5, 0, -1.5]
    assert np.stack(ends).T.tolist() == [[True] * 3, [False, True, False], [False, False, True], [False] * 3]


def test_worlds_that_do_not_tell_and_wrong_weights_are_refused():
    with pytest.raises(ValueError, match=r"does not tell its disagreement.*disagreement_samples=2"):
        Pessimism(Counting(2), 1.0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight"):
            Pessimism(Unsure(2), wrong)
