"""States of many dreams, cloned and restored at once: what they are one by one."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.interfaces import BranchingVectorEnv, ManyStatesVectorEnv
from model.config import PRESETS
from model.world_model import WorldModel
from tests.wmgym.test_dream_state import assert_equal_states, assert_same_course, go_on, some_actions, tensors_of
from wmgym.checkpoint import Checkpoint
from wmgym.dream_state import DreamState
from wmgym.vector_env import DreamVectorEnv


@pytest.fixture
def envs(micro):
    """Four dreams of different ages."""
    made = DreamVectorEnv(4, checkpoint=micro, observation="features")
    made.reset(seed=0)
    go_on(made, some_actions(3, 4))
    made.reset(options={"reset_mask": np.array([True, False, False, True])})
    go_on(made, some_actions(2, 4, seed=1))
    return made


@pytest.mark.parametrize("indices", [None, [2, 0], np.array([False, True, True, False]), []], ids=str)
def test_clones_are_those_of_each_dream_alone(envs, indices):
    numbers = np.arange(4)[slice(None) if indices is None else np.asarray(indices, dtype=None if len(indices) else int)]
    clones = envs.clone_states(indices)
    assert len(clones) == len(numbers)
    for clone, number in zip(clones, numbers, strict=True):
        assert clone.batch == 1
        assert_equal_states(clone, envs.clone_state([int(number)]))


def test_later_steps_do_not_change_clones(envs):
    clones = envs.clone_states()
    kept = copy.deepcopy(clones)
    go_on(envs, some_actions(3, 4))
    envs.restore_states(clones[::-1])
    go_on(envs, some_actions(3, 4))
    for clone, before in zip(clones, kept, strict=True):
        assert_equal_states(clone, before)


@pytest.mark.parametrize("fast", [True, False])
def test_restored_at_once_dreams_go_on_bit_equal_to_those_restored_one_by_one(micro, fast):
    envs, others = (DreamVectorEnv(5, checkpoint=micro, observation="features", fast=fast) for _ in range(2))
    envs.reset(seed=0)
    states = []
    for actions in some_actions(4, 5):
        states += envs.clone_states([0, 3])
        envs.step(actions)
    others.reset(seed=9)
    chosen, places = [states[i] for i in (7, 0, 0, 4)], [1, 4, 0, 2]
    untouched = envs.clone_state([3])
    envs.restore_states(chosen, places)
    assert_equal_states(envs.clone_state([3]), untouched)
    others.restore_state(untouched, [3])
    for state, place in zip(chosen, places, strict=True):
        others.restore_state(state, [place])
    actions = some_actions(6, 5, seed=2)
    assert_same_course(go_on(envs, actions), go_on(others, actions))


def test_splitting_and_joining_are_each_other_s_inverse(envs):
    state = envs.clone_state()
    assert_equal_states(DreamState.joined(state.split()), state)
    assert_equal_states(
        DreamState.joined([state.select([2]), state, state.select([1])]), state.select([2, 0, 1, 2, 3, 1])
    )


def test_copies_and_pickles_of_one_of_many_states_hold_it_alone(envs):
    alone, among = envs.clone_state([2]), envs.clone_states()[2]
    for copied in (copy.copy(among), copy.deepcopy(among), pickle.loads(pickle.dumps(among))):
        assert_equal_states(copied, alone)
        assert sum(v.untyped_storage().nbytes() for v in tensors_of(copied).values()) == alone.nbytes
    assert abs(len(pickle.dumps(among)) - len(pickle.dumps(alone))) < 100


def test_joined_states_are_copies(envs):
    state = envs.clone_state()
    before, joined = copy.deepcopy(state), DreamState.joined([state])
    for value in joined.memory.to_dict().values():
        value.zero_()
    joined.features.zero_()
    assert_equal_states(state, before)


def test_memories_that_grow_are_joined_at_any_age():
    """Full attention keeps every frame: dreams of 1, 4 and 4 frames, restored at once and one by one."""
    torch.manual_seed(0)
    config = PRESETS["micro"]
    world = WorldModel(replace(config, dynamics=replace(config.dynamics, attention="full"))).eval()
    checkpoint = Checkpoint(world, np.zeros((1, 64, 64, 3), np.uint8))
    envs, others = (DreamVectorEnv(3, checkpoint=checkpoint, observation="features") for _ in range(2))
    envs.reset(seed=0)
    young = envs.clone_states([1])
    go_on(envs, some_actions(3, 3))
    states = young + envs.clone_states([2, 0])
    assert len({state.memory.keys[0].shape[1] for state in states}) == 2
    envs.restore_states(states)
    others.reset(seed=5)
    for place, state in enumerate(states):
        others.restore_state(state, [place])
    actions = some_actions(4, 3, seed=1)
    for mine, theirs in zip(go_on(envs, actions), go_on(others, actions), strict=True):
        np.testing.assert_allclose(mine[0], theirs[0], atol=1e-5)


def test_what_cannot_be_restored_changes_nothing(envs, toy):
    states, before = envs.clone_states(), envs.clone_state()
    other = DreamVectorEnv(1, checkpoint=toy)
    other.reset(seed=0)
    for wrong, places, match in (
        (states[:3], None, "3 states given, expected 4"),
        (states[:2], [1], "2 states given, expected 1"),
        ([states[0], other.clone_state()], [0, 1], "of another model"),
        ([states[0], "a state"], [0, 1], "a state of type str given"),
        ([before], [2], "4 dreams cannot be restored into 1 place"),
        (states[:2], [1, 1], "more than once"),
        (before, None, "a state of 4 dreams given, expected a list of states of one dream each"),
        ([before.select([0, 1]), before.select([])], [0, 1], "2 dreams cannot be restored into 1 place"),
        ([states[0], before.select([])], [0, 1], "0 dreams cannot be restored into 1 place"),
    ):
        with pytest.raises(ValueError, match=match):
            envs.restore_states(wrong, places)
    with pytest.raises(IndexError, match="numbers from 0 to 3"):
        envs.restore_states(states[:1], [4])
    assert_equal_states(envs.clone_state(), before)
    envs.restore_states([], [])
    assert_equal_states(envs.clone_state(), before)
    with pytest.raises(ValueError, match=r"\[\] given, expected a list of one or more states"):
        DreamState.joined([])


def test_states_of_a_longer_window_are_refused_together_as_they_are_alone(envs, micro):
    """Of the same weights: windows have none."""
    dynamics = micro.world.config.dynamics
    shorter = replace(micro.world.config, dynamics=replace(dynamics, attention_window=dynamics.attention_window - 1))
    world = WorldModel(shorter).eval()
    world.load_state_dict(micro.world.state_dict())
    others = DreamVectorEnv(4, checkpoint=Checkpoint(world, micro.first_frames))
    others.reset(seed=0)
    mixed = [*envs.clone_states([0, 1]), *others.clone_states([2, 3])]
    assert len({state.digest for state in mixed}) == 1
    for give in (envs.restore_states, DreamState.joined):
        with pytest.raises(ValueError, match=r"of another model: 'keys\.0'"):
            give(mixed)


def test_searches_find_both_methods(envs):
    assert isinstance(envs, ManyStatesVectorEnv)
    assert isinstance(envs, BranchingVectorEnv)
