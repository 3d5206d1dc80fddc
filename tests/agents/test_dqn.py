"""DQN in many environments: exploration over the time there is, each for itself, and a buffer of bounded size."""

import itertools
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from agents import time_budget
from agents.algorithms import REPLAY_BYTES, as_sb3_names, replay_steps, settings_in_dreams, with_defaults
from agents.evaluate import evaluate
from agents.sb3 import SB3Policy, load_learner, make_learner
from agents.time_budget import TimeBudget, TrainingProgress
from tests.agents.identity_world import BatchedWorld

SETTINGS = {"buffer_size": 800, "learning_starts": 80, "train_freq": 4}


@pytest.fixture
def learner():
    return make_learner("dqn", BatchedWorld(), seed=0, **SETTINGS)


def test_each_environment_explores_for_itself(learner):
    observations = np.zeros((4000, 4), np.float32)
    learner.exploration_rate = 0.5
    greedy = learner.predict(observations, deterministic=True)[0]
    assert len(set(greedy.tolist())) == 1
    others = (learner.predict(observations)[0] != greedy).mean()
    assert others == pytest.approx(0.5 * 3 / 4, abs=0.05)  # some draw the greedy action; 0.05 is seven deviations
    learner.exploration_rate = 0.0
    np.testing.assert_array_equal(learner.predict(observations)[0], greedy)


def test_its_policy_does_not_explore(learner):
    learner.exploration_rate = 1.0
    observations, is_first = np.eye(4, dtype=np.float32), np.ones(4, bool)
    expected = learner.predict(observations, deterministic=True)[0]
    np.testing.assert_array_equal(SB3Policy(learner, seed=1).act(observations, is_first), expected)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by 10 ms whenever it is looked at: a step of training lasts as long."""
    ticks = itertools.count()
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: 0.01 * next(ticks)))


def explored(seconds, planned, filled=0.11):
    """The rate after so many of the seconds planned, when the buffer was full after ten steps: the clock ticks first
    as the training starts.
    """
    return min(1.0, max(0.05, 1 - 0.95 * (seconds - filled) / (planned - filled) / 0.3))


def test_exploration_falls_with_the_time_planned_and_stays_low_when_the_training_goes_on(learner, clock):
    """From when learning begins: the buffer is filled by 80 steps, eight at a time."""
    rates = []

    def show(progress):
        rates.append((progress.seconds, learner.exploration_rate))

    budget = TimeBudget(1.0, save=lambda *_: None, show=show)
    learner.learn(10**12, callback=budget)
    assert len(rates) == 100
    for seconds, rate in rates[1:]:  # told before the rate of the step itself is reckoned
        assert rate == pytest.approx(explored(seconds - 0.01, 1.01), abs=0.01)
    assert [rate for _, rate in rates[1:11]] == [1.0] * 10
    assert rates[11][1] < 1.0
    rates.clear()
    again = TimeBudget(0.3, save=lambda *_: None, show=show, earlier=budget.progress)
    learner.learn(10**12, callback=again, reset_num_timesteps=False)
    assert [rate for _, rate in rates] == pytest.approx([0.05] * 30)


def test_a_training_that_was_killed_early_goes_on_exploring(learner, clock):
    """By what was planned when it began, not by what is asked for now."""
    learner._n_updates = 1  # it has learned, and was saved when it was not yet kept how far exploration had come
    budget = TimeBudget(0.2, save=lambda *_: None, earlier=TrainingProgress(8, seconds=10.0, planned=100.0))
    learner.learn(10**12, callback=budget, reset_num_timesteps=False)
    assert budget.progress.planned == 100.0
    assert learner.exploration_rate == pytest.approx(1 - 0.95 * 10.2 / 30, abs=0.01)


def test_exploration_waits_while_the_buffer_is_filled_again(learner, clock, tmp_path):
    """And ends when it was to end; a training that goes on for longer explores no more."""
    planned = TrainingProgress(planned=1.0)
    first = TimeBudget(0.195, save=lambda *_: None, earlier=planned)
    learner.learn(10**12, callback=first)
    reached = learner.exploration_rate
    assert reached == pytest.approx(explored(0.20, 1.0), abs=0.01)  # it ends before the rate of the last step, at 0.21
    learner.save(tmp_path / "policy.zip")
    again = load_learner(tmp_path / "policy.zip", "dqn", BatchedWorld())
    again.learning_starts = again.num_timesteps + 80
    rates = []
    second = TimeBudget(
        0.8, save=lambda *_: None, earlier=first.progress, show=lambda _: rates.append(again.exploration_rate)
    )
    again.learn(10**12, callback=second, reset_num_timesteps=False)
    assert rates[:11] == pytest.approx([reached] * 11)
    assert rates[11] > rates[12] > rates[20]
    assert rates[-1] == 0.05
    short = TimeBudget(0.1, save=lambda *_: None, earlier=planned)
    new = make_learner("dqn", BatchedWorld(), seed=0, **SETTINGS)
    new.learn(10**12, callback=short)
    over = TimeBudget(0.1, save=lambda *_: None, earlier=TrainingProgress(80, seconds=1.5, planned=1.0))
    new.learn(10**12, callback=over, reset_num_timesteps=False)
    assert new.exploration_rate == pytest.approx(0.05)


def test_the_buffer_is_filled_again_by_the_policy_before_learning_goes_on(learner, tmp_path):
    learner.learn(400)
    learner.save(tmp_path / "policy.zip")
    loaded = load_learner(tmp_path / "policy.zip", "dqn", BatchedWorld())
    assert loaded.replay_buffer.pos == 0
    assert loaded.replay_buffer.buffer_size * 8 == 800
    assert loaded.n_steps == 3
    updates, start = loaded._n_updates, loaded.num_timesteps
    assert loaded.fill_again() == 400
    loaded.exploration_rate = 0.0
    weights = [p.detach().clone() for p in loaded.policy.parameters()]
    loaded.exploration_initial_eps = loaded.exploration_final_eps = 0.0
    loaded.exploration_schedule = lambda _: 0.0
    loaded.learn(384, reset_num_timesteps=False)
    assert loaded._n_updates == updates
    assert loaded.num_timesteps == start + 384
    assert all((a == b).all() for a, b in zip(weights, loaded.policy.parameters(), strict=True))
    buffer = loaded.replay_buffer
    acted = loaded.predict(buffer.observations[:48].reshape(-1, 4), deterministic=True)[0]
    np.testing.assert_array_equal(buffer.actions[:48].reshape(-1), acted)  # not at random
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded._n_updates > updates


def test_the_buffer_takes_no_more_than_its_limit():
    for shape, dtype in (((16, 8, 8), np.float32), ((2048,), np.float32), ((64, 64, 3), np.uint8)):
        space = gymnasium.spaces.Box(0, 1, shape, dtype)
        steps = replay_steps(space, 64)
        assert steps % 64 == 0
        taken = steps * (2 * np.prod(shape) * np.dtype(dtype).itemsize + 20)
        assert 0.9 * REPLAY_BYTES < taken <= REPLAY_BYTES
    assert replay_steps(gymnasium.spaces.Box(0, 1, (10**6,)), 64, limit=10) == 8 * 64
    with pytest.raises(ValueError, match="expected arrays of one shape"):
        replay_steps(gymnasium.spaces.Dict({}), 64)


def test_the_bytes_of_a_step_are_those_of_the_library():
    space = gymnasium.spaces.Box(0, 1, (5,), np.float32)
    buffer = make_learner("dqn", BatchedWorld(), seed=0, **SETTINGS).replay_buffer
    parts = (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards, buffer.dones)
    taken = sum(part.nbytes for part in (*parts, buffer.timeouts)) / 800
    assert taken == 2 * 4 * 4 + 20
    assert replay_steps(space, 1, limit=60 * 100) == 100


def test_an_evaluated_policy_has_no_buffer(learner, tmp_path):
    learner.save(tmp_path / "policy.zip")
    assert load_learner(tmp_path / "policy.zip", "dqn").replay_buffer.observations.shape[0] == 1


def test_settings_have_the_librarys_names():
    given = {"learning_rate": 0.1, "rollout": 3, "entropy": None, "discount": 0.9}
    assert as_sb3_names("dqn", **given) == {"learning_rate": 0.1, "gamma": 0.9, "train_freq": 3, "gradient_steps": 3}
    given["entropy"] = 0.2
    assert as_sb3_names("a2c", **given) == {"learning_rate": 0.1, "gamma": 0.9, "n_steps": 3, "ent_coef": 0.2}
    nothing = dict.fromkeys(("learning_rate", "rollout", "entropy", "critic_warmup"))
    filled = with_defaults("ppo", nothing, fine_tuning=True)
    assert filled == {"learning_rate": 1e-4, "rollout": 32, "entropy": 0.001, "critic_warmup": 20}
    assert settings_in_dreams("dqn", gymnasium.spaces.Box(0, 1, (4,)), 64)["learning_starts"] == 80 * 64


@pytest.mark.learns
@pytest.mark.parametrize("algorithm", ["a2c", "dqn"])
def test_an_identity_task_is_learned(algorithm):
    quick = {"a2c": {"n_steps": 8, "learning_rate": 5e-3}, "dqn": SETTINGS | {"learning_rate": 3e-3}}
    settings = quick[algorithm] | {"gamma": 0.5, "policy_kwargs": {"net_arch": [32]}}
    model = make_learner(algorithm, BatchedWorld(), seed=0, **settings)
    model.learn(6000)
    assert np.mean(evaluate(SB3Policy(model, seed=1), BatchedWorld(), episodes=32, seed=3).returns) > 4.5  # of 5
