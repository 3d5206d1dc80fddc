"""A world model comes back from disk as it was."""

from dataclasses import replace

import pytest
import torch

from model.config import PRESETS, WorldModelConfig
from model.world_model import WorldModel


@torch.no_grad()
def test_a_loaded_world_dreams_the_same(tmp_path, make_world, make_episode):
    world = make_world()
    world.save_pretrained(tmp_path)
    loaded = WorldModel.from_pretrained(tmp_path)
    frames = 2 * torch.rand(2, 3, 64, 64) - 1
    assert torch.equal(loaded.tokenizer.encode(frames), world.tokenizer.encode(frames))
    latents, actions = make_episode(world.config.dynamics, 2, 5)
    noise = torch.randn_like(latents[:, 0])
    dreams = []
    for one in (world, loaded):
        _, memory = one.dynamics.observe(one.dynamics.initial_memory(2), latents, actions)
        prediction, _ = one.dynamics.imagine(memory, actions[:, 1], noise, 4)
        dreams.append((*vars(prediction).values(), one.tokenizer.decode(prediction.latent)))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*dreams, strict=True))


def test_a_loaded_world_is_ready_to_dream_and_not_to_train(tmp_path, make_world):
    world = make_world().train()
    world.save_pretrained(tmp_path)
    loaded = WorldModel.from_pretrained(tmp_path)
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert {v.device for v in loaded.state_dict().values()} == {loaded.device} == {torch.device("cpu")}
    assert world.training


def test_buffers_that_are_not_stored_come_from_the_config(tmp_path):
    """`from_pretrained` builds on the meta device: a buffer that nobody fills would hold whatever was in memory."""
    micro = PRESETS["micro"]
    config = WorldModelConfig(replace(micro.tokenizer), replace(micro.dynamics, reward_values=(0.0, 1.0, -0.25)))
    world = WorldModel(config)
    world.save_pretrained(tmp_path)
    loaded = WorldModel.from_pretrained(tmp_path)
    assert loaded.config == config
    buffers = dict(loaded.named_buffers())
    assert buffers.keys() == dict(world.named_buffers()).keys()
    for name, value in world.named_buffers():
        assert torch.equal(buffers[name], value), name


def test_loading_leaves_the_global_generator_alone(tmp_path, make_world):
    make_world().save_pretrained(tmp_path)
    before = torch.get_rng_state()
    WorldModel.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", [torch.float16, torch.int8])
def test_weights_of_another_precision_are_not_taken_silently_or_keep_their_values(tmp_path, make_world, precision):
    """Half precision may be read into float32 unchanged; integers can only be damage."""
    from model.checkpoint import CheckpointError, save_tensors

    world = make_world()
    world.save_pretrained(tmp_path)
    weights = {k: v.to(precision) for k, v in world.state_dict().items()}
    save_tensors(tmp_path / "model.safetensors", weights)
    if precision == torch.int8:
        with pytest.raises(CheckpointError):
            WorldModel.from_pretrained(tmp_path)
        return
    loaded = WorldModel.from_pretrained(tmp_path)
    assert loaded.dynamics.place.dtype == torch.float32
    assert torch.equal(loaded.dynamics.place, weights["dynamics.place"].float())


def test_weights_may_be_stored_in_half_the_size(tmp_path, make_world):
    world = make_world()
    world.save_pretrained(tmp_path / "whole")
    world.save_pretrained(tmp_path / "half", dtype=torch.float16)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    read = WorldModel.from_pretrained(tmp_path / "half").state_dict()
    for name, value in world.state_dict().items():
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], value.half().float()), name
