"""Cloned policies do what their teacher does, and remember what that takes; what cannot be learned from is told."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.behaviour_cloning import Demonstrations, clone_behaviour, score_clone, sharpen
from agents.sb3 import SB3Policy, make_ppo

ACTIONS, SIZE = 3, 4


class Nowhere(gymnasium.Env):
    """Only its spaces matter."""

    observation_space, action_space = Box(-np.inf, np.inf, (SIZE,), np.float32), Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        return np.zeros(SIZE, np.float32), {}

    def step(self, action):
        return np.zeros(SIZE, np.float32), 0.0, False, False, {}


def make_learner(recurrent, seed=0):
    env = SyncVectorEnv([Nowhere, Nowhere], autoreset_mode=AutoresetMode.SAME_STEP)
    sizes = {"net_arch": [32], "lstm_hidden_size": 32} if recurrent else {"net_arch": [32]}
    return make_ppo(env, seed=seed, recurrent=recurrent, policy_kwargs=sizes)


def shown(episodes, steps, seed=0):
    return np.random.default_rng(seed).normal(size=(episodes, steps, SIZE)).astype(np.float32)


def of_now(episodes, seed=0):
    """The teacher goes by the largest of the first numbers in sight."""
    observations = shown(episodes, 40, seed)
    return Demonstrations(observations, observations[..., :ACTIONS].argmax(-1))


def of_the_beginning(episodes, seed=0):
    """The teacher goes by what was in sight in the first step; then it is dark."""
    observations = shown(episodes, 40, seed)
    observations[:, 1:] = 0
    return Demonstrations(observations, observations[:, :1, :ACTIONS].argmax(-1).repeat(40, 1))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_teacher_of_what_is_in_sight_is_cloned(recurrent):
    learner, unseen = make_learner(recurrent), of_now(16, seed=1)
    before, losses = score_clone(learner, unseen), []
    clone_behaviour(learner, of_now(64), epochs=12, seed=0, learning_rate=1e-2, stretch=20, on_update=losses.append)
    after = score_clone(learner, unseen)
    assert before.accuracy < 0.6
    assert after.accuracy > 0.9
    assert after.loss < 0.3 < before.loss
    assert np.mean(losses[-5:]) < 0.3 < losses[0]
    assert len(losses) == 12 * 2 * 2  # epochs, batches of 32 of 64 episodes, stretches of 20 of 40 steps


def test_only_a_recurrent_policy_clones_what_takes_memory():
    """From stretches of ten steps: what was first in sight comes over from the stretch before."""
    scores = {}
    for recurrent in (False, True):
        learner = make_learner(recurrent)
        clone_behaviour(learner, of_the_beginning(128), epochs=30, seed=0, learning_rate=1e-2, stretch=10)
        scores[recurrent] = score_clone(learner, of_the_beginning(32, seed=1)).accuracy
    assert scores[True] > 0.85
    assert scores[False] < 0.5  # a third by chance, and one step of forty in which it is in sight


def test_a_clone_acts_as_it_was_scored():
    """Step by step, as an environment asks, with what it remembers carried along."""
    learner, taught = make_learner(recurrent=True), of_the_beginning(8)
    clone_behaviour(learner, taught, epochs=2, seed=0)
    policy = SB3Policy(learner, 0, deterministic=True)
    chosen = np.stack(
        [policy.act(taught.observations[:, t], np.full(8, t == 0)) for t in range(taught.actions.shape[1])], axis=1
    )
    assert score_clone(learner, taught).accuracy == pytest.approx((chosen == taught.actions).mean())


def test_the_score_is_that_of_the_distribution():
    learner, taught = make_learner(recurrent=False), of_now(5)
    flat = torch.from_numpy(taught.observations).flatten(0, 1)
    with torch.no_grad():
        log_probability = learner.policy.get_distribution(flat).log_prob(torch.from_numpy(taught.actions).flatten())
    for at_once in (2, 5):
        assert score_clone(learner, taught, at_once).loss == pytest.approx(-log_probability.mean().item(), rel=1e-5)


def test_the_same_seed_gives_the_same_policy():
    weights = []
    for seed in (0, 0, 1):
        learner = make_learner(recurrent=True)
        clone_behaviour(learner, of_now(40), epochs=1, seed=seed)
        weights.append(torch.cat([v.detach().flatten() for v in learner.policy.lstm_actor.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_is_hidden_while_learning_is_seen_again_afterwards():
    """Half of it hidden, the loss of learning is far above that of acting; nothing is hidden then."""
    learner, losses = make_learner(recurrent=True), []
    taught = of_now(64)
    clone_behaviour(learner, taught, epochs=20, seed=0, learning_rate=1e-2, dropout=0.5, on_update=losses.append)
    first, second = score_clone(learner, taught), score_clone(learner, taught)
    assert first == second
    assert first.accuracy > 0.8
    assert np.mean(losses[-4:]) > first.loss + 0.1


def test_sharpened_odds_are_to_the_power_of_the_inverse_temperature():
    learner = make_learner(recurrent=False)
    torch.nn.init.normal_(learner.policy.action_net.weight)
    seen = torch.randn(7, SIZE)

    def log_probabilities():
        with torch.no_grad():
            return learner.policy.get_distribution(seen).distribution.logits

    before = log_probabilities()
    sharpen(learner, 0.5)
    torch.testing.assert_close(log_probabilities(), torch.log_softmax(2 * before, -1))
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected more than 0"):
            sharpen(learner, temperature)


def unchanged_by(learner, taught, match, **settings):
    before = {key: v.clone() for key, v in learner.policy.state_dict().items()}
    with pytest.raises(FloatingPointError, match=match):
        clone_behaviour(learner, taught, epochs=1, seed=0, **settings)
    return all(torch.equal(v, before[key]) for key, v in learner.policy.state_dict().items())


def test_what_is_not_finite_is_told_and_changes_nothing(monkeypatch):
    taught = of_now(4)
    taught.observations[2, 5, 0] = np.inf
    assert unchanged_by(make_learner(recurrent=False), taught, r"episodes \[0, 1, 2, 3\], steps 0 to 49.*not finite")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(torch.nan))
    assert unchanged_by(make_learner(recurrent=False), of_now(4), r"gradient of norm nan.*learning_rate = 0.001 is too")


def test_what_does_not_fit_is_refused():
    learner, taught = make_learner(recurrent=False), of_now(4)
    with pytest.raises(ValueError, match=r"takes action 3, expected 0 to 2"):
        clone_behaviour(learner, Demonstrations(taught.observations, taught.actions + 1), epochs=1, seed=0)
    with pytest.raises(ValueError, match=r"acts in Discrete\(3\).*and a teacher in it"):
        score_clone(learner, Demonstrations(taught.observations, taught.actions - 1))
    with pytest.raises(ValueError, match=r"epochs = 0 given, expected 1 or more"):
        clone_behaviour(learner, taught, epochs=0, seed=0)
    with pytest.raises(ValueError, match=r"dropout = 1.0 given, expected a share in \[0, 1\)"):
        clone_behaviour(learner, taught, epochs=1, seed=0, dropout=1.0)
    for observations, actions in ((taught.observations[:, 1:], taught.actions), (np.zeros((0, 5)), np.zeros((0, 5)))):
        with pytest.raises(ValueError, match=r"expected the same number of episodes and of steps"):
            Demonstrations(observations, actions.astype(np.int64))
