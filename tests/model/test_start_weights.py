"""What a training starts with: a folder that is no sound tokenizer is refused and named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError, save_weights
from model.config import PRESETS
from model.start_weights import open_tokenizer, weights_to_transfer
from model.tokenizer import Tokenizer
from model.world_model import WorldModel

MICRO = PRESETS["micro"]


def test_a_saved_tokenizer_opens(tmp_path):
    tokenizer = Tokenizer(MICRO.tokenizer)
    save_weights(tmp_path, MICRO, tokenizer.state_dict())
    for name, value in open_tokenizer(tmp_path).state_dict().items():
        torch.testing.assert_close(value, tokenizer.state_dict()[name], rtol=0, atol=0)


def test_the_tokenizer_of_a_world_model_opens(tmp_path):
    world = WorldModel(MICRO)
    world.save_pretrained(tmp_path)
    opened = open_tokenizer(tmp_path).state_dict()
    assert opened.keys() == world.tokenizer.state_dict().keys()
    for name, value in world.tokenizer.state_dict().items():
        torch.testing.assert_close(opened[name], value, rtol=0, atol=0)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = Tokenizer(MICRO.tokenizer).state_dict()
    weights["scale"] = torch.tensor(float("nan"))
    save_weights(tmp_path, MICRO, weights)
    with pytest.raises(CheckpointError, match="NaN or infinity in 1 tensors, the first is 'scale'"):
        open_tokenizer(tmp_path)


def test_a_missing_folder_is_not_looked_up_on_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(CheckpointError, match=r"no such folder.*train_tokenizer"):
        open_tokenizer(Path("runs/tokenizer"))


def of_another_world(**changes):
    """A world model with one action less, other rewards, and maybe other changes."""
    return WorldModel(
        replace(MICRO, dynamics=replace(MICRO.dynamics, num_actions=5, reward_values=(0.0, 1.0, 2.0), **changes))
    )


def test_another_world_gives_what_does_not_depend_on_it(tmp_path):
    source, own = of_another_world(), WorldModel(MICRO)
    source.save_pretrained(tmp_path)
    found = weights_to_transfer(tmp_path, own)
    own.load_state_dict(found)
    given, kept = source.state_dict(), WorldModel(MICRO).state_dict()
    ours = {name for name, value in found.items() if given[name].shape != value.shape or "tokenizer." in name}
    left = {name for name in ours if "tokenizer." not in name}
    rewards = {"dynamics.heads.reward.2.weight", "dynamics.heads.reward.2.bias"}
    assert left == rewards | {"dynamics.condition.action.weight"}
    assert found.keys() == kept.keys()
    for name in found.keys() - ours:
        assert torch.equal(found[name], given[name]), name


def test_another_world_with_another_network_gives_nothing(tmp_path):
    of_another_world(layers=1).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"another network than .*: it has layers = 1 for 2\."):
        weights_to_transfer(tmp_path, WorldModel(MICRO))
