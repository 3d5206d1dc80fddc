"""Labels are what the teacher would do: its own actions on its own walk, whoever walked."""

from pathlib import Path

import numpy as np
import pytest

from agents.explorer import Explorer
from agents.teaching import NEEDED, ask_all, teach
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


def test_targets_lie_ahead_and_to_the_left_of_where_one_looks():
    """The target is 3 cells east and 4 north."""
    state, _ = walk(UniformWalker(np.random.default_rng(1)), steps=3)
    state["agent_pos"] = np.ones_like(state["agent_pos"])
    state["target_pos"] = np.full_like(state["target_pos"], (4.0, 5.0))
    looks = np.array([(1, 0), (0, 1), (-1, 0), (0.6, 0.8)])  # east, north, west, and at it
    state["agent_dir"] = looks
    told = teach(Explorer(np.random.default_rng(0)), state).targets
    np.testing.assert_allclose(told, [(3, 4), (4, -3), (-3, -4), (5, 0)], atol=1e-6)


def test_targets_lie_where_the_real_maze_says():
    """Memory Maze tells of the target as (cells to the right, cells ahead) of the agent."""
    pytest.importorskip("dm_control")
    from wmgym.memory_maze import MemoryMazeEnv

    env = MemoryMazeEnv(global_observables=True)
    try:
        infos = [env.reset(seed=3)[1]] + [env.step(action)[-1] for action in (2, 2, 1, 1, 1, 5, 5, 1, 3, 1)]
    finally:
        env.close()
    state = {key: np.stack([info[key] for info in infos]) for key in (*NEEDED, "target_vec")}
    told = teach(Explorer(np.random.default_rng(0)), state)
    right, ahead = state["target_vec"].T
    np.testing.assert_allclose(told.targets, np.stack([ahead, -right], -1), atol=1e-4)
    assert np.ptp(told.targets, axis=0).min() > 0.5  # it turned and went


def test_an_explorer_knows_a_target_once_it_was_in_sight_and_a_seeker_always():
    state, _ = walk(Explorer(np.random.default_rng(0), noise=0.0), steps=60)
    known = teach(Explorer(np.random.default_rng(0)), state).known
    assert not known[0]
    assert known.any()
    assert teach(TargetSeeker(np.random.default_rng(0)), state).known.all()


def states_by_name(path):
    """As a recording would be read: the walk of a seed, whatever the file holds."""
    return walk(UniformWalker(np.random.default_rng(int(path.name))), steps=20)[0]


def test_of_many_episodes_the_broken_one_is_named():
    with pytest.raises(ValueError, match=r"^no_seed: "):
        ask_all("explorer", [Path("1"), Path("no_seed")], states_by_name, 1, lambda answers, **_: answers)


def test_many_episodes_are_asked_in_their_order():
    shown = []

    def show(answers, **settings):
        shown.append(settings)
        return answers

    files = [Path(str(seed)) for seed in range(3)]
    answers = ask_all("explorer", files, states_by_name, 2, show, "mazes")
    assert shown == [{"total": 3, "desc": "explorer, mazes", "unit": "episode"}]
    for file, told in zip(files, answers, strict=True):
        alone = teach(Explorer(np.random.default_rng(0)), states_by_name(file))
        for name in ("actions", "targets", "known"):
            np.testing.assert_array_equal(getattr(told, name), getattr(alone, name))
    assert not np.array_equal(answers[0].actions, answers[1].actions)
