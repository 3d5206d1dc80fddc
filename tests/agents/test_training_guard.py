"""Trainings that go wrong end with a message, and what is on disk is good and can be gone on from."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.sb3 import load_learner, make_learner
from agents.time_budget import TimeBudget
from agents.training_folder import read_training, save_training
from agents.training_guard import INTERRUPTED, TERMINATED, TrainingError, check_weights, learn_for
from agents.training_resume import resume_training
from tests.agents.identity_world import BatchedWorld

SMALL = {
    "ppo": {"n_steps": 8},
    "recurrent_ppo": {"n_steps": 8, "policy_kwargs": {"lstm_hidden_size": 8}},
    "a2c": {"n_steps": 8},
    "dqn": {"learning_starts": 16, "train_freq": 8, "buffer_size": 800},
}
ALGORITHMS = list(SMALL)


class Failing(BatchedWorld):
    """Goes wrong after so many steps of each environment, in what it is told to."""

    def __init__(self, after=10**9, what="rewards", value=float("nan")):
        super().__init__()
        self.after, self.what, self.value, self.made = after, what, value, 0

    def step(self, actions):
        observations, rewards, *rest, infos = super().step(actions)
        self.made += 1
        if self.made > self.after:
            if self.what == "rewards":
                rewards = rewards.clone()
                rewards[3] = self.value
            elif self.what == "observations":
                observations[3, 0] = self.value
            elif "final_obs" in infos:
                infos["final_obs"][3, 0] = self.value
        return observations, rewards, *rest, infos


class Breaking(BaseCallback):
    """Does something to the learner once so many steps are made."""

    def __init__(self, after, act):
        super().__init__()
        self.after, self.act = after, act

    def _on_step(self):
        if self.num_timesteps >= self.after:
            self.act(self.model)
            self.after = float("inf")
        return True


def budget_for(folder, seconds=60.0, **settings):
    def save(learner, progress):
        save_training(folder, {"checkpoint": None, "world_model": "w"}, learner, progress)

    return TimeBudget(seconds, save=save, save_every=0.0, **settings)


def break_weights(model):
    with torch.no_grad():
        next(iter(model.policy.parameters()))[:] = float("nan")


def goes_on_from(folder, algorithm):
    """Train on in a sound world for a moment; return steps before and after."""
    learner, earlier = resume_training(folder, algorithm, BatchedWorld(), seed=0, say=lambda line: None)
    check_weights(learner)
    budget = budget_for(folder, 0.2, earlier=earlier)
    learn_for(learner, budget, goes_on=True)
    return earlier.steps, budget.progress.steps


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("what", ["rewards", "observations", "last observations of episodes"])
def test_what_is_not_finite_ends_a_training_that_can_go_on(what, algorithm, tmp_path):
    learner = make_learner(algorithm, Failing(20, what), seed=0, **SMALL[algorithm])
    with pytest.raises(
        TrainingError, match=rf"the {what} are not finite after (168|200) steps.*of 1\d\d steps is saved"
    ):
        learn_for(learner, budget_for(tmp_path))
    before, after = goes_on_from(tmp_path, algorithm)
    assert 128 <= before <= 192
    assert after > before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_broken_weights_are_told_and_never_saved(algorithm, tmp_path):
    learner = make_learner(algorithm, BatchedWorld(), seed=0, **SMALL[algorithm])
    with pytest.raises(TrainingError, match=r"weights that are not finite.*is saved, and good: --resume"):
        learn_for(learner, budget_for(tmp_path), also=[Breaking(200, break_weights)])
    check_weights(load_learner(tmp_path / "policy.zip", algorithm))
    before, after = goes_on_from(tmp_path, algorithm)
    assert 64 <= before <= 200
    assert after > before


def test_an_interruption_does_not_save_broken_weights_either(tmp_path):
    def interrupt(model):
        break_weights(model)
        raise KeyboardInterrupt

    learner = make_learner("ppo", BatchedWorld(), seed=0, **SMALL["ppo"])
    with pytest.raises(TrainingError, match="weights that are not finite"):
        learn_for(learner, budget_for(tmp_path), also=[Breaking(200, interrupt)])
    check_weights(load_learner(tmp_path / "policy.zip", "ppo"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("train/approx_kl", 50.0, "moved the policy by 50.0 nats"), ("train/loss", float("nan"), "train/loss was nan")],
)
def test_a_policy_that_runs_away_is_told(name, value, message, tmp_path, monkeypatch):
    learner = make_learner("ppo", BatchedWorld(), seed=0, **SMALL["ppo"])
    learning = PPO.train

    def train(model):
        learning(model)
        if model.num_timesteps > 200:
            model.logger.record(name, value)

    monkeypatch.setattr(PPO, "train", train)
    with pytest.raises(TrainingError, match=message):
        learn_for(learner, budget_for(tmp_path))
    learner = load_learner(tmp_path / "policy.zip", "ppo")
    assert learner.num_timesteps <= 256


def test_an_update_far_too_large_is_such_a_run():
    """The library's own estimate does exceed the limit when a learning rate is absurd."""
    learner = make_learner("ppo", BatchedWorld(), seed=0, n_steps=8, learning_rate=10.0, max_grad_norm=1e9)
    budget = TimeBudget(30.0, save=lambda *_: None)
    with pytest.raises(TrainingError):
        learn_for(learner, budget)


def test_before_anything_is_saved_the_message_says_so(tmp_path):
    learner = make_learner("ppo", Failing(1), seed=0, n_steps=8)
    with pytest.raises(TrainingError, match="Nothing was saved yet: start again"):
        learn_for(learner, budget_for(tmp_path))


def test_other_errors_stay_what_they_are_and_say_what_is_on_disk(tmp_path):
    def fail(model):
        raise MemoryError("no room")

    learner = make_learner("ppo", BatchedWorld(), seed=0, **SMALL["ppo"])
    with pytest.raises(MemoryError, match="no room") as caught:
        learn_for(learner, budget_for(tmp_path), also=[Breaking(200, fail)])
    assert "is saved, and good: --resume" in caught.value.__notes__[0]


def test_ctrl_c_saves_and_returns(tmp_path):
    def interrupt(model):
        raise KeyboardInterrupt

    learner, said = make_learner("ppo", BatchedWorld(), seed=0, **SMALL["ppo"]), []
    learn_for(learner, budget_for(tmp_path), also=[Breaking(200, interrupt)], say=said.append)
    assert said == ["The training was interrupted; what was learned so far is evaluated."]
    assert (tmp_path / "policy.zip").exists()


def test_sigterm_saves_and_ends_the_process(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    learner, said = make_learner("ppo", BatchedWorld(), seed=0, **SMALL["ppo"]), []
    asked = Breaking(200, lambda model: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        learn_for(learner, budget_for(tmp_path), also=[asked], say=said.append)
    assert ended.value.code == TERMINATED == 143
    assert "--resume goes on" in said[0]
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_training(tmp_path)["progress"]["steps"] >= 192
    assert goes_on_from(tmp_path, "ppo")[1] > 200


def test_a_killed_process_leaves_what_can_be_gone_on_from(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from agents.sb3 import make_learner; from agents.training_guard import learn_for\n"
        "from tests.agents.identity_world import BatchedWorld\n"
        "from tests.agents.test_training_guard import budget_for\n"
        "learn_for(make_learner('ppo', BatchedWorld(), seed=0, n_steps=8), budget_for(Path(sys.argv[1])))\n"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=root, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "training.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)  # somewhere in a save, or between two
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    before, after = goes_on_from(tmp_path, "ppo")
    assert 0 < before < after


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_a_sound_training_is_left_alone(algorithm, tmp_path):
    learner = make_learner(algorithm, BatchedWorld(), seed=0, **SMALL[algorithm])
    budget = budget_for(tmp_path, 0.5)
    learn_for(learner, budget)
    assert budget.progress.seconds >= 0.5
    assert np.isfinite([float(p.detach().sum()) for p in learner.policy.parameters()]).all()


def test_an_interruption_before_the_first_step_has_nothing_to_save(tmp_path):
    class Interrupted(BatchedWorld):
        broken = False

        def reset(self, **given):
            if self.broken:
                raise KeyboardInterrupt
            return super().reset(**given)

    world, said = Interrupted(), []
    learner = make_learner("ppo", world, seed=0, **SMALL["ppo"])
    world.broken = True
    with pytest.raises(SystemExit, match=str(INTERRUPTED)):
        learn_for(learner, budget_for(tmp_path), say=said.append)
    assert said == ["The training was interrupted before its first step: there is nothing to save."]
    assert not list(tmp_path.iterdir())


def stop(model):
    raise KeyboardInterrupt


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_training_too_short_to_learn_says_so(algorithm, tmp_path):
    learner, said = make_learner(algorithm, BatchedWorld(), seed=0, **SMALL[algorithm]), []
    before = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    learn_for(learner, budget_for(tmp_path, 1e-9), say=said.append)
    assert len(said) == 1
    assert said[0].startswith("Nothing was learned in this run: its time was over after 8 steps")
    assert all(torch.equal(before[name], value) for name, value in learner.policy.state_dict().items())
    learn_for(learner, budget_for(tmp_path), also=[Breaking(200, stop)], say=said.append)
    assert [line.split()[0] for line in said] == ["Nothing", "The"]  # it learned until it was interrupted
    assert not all(torch.equal(before[name], value) for name, value in learner.policy.state_dict().items())


def test_the_losses_of_a2c_are_in_tensorboard_after_few_rollouts(tmp_path):
    learner = make_learner("a2c", BatchedWorld(), seed=0, tensorboard=tmp_path / "tensorboard", **SMALL["a2c"])
    learn_for(learner, budget_for(tmp_path), also=[Breaking(12 * 64, stop)], say=lambda line: None)
    told = EventAccumulator(str(next((tmp_path / "tensorboard").iterdir()))).Reload()
    assert "train/value_loss" in told.Tags()["scalars"]
    assert np.isfinite([point.value for point in told.Scalars("train/value_loss")]).all()
