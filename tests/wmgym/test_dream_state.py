"""A dream is a value: constant in size, unchanged by what comes later, exact when it goes on."""

import copy

import numpy as np
import pytest
import torch

from model.config import PRESETS
from model.world_model import WorldModel
from tests.wmgym.toy_world import FATAL_ACTION, NUMBER
from wmgym.checkpoint import Checkpoint
from wmgym.env import DreamEnv
from wmgym.vector_env import DreamVectorEnv


def some_actions(steps, dreams, seed=0):
    return np.random.default_rng(seed).integers(0, 6, (steps, dreams))


def tensors_of(state):
    named = {name: value for name, value in vars(state).items() if name not in ("memory", "digest")}
    return named | state.memory.to_dict()


def assert_equal_states(one, other):
    assert one.digest == other.digest
    expected, given = tensors_of(one), tensors_of(other)
    assert set(expected) == set(given)
    for key, value in expected.items():
        assert torch.equal(value, given[key]), key


def go_on(envs, actions):
    return [envs.step(row)[:4] for row in actions]


def assert_same_course(one, other):
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["pixels", "latent", "features"])
def test_a_restored_dream_continues_bit_equal(micro, kind):
    """Through truncations too, after which dreams start anew by their own generators."""
    envs = DreamVectorEnv(4, checkpoint=micro, observation=kind, max_episode_steps=9)
    envs.reset(seed=0)
    go_on(envs, some_actions(6, 4))
    state = envs.clone_state()
    expected = go_on(envs, some_actions(8, 4, seed=1))
    assert any(row[3].any() for row in expected)
    for _ in range(2):
        envs.restore_state(state)
        assert_same_course(go_on(envs, some_actions(8, 4, seed=1)), expected)
    elsewhere = DreamVectorEnv(4, checkpoint=micro, observation=kind, max_episode_steps=9)
    elsewhere.restore_state(state)
    assert_same_course(go_on(elsewhere, some_actions(8, 4, seed=1)), expected)


def test_a_restored_single_dream_continues_bit_equal(micro):
    env = DreamEnv(checkpoint=micro, observation="latent", render_mode="rgb_array")
    env.reset(seed=0)
    env.step(1)
    state, frame = env.clone_state(), env.render()
    expected = [env.step(a)[0] for a in (2, 3)]
    env.restore_state(state)
    np.testing.assert_array_equal(env.render(), frame)
    np.testing.assert_array_equal([env.step(a)[0] for a in (2, 3)], expected)


def test_later_steps_do_not_change_a_state(micro):
    envs = DreamVectorEnv(3, checkpoint=micro, observation="latent", max_episode_steps=4)
    envs.reset(seed=0)
    state, part = envs.clone_state(), envs.clone_state([1])
    copies = copy.deepcopy(state), copy.deepcopy(part)
    go_on(envs, some_actions(6, 3))
    envs.restore_state(state)
    go_on(envs, some_actions(6, 3))
    assert_equal_states(state, copies[0])
    assert_equal_states(part, copies[1])
    assert_equal_states(part, state.select([1]))


def test_a_deep_copy_restores_like_the_original(micro):
    envs = DreamVectorEnv(2, checkpoint=micro, observation="latent")
    envs.reset(seed=0)
    state = envs.clone_state()
    expected = go_on(envs, some_actions(3, 2))
    envs.restore_state(copy.deepcopy(state))
    assert_same_course(go_on(envs, some_actions(3, 2)), expected)


def test_a_branch_goes_where_its_actions_lead(micro):
    """One dream into three places of five: equal actions, equal futures; other actions, others."""
    env = DreamEnv(checkpoint=micro, observation="latent")
    env.reset(seed=0)
    env.step(1)
    envs = DreamVectorEnv(5, checkpoint=micro, observation="latent")
    envs.reset(seed=77)
    before = envs.clone_state()
    envs.restore_state(env.clone_state(), indices=[0, 2, 3])
    assert_equal_states(envs.clone_state([1, 4]), before.select([1, 4]))
    assert_equal_states(envs.clone_state([0, 2, 3]), env.clone_state().repeat(3))
    shown, *_ = envs.step([2, 0, 2, 4, 0])
    expected, *_ = env.step(2)
    np.testing.assert_allclose(shown[0], expected, atol=1e-5)
    np.testing.assert_allclose(shown[2], expected, atol=1e-5)
    assert np.abs(shown[3] - expected).max() > 1e-3


def test_states_are_picked_and_repeated_by_number(micro):
    envs = DreamVectorEnv(3, checkpoint=micro)
    envs.reset(seed=0)
    go_on(envs, some_actions(2, 3))
    state = envs.clone_state()
    assert_equal_states(state.select([2, 0]), envs.clone_state([2, 0]))
    assert_equal_states(state.select(np.array([True, False, True])), envs.clone_state([0, 2]))
    assert_equal_states(state.select([1]).repeat(2), state.select([1, 1]))
    assert_equal_states(state.repeat(2), state.select([0, 0, 1, 1, 2, 2]))
    assert (state.batch, state.repeat(2).batch) == (3, 6)
    envs.restore_state(state.select([0]), np.array([False, True, True]))
    assert_equal_states(envs.clone_state(), state.select([0, 0, 0]))


def test_step_count_and_end_travel_along(toy):
    envs = DreamVectorEnv(2, checkpoint=toy, observation="features", max_episode_steps=5, autoreset_mode="NextStep")
    envs.reset(seed=0)
    envs.step([0, 0])
    envs.step([0, FATAL_ACTION])
    state = envs.clone_state()
    envs.reset(seed=9)
    envs.restore_state(state)
    shown, rewards, *_ = envs.step([0, 0])
    np.testing.assert_array_equal(shown[:, NUMBER], [4, 1])
    assert rewards[1] == 0
    truncated = [envs.step([0, 0])[3].tolist() for _ in range(2)]
    assert truncated == [[False, False], [True, False]]


@pytest.mark.parametrize("indices", [[3], [-1], [0.5], "all", [[0]], np.array([True, False])], ids=repr)
def test_bad_indices(toy, indices):
    envs = DreamVectorEnv(3, checkpoint=toy)
    envs.reset(seed=0)
    state = envs.clone_state()
    for use in (
        lambda: envs.clone_state(np.asarray(indices)),
        lambda: envs.restore_state(state, np.asarray(indices)),
        lambda: state.select(np.asarray(indices)),
    ):
        with pytest.raises(IndexError, match="numbers from 0 to 2"):
            use()


def test_states_that_do_not_fit(micro, toy):
    envs = DreamVectorEnv(3, checkpoint=micro)
    envs.reset(seed=0)
    state = envs.clone_state()
    with pytest.raises(ValueError, match=r"2 dreams cannot be restored into 3 places"):
        envs.restore_state(state.select([0, 1]))
    with pytest.raises(ValueError, match=r"of another model"):
        DreamVectorEnv(3, checkpoint=toy).restore_state(state)
    with pytest.raises(ValueError, match=r"indices \[0, 0\] name a dream more than once"):
        envs.restore_state(state.select([1, 2]), [0, 0])
    for times in (0, -1):
        with pytest.raises(ValueError, match=f"times = {times} given, expected a whole number of at least 1"):
            state.repeat(times)


def test_a_state_of_a_model_of_the_same_shape_is_refused(micro):
    envs = DreamVectorEnv(2, checkpoint=micro)
    envs.reset(seed=0)
    world = copy.deepcopy(micro.world)
    twin = DreamVectorEnv(2, checkpoint=Checkpoint(world, micro.first_frames))
    twin.restore_state(envs.clone_state())
    with torch.no_grad():
        world.dynamics.place[0, 0] += 1
    other = DreamVectorEnv(2, checkpoint=Checkpoint(world, micro.first_frames))
    with pytest.raises(ValueError, match="of another model: its weights"):
        other.restore_state(envs.clone_state())


@pytest.mark.parametrize("none", [[], np.zeros(3, np.bool_)], ids=["list", "mask"])
def test_no_dreams_at_all(micro, none):
    envs = DreamVectorEnv(3, checkpoint=micro)
    envs.reset(seed=0)
    state = envs.clone_state()
    assert_equal_states(envs.clone_state(none), state.select(none))
    for empty in (envs.clone_state(none), state.select([0])):
        envs.restore_state(empty, none)
        assert_equal_states(envs.clone_state(), state)


def test_the_size_of_a_state_never_changes(micro):
    """At frame 10 and at frame 2,000."""
    rng = np.random.default_rng(0)
    context = {
        "frames": rng.integers(0, 256, (2000, 64, 64, 3), np.uint8),
        "actions": rng.integers(0, 6, 2000),
    }
    env = DreamEnv(checkpoint=micro, observation="latent")
    sizes = [env.state_nbytes]
    for frames in (10, 2000):
        env.reset(options={"context": {key: value[:frames] for key, value in context.items()}})
        env.step(0)
        state = env.clone_state()
        sizes += [state.nbytes, env.state_nbytes, len(pickled(state))]
    assert len(set(sizes[:3] + sizes[4:6])) == 1
    assert sizes[3] == sizes[6]


def pickled(state):
    """What the state's storages really occupy, views of larger tensors included."""
    return b"".join(bytes(v.untyped_storage().nbytes()) for v in tensors_of(state).values())


def test_state_nbytes_counts_every_tensor():
    world = WorldModel(PRESETS["micro"]).eval()
    checkpoint = Checkpoint(world, np.zeros((1, 64, 64, 3), np.uint8))
    envs = DreamVectorEnv(3, checkpoint=checkpoint)
    envs.reset(seed=0)
    config = world.config.dynamics
    ring = 2 * config.layers * config.attention_window * config.tokens * config.width
    blocks = sum(config.tokens // (bh * bw) for bh, bw in map(config.block_size, range(config.layers)))
    scan = blocks * config.width * config.scan_state
    frame = config.latent_channels * config.latent_size**2 + config.features
    counters, generator = 8 + 8 + 1, len(torch.Generator().get_state())
    assert envs.state_nbytes == 4 * (ring + scan + frame) + counters + generator
    assert envs.clone_state().nbytes == 3 * envs.state_nbytes
