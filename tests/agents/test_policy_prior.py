"""The actor of a learned policy as a tree's prior."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from agents.policy_prior import prior_of
from agents.sb3 import make_learner, make_ppo
from agents.tree_search import TreeSearch, tree_search
from tests.agents.branching_worlds import BranchingMaze


@pytest.fixture
def env():
    return BranchingMaze(4, 0, 24, AutoresetMode.SAME_STEP)


def test_a_tree_tries_first_what_the_policy_would_do(env):
    """A policy that goes down: so do all first simulations, where equal priors spread them."""
    learner = make_ppo(env, seed=0)
    with torch.no_grad():
        learner.policy.action_net.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0]))
    prior = prior_of(learner)
    env.reset()
    found = prior(np.zeros((4, 1)))
    assert found.shape == (4, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found[:, 2] > 0.9).all()
    given = []

    def spied(observations):
        given.append(observations.shape)
        return prior(observations)

    states, search = [env.clone_state([0])], TreeSearch(12, parallel=2)
    tree_search(env, states, 4, search, prior=spied)
    assert set(given) == {env.observation_space.shape}


def test_a_policy_with_a_memory_of_its_own_is_refused(env):
    learner = make_ppo(env, seed=0, recurrent=True, policy_kwargs={"lstm_hidden_size": 4})
    with pytest.raises(ValueError, match=r"a recurrent policy given.*train or clone one without"):
        prior_of(learner)


def test_a_policy_without_probabilities_is_refused(env):
    learner = make_learner("dqn", env, seed=0)
    with pytest.raises(ValueError, match="ManyDreamsDQN given, expected one with probabilities"):
        prior_of(learner)
