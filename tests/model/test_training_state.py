"""A run that was saved, killed and continued is the run that was not."""

import pytest
import torch

import model.checkpoint
from model.checkpoint import CheckpointError
from model.diffusion import DiffusionConfig
from model.lssvwm import LSSVWM
from model.training import Windows, make_optimizers, moving_average, world_model_loss
from model.training_state import (
    TENSORS_FILE,
    Progress,
    load_training_state,
    save_training_state,
    step_generator,
)


class Run:
    """A training run of a `micro` network on random windows; everything follows from the step."""

    def __init__(self, config, use_muon, seed):
        torch.manual_seed(seed)
        self.model = LSSVWM(config)
        self.average = moving_average(self.model, decay=0.9)
        self.optimizers = make_optimizers(self.model, 3e-3, use_muon)
        self.progress = Progress()

    def train(self, steps):
        for _ in range(steps):
            generator = step_generator(7, self.progress.step)
            latents = torch.randn(2, 4, 4, 8, 8, generator=generator)
            actions = torch.randint(0, 6, (2, 4), generator=generator)
            batch = Windows(latents, actions, torch.zeros(2, 4), torch.zeros(2, 4))
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            world_model_loss(self.model, batch, DiffusionConfig(), generator).total.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update_parameters(self.model)
            self.progress.step += 1
            self.progress.seconds += 0.1
            self.progress.frames += 8
        return self

    def save(self, folder):
        save_training_state(folder, self.progress, self.model, self.average, self.optimizers)

    def load(self, folder):
        self.progress = load_training_state(folder, self.model, self.average, self.optimizers)
        return self

    def everything(self):
        """All tensors of the run by name."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, parameter in enumerate(optimizer.param_groups[0]["params"]):
                for key, value in optimizer.state[parameter].items():
                    tensors[f"optimizer.{i}.{j}.{key}"] = torch.as_tensor(value)
        return tensors


@pytest.fixture
def start(layer_mixes):
    def make(use_muon=False, seed=0, mix="micro"):
        return Run(layer_mixes[mix], use_muon, seed)

    return make


def assert_equal(first, second):
    ours, theirs = first.everything(), second.everything()
    assert ours.keys() == theirs.keys()
    different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert different == []
    assert first.progress == second.progress


@pytest.mark.parametrize("use_muon", [False, True], ids=["adamw", "muon and adamw"])
def test_continuing_equals_not_having_stopped(tmp_path, start, use_muon):
    uninterrupted = start(use_muon).train(5)
    stopped = start(use_muon).train(3)
    stopped.save(tmp_path)
    resumed = start(use_muon, seed=1).load(tmp_path)
    assert_equal(resumed, stopped)
    assert_equal(resumed.train(2), uninterrupted)
    kinds = {name.rsplit(".", 1)[-1] for name in resumed.everything() if name.startswith("optimizer")}
    assert kinds == {"step", "exp_avg", "exp_avg_sq"} | ({"momentum_buffer"} if use_muon else set())


def test_saving_does_not_disturb_the_run(tmp_path, start):
    saved, unsaved = start().train(2), start().train(2)
    saved.save(tmp_path)
    assert_equal(saved.train(2), unsaved.train(2))


@pytest.mark.parametrize("written", [0, 1000])
def test_a_kill_while_writing_leaves_the_state_before(tmp_path, start, monkeypatch, written):
    run = start().train(2)
    run.save(tmp_path)

    def killed(tensors, path, metadata=None):
        path.write_bytes(b"\x10" * written)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model.checkpoint, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            start().train(4).save(tmp_path)
    assert_equal(start(seed=1).load(tmp_path), run)
    run.train(1).save(tmp_path)
    assert_equal(start(seed=1).load(tmp_path), run)
    assert [p.name for p in tmp_path.iterdir()] == [TENSORS_FILE]


def test_an_empty_folder_holds_no_run(tmp_path, start):
    run = start()
    before = {name: value.clone() for name, value in run.everything().items()}
    assert load_training_state(tmp_path, run.model, run.average, run.optimizers) is None
    assert load_training_state(tmp_path / "none", run.model, run.average, run.optimizers) is None
    assert all(torch.equal(value, before[name]) for name, value in run.everything().items())


def test_refuses_the_run_of_another_network(tmp_path, start):
    start().train(1).save(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{TENSORS_FILE} belongs to a network of another shape"):
        start(mix="cpu").load(tmp_path)


def test_refuses_a_damaged_file(tmp_path, start):
    start().train(1).save(tmp_path)
    path = tmp_path / TENSORS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=TENSORS_FILE):
        start().load(tmp_path)


def test_a_file_of_weights_is_no_run(tmp_path, start):
    run = start()
    model.checkpoint.save_tensors(tmp_path / TENSORS_FILE, run.model.state_dict())
    with pytest.raises(CheckpointError, match=TENSORS_FILE):
        run.load(tmp_path)


def test_the_source_of_noise_follows_from_seed_and_step():
    drawn = {
        (seed, step): torch.randn(4, generator=step_generator(seed, step)).tolist()
        for seed in (0, 1, 2)
        for step in (0, 1, 2, 10**9)
    }
    assert len({tuple(v) for v in drawn.values()}) == len(drawn)
    assert torch.randn(4, generator=step_generator(1, 2)).tolist() == drawn[1, 2]
