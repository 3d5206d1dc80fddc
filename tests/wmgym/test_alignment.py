"""Action t leads to frame t and earns reward t: pinned on a world whose right answers are known."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from model.axes import START_ACTION
from tests.wmgym.toy_world import (
    ACTION,
    CHECKSUM,
    FATAL_ACTION,
    FIRST_LEVELS,
    LEVEL,
    NUMBER,
    checksum_of,
    grey,
    reward_of,
)
from wmgym.env import DreamEnv
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation


class RealCounter(gymnasium.Env):
    """A real environment whose frame at step t has grey level 100 + t, and that ends after `last` steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(6)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, last=None, render_mode=None):
        self.last, self.render_mode, self.steps = last, render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return grey([100])[0], {}

    def step(self, action):
        self.steps += 1
        return grey([100 + self.steps])[0], float(action), self.steps == self.last, False, {}

    def render(self):
        return grey([100 + self.steps])[0]


def test_each_step_returns_its_own_frame_and_reward(toy):
    env = DreamEnv(checkpoint=toy, observation="features")
    first, info = env.reset(seed=1)
    assert (first[NUMBER], first[ACTION]) == (1, START_ACTION)
    assert first[LEVEL] in FIRST_LEVELS
    assert info == {}
    for step, action in enumerate([3, 0, 4, 4, 1], start=1):
        shown, reward, terminated, truncated, info = env.step(action)
        assert (shown[NUMBER], shown[ACTION], shown[LEVEL]) == (step + 1, action, first[LEVEL])
        assert reward == reward_of(step + 1, action)
        assert (terminated, truncated, info) == (False, False, {})
        assert type(reward) is float
        assert type(terminated) is bool
        assert type(truncated) is bool
    _, reward, terminated, _, _ = env.step(FATAL_ACTION)
    assert (reward, terminated) == (reward_of(7, FATAL_ACTION), True)


def test_pixels_and_latents_are_those_of_the_same_frame(toy):
    for kind in ("pixels", "latent"):
        env = DreamEnv(checkpoint=toy, observation=kind, render_mode="rgb_array")
        first, _ = env.reset(seed=1)
        assert first.min() == first.max() in FIRST_LEVELS
        for step in (1, 2, 3):
            shown, *_ = env.step(0)
            assert shown.min() == shown.max() == step + 1
            assert env.render().min() == env.render().max() == step + 1


def test_rewards_and_ends_stay_with_their_dream_in_a_batch(toy):
    envs = DreamVectorEnv(3, checkpoint=toy, observation="features", autoreset_mode="SameStep")
    shown, _ = envs.reset(seed=0)
    levels = shown[:, LEVEL].copy()
    envs.step([0, 1, 2])
    shown, rewards, terminated, truncated, info = envs.step([3, FATAL_ACTION, 4])
    np.testing.assert_array_equal(rewards, reward_of(3, np.array([3, FATAL_ACTION, 4])))
    np.testing.assert_array_equal(terminated, [False, True, False])
    assert not truncated.any()
    final = info["final_obs"][1]
    assert (final[NUMBER], final[ACTION], final[LEVEL]) == (3, FATAL_ACTION, levels[1])
    np.testing.assert_array_equal(shown[:, NUMBER], [3, 1, 3])
    np.testing.assert_array_equal(shown[:, ACTION], [3, START_ACTION, 4])
    shown, rewards, *_ = envs.step([1, 2, 3])
    np.testing.assert_array_equal(shown[:, NUMBER], [4, 2, 4])
    np.testing.assert_array_equal(rewards, reward_of(np.array([4, 2, 4]), np.array([1, 2, 3])))


def test_next_step_autoreset_ignores_the_action_and_pays_nothing(toy):
    envs = DreamVectorEnv(2, checkpoint=toy, observation="features", autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)
    shown, _, terminated, _, info = envs.step([FATAL_ACTION, 1])
    np.testing.assert_array_equal(shown[:, NUMBER], [2, 2])
    np.testing.assert_array_equal(terminated, [True, False])
    assert info == {}
    shown, rewards, terminated, _, _ = envs.step([4, 2])
    np.testing.assert_array_equal(shown[:, NUMBER], [1, 3])
    np.testing.assert_array_equal(shown[:, ACTION], [START_ACTION, 2])
    np.testing.assert_array_equal(rewards, [0, reward_of(3, 2)])
    assert not terminated.any()


@pytest.mark.parametrize("length", [1, 3, 64, 65, 150])
def test_contexts_of_any_length_are_taken_in_frame_by_frame(toy, length):
    levels = (np.arange(length) * 37) % 200
    actions = (np.arange(length) * 11) % 6
    env = DreamEnv(checkpoint=toy, observation="features")
    shown, _ = env.reset(options={"context": {"frames": grey(levels), "actions": actions}})
    led = [START_ACTION, *actions[1:]]
    assert (shown[NUMBER], shown[ACTION], shown[LEVEL]) == (length, led[-1], levels[-1])
    assert shown[CHECKSUM] == checksum_of(led, levels)
    shown, reward, *_ = env.step(4)
    assert (shown[NUMBER], shown[ACTION], reward) == (length + 1, 4, reward_of(length + 1, 4))


def test_contexts_of_different_lengths_go_to_their_dreams(toy):
    lengths = [4, 70, None, 4]
    contexts = [n and {"frames": grey(np.arange(n) + i), "actions": np.full(n, i)} for i, n in enumerate(lengths)]
    envs = DreamVectorEnv(4, checkpoint=toy, observation="features")
    shown, _ = envs.reset(seed=0, options={"context": contexts})
    np.testing.assert_array_equal(shown[:, NUMBER], [4, 70, 1, 4])
    np.testing.assert_array_equal(shown[:, ACTION], [0, 1, START_ACTION, 3])
    np.testing.assert_array_equal(shown[:, LEVEL], [3, 70, 0, 6])


def test_the_model_observes_a_real_environment_frame_by_frame(toy):
    env = WorldModelObservation(RealCounter(last=3), toy)
    for _ in range(2):
        shown, _ = env.reset()
        assert (shown[NUMBER], shown[ACTION], shown[LEVEL]) == (1, START_ACTION, 100)
        taken = [START_ACTION]
        for step, action in enumerate([2, 5, 1], start=1):
            shown, reward, terminated, _, _ = env.step(action)
            taken.append(action)
            assert (shown[NUMBER], shown[ACTION], shown[LEVEL]) == (step + 1, action, 100 + step)
            assert shown[CHECKSUM] == checksum_of(taken, range(100, 101 + step))
            assert (reward, terminated) == (action, step == 3)
