"""WorldModelObservation: a real environment seen as a dream is seen."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv

from tests.wmgym.test_alignment import RealCounter
from tests.wmgym.test_env import ADVICE, check_twice
from wmgym.env import DreamEnv
from wmgym.errors import InvalidActionError
from wmgym.wrappers import WorldModelObservation

KINDS = ("latent", "features")

# What Gymnasium's checker says about any wrapper, and about environments made without an id.
WRAPPED = ("different from the unwrapped version", "Not able to test alternative render modes")


class Noisy(RealCounter):
    """Frames of noise that depend on seed, step and action."""

    def _frame(self, action):
        return np.random.default_rng([self.key, self.steps, action]).integers(0, 256, (64, 64, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.key = int(self.np_random.integers(1000))
        return self._frame(0), {"key": self.key}

    def step(self, action):
        _, *rest = super().step(action)
        return self._frame(int(action)), *rest


@pytest.mark.parametrize("kind", KINDS)
def test_it_shows_what_the_dream_shows_of_the_same_frames(micro, kind):
    real = WorldModelObservation(Noisy(), micro, observation=kind)
    plain, dream = Noisy(), DreamEnv(checkpoint=micro, observation=kind)
    assert real.observation_space == dream.observation_space
    assert real.action_space == dream.action_space
    shown, info = real.reset(seed=5)
    frames, actions = [plain.reset(seed=5)[0]], [0]
    assert set(info) == {"key"}
    for action in (1, 4, 0, 2, 2, 5):
        context = {"frames": np.stack(frames), "actions": np.array(actions)}
        np.testing.assert_allclose(shown, dream.reset(options={"context": context})[0], atol=1e-5)
        shown, *_ = real.step(action)
        frames.append(plain.step(action)[0])
        actions.append(action)


def test_each_episode_begins_with_an_empty_memory(micro):
    env = WorldModelObservation(Noisy(), micro)
    first, _ = env.reset(seed=1)
    later = [env.step(a)[0] for a in (1, 2)]
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(later, [env.step(a)[0] for a in (1, 2)])


def test_it_works_in_vector_environments(micro):
    """Through an autoreset, after which a sub-environment's memory is empty again."""
    envs = SyncVectorEnv([lambda: WorldModelObservation(Noisy(last=3), micro)] * 2)
    alone = WorldModelObservation(Noisy(last=3), micro)
    shown, _ = envs.reset(seed=[4, 6])
    np.testing.assert_array_equal(shown[1], alone.reset(seed=6)[0])
    for _ in range(3):
        shown, *_ = envs.step([1, 2])
        np.testing.assert_array_equal(shown[1], alone.step(2)[0])
    shown, *_ = envs.step([0, 0])
    np.testing.assert_array_equal(shown[1], alone.reset()[0])
    envs.close()


def test_rendering_passes_through(micro):
    env = WorldModelObservation(RealCounter(render_mode="rgb_array"), micro)
    env.reset()
    env.step(0)
    assert env.render().max() == 101


def test_what_is_shown_belongs_to_the_caller(micro):
    env = WorldModelObservation(Noisy(), micro)
    shown, _ = env.reset(seed=0)
    kept = shown.copy()
    env.step(1)
    np.testing.assert_array_equal(shown, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_both_checkers(micro_folder, kind):
    pytest.importorskip("stable_baselines3")
    env = WorldModelObservation(Noisy(render_mode="rgb_array"), str(micro_folder), observation=kind)
    check_twice(env, ADVICE[kind] + WRAPPED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_checkers_on_the_real_maze(micro_folder, kind):
    pytest.importorskip("dm_control")
    pytest.importorskip("stable_baselines3")
    maze = gymnasium.make("wmgym/MemoryMaze-9x9-v0", render_mode="rgb_array")
    check_twice(WorldModelObservation(maze, str(micro_folder), observation=kind), ADVICE[kind] + WRAPPED)


def test_its_spec_rebuilds_it(micro_folder):
    pytest.importorskip("dm_control")
    env = WorldModelObservation(gymnasium.make("wmgym/MemoryMaze-9x9-v0"), str(micro_folder), observation="latent")
    twin = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(twin, WorldModelObservation)
    assert twin.observation_space == env.observation_space


@pytest.mark.parametrize("action", [1.7, "1", -1, 6, True, None, [1]], ids=repr)
def test_bad_actions_do_not_step_the_environment(micro, action):
    real = RealCounter()
    env = WorldModelObservation(real, micro)
    env.reset()
    with pytest.raises(InvalidActionError, match="expected a whole number from 0 to 5"):
        env.step(action)
    assert real.steps == 0


class Continuous(RealCounter):
    action_space = Box(-1, 1, (2,))


class FewActions(RealCounter):
    action_space = Discrete(3)


class Large(RealCounter):
    observation_space = Box(0, 255, (96, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("env", "observation", "words"),
    [
        (Continuous, "features", r"was trained on Discrete\(6\)"),
        (FewActions, "features", r"Discrete\(3\).*was trained on Discrete\(6\)"),
        (Large, "features", r"\(96, 96, 3\).*was trained on .*\(64, 64, 3\)"),
        (RealCounter, "pixels", "leave the wrapper away"),
        (RealCounter, "frames", "expected one of"),
    ],
)
def test_environments_of_another_kind(micro, env, observation, words):
    with pytest.raises(ValueError, match=words):
        WorldModelObservation(env(), micro, observation=observation)
