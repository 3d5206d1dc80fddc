"""A `Box` of shape (1, 2) in float64: its dreams are those of the flat float32 one, and the real world gets elements.

The bounds are none of float32's numbers: as a model keeps them, they lie a little outside.
"""

import warnings

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env

from tests.wmgym.dot_world import CONFIG, PIXELS, SIZE, DotWorld, assert_refused_and_unchanged, draw, small_checkpoint
from wmgym.chosen_actions import for_environment
from wmgym.env import DreamEnv
from wmgym.errors import ContextError, InvalidActionError
from wmgym.model_actions import with_actions_of
from wmgym.recorded_world import RecordedWorld
from wmgym.recording import record_episode
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation

HIGH = np.array([[3.2, 30.1]])
SPACE = Box(-HIGH, HIGH, dtype=np.float64)


class RowWorld(DotWorld):
    """The dot's world, told by a row."""

    action_space = SPACE

    def step(self, action):
        assert action in self.action_space, action
        self.taken = action
        self._place = (self._place + action[0] * PIXELS).clip(3, SIZE - 4)
        return draw(self._place), 0.0, False, False, {}


@pytest.fixture(scope="module")
def episode():
    """A walk that goes to one bound or the other."""
    rng = np.random.default_rng(0)
    return record_episode(
        RowWorld(), lambda *_: rng.choice([-1, 1], (1, 2)) * HIGH, seed=3, policy_name="bounds", max_steps=6
    )


@pytest.fixture(scope="module")
def flat(episode):
    """A checkpoint that does not know what was recorded: its box is flat."""
    return small_checkpoint(with_actions_of(CONFIG.dynamics, episode))


@pytest.fixture(scope="module")
def rows(flat):
    recorded = RecordedWorld("RowWorld-v0", SPACE, None, frame_size=SIZE)
    return small_checkpoint(flat.world.config.dynamics, recorded)


def test_the_model_has_wider_bounds_than_the_world(flat, episode):
    assert (flat.action_space.high.astype(np.float64) > HIGH[0]).all()
    assert (np.abs(episode.action[1:]).astype(np.float64) > HIGH[0]).all()


def test_the_space_is_as_it_was_recorded(rows, flat):
    env, envs = DreamEnv(checkpoint=rows, observation="latent"), DreamVectorEnv(3, checkpoint=rows)
    assert (env.action_space, flat.action_space.shape) == (SPACE, (2,))
    assert (envs.action_space.shape, envs.action_space.dtype) == ((3, 1, 2), np.float64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    advice = ("symmetric and normalized", "Box observation space minimum", "Box observation space maximum")
    assert [str(w.message) for w in caught if not any(text in str(w.message) for text in advice)] == []


@pytest.mark.parametrize("starts", ["first_frames", "clips"])
def test_rows_dream_what_flat_actions_do(rows, flat, starts):
    settings = {"observation": "features", "starts": starts}
    own, other = (DreamVectorEnv(2, checkpoint=c, **settings) for c in (rows, flat))
    single = DreamEnv(checkpoint=rows, **settings)
    np.testing.assert_array_equal(own.reset(seed=1)[0], other.reset(seed=1)[0])
    alone = [single.reset(seed=1)[0]]
    rng = np.random.default_rng(0)
    steps = [*rng.uniform(-HIGH, HIGH, (3, 2, 1, 2)), np.stack([HIGH, -HIGH])]
    shown = []
    for actions in steps:
        shown.append(own.step(actions)[0])
        np.testing.assert_array_equal(shown[-1], other.step(actions[:, 0])[0])
        alone.append(single.step(actions[0])[0])
    np.testing.assert_allclose(alone[1:], np.stack(shown)[:, 0], atol=2e-5)
    changed = own.step(np.stack([-HIGH, HIGH]))[0], other.step(np.concatenate([HIGH, -HIGH]))[0]
    assert (changed[0] != changed[1]).any()  # actions matter


@pytest.mark.parametrize("first", [0.0, np.nan, 1e300])
def test_contexts_hold_rows(rows, flat, episode, first):
    actions = episode.action.astype(np.float64).clip(-HIGH[0], HIGH[0])
    actions[0] = first  # is ignored
    shown = []
    for checkpoint, given in ((rows, actions[:, None]), (flat, actions)):
        context = {"frames": episode.image, "actions": given}
        env, envs = (kind(checkpoint=checkpoint, observation="features") for kind in (DreamEnv, DreamVectorEnv))
        shown.append(env.reset(seed=0, options={"context": context})[0])
        shown.append(envs.reset(seed=0, options={"context": [context]})[0][0])
    for other in shown[1:]:
        np.testing.assert_array_equal(shown[0], other)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((3, 1, 3)), r"expected floats of shape \(3, 2\)"),
        (np.zeros((2, 1, 2)), r"expected floats of shape \(3, 2\)"),
        (np.zeros((0, 1, 2)), r"expected floats of shape \(3, 2\)"),
        (np.full((3, 1, 2), 3.5), "ClipAction"),
        (np.full((3, 1, 2), np.nan), "expected finite"),
        (np.full((3, 1, 2), 1e300), "expected finite"),
        (np.full((3, 1, 2), "a"), "of shape"),
        (np.zeros((3, 1, 2), bool), "bool of shape"),
        ([[[0.0, 0.0]], [[0.0]]], "rows of equal length"),
        (1.0, "of shape"),
        (None, "of shape"),
    ],
)
def test_bad_contexts_are_refused(rows, episode, actions, words):
    env = DreamEnv(checkpoint=rows)
    with pytest.raises(ContextError, match=words):
        env.reset(options={"context": {"frames": episode.image[:3], "actions": actions}})


def test_a_context_of_one_frame_may_have_flat_actions(rows, flat, episode):
    """Which have the shape of one action then: (1, 2)."""
    shown = []
    for checkpoint, given in ((rows, np.zeros((1, 2))), (rows, np.zeros((1, 1, 2))), (flat, np.zeros((1, 2)))):
        context = {"frames": episode.image[:1], "actions": given}
        shown.append(DreamEnv(checkpoint=checkpoint, observation="features").reset(options={"context": context})[0])
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], shown[2])


def test_one_environment_may_have_flat_actions(rows, flat):
    """They have the shape of one action, too."""
    own, other = (DreamVectorEnv(1, checkpoint=checkpoint, observation="features") for checkpoint in (rows, flat))
    own.reset(seed=0)
    other.reset(seed=0)
    for action in HIGH, -HIGH:
        np.testing.assert_array_equal(own.step(action)[0], other.step(action)[0])


BAD = [
    ([[3.3, 0.0]], "ClipAction"),
    ([[0.0, -30.2]], "ClipAction"),
    ([[np.nan, 0.0]], "expected finite numbers"),
    ([[1e300, 0.0]], "expected finite numbers"),
    ([[0.0], [0.0]], r"expected floats of shape \(1, 2\)"),
    ([[0.0, 0.0, 0.0]], r"expected floats of shape \(1, 2\)"),
    ([[0.0, 0.0], [0.0, 0.0]], r"expected floats of shape \(1, 2\)"),
    (0.0, r"expected floats of shape \(1, 2\)"),
    ([[True, False]], "bool of shape"),
    ([["1", "2"]], "of shape"),
    (None, "of shape"),
]


@pytest.mark.parametrize(("action", "words"), BAD)
def test_bad_actions_are_refused_and_change_nothing(rows, action, words):
    assert_refused_and_unchanged(rows, action, words)


@pytest.mark.parametrize(("action", "words"), BAD)
def test_bad_actions_do_not_step_the_real_world(rows, action, words):
    real = RowWorld()
    env = WorldModelObservation(real, rows)
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match=words):
        env.step(action)
    assert not hasattr(real, "taken")


@pytest.mark.parametrize("kind", ["latent", "features"])
def test_the_real_world_looks_as_the_dream_of_its_frames(rows, episode, kind):
    """Actions at the bounds are still elements when they come back from the model's float32."""
    real = RowWorld()
    env = WorldModelObservation(real, rows, kind)
    assert env.action_space == SPACE
    shown, _ = env.reset(seed=3)
    for recorded in episode.action[1:]:
        action = recorded.astype(np.float64).clip(-HIGH, HIGH)
        shown, *_ = env.step(action)
        np.testing.assert_array_equal(real.taken, action)
        assert real.taken.dtype == np.float64
    np.testing.assert_array_equal(draw(real._place), episode.image[-1])
    context = {"frames": episode.image, "actions": episode.action[:, None]}
    dreamed, _ = DreamEnv(checkpoint=rows, observation=kind).reset(options={"context": context})
    np.testing.assert_allclose(shown, dreamed, atol=1e-4)


def test_recorded_actions_can_be_taken_again(episode):
    env = RowWorld()
    frames = [env.reset(seed=3)[0]] + [env.step(for_environment(SPACE, one))[0] for one in episode.action[1:]]
    np.testing.assert_array_equal(frames, episode.image)
