"""What a training starts with: a folder that is no sound tokenizer is refused and named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from model.checkpoint import CheckpointError, save_weights
from model.config import PRESETS
from model.start_weights import open_tokenizer, take_encoder, weights_to_start_from, weights_to_transfer
from model.tokenizer import Tokenizer
from model.training import moving_average
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


def tokenizer_of(**changes):
    """A tokenizer of the size of `micro`, or changed, whose latents have been measured."""
    tokenizer = Tokenizer(replace(MICRO.tokenizer, **changes))
    tokenizer.scale.fill_(0.4)
    return tokenizer


def assert_same_weights(one, other):
    expected, given = one.state_dict(), other.state_dict()
    assert expected.keys() == given.keys()
    for name, value in expected.items():
        assert torch.equal(given[name], value), name


@pytest.mark.parametrize("changes", [{}, {"decoder_channels": (12,)}, {"bottleneck_noise": 0.1}], ids=str)
@pytest.mark.parametrize("whole", [True, False], ids=["world_model", "tokenizer"])
def test_an_encoder_is_taken_as_it_is_with_its_scale(changes, whole, tmp_path):
    source = WorldModel(MICRO)
    source.tokenizer.load_state_dict(tokenizer_of().state_dict())
    save_weights(tmp_path, MICRO, (source if whole else source.tokenizer).state_dict())
    ours = Tokenizer(replace(MICRO.tokenizer, **changes))
    decoder = {name: value.clone() for name, value in ours.decoder.state_dict().items()}
    take_encoder(ours, tmp_path)
    assert_same_weights(source.tokenizer.encoder, ours.encoder)
    assert ours.scale == source.tokenizer.scale == torch.tensor(0.4)
    for name, value in ours.decoder.state_dict().items():
        assert torch.equal(value, decoder[name]), name
    frames = 2 * torch.rand(2, 3, 64, 64) - 1
    assert torch.equal(ours.encode(frames), source.tokenizer.encode(frames))


def test_training_changes_no_encoder_that_was_taken(tmp_path):
    """Neither the weights nor their moving average, nor the scale; the decoder learns."""
    source = tokenizer_of()
    save_weights(tmp_path, MICRO, source.state_dict())
    ours, frames = tokenizer_of(decoder_channels=(12,)), 2 * torch.rand(4, 3, 64, 64) - 1
    take_encoder(ours, tmp_path)
    average, before = moving_average(ours, 0.5), ours.decoder[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(3):
        reconstructed = ours.reconstruct(frames, torch.Generator().manual_seed(step))
        nn.functional.mse_loss(reconstructed, frames).backward()
        optimizer.step()
        average.update_parameters(ours)
    for trained in (ours, average.module):
        assert_same_weights(source.encoder, trained.encoder)
        assert trained.scale == source.scale
    assert not any(weight.requires_grad for weight in ours.encoder.parameters())
    assert not torch.isclose(ours.decoder[0].weight, before, rtol=0, atol=1e-4).any()


@pytest.mark.parametrize(
    "changes", [{"encoder_channels": (8, 24)}, {"latent_channels": 5}, {"frame_size": 32}], ids=lambda v: next(iter(v))
)
def test_an_encoder_of_another_shape_is_refused(changes, tmp_path):
    save_weights(tmp_path, MICRO, tokenizer_of().state_dict())
    ours = tokenizer_of(**changes)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    (name, _), *_ = changes.items()
    with pytest.raises(
        CheckpointError, match=rf"encoder of another shape than --preset makes.*{name}.*Pass the preset"
    ):
        take_encoder(ours, tmp_path)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key]), key


def world_of(layers, block_sizes, tokenizer=None, **changes):
    """A world model of so many layers, around a tokenizer if one is given."""
    dynamics = replace(MICRO.dynamics, layers=layers, block_sizes=block_sizes, **changes)
    world = WorldModel(replace(MICRO, dynamics=dynamics, tokenizer=tokenizer.config if tokenizer else MICRO.tokenizer))
    if tokenizer:
        world.tokenizer.load_state_dict(tokenizer.state_dict())
    return world


THREE = ((4, 4), (2, 2), (1, 1))


@pytest.mark.parametrize("keep", [(2, 0), (0, 2), (1,), (1, 1), (2, 1, 0)], ids=str)
@torch.no_grad()
def test_a_smaller_network_starts_as_some_layers_in_their_order(keep, tmp_path):
    source = world_of(3, THREE)
    source.save_pretrained(tmp_path)
    ours = world_of(len(keep), tuple(THREE[i] for i in keep), source.tokenizer)
    ours.load_state_dict(weights_to_start_from(tmp_path, ours, keep))
    for new, old in enumerate(keep):
        assert_same_weights(source.dynamics.backbone.layers[old], ours.dynamics.backbone.layers[new])
    source.dynamics.backbone.layers = nn.ModuleList(source.dynamics.backbone.layers[i] for i in keep)
    if len(set(keep)) == len(keep):
        assert_same_weights(source, ours)


@pytest.mark.parametrize("keep", [(0, 3), (-1,), (7, 0)], ids=str)
def test_layers_that_a_checkpoint_does_not_have_are_refused(keep, tmp_path):
    world_of(3, THREE).save_pretrained(tmp_path)
    told = " ".join(map(str, keep))
    with pytest.raises(
        CheckpointError, match=rf"--keep-layers {told} given, expected numbers from 0 to 2: .* 3 layers"
    ):
        weights_to_start_from(tmp_path, world_of(len(keep), THREE), keep)


@pytest.mark.parametrize("keep", [(0,), (0, 1), (2, 0, 1), ()], ids=str)
def test_layers_that_are_not_those_of_the_preset_are_refused(keep, tmp_path):
    """Too few, too many, none said, or of other block sizes."""
    source = world_of(3, THREE)
    source.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"network of another shape.*--keep-layers"):
        weights_to_start_from(tmp_path, world_of(2, ((1, 1), (4, 4)), source.tokenizer), keep)


@pytest.mark.parametrize("layers", [2, 4, 6])
def test_block_sizes_that_layers_take_in_turn_are_those_of_the_layers(layers, tmp_path):
    """((2, 2), (1, 1)) for four layers is ((2, 2), (1, 1), (2, 2), (1, 1))."""
    turns = ((2, 2), (1, 1))
    source = world_of(6, turns)
    source.save_pretrained(tmp_path)
    ours = world_of(layers, turns, source.tokenizer)
    ours.load_state_dict(weights_to_start_from(tmp_path, ours, tuple(range(layers))))
    for old, new in zip(source.dynamics.backbone.layers, ours.dynamics.backbone.layers, strict=False):
        assert_same_weights(old, new)


def test_a_run_keeps_its_own_decoder_for_the_latents_of_the_other(tmp_path):
    source = world_of(2, MICRO.dynamics.block_sizes, tokenizer_of())
    source.save_pretrained(tmp_path)
    tokenizer = Tokenizer(replace(MICRO.tokenizer, decoder_channels=(12,), bottleneck_noise=0.1))
    take_encoder(tokenizer, tmp_path)
    ours = world_of(2, MICRO.dynamics.block_sizes, tokenizer)
    ours.load_state_dict(weights_to_start_from(tmp_path, ours))
    assert_same_weights(source.dynamics, ours.dynamics)
    assert_same_weights(tokenizer, ours.tokenizer)


@pytest.mark.parametrize("changed", ["encoder.1.weight", "encoder.6.bias", "scale"])
def test_a_run_with_other_latents_gives_nothing(changed, tmp_path):
    source = world_of(2, MICRO.dynamics.block_sizes, tokenizer_of())
    source.save_pretrained(tmp_path)
    tokenizer = tokenizer_of(decoder_channels=(12,))
    take_encoder(tokenizer, tmp_path)
    with torch.no_grad():
        tokenizer.state_dict()[changed].mul_(1.001)
    with pytest.raises(CheckpointError, match=r"latents of another tokenizer.*--encoder-of"):
        weights_to_start_from(tmp_path, world_of(2, MICRO.dynamics.block_sizes, tokenizer))
