"""Going on from a policy: the actor is that of before, the critic learns first, and only then both."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CallbackList

from agents.fine_tuning import ACTOR, CriticWarmup, PolicyToContinue, actor_parameters, continue_policy
from agents.sb3 import SB3Policy, make_learner
from tests.agents.identity_world import BatchedWorld, Grids

PAIRS = [("ppo", "ppo"), ("ppo", "a2c"), ("recurrent_ppo", "recurrent_ppo")]


def save_policy(folder, algorithm, world):
    with torch.random.fork_rng():
        sizes = {"lstm_hidden_size": 16} if algorithm == "recurrent_ppo" else {}
        before = make_learner(algorithm, world, seed=5, policy_kwargs=sizes | {"net_arch": [12]})
    with torch.no_grad():
        for parameter in before.policy.parameters():  # nothing is as it was made
            parameter.add_(torch.randn_like(parameter) * 0.1)
    before.save(folder / "policy.zip")
    return before


def values_of(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def critic_parameters(policy):
    actors = {id(parameter) for parameter in actor_parameters(policy)}
    return [parameter for parameter in policy.parameters() if id(parameter) not in actors]


@pytest.mark.parametrize("world_class", [BatchedWorld, Grids])
@pytest.mark.parametrize(("trained_by", "algorithm"), PAIRS)
def test_the_actor_is_that_of_before_and_the_critic_is_not(trained_by, algorithm, world_class, tmp_path):
    world = world_class()
    before = save_policy(tmp_path, trained_by, world)
    found = PolicyToContinue(tmp_path, trained_by, algorithm, "latent")
    after = continue_policy(found, world, seed=0, n_steps=8)
    assert same(actor_parameters(before.policy), actor_parameters(after.policy))
    assert not same(before.policy.value_net.parameters(), after.policy.value_net.parameters())
    assert len(actor_parameters(after.policy)) + len(critic_parameters(after.policy)) == len(
        list(after.policy.parameters())
    )
    observations, is_first = world.reset(seed=1)[0].numpy().copy(), np.ones(8, bool)
    acts = [SB3Policy(learner, seed=2).act(observations, is_first) for learner in (before, after)]
    np.testing.assert_array_equal(*acts)
    seeing = [
        list(part.parameters()) for part in (after.policy.pi_features_extractor, after.policy.vf_features_extractor)
    ]
    assert same(*seeing)
    assert not {id(p) for p in seeing[0]} & {id(p) for p in seeing[1]}
    if trained_by == "recurrent_ppo":
        assert same(after.policy.lstm_actor.parameters(), after.policy.lstm_critic.parameters())


@pytest.mark.parametrize(("trained_by", "algorithm"), PAIRS)
def test_only_the_critic_learns_at_first_also_when_the_training_goes_on_later(trained_by, algorithm, tmp_path):
    world = Grids()
    save_policy(tmp_path, trained_by, world)
    learner = continue_policy(PolicyToContinue(tmp_path, trained_by, algorithm, "latent"), world, seed=0, n_steps=8)
    steps = 8 * world.num_envs  # of one rollout
    for rollouts, learns in ((2, False), (1, False), (1, True)):
        actor, critic = (values_of(find(learner.policy)) for find in (actor_parameters, critic_parameters))
        learner.learn(rollouts * steps, callback=CallbackList([CriticWarmup(3)]), reset_num_timesteps=False)
        assert same(actor, actor_parameters(learner.policy)) != learns
        assert not same(critic, critic_parameters(learner.policy))


def test_the_actors_parts_are_those_of_the_library():
    policy = make_learner("recurrent_ppo", Grids(), seed=0).policy
    assert set(ACTOR) <= {name for name, _ in policy.named_modules(remove_duplicate=False)}


def test_a_policy_that_sees_something_else_is_refused(tmp_path):
    save_policy(tmp_path, "ppo", BatchedWorld())
    with pytest.raises(ValueError, match=r"has observations in Box\(0.0, 1.0, \(4,\).*expected Box\(-inf"):
        continue_policy(PolicyToContinue(tmp_path, "ppo", "ppo", "latent"), Grids(), seed=0)
