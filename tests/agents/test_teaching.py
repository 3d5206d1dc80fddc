"""Labels are what the teacher would do: its own actions on its own walk, whoever walked."""

import numpy as np
import pytest

from agents.explorer import Explorer
from agents.teaching import NEEDED, teach
from agents.walkers import TargetSeeker, UniformWalker
from tests.agents.ring_walk import walk


@pytest.mark.parametrize("teacher", [TargetSeeker, Explorer])
def test_a_teacher_without_noise_is_told_its_own_actions(teacher):
    state, actions = walk(teacher(np.random.default_rng(0), noise=0.0), steps=60)
    np.testing.assert_array_equal(teach(teacher(np.random.default_rng(9), noise=0.5), state).actions[:-1], actions)


@pytest.mark.parametrize("teacher", [TargetSeeker, Explorer])
def test_walks_of_others_are_taught_from_their_beginning_each_time(teacher):
    state, actions = walk(UniformWalker(np.random.default_rng(1)), steps=60)
    pupil = teacher(np.random.default_rng(0))
    first = teach(pupil, state).actions
    assert first.shape == (61,)
    assert (first[:-1] != actions).mean() > 0.5
    np.testing.assert_array_equal(teach(pupil, state).actions, first)


@pytest.mark.parametrize("missing", NEEDED)
def test_what_was_not_recorded_is_told(missing):
    state, _ = walk(UniformWalker(np.random.default_rng(1)), steps=3)
    del state[missing]
    with pytest.raises(ValueError, match=rf"no {missing} recorded.*Fix: record a maze"):
        teach(Explorer(np.random.default_rng(0)), state)


@pytest.mark.parametrize("broken", ["agent_pos", "agent_dir", "target_pos"])
def test_what_is_not_finite_is_told(broken):
    state, _ = walk(UniformWalker(np.random.default_rng(1)), steps=3)
    state[broken] = state[broken].copy()
    state[broken][2, 0] = np.nan
    with pytest.raises(ValueError, match=rf"^{broken} not finite everywhere"):
        teach(Explorer(np.random.default_rng(0)), state)
