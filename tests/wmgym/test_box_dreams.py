"""Dreams of continuous actions: environments as Gymnasium and Stable-Baselines3 want them, exact in every other way."""

import copy
import warnings

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import ClipAction

from agents.box_plans import GaussianCEM, GaussianMPPI
from agents.mpc import MPCAgent, MPCConfig
from agents.sb3 import make_ppo
from tests.wmgym.dot_world import (
    CONFIG,
    HIGH,
    LOW,
    DotWorld,
    assert_refused_and_unchanged,
    place_in,
    record,
    small_checkpoint,
    train,
)
from wmgym.checkpoint import Checkpoint, open_checkpoint, save_starts
from wmgym.encoding import encode_new
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError, ContextError, RecordingError
from wmgym.fidelity import dream_against_reality, predicted_rewards, refuse_other_worlds
from wmgym.followed import FollowedDreams
from wmgym.model_actions import with_actions_of
from wmgym.recording import Scan
from wmgym.starts import Clips
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation

DYNAMICS = CONFIG.dynamics


@pytest.fixture(scope="module")
def dots():
    return small_checkpoint()


def some_actions(steps, dreams, seed=0):
    return np.random.default_rng(seed).uniform(LOW, HIGH, (steps, dreams, 2)).astype(np.float32)


def test_the_space_is_the_recorded_box(dots):
    env = DreamEnv(checkpoint=dots)
    assert env.action_space == dots.action_space == Box(LOW, HIGH, dtype=np.float32)
    assert DreamVectorEnv(3, checkpoint=dots).action_space.shape == (3, 2)


def test_the_space_of_discrete_actions_is_as_it_was(micro):
    assert micro.action_space == Discrete(6)


def test_both_checkers(dots):
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    advice = ("symmetric and normalized", "image", "Box observation space minimum", "Box observation space maximum")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(DreamEnv(checkpoint=dots, observation="features"), skip_render_check=True)
        check_env_sb3(DreamEnv(checkpoint=dots, observation="features"))
    assert [str(w.message) for w in caught if not any(text in str(w.message) for text in advice)] == []


@pytest.mark.parametrize("fast", [True, False])
def test_cloned_dreams_go_on_bit_equal_and_branches_differ_by_their_actions(dots, fast):
    envs = DreamVectorEnv(3, checkpoint=dots, observation="latent", starts="clips", fast=fast)
    envs.reset(seed=1)
    actions = some_actions(7, 3)
    for row in actions[:3]:
        envs.step(row)
    state = envs.clone_state()
    first = [envs.step(row)[0] for row in actions[3:]]
    envs.restore_state(state)
    assert all(np.array_equal(envs.step(row)[0], shown) for row, shown in zip(actions[3:], first, strict=True))
    envs.restore_state(state.select([0]))
    near = np.repeat(actions[3][:1], 3, 0) + np.array([[0, 0], [1e-2, 0], [0, 1e-1]], np.float32)
    shown, *_ = envs.step(near.clip(LOW, HIGH))
    assert all((shown[0] != shown[i]).any() for i in (1, 2))


def test_a_dream_alone_is_the_dream_among_others_on_either_path(dots):
    actions, shown = some_actions(6, 4), {}
    for fast in (True, False):
        envs = DreamVectorEnv(4, checkpoint=dots, observation="features", fast=fast)
        shown[fast] = [envs.reset(seed=5)[0], *(envs.step(row)[0] for row in actions)]
    np.testing.assert_allclose(shown[True], shown[False], atol=1e-4)
    env = DreamEnv(checkpoint=dots, observation="features")
    alone = [env.reset(seed=7)[0], *(env.step(row[2])[0] for row in actions)]
    np.testing.assert_allclose(alone, np.stack(shown[True])[:, 2], atol=2e-5)


def test_a_first_frame_can_be_dreamed_too(dots):
    env = DreamEnv(checkpoint=dots, observation="latent")
    shown = [env.reset(seed=s, options={"context": None})[0] for s in (0, 0, 1)]
    np.testing.assert_array_equal(shown[0], shown[1])
    assert np.isfinite(shown[0]).all()
    assert (shown[0] != shown[2]).any()


@pytest.mark.parametrize("kind", [list, np.float64, torch.tensor], ids=["list", "float64", "tensor"])
def test_whatever_floats_are_an_action(dots, kind):
    env = DreamEnv(checkpoint=dots, observation="latent")
    action = np.array([0.5, -30.0])
    shown = []
    for given in (action.astype(np.float32), action.tolist() if kind is list else kind(action)):
        env.reset(seed=0)
        shown.append(env.step(given)[0])
    np.testing.assert_array_equal(*shown)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ([3.01, 0.0], "ClipAction"),
        ([0.0, -30.01], "ClipAction"),
        ([np.nan, 0.0], "expected finite numbers"),
        ([0.0, np.inf], "expected finite numbers"),
        ([1e300, 0.0], "expected finite numbers"),
        ([0.0], r"expected floats of shape \(1, 2\)"),
        (0.0, r"expected floats of shape \(1, 2\)"),
        ([0.0, 0.0, 0.0], r"expected floats of shape \(1, 2\)"),
        ([True, False], "bool of shape"),
        (["a", "b"], "of shape"),
        (None, "of shape"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(dots, action, words):
    assert_refused_and_unchanged(dots, action, words)


def test_the_fix_that_the_message_names_is_one(dots):
    env = ClipAction(DreamEnv(checkpoint=dots, observation="latent"))
    shown = []
    for action in ([9.0, -99.0], [3.0, -30.0]):
        env.reset(seed=0)
        shown.append(env.step(np.array(action, np.float32))[0])
    np.testing.assert_array_equal(*shown)


def test_a_dream_goes_on_from_a_context_as_the_model_observed_it(dots):
    episode = record(3, 6)
    options = {"context": {"frames": episode.image, "actions": episode.action}}
    shown = []
    for first in (0.0, np.nan, 1e9):  # entry 0 is ignored
        options["context"]["actions"][0] = first
        env = DreamEnv(checkpoint=dots, observation="features")
        shown.append(env.reset(seed=0, options=options)[0])
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])
    env = WorldModelObservation(DotWorld(), dots)
    observed, _ = env.reset(seed=3)
    for action in episode.action[1:]:
        observed, *_ = env.step(action)
    np.testing.assert_allclose(observed, shown[0], atol=1e-4)
    followed = FollowedDreams(1, dots)
    for t, frame in enumerate(episode.image):
        followed.observe(frame[None], episode.action[t : t + 1], np.array([t == 0]))
    (state,) = followed.states()
    np.testing.assert_allclose(state.features[0], observed, atol=1e-4)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((2, 2)), r"expected floats of shape \(3, 2\)"),
        (np.zeros(3), r"expected floats of shape \(3, 2\)"),
        (np.full((3, 2), 3.5), "ClipAction"),
        (np.full((3, 2), np.nan), "expected finite"),
    ],
)
def test_bad_contexts_are_refused(dots, actions, words):
    env = DreamEnv(checkpoint=dots)
    with pytest.raises(ContextError, match=words):
        env.reset(options={"context": {"frames": record(0, 2).image, "actions": actions}})


def test_only_the_recorded_world_can_be_watched(dots):
    class Narrower(DotWorld):
        action_space = Box(LOW, HIGH / 2, dtype=np.float32)

    with pytest.raises(ValueError, match="was trained on Box"):
        WorldModelObservation(Narrower(), dots)


def test_clips_are_kept_with_the_checkpoint(dots, tmp_path):
    dots.world.save_pretrained(tmp_path)
    save_starts(tmp_path, dots.first_frames, dots.clips)
    opened = open_checkpoint(tmp_path)
    for one, other in zip(opened.starts("clips"), dots.starts("clips"), strict=True):
        assert one.actions.dtype == np.float32
        np.testing.assert_array_equal(one.actions, other.actions)
    shown = [
        DreamVectorEnv(2, checkpoint=c, observation="latent", starts="clips").reset(seed=3)[0] for c in (opened, dots)
    ]
    np.testing.assert_array_equal(*shown)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((1, 2), np.int64), r"expected uint8 .* floats \(n, t, 2\)"),
        (np.zeros((1, 2, 3), np.float32), r"floats \(n, t, 2\)"),
        (np.full((1, 2, 2), 4.0, np.float32), r"have the action \[4\.0, 4\.0\]"),
        (np.full((1, 2, 2), np.nan, np.float32), "recorded in another environment"),
    ],
)
def test_clips_of_other_actions_are_refused(dots, actions, words):
    clips = Clips(dots.first_frames[None, :2], actions)
    with pytest.raises(CheckpointError, match=words):
        Checkpoint(dots.world, dots.first_frames, clips=clips)


def test_a_network_is_fitted_to_the_recorded_box_and_other_recordings_are_refused(dots):
    episode = record(0, 3)
    fitted = with_actions_of(copy.deepcopy(DYNAMICS), episode)
    assert fitted == DYNAMICS
    other = copy.copy(episode)
    object.__setattr__(other, "action_space", Box(LOW, HIGH + 1, dtype=np.float32))
    with pytest.raises(ContextError, match=r"actions from \[-3\.0, -30\.0\] to \[4\.0, 31\.0\] .* expected actions"):
        refuse_other_worlds([episode, other], fitted, 16)
    object.__setattr__(other, "action_space", None)
    object.__setattr__(other, "action_count", 4)
    with pytest.raises(ContextError, match="an episode of 4 actions"):
        refuse_other_worlds([other], fitted, 16)


@pytest.mark.parametrize("value", [3.5, np.nan])
def test_recorded_actions_beyond_their_bounds_are_refused(dots, monkeypatch, tmp_path, value):
    episode = record(0, 3)
    episode.action[0] = value  # means nothing
    refuse_other_worlds([episode], DYNAMICS, 16)
    episode.action[2, 0] = value
    with pytest.raises(ContextError, match=r"in row 2, expected finite numbers .*ClipAction"):
        refuse_other_worlds([episode], DYNAMICS, 16)
    monkeypatch.setattr("wmgym.encoding.read_episode", lambda path, state_keys, frame_size: episode)
    found = Scan([tmp_path / "0.npz"], {})
    with pytest.raises(RecordingError, match=r"0\.npz has the action"):
        list(encode_new(found, dots.world.tokenizer, DYNAMICS, set(), 9, lambda files, desc: files))


def test_vectors_go_into_the_store(dots, monkeypatch, tmp_path):
    episode = record(0, 5)
    monkeypatch.setattr("wmgym.encoding.read_episode", lambda path, state_keys, frame_size: episode)
    found = Scan([tmp_path / "0.npz"], {})
    (encoded,) = encode_new(found, dots.world.tokenizer, DYNAMICS, set(), 9, lambda files, desc: files)
    np.testing.assert_array_equal(encoded.actions, episode.action)


def test_recordings_are_dreamed_along_and_measured(dots):
    episodes = [record(i, 9) for i in range(2)]
    report = dream_against_reality(dots.world, episodes, clips_per_episode=1, context=4, horizon=3)
    env = DreamEnv(checkpoint=dots)
    options = {"context": {"frames": episodes[0].image[:4], "actions": episodes[0].action[:4]}}
    env.reset(options=options)
    assert np.isfinite(list(report.summary().values())).all()
    assert predicted_rewards(dots.world, episodes).shape == (2, 10)


def test_ppo_learns_in_it():
    envs = DreamVectorEnv(2, checkpoint=small_checkpoint(), observation="features", max_episode_steps=5)
    learner = make_ppo(envs, seed=0, n_steps=8, batch_size=16, n_epochs=1)
    before = copy.deepcopy(learner.policy.state_dict())
    learner.learn(16)
    assert isinstance(learner.action_space, Box)
    assert any(not torch.equal(v, before[k]) for k, v in learner.policy.state_dict().items())


@pytest.mark.parametrize("search", [GaussianCEM, GaussianMPPI])
def test_planners_plan_in_it_and_leave_it_as_it_was(dots, search):
    envs = DreamVectorEnv(4, checkpoint=dots, observation="latent")
    envs.reset(seed=0)
    before = envs.clone_state()
    agent = MPCAgent(envs, search(iterations=2, candidates=8), MPCConfig(horizon=2), seed=0)
    action = agent.act(None, np.ones(4, bool))
    assert envs.action_space.contains(action)
    after = envs.clone_state()
    assert torch.equal(before.latent, after.latent)
    assert torch.equal(before.generators, after.generators)


@pytest.mark.learns
@pytest.mark.slow
def test_a_trained_dream_moves_the_dot_as_it_is_told():
    """By amounts between those that were recorded, too; the other number does not leak in."""
    torch.manual_seed(0)
    world = train([record(i, 30) for i in range(64)], tokenizer_steps=300, steps=350)
    rng = np.random.default_rng(9)
    frames = np.stack([record(1000 + i, 1).image[0] for i in range(400)])
    frames = frames[(np.abs(place_in(frames) - 7.5) < 1.5).all(-1)]  # whence no action reaches the margin
    actions = rng.uniform(LOW, HIGH, (len(frames), 2)).astype(np.float32)
    envs = DreamVectorEnv(len(frames), checkpoint=Checkpoint(world, frames), observation="pixels")
    envs.reset(seed=0, options={"context": [{"frames": f[None], "actions": np.zeros((1, 2))} for f in frames]})
    dreamed = place_in(envs.step(actions)[0]) - place_in(frames)
    true = actions * np.array([1.0, 0.1])
    design = np.column_stack([true, np.ones(len(true))])
    slopes, *_ = np.linalg.lstsq(design, dreamed, rcond=None)
    np.testing.assert_allclose(slopes[:2], np.eye(2), atol=0.2)
    for axis in range(2):
        assert np.corrcoef(true[:, axis], dreamed[:, axis])[0, 1] > 0.95
