"""Training for a time: it ends, it saves, it knows how far it came."""

import itertools
import json
from dataclasses import asdict
from types import SimpleNamespace

import gymnasium
import pytest

from agents import learning_time, time_budget
from agents.learning_time import watch_learning
from agents.sb3 import make_ppo
from agents.sb3_vec_env import SB3VecEnv
from agents.time_budget import TimeBudget, TrainingProgress
from agents.training_guard import learn_for


@pytest.fixture
def learner():
    env = gymnasium.make_vec("CartPole-v1", 4, "sync", {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP})
    return make_ppo(env, seed=0, n_steps=16, n_epochs=1)


def test_training_ends_in_time_and_saves_on_the_way(learner, monkeypatch):
    """By a clock that goes on by 10 ms whenever it is looked at."""
    ticks = itertools.count()
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: 0.01 * next(ticks)))
    saved, shown = [], []
    budget = TimeBudget(
        1.0,
        save=lambda model, progress: saved.append((model, progress.steps)),
        show=lambda progress: shown.append(progress.seconds),
        save_every=0.2,
    )
    learner.learn(10**12, callback=budget)
    assert 1.0 <= budget.progress.seconds < 5.0
    assert shown == sorted(shown)
    assert len(saved) >= 2
    assert saved[-1] == (learner, budget.progress.steps)
    assert learner.num_timesteps == budget.progress.steps > 0
    assert [point["steps"] for point in budget.progress.curve] == sorted(
        {point["steps"] for point in budget.progress.curve}
    )
    assert all(5 < point["return"] < 500 for point in budget.progress.curve)


def test_an_interrupted_training_can_still_be_saved(learner):
    def interrupt(progress):
        if progress.steps >= 40:
            raise KeyboardInterrupt

    budget = TimeBudget(60.0, save=lambda model, progress: None, show=interrupt)
    with pytest.raises(KeyboardInterrupt):
        learner.learn(10**12, callback=budget)
    assert budget.progress.steps == 40


def test_a_later_run_counts_on_from_the_earlier_one(learner):
    first = TimeBudget(0.3, save=lambda model, progress: None)
    learner.learn(10**12, callback=first)
    earlier = first.progress
    steps, seconds, curve = earlier.steps, earlier.seconds, list(earlier.curve)
    second = TimeBudget(0.3, save=lambda model, progress: None, earlier=earlier)
    learner.learn(10**12, callback=second, reset_num_timesteps=False)
    assert second.progress.steps > steps
    assert seconds + 0.3 <= second.progress.seconds < seconds + 5.0
    assert second.progress.curve[: len(curve)] == curve
    assert (earlier.steps, earlier.seconds) == (steps, seconds)  # the caller's own is left alone


def test_progress_comes_back_from_json():
    progress = TrainingProgress(128, 0.5, [{"steps": 128, "return": 0.0}])
    assert TrainingProgress(**json.loads(json.dumps(asdict(progress)))) == progress


def test_where_the_time_went_is_added_up_over_runs(learner):
    growing = {}
    first = TimeBudget(0.1, save=lambda model, progress: growing, parts=growing)
    growing["acting"] = 2.0  # only once it was handed over
    learner.learn(10**12, callback=first)
    second = TimeBudget(
        0.1, save=lambda model, progress: None, earlier=first.progress, parts={"acting": 1.0, "learning": 3.0}
    )
    for _ in range(2):  # saved on the way, too, and counted once
        learner.learn(10**12, callback=second, reset_num_timesteps=False)
    assert second.progress.parts == {"acting": 3.0, "learning": 3.0}
    assert first.progress.parts == {"acting": 2.0}


@pytest.mark.parametrize("ends_by", ["time", "ctrl-c"])
def test_parts_and_total_agree_from_the_first_reset_to_the_end(learner, monkeypatch, ends_by):
    """One clock for both, which only resets, steps and updates move."""
    now = [50.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0] + 7)
    for module in (time_budget, learning_time):
        monkeypatch.setattr(module, "time", clock)

    def takes(owner, name, seconds):
        original = getattr(owner, name)

        def slow(*args, **kwargs):
            now[0] += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    takes(learner.env, "reset", 5.0)
    takes(SB3VecEnv, "step_wait", 0.25)
    takes(type(learner), "train", 2.0)

    def interrupt(progress):
        if ends_by == "ctrl-c" and progress.steps >= 200:
            raise KeyboardInterrupt

    with watch_learning(learner) as parts:
        budget = TimeBudget(40.0, save=lambda *_: None, show=interrupt, parts=parts)
        learn_for(learner, budget, say=lambda _: None)
    assert sum(budget.progress.parts.values()) == pytest.approx(budget.progress.seconds)
    steps, updates = (50, 3) if ends_by == "ctrl-c" else (112, 6)
    assert budget.progress.steps == 4 * steps
    assert budget.progress.seconds == pytest.approx(5 + 0.25 * steps + 2 * updates)


def test_of_a_training_that_was_not_watched_no_parts_are_told(learner):
    """Or its steps would seem to have taken the time of the last run alone."""
    first = TimeBudget(0.1, save=lambda model, progress: None)
    learner.learn(10**12, callback=first)
    second = TimeBudget(0.1, save=lambda model, progress: None, earlier=first.progress, parts={"acting": 1.0})
    learner.learn(10**12, callback=second, reset_num_timesteps=False)
    assert second.progress.parts == {}
