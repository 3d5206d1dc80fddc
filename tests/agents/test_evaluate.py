"""Evaluation, in a world whose returns are known: every seed gives its own return and length."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.evaluate import Evaluation, RandomPolicy, bootstrap_interval, compare, estimate_seconds, evaluate


class SeedWorld(gymnasium.Env):
    """Lasts 2 + seed % 3 steps, pays the action in every step and 100 * seed in the last."""

    observation_space = gymnasium.spaces.Box(0, 1000, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed = 999 if seed is None else seed  # after an automatic reset: must never count
        self.left = 2 + self.seed % 3
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        reward = float(action) + 100.0 * self.seed * (self.left == 0)
        return np.array([self.left], np.float32), reward, self.left == 0, False, {}


class Constant:
    """Always the same action; remembers what it was told."""

    def __init__(self, action=1):
        self.action = action
        self.told = []

    def act(self, observations, is_first):
        self.told.append(is_first.copy())
        return np.full(len(is_first), self.action)


def vector(num_envs, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([SeedWorld] * num_envs, autoreset_mode=mode)


EXPECTED = [100.0 * seed + 2 + seed % 3 for seed in range(5, 12)]


@pytest.mark.parametrize("num_envs", [1, 2, 3, 8])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_episode_counts_once_whatever_the_number_of_environments(num_envs, mode):
    found = evaluate(Constant(), vector(num_envs, mode), episodes=7, seed=5)
    assert list(found.returns) == EXPECTED
    assert list(found.lengths) == [2 + seed % 3 for seed in range(5, 12)]
    assert found.first_seed == 5


@pytest.mark.parametrize("num_envs", [1, 2, 3, 8])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rewards_are_kept_with_the_steps_at_which_they_came(num_envs, mode):
    found = evaluate(Constant(0), vector(num_envs, mode), episodes=7, seed=5)  # pays in the last step only
    assert [list(episode) for episode in found.rewards] == [[(2 + seed % 3, 100.0 * seed)] for seed in range(5, 12)]
    paid = evaluate(Constant(2), vector(num_envs, mode), episodes=7, seed=5)
    assert [len(episode) for episode in paid.rewards] == list(paid.lengths)
    assert paid.returns_until(1) == (2.0,) * 7
    assert paid.returns_until(2) == tuple(4.0 + 100 * seed * (seed % 3 == 0) for seed in range(5, 12))
    assert paid.returns_until(4) == paid.returns_until(99) == paid.returns


def test_an_evaluation_without_rewards_says_so():
    with pytest.raises(ValueError, match="has no rewards"):
        Evaluation(0, (1.0,), (5,)).returns_until(3)


def test_single_environments_are_run_in_the_same_way():
    assert list(evaluate(Constant(), [SeedWorld(), SeedWorld()], episodes=7, seed=5).returns) == EXPECTED


def test_one_environment_is_run_alone():
    assert list(evaluate(Constant(), SeedWorld(), episodes=7, seed=5).returns) == EXPECTED


def test_the_same_environment_twice_is_refused():
    """Its episodes would run through each other."""
    env = SeedWorld()
    with pytest.raises(ValueError, match="3 environments given, but only 2 different ones"):
        evaluate(Constant(), [env, env, SeedWorld()], episodes=3, seed=0)


def test_a_policy_is_told_where_episodes_start():
    policy = Constant()
    evaluate(policy, vector(2), episodes=4, seed=0)  # lengths 2, 3 and then 4, 2
    assert [row.tolist() for row in policy.told[:4]] == [
        [True, True], [False, False], [True, False], [True, True],
    ]  # fmt: skip


def test_progress_counts_the_steps_that_count():
    done = []
    found = evaluate(Constant(), vector(3), episodes=7, seed=5, on_step=done.append)
    assert sum(done) == sum(found.lengths)


def test_summary_has_the_keys_that_reports_read():
    summary = Evaluation(0, (1.0, 2.0, 3.0, 6.0), (10, 10, 10, 12)).summary()
    assert summary["mean"] == 3.0
    assert summary["episodes"] == 4
    assert summary["steps"] == 10
    low, high = summary["ci95"]
    assert 1.0 <= low < 3.0 < high <= 6.0


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.poisson(2.0, size=40).astype(float).tolist(), seed=i) for i in range(100)]
    covered = np.mean([low <= 2.0 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.99
    assert bootstrap_interval([4.0, 4.0]) == (4.0, 4.0)


def test_comparison_is_paired():
    noise = np.random.default_rng(0).normal(scale=100, size=20)
    baseline = Evaluation(3, tuple(noise), (5,) * 20)
    candidate = Evaluation(3, tuple(noise + 1.0), (5,) * 20)
    difference = compare(candidate, baseline)
    assert difference["mean"] == pytest.approx(1.0)
    assert difference["ci95"] == pytest.approx([1.0, 1.0])  # unpaired it would be about 120 wide


@pytest.mark.parametrize("other", [Evaluation(4, (1.0,), (1,)), Evaluation(3, (1.0, 1.0), (1, 1))])
def test_comparison_refuses_other_episodes(other):
    with pytest.raises(ValueError, match="expected the same episodes"):
        compare(other, Evaluation(3, (1.0,), (1,)))


def test_random_policy_is_seeded_and_uniform():
    space = gymnasium.spaces.Discrete(6)
    first, second, third = (RandomPolicy(space, seed) for seed in (1, 1, 2))
    is_first = np.zeros(6000, dtype=bool)
    actions = first.act(None, is_first)
    np.testing.assert_array_equal(actions, second.act(None, is_first))
    assert (actions != third.act(None, is_first)).any()
    assert np.bincount(actions, minlength=6) == pytest.approx([1000] * 6, rel=0.15)
    assert RandomPolicy(gymnasium.spaces.Box(-1, 1, (2,)), 0).act(None, is_first[:5]).shape == (5, 2)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="episodes = 0, expected at least 1"):
        evaluate(Constant(), vector(1), episodes=0, seed=0)
    with pytest.raises(ValueError, match="no environment given"):
        evaluate(Constant(), [], episodes=1, seed=0)
    with pytest.raises(ValueError, match="finite"):
        evaluate(Constant(np.nan), vector(1), episodes=1, seed=0)


@pytest.mark.parametrize(("num_envs", "rounds"), [(1, 7), (2, 4), (8, 1)])
def test_the_time_of_an_evaluation_is_that_of_its_steps_round_by_round(num_envs, rounds, monkeypatch):
    envs, clock = vector(num_envs), [100.0]
    step = envs.step

    def slow_step(actions):
        clock[0] += 30.0 if clock[0] == 100.0 else 0.5  # the first is slow, and does not count
        return step(actions)

    monkeypatch.setattr(envs, "step", slow_step)
    monkeypatch.setattr("agents.evaluate.time.monotonic", lambda: clock[0])
    assert estimate_seconds(envs, episodes=7, steps=20) == pytest.approx(0.5 * 20 * rounds)
