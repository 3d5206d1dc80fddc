"""The agent that ships with wmgym fits the world model that does, and acts by what it sees."""

import gymnasium
import numpy as np
import pytest

import wmgym  # noqa: F401  (registers the ids)
from agents.named_policies import named_policy
from agents.policy_prior import prior_of
from agents.pretrained import PRETRAINED, load_pretrained
from agents.training_folder import read_training
from wmgym.checkpoint import fingerprint


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_belongs_to_the_shipped_world_model(name):
    assert read_training(PRETRAINED[name])["config"]["world_model"] == fingerprint()
    policy = named_policy(name, bursts=0.0, world_model=fingerprint())
    assert policy.name == name
    mixed = named_policy(f"{name}@0.5", bursts=0.0, world_model=fingerprint())
    assert mixed.name == f"{name}@0.5"
    assert mixed.decides["bursts"] > 0


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_is_paid_more_in_short_dreams_than_chance(name):
    """Of 16 steps from recorded clips, most of which are shortly before a reward; the first one counts."""
    paid = []
    for policy in (name, "random-with-bursts"):
        acting = named_policy(policy, bursts=0.02, world_model=fingerprint())
        envs = gymnasium.make_vec("LSSVWM-MemoryMaze-v0", 32, observation="features", starts="clips")
        seen, _ = envs.reset(seed=0)
        made, first, rewards = acting.make(envs.single_action_space, 0), np.ones(32, bool), np.zeros(32)
        for _ in range(16):
            seen, reward, *_ = envs.step(made.act(seen, first))
            first[:], rewards = False, np.maximum(rewards, reward)
        envs.close()
        paid.append(rewards.mean())
    assert paid[0] > paid[1] + 0.2


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_can_lead_a_tree(name):
    prior = prior_of(load_pretrained(name))
    found = prior(np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32))
    assert found.shape == (5, 6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
