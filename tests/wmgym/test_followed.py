"""What really happened as a state to dream on from: the same as a dream that began with these frames."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete

from agents.evaluate import RandomPolicy
from agents.watching import WatchingPolicy
from tests.wmgym.dot_world import HIGH, LOW, SIZE, small_checkpoint
from tests.wmgym.image_worlds import ACTIONS as ACTION_SPACES
from tests.wmgym.image_worlds import TOY
from tests.wmgym.test_wrappers import Noisy
from wmgym.action_spaces import from_model
from wmgym.errors import ContextError, InvalidActionError
from wmgym.followed import FollowedDreams, follow_one, refuse_other_spaces
from wmgym.recorded_world import RecordedWorld
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation

ACTIONS = np.array([[1, 3], [4, 0], [0, 5], [2, 2]])
BOTH, NONE = np.ones(2, bool), np.zeros(2, bool)


def walk(micro):
    """Two environments, followed for four steps: what follows them, and the frames of each."""
    envs = [Noisy(), Noisy()]
    frames = [np.stack([env.reset(seed=5 + i)[0] for i, env in enumerate(envs)])]
    followed = FollowedDreams(2, micro, seed=3)
    followed.observe(frames[0], np.zeros(2, int), BOTH)
    for actions in ACTIONS:
        frames.append(np.stack([env.step(a)[0] for env, a in zip(envs, actions, strict=True)]))
        followed.observe(frames[-1], actions, NONE)
    return followed, np.stack(frames, axis=1)


@pytest.mark.parametrize("kind", ["features", "latent"])
def test_it_knows_what_an_observed_environment_shows(micro, kind):
    followed, _ = walk(micro)
    for i, state in enumerate(followed.states()):
        env = WorldModelObservation(Noisy(), micro, observation=kind)
        env.reset(seed=5 + i)
        for action in ACTIONS[:, i]:
            shown, *_ = env.step(action)
        np.testing.assert_allclose(getattr(state, kind)[0], shown, atol=1e-5)


@pytest.mark.parametrize("kind", ["features", "latent"])
def test_it_shows_what_dreams_in_its_states_show(micro, kind):
    with pytest.raises(ResetNeeded, match="nothing was seen yet"):
        FollowedDreams(2, micro).observations(kind)
    followed, _ = walk(micro)
    shown = followed.observations(kind)
    for i, state in enumerate(followed.states()):
        np.testing.assert_array_equal(shown[i], getattr(state, kind)[0])


@pytest.mark.parametrize("kind", ["features", "latent", "pixels"])
def test_one_environment_is_shown_as_where_it_is_watched(micro, kind):
    """Two episodes; what led to the first frame of the second is ignored. To rounding."""
    plain, see = Noisy(), follow_one(kind, micro)
    watched = Noisy() if kind == "pixels" else WorldModelObservation(Noisy(), micro, observation=kind)
    for seed in (5, 6):
        np.testing.assert_allclose(see(plain.reset(seed=seed)[0], None, True), watched.reset(seed=seed)[0], atol=1e-6)
        for action in (1, 4, 0):
            np.testing.assert_allclose(see(plain.step(action)[0], action, False), watched.step(action)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("actions", "size", "fits"),
    [(Discrete(6), 64, True), (Discrete(5), 64, False), (Discrete(6), 32, False), (Box(-1, 1, (6,)), 64, False)],
)
def test_environments_that_a_model_cannot_follow_are_refused(micro, actions, size, fits):
    if fits:
        refuse_other_spaces(micro, actions, size)
        return
    with pytest.raises(ValueError, match=r"expected Discrete\(6\) and 64x64, as checkpoint"):
        refuse_other_spaces(micro, actions, size)


def test_what_is_no_observation_is_refused(micro):
    for ask in (walk(micro)[0].observations, lambda kind: follow_one(kind, micro)):
        with pytest.raises(ValueError, match="observation = 'feature', expected one of 'pixels', 'latent', 'features'"):
            ask("feature")


def test_dreams_go_on_from_it_as_from_the_same_frames_as_context(micro):
    """Steps are counted anew, and with the generator of the one the other dreams the same."""
    followed, frames = walk(micro)
    states = followed.states()
    actions = np.concatenate([np.zeros((1, 2), int), ACTIONS])
    told = DreamVectorEnv(2, checkpoint=micro, observation="features", max_episode_steps=3)
    told.reset(seed=0, options={"context": [{"frames": frames[i], "actions": actions[:, i]} for i in range(2)]})
    restored = DreamVectorEnv(2, checkpoint=micro, observation="features", max_episode_steps=3)
    for i, state in enumerate(states):
        restored.restore_state(replace(state, generators=told.clone_state([i]).generators), [i])
    for step in range(3):
        expected, expected_reward, _, expected_truncated, _ = told.step([1, 4])
        shown, reward, _, truncated, _ = restored.step([1, 4])
        assert truncated.tolist() == expected_truncated.tolist() == [step == 2] * 2
        if step < 2:  # then other dreams begin
            np.testing.assert_allclose(shown, expected, atol=1e-4)
        np.testing.assert_array_equal(reward, expected_reward)
    other = DreamVectorEnv(2, checkpoint=micro, observation="features")
    other.restore_state(states[0])  # without the second one's past
    assert np.abs(other.step([1, 4])[0][1] - restored.reset(seed=1)[0][1]).max() > 1e-3


def test_an_episode_that_begins_empties_its_own_memory_only(micro):
    followed, frames = walk(micro)
    fresh = FollowedDreams(2, micro)
    fresh.observe(frames[:, 0], np.zeros(2, int), BOTH)
    last, newest = followed.states()[1], frames[:, 0].copy()
    followed.observe(newest, np.array([99, 1]), np.array([True, False]))  # what led to a first frame means nothing
    begun, gone_on = followed.states()
    np.testing.assert_allclose(begun.features, fresh.states()[0].features, atol=1e-5)
    assert (gone_on.features - fresh.states()[1].features).abs().max() > 1e-3
    assert (gone_on.features - last.features).abs().max() > 1e-3


def test_chance_is_new_with_every_frame_and_one_environments_own(micro):
    followed, frames = walk(micro)
    first = followed.states()
    assert all(a.generators.equal(b.generators) for a, b in zip(first, followed.states(), strict=True))
    assert not first[0].generators.equal(first[1].generators)
    followed.observe(frames[:, 0], np.zeros(2, int), NONE)
    assert not first[0].generators.equal(followed.states()[0].generators)
    alone = FollowedDreams(1, micro, seed=3)
    for t in range(frames.shape[1]):
        alone.observe(frames[:1, t], ACTIONS[t - 1][:1], BOTH[:1] if t == 0 else NONE[:1])
    assert alone.states()[0].generators.equal(first[0].generators)


def test_mistakes_are_named_and_change_nothing(micro):
    followed, frames = walk(micro)
    before = followed.states()[0]
    with pytest.raises(
        ContextError, match=r"float64 \(2, 512\), expected uint8 \(2, 64, 64, 3\).*observation='pixels'"
    ):
        followed.observe(np.zeros((2, 512)), ACTIONS[0], NONE)
    with pytest.raises(ContextError, match=r"is_first is bool \(1,\), expected bool \(2,\)"):
        followed.observe(frames[:, 0], ACTIONS[0], NONE[:1])
    with pytest.raises(InvalidActionError, match="expected 0 to 5"):
        followed.observe(frames[:, 0], [1, 6], NONE)
    assert followed.states()[0].features.equal(before.features)
    unseen = FollowedDreams(2, micro)
    with pytest.raises(ResetNeeded, match=r"environments \[1\] have shown no first frame"):
        unseen.observe(frames[:, 0], ACTIONS[0], np.array([True, False]))
    with pytest.raises(ResetNeeded, match="nothing was seen yet"):
        unseen.states()


@pytest.mark.parametrize("space", [ACTION_SPACES["pairs"], Discrete(6, start=2)], ids=str)
def test_it_takes_actions_as_the_recorded_world_has_them(micro, space):
    """The same numbers for the model, told in the environment's own way, leave the same states."""
    opened = replace(micro, recorded=RecordedWorld(TOY, space, 5, {}))
    frames = np.random.default_rng(0).integers(256, size=(3, 2, 64, 64, 3), dtype=np.uint8)
    numbers = np.array([[0, 0], [1, 5], [4, 2]])
    plain, own = FollowedDreams(2, micro, seed=3), FollowedDreams(2, opened, seed=3)
    for t, is_first in enumerate((BOTH, NONE, NONE)):
        plain.observe(frames[t], numbers[t], is_first)
        own.observe(frames[t], from_model(space, numbers[t]), is_first)
    for expected, found in zip(plain.states(), own.states(), strict=True):
        np.testing.assert_array_equal(found.features, expected.features)
    with pytest.raises(InvalidActionError):
        own.observe(frames[0], from_model(space, numbers[2] + 6 if isinstance(space, Discrete) else numbers[:1]), NONE)


@pytest.fixture(params=["box", "shaped box", "pairs"])
def opened(request, micro):
    """Checkpoints whose actions have axes of their own."""
    if request.param == "pairs":
        return replace(micro, recorded=RecordedWorld(TOY, ACTION_SPACES["pairs"], 5, {}))
    shaped = RecordedWorld("Rows-v0", Box(LOW[None], HIGH[None], dtype=np.float32), None, frame_size=SIZE)
    return small_checkpoint(recorded=shaped if request.param == "shaped box" else None)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_actions_of_first_frames_are_ignored_whatever_they_are(opened, n):
    """As planners are told: a `WatchingPolicy` knows no action, of whatever shape, before it acted."""
    space, size = opened.action_space, opened.world.config.tokenizer.frame_size
    frames = np.random.default_rng(0).integers(256, size=(3, n, size, size, 3), dtype=np.uint8)
    told, expected = (FollowedDreams(n, opened, seed=3) for _ in range(2))
    policy, twin = WatchingPolicy(RandomPolicy(space, 0), told.observe), RandomPolicy(space, 0)
    led = None
    for seen, is_first in zip(frames, (np.ones(n, bool), np.zeros(n, bool), np.arange(n) == n - 1), strict=True):
        policy.act(seen, is_first)
        if led is not None:
            led[is_first] = 99  # in no space
        expected.observe(seen, led, is_first)
        led = twin.act(seen, is_first)
        for found, right in zip(told.states(), expected.states(), strict=True):
            np.testing.assert_array_equal(found.features, right.features)
    fresh = FollowedDreams(n, opened)
    fresh.observe(frames[-1], [["nothing", None]], np.ones(n, bool))
    np.testing.assert_allclose(told.states()[-1].features, fresh.states()[-1].features, atol=1e-5)
    before = told.states()[0]
    for bad in (np.zeros((n, 5)), np.zeros(n + 1), 0, led + 99):
        with pytest.raises(InvalidActionError):
            told.observe(frames[-1], bad, np.arange(n) == n)
    assert told.states()[0].features.equal(before.features)
