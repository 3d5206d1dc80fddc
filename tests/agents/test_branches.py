"""Branches are scored as a sum worked out by hand, in every autoreset mode and any number of places."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.branches import check_branching, roll, roots, score_branches
from agents.interfaces import BranchingVectorEnv
from tests.agents.branching_worlds import Bandit, BranchingMaze

MODES = list(AutoresetMode)
PAYS = [1.0, 2.0, 5.0]  # of the actions 3, 4, 5; the last one ends the episode
CANDIDATES = np.array([[[3, 4, 3, 4], [3, 5, 4, 4], [5, 5, 5, 5], [3, 3, 3, 5], [4, 4, 4, 4]]])


def steps_taken(observations):
    """A critic: 100 and the number of steps since the start, as `Bandit` shows it."""
    return 100.0 + observations[:, 0]


def bandit(num_envs, mode=AutoresetMode.DISABLED, limit=None):
    env = Bandit(num_envs, PAYS, ends=[2], mode=mode, limit=limit)
    env.reset()
    return env


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_envs", [1, 2, 3, 5, 8])
def test_rewards_after_an_end_do_not_count(mode, num_envs):
    env = bandit(num_envs, mode)
    found = score_branches(env, [env.clone_state([0])], CANDIDATES, 0.5)
    np.testing.assert_allclose(
        found, [[1 + 2 / 2 + 1 / 4 + 2 / 8, 1 + 5 / 2, 5, 1 + 1 / 2 + 1 / 4 + 5 / 8, 2 + 2 / 2 + 2 / 4 + 2 / 8]]
    )


@pytest.mark.parametrize("mode", MODES)
def test_what_comes_after_the_last_step_counts_unless_the_branch_terminated(mode):
    env = bandit(2, mode)
    found = score_branches(env, [env.clone_state([0])], CANDIDATES, 0.5, steps_taken)
    later = 104 / 16
    expected = [2.5 + later, 3.5, 5, 2.375, 3.75 + later]
    np.testing.assert_allclose(found, [expected])


@pytest.mark.parametrize("mode", MODES)
def test_a_branch_cut_off_has_the_value_of_what_was_seen_last(mode):
    """The limit falls after 3 steps: the critic must see the third observation, not that of a new episode."""
    env = bandit(2, mode, limit=3)
    found = score_branches(env, [env.clone_state([0])], CANDIDATES, 0.5, steps_taken)
    np.testing.assert_allclose(found, [[2.25 + 103 / 8, 3.5, 5, 1.75 + 103 / 8, 3.5 + 103 / 8]])


@pytest.mark.parametrize("num_envs", [1, 3, 7, 40])
def test_chunks_of_any_size_give_the_same_scores_and_no_more_branches_than_places(num_envs):
    reference, env = BranchingMaze(1), BranchingMaze(num_envs)
    rng = np.random.default_rng(0)
    actions = rng.integers(4, size=(3, 5, 12))
    states = [(np.array([cell]), np.array([0]), np.array([False])) for cell in (23, 0, 17)]

    def critic(observations):
        return observations[:, 0]

    found = score_branches(env, states, actions, 0.9, critic)
    for row, state in enumerate(states):
        for column in range(5):
            reference.restore_state(state)
            expected = 0.0
            for step, action in enumerate(actions[row, column]):
                observation, reward, terminated, _, _ = reference.step([action])
                expected += 0.9**step * reward[0]
                if terminated:
                    break
            else:
                expected += 0.9**12 * observation[0, 0]
            assert found[row, column] == pytest.approx(expected, rel=1e-12)
    assert env.steps_made <= -(-15 // num_envs) * 12
    assert env.most_restored <= num_envs


def test_places_are_left_where_the_branches_led():
    env = BranchingMaze(4)
    start = (np.array([0]), np.array([0]), np.array([False]))
    rolled = roll(env, [start, start, start], np.array([[2, 2], [2, 1], [2, 0]]), 0.9)  # down and down, right, up
    assert env.cells.tolist()[:3] == [10, 5, 0]
    assert rolled.observations[:3, 0].tolist() == [10, 5, 0]
    np.testing.assert_allclose(rolled.weights, 0.81)
    assert not rolled.ended.any()


def test_candidates_without_a_finite_reward_say_so():
    env = Bandit(2, [np.nan, 1.0, np.inf])
    found = score_branches(env, [env.clone_state([0])], np.array([[[3, 4], [4, 4], [4, 5]]]), 0.5)
    np.testing.assert_equal(found, [[np.nan, 1.5, np.inf]])


def test_nan_after_an_end_does_not_count():
    env = Bandit(2, [np.nan, 1.0, 5.0], ends=[2], mode=AutoresetMode.SAME_STEP)
    actions = np.array([[[5, 3, 3], [4, 4, 4]]])
    found = score_branches(env, [env.clone_state([0])], actions, 1.0, lambda seen: np.where(seen[:, 0] < 3, np.nan, 7))
    assert found.tolist() == [[5, 10]]


@pytest.mark.parametrize("root", [None, lambda: [1, 2]])
def test_only_its_own_states_are_put_back(root):
    env = BranchingMaze(2, start=[3, 7])
    env.reset()
    moved = []

    def break_off():
        with roots(env, root, 2) as states:
            assert len(states) == 2
            env.step([2, 2])
            moved.extend(env.cells.tolist())
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert moved != [3, 7]
    assert env.cells.tolist() == ([3, 7] if root is None else moved)


def test_a_branching_environment_is_told_from_others():
    assert isinstance(BranchingMaze(1), BranchingVectorEnv)
    check_branching(BranchingMaze(1))
    plain = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    assert not isinstance(plain, BranchingVectorEnv)
    with pytest.raises(ValueError, match="SyncVectorEnv given, expected a BranchingVectorEnv"):
        check_branching(plain)
    plain.close()
    silent = BranchingMaze(1)
    silent.metadata = {}
    with pytest.raises(ValueError, match=r"'autoreset_mode'\] = None, expected"):
        check_branching(silent)


def test_bad_critics_and_roots_are_named():
    env = BranchingMaze(3)
    with pytest.raises(ValueError, match=r"critic returned the shape \(3, 1\), expected \(3,\)"):
        score_branches(env, [env.clone_state([0])], np.zeros((1, 1, 2), int), 1.0, lambda observations: observations)
    with pytest.raises(ValueError, match="3 states to plan from, expected 2"), roots(env, None, 2):
        pass
