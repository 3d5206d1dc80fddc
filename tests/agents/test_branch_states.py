"""States are taken and put back all at once where an environment can; searches find the same either way."""

import numpy as np
import pytest

from agents.branch_states import put, take
from agents.branches import score_branches
from agents.interfaces import ManyStatesVectorEnv
from agents.tree_search import TreeSearch, tree_search
from tests.agents.branching_worlds import BranchingMaze


class AtOnce(BranchingMaze):
    """The maze, which counts how often it is asked for states, and for many."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked_for_many = self.asked_for_one = 0

    def clone_states(self, indices=None):
        self.asked_for_many += 1
        return [super(AtOnce, self).clone_state([i]) for i in (range(self.num_envs) if indices is None else indices)]

    def restore_states(self, states, indices=None):
        self.asked_for_many += 1
        for place, state in zip(range(self.num_envs) if indices is None else indices, states, strict=True):
            super().restore_state(state, [place])

    def clone_state(self, indices=None):
        self.asked_for_one += 1
        return super().clone_state(indices)

    def restore_state(self, state, indices=None):
        self.asked_for_one += 1
        super().restore_state(state, indices)


def both(num_envs, **settings):
    made = BranchingMaze(num_envs, **settings), AtOnce(num_envs, **settings)
    assert [isinstance(env, ManyStatesVectorEnv) for env in made] == [False, True]
    for env in made:
        env.reset()
    return made


def test_states_come_back_to_where_they_are_put():
    for env in both(4, start=[3, 5, 9, 21]):
        states = take(env, [2, 0])
        put(env, [states[0], states[1], states[0]], [0, 1, 3])
        assert env.cells.ravel().tolist() == [9, 3, 9, 9]


def test_neighbours_that_are_equal_are_restored_together_where_many_are_not():
    env = BranchingMaze(6)
    env.reset()
    (state,) = take(env, [0])
    put(env, [state] * 6, range(6))
    assert env.most_restored == 6


def test_nothing_is_asked_for_no_places():
    for env in both(2):
        assert take(env, []) == []
        put(env, [], [])
    assert (env.asked_for_many, env.asked_for_one) == (0, 0)


@pytest.mark.parametrize("num_envs", [3, 16])
def test_a_tree_is_the_same_either_way(num_envs):
    one_by_one, at_once = both(num_envs, start=13)
    found = [
        tree_search(env, [env.clone_state([0])] * 3, 4, TreeSearch(60, parallel=4)) for env in (one_by_one, at_once)
    ]
    np.testing.assert_array_equal(found[0].visits, found[1].visits)
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert at_once.asked_for_one == 1  # for the root, above
    assert 0 < at_once.asked_for_many < 3 * 60  # the number of leaves; one by one it would be twice that


@pytest.mark.parametrize("make", [BranchingMaze, AtOnce])
def test_as_many_states_as_places_are_wanted(make):
    env = make(4)
    env.reset()
    with pytest.raises(ValueError, match="3 states given for 2 places"):
        put(env, take(env, [0, 1, 2]), [0, 1])


def test_branches_are_the_same_either_way():
    """Some of them reach the goal before they end, and are put back to go on with the others."""
    actions = np.random.default_rng(0).integers(4, size=(2, 9, 6))
    found = []
    for env in both(4, start=23, goal=24):
        found.append(score_branches(env, [env.clone_state([0])] * 2, actions, 0.9))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] > 0).any()
