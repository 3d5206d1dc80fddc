"""Tree search in a bandit and a maze: visits by hand, exact values, ends, NaN, priors, rows that do not touch."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from agents.tree_search import TreeSearch, tree_search
from tests.agents.branching_worlds import Bandit, BranchingMaze, distances

MODES = list(AutoresetMode)


def search_bandit(pays, simulations, *, ends=(), num_envs=4, mode=AutoresetMode.DISABLED, critic=None, **settings):
    env = Bandit(num_envs, pays, ends, mode)
    env.reset()
    search = TreeSearch(simulations, **{"parallel": 1, "exploration": 1.0, "discount": 0.0, **settings})
    return tree_search(env, [env.clone_state([0])], len(pays), search, critic)


@pytest.mark.parametrize(
    ("simulations", "visits"),
    [(1, [1, 0]), (2, [1, 1]), (3, [1, 2]), (4, [1, 3])],
)
def test_visits_are_those_counted_by_hand(simulations, visits):
    """Arms pay 0 and 1. Third choice: 0 + sqrt(2) / 4 against 1 + sqrt(2) / 4; fourth: sqrt(3) / 4, 1 + sqrt(3) / 6."""
    found = search_bandit([0.0, 1.0], simulations)
    assert found.visits.tolist() == [visits]
    np.testing.assert_equal(found.values, [[0.0, 1.0 if visits[1] else np.nan]])


@pytest.mark.parametrize("simulations", [10, 37, 60])
def test_visits_follow_the_rule(simulations):
    """Its formula in a loop: what is below the arms does not count at a discount of 0, and values span 0 to 1."""
    visits = np.array([1, 1])
    for _ in range(simulations - 2):
        visits[np.argmax(np.array([0.0, 1.0]) + 4.0 * 0.5 * np.sqrt(visits.sum()) / (1 + visits))] += 1
    assert search_bandit([0.0, 1.0], simulations, exploration=4.0).visits.tolist() == [visits.tolist()]
    assert visits.min() > 1


@pytest.mark.parametrize("best", range(5))
@pytest.mark.parametrize("parallel", [1, 4])
def test_the_best_arm_of_a_bandit_is_pulled_most(best, parallel):
    pays = np.linspace(-1, 0.8, 5)
    pays[best] = 1.0
    found = search_bandit(pays, 100, parallel=parallel)
    assert found.actions.tolist() == [best]
    assert found.visits.sum() == 100
    assert found.visits[0, best] > 50
    np.testing.assert_allclose(found.values, [pays])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hold", [1, 3])
def test_leaves_have_the_value_of_the_critic_unless_they_are_ends(mode, hold):
    """One simulation an arm. The critic sees the steps made, `hold`; an arm that ends is not held on."""
    found = search_bandit(
        [1.0, 2.0, 5.0],
        3,
        ends=[2],
        mode=mode,
        hold=hold,
        discount=0.5,
        exploration=1000.0,
        critic=lambda seen: 100 + seen[:, 0],
    )
    paid = 1.0 if hold == 1 else 1.75
    later = 0.5**hold * (100 + hold)
    np.testing.assert_allclose(found.values, [[paid + later, 2 * paid + later, 5.0]])


def test_values_reach_through_the_tree():
    """Pay 1 for ever, or 5 and an end: at a discount of 0.9 going on is worth 10. Long trees see that, short do not."""
    short = search_bandit([1.0, 5.0], 4, ends=[1], discount=0.9)
    assert short.actions.tolist() == [1]
    long = search_bandit([1.0, 5.0], 400, ends=[1], discount=0.9, parallel=4)
    assert long.actions.tolist() == [0]
    assert 5.5 < long.values[0, 0] < 10
    assert long.values[0, 1] == 5.0


def test_actions_that_lead_to_nan_are_tried_once():
    found = search_bandit([np.nan, 1.0, np.inf, 0.5], 50, num_envs=2, parallel=3)
    assert found.actions.tolist() == [1]
    assert found.visits[0, [0, 2]].tolist() == [0, 0]
    shallow = search_bandit([np.nan, 1.0], 50, ends=[1])
    assert shallow.visits.tolist() == [[0, 49]]
    assert np.isnan(found.values[0, [0, 2]]).all()
    assert np.isfinite(found.values[0, [1, 3]]).all()
    with pytest.raises(ValueError, match="no action of some root"):
        search_bandit([np.nan, np.nan], 10)


def test_dead_ends_of_nan_are_left():
    """Whatever is done after the first action is NaN: the root's actions stay open as long as they are not shown."""

    def critic(seen):
        return np.where(seen[:, 0] > 1, np.nan, 3.0)

    found = search_bandit([0.0, 1.0], 50, discount=1.0, critic=critic)
    assert found.actions.tolist() == [1]
    np.testing.assert_equal(found.values, [[3.0, 4.0]])
    assert found.visits.tolist() == [[1, 1]]


@pytest.mark.parametrize(("num_envs", "parallel"), [(1, 1), (1, 8), (8, 8), (64, 8)])
def test_leaves_in_flight_are_bounded_and_states_are_no_more_than_simulations(num_envs, parallel):
    env = BranchingMaze(num_envs)
    env.reset()
    state = env.clone_state([0])
    found = tree_search(env, [state], 4, TreeSearch(100, parallel))
    assert found.visits.sum() == 100
    assert env.most_restored <= num_envs
    assert env.clones_made <= 1 + 100
    if min(num_envs, parallel) == 8:
        assert env.steps_made < 25  # of 100, one at a time


def test_a_prior_leads_the_search_below_the_root():
    """It points at the arm that pays, or at another: 40 simulations find much of what is paid, or little."""
    env = Bandit(4, [0.0, 0.0, 1.0])
    env.reset()

    def search(prior):
        asked = []

        def ask(observations):
            asked.append(observations)
            return np.tile(prior, (4, 1))

        before = env.steps_made
        found = tree_search(env, [env.clone_state([0])], 3, TreeSearch(40, discount=1.0), prior=ask)
        assert len(asked) == env.steps_made - before
        return (found.values * found.visits).sum() / found.visits.sum()

    assert search([0.05, 0.05, 0.9]) > 2 * search([0.9, 0.05, 0.05])
    with pytest.raises(ValueError, match=r"prior returned the shape \(3,\), expected \(4, 3\)"):
        tree_search(env, [env.clone_state([0])], 3, TreeSearch(60), prior=lambda observations: np.ones(3))


def test_a_prior_leads_the_search_at_the_root():
    """Arms that pay alike are visited as the rule says, computed here in a loop; a single path goes where it points."""
    env = Bandit(4, [0.0, 0.0, 0.0])
    env.reset()
    priors = np.array([[0.2, 0.1, 0.7], [0.1, 0.6, 0.3]])
    states = [env.clone_state([0])] * 2
    assert tree_search(env, states, 3, TreeSearch(1, parallel=1), root_priors=priors).actions.tolist() == [2, 1]
    search = TreeSearch(50, parallel=1, exploration=1.0, discount=0.0)
    found = tree_search(env, states, 3, search, root_priors=priors)
    for row, prior in enumerate(priors):
        visits = np.zeros(3, int)
        for _ in range(50):
            visits[np.argmax(prior * np.sqrt(max(1, visits.sum())) / (1 + visits))] += 1
        assert found.visits[row].tolist() == visits.tolist()
    for wrong in (priors[0], priors[:1], priors[:, :2]):
        with pytest.raises(ValueError, match=r"prior returned the shape .*expected \(2, 3\)"):
            tree_search(env, states, 3, search, root_priors=wrong)
    with pytest.raises(ValueError, match="expected probabilities"):
        tree_search(env, states, 3, search, root_priors=2 * priors)


def test_a_row_does_not_depend_on_the_others():
    env = BranchingMaze(6)
    states = {cell: (np.array([cell]), np.array([0]), np.array([False])) for cell in (23, 14, 17, 12)}

    def search(cells):
        found = tree_search(env, [states[cell] for cell in cells], 4, TreeSearch(80, 3))
        return {cell: (found.visits[i].tobytes(), found.values[i].tobytes()) for i, cell in enumerate(cells)}

    together = search([23, 14, 17, 12])
    for cells in ([14, 23], [17], [12, 14, 17, 23]):
        for cell, found in search(cells).items():
            assert found == together[cell]
    assert len(set(together.values())) > 2


def test_the_way_to_the_goal_is_found_without_a_critic():
    """From all cells up to three steps away, the first action of a shortest path."""
    away = distances(24)
    near = np.flatnonzero((away > 0) & (away <= 3))
    env = BranchingMaze(16, start=0)
    states = [(np.array([cell]), np.array([0]), np.array([False])) for cell in near]
    found = tree_search(env, states, 4, TreeSearch(200, 4, discount=0.9))
    led_to = env.to[near, found.actions]
    np.testing.assert_array_equal(away[led_to], away[near] - 1)
    assert len(near) >= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulations": 0}, "simulations = 0, expected a whole number, at least 1"),
        ({"parallel": 0}, "parallel = 0"),
        ({"discount": 1.1}, "discount = 1.1, expected a number from 0 to 1"),
        ({"exploration": -1.0}, "exploration = -1.0, expected a number, at least 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TreeSearch(**settings)
