"""Training for a time: it ends, it saves, it knows how far it came."""

import json
from dataclasses import asdict

import gymnasium
import pytest

from agents.sb3 import make_ppo
from agents.time_budget import TimeBudget, TrainingProgress


@pytest.fixture
def learner():
    env = gymnasium.make_vec("CartPole-v1", 4, "sync", {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP})
    return make_ppo(env, seed=0, n_steps=16, n_epochs=1)


def test_training_ends_in_time_and_saves_on_the_way(learner):
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


def test_of_a_training_that_was_not_watched_no_parts_are_told(learner):
    """Or its steps would seem to have taken the time of the last run alone."""
    first = TimeBudget(0.1, save=lambda model, progress: None)
    learner.learn(10**12, callback=first)
    second = TimeBudget(0.1, save=lambda model, progress: None, earlier=first.progress, parts={"acting": 1.0})
    learner.learn(10**12, callback=second, reset_num_timesteps=False)
    assert second.progress.parts == {}
