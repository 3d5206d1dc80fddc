"""A tree that a policy leads: where the search finds nothing it acts as that policy, with draws of its own."""

import numpy as np
import pytest

from agents.mpc import TreeSearchAgent
from agents.tree_search import TreeSearch
from tests.agents.branching_worlds import Bandit
from tests.agents.test_mpc import states_of


def by_prior(temperature, rows, seed=0):
    """A tree over arms that all pay nothing, led by a prior that is told which row it sees."""
    acting, scratch = Bandit(rows, [0.0] * 4), Bandit(8, [0.0] * 4)
    shares = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    agent = TreeSearchAgent(
        scratch, TreeSearch(40, parallel=1, discount=0.5), root=states_of(acting),
        root_observations=lambda: np.arange(rows) % 2,
        prior=lambda seen: shares[seen] if len(seen) == rows else np.full((8, 4), 0.25), temperature=temperature,
        seed=seed,
    )  # fmt: skip
    acting.reset()
    acted = np.array([agent.act(None, np.full(rows, step == 0)) for step in range(200)])
    return acted - acting.single_action_space.start, shares


def test_where_a_tree_finds_nothing_it_acts_as_its_prior_does():
    acted, shares = by_prior(0.0, 2)
    assert set(acted[:, 0]) == {3}
    assert set(acted[:, 1]) == {0}
    acted, shares = by_prior(1.0, 2)
    for row, prior in enumerate(shares):
        found = np.bincount(acted[:, row], minlength=4) / len(acted)
        np.testing.assert_allclose(found, prior, atol=0.12)  # 200 draws: four standard deviations are 0.14 at most
    again, other = by_prior(1.0, 2)[0], by_prior(1.0, 2, seed=1)[0]
    np.testing.assert_array_equal(again, acted)
    assert (other != acted).any()
    sharper = by_prior(0.25, 2)[0]
    assert (sharper[:, 1] == 0).mean() > 0.95


def test_draws_of_a_row_are_its_own():
    alone, beside = by_prior(1.0, 1)[0], by_prior(1.0, 4)[0]
    np.testing.assert_array_equal(alone[:, 0], beside[:, 0])
    assert (beside[:, 0] != beside[:, 2]).any()  # of the same prior


def test_no_temperature_below_zero():
    with pytest.raises(ValueError, match=r"temperature = -1\.0, expected a number, at least 0"):
        TreeSearchAgent(Bandit(2, [0.0, 1.0]), temperature=-1.0)
