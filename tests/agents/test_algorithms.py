"""Rollouts that an algorithm cannot learn from are refused, and no others."""

import pytest
import torch

from agents.algorithms import check_rollout
from agents.sb3 import make_learner
from tests.agents.identity_world import BatchedWorld


def learns(algorithm, rollout, num_envs):
    """Whether Stable-Baselines3 makes two updates whose weights are finite."""
    name = "train_freq" if algorithm == "dqn" else "n_steps"
    more = {"learning_starts": 2, "buffer_size": 100} if algorithm == "dqn" else {}
    more |= {"n_epochs": 1} if algorithm in ("ppo", "recurrent_ppo") else {}
    more |= {"policy_kwargs": {"lstm_hidden_size": 4}} if algorithm == "recurrent_ppo" else {}
    try:
        learner = make_learner(algorithm, BatchedWorld(num_envs), seed=0, **{name: rollout}, **more)
        learner.learn(2 * rollout * num_envs + 4)
    except (AssertionError, ValueError):  # it refuses, or finds no action by its broken weights
        return False
    return learner._n_updates > 0 and all(torch.isfinite(weight).all() for weight in learner.policy.parameters())


@pytest.mark.filterwarnings(r"ignore:std\(\)")
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize(
    ("algorithm", "rollout", "num_envs"),
    [("ppo", 1, 1), ("ppo", 2, 1), ("ppo", 1, 2), ("ppo", 27, 19), ("a2c", 1, 1), ("a2c", 2, 1), ("a2c", 27, 19),
     ("recurrent_ppo", 1, 1), ("recurrent_ppo", 2, 1), ("recurrent_ppo", 27, 19), ("recurrent_ppo", 2, 257),
     ("dqn", 1, 1)],
)  # fmt: skip
def test_a_rollout_is_refused_if_and_only_if_it_cannot_be_learned_from(algorithm, rollout, num_envs):
    if learns(algorithm, rollout, num_envs):
        check_rollout(algorithm, rollout, num_envs)
        return
    with pytest.raises(ValueError, match=rf"--rollout {rollout} and --num-envs {num_envs} given: .* two or more"):
        check_rollout(algorithm, rollout, num_envs)
