"""The stack hands memory through its layers, and layers that are shut change nothing."""

import pytest
import torch

from model.backbone import Backbone
from model.block_scan import BlockScan

MIXES = ["micro", "cpu", "gpu", "oblong"]


def draw(config, batch=2, streams=1, frames=5):
    tokens = torch.randn(batch, streams, frames, config.tokens, config.width)
    return tokens, torch.randn(batch, streams, frames, config.width)


def test_a_fresh_stack_passes_tokens_through(layer_mixes):
    backbone = Backbone(layer_mixes["cpu"])
    tokens, conditioning = draw(layer_mixes["cpu"])
    out, _ = backbone(tokens, conditioning, backbone.initial_memory(2, tokens.device))
    assert torch.equal(out, tokens)


@pytest.mark.parametrize("mix", MIXES)
def test_layers_take_the_block_sizes_in_turn(mix, layer_mixes):
    config = layer_mixes[mix]
    backbone = Backbone(config)
    memory = backbone.initial_memory(3, torch.device("cpu"))
    scans = [module for module in backbone.modules() if isinstance(module, BlockScan)]
    for i, scan in enumerate(scans):
        assert scan.block_size == config.block_sizes[i % len(config.block_sizes)]
        blocks = config.tokens // (scan.block_size[0] * scan.block_size[1])
        heads, channels = config.scan_heads, config.scan_head_channels
        assert memory.scan[i].shape == (3, blocks, heads, channels, config.scan_state)
    assert len(scans) == len(memory.scan) == config.layers
    assert memory.seen.tolist() == [0, 0, 0]


@pytest.mark.parametrize("mix", MIXES)
def test_the_second_stream_changes_neither_the_first_nor_memory(mix, make_dynamics, layer_mixes):
    backbone = make_dynamics(mix).backbone
    tokens, conditioning = draw(layer_mixes[mix], streams=2, frames=12)
    start = backbone.initial_memory(2, tokens.device)
    both, after_both = backbone(tokens, conditioning, start)
    alone, after_alone = backbone(tokens[:, :1], conditioning[:, :1], start)
    torch.testing.assert_close(both[:, :1], alone, rtol=0, atol=1e-4)
    for (name, ours), theirs in zip(after_both.to_dict().items(), after_alone.to_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_the_memory_given_stays_as_it_is(make_dynamics, layer_mixes):
    backbone = make_dynamics().backbone
    tokens, conditioning = draw(layer_mixes["micro"])
    _, memory = backbone(tokens, conditioning, backbone.initial_memory(2, tokens.device))
    before = memory.clone()
    _, after = backbone(tokens.flip(2), conditioning, memory)
    for name, value in memory.to_dict().items():
        assert torch.equal(value, before.to_dict()[name]), name
        if name != "seen":
            assert not torch.equal(value, after.to_dict()[name]), name


def test_every_parameter_of_every_layer_is_used(make_dynamics, layer_mixes):
    backbone = make_dynamics("cpu").backbone
    tokens, conditioning = draw(layer_mixes["cpu"], streams=2)
    out, _ = backbone(tokens, conditioning, backbone.initial_memory(2, tokens.device))
    out.square().sum().backward()
    silent = [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_scan_and_attention_may_have_different_numbers_of_heads(make_dynamics, make_episode):
    model = make_dynamics(attention_heads=4)
    assert model.config.scan_heads == 2
    features, _ = model.observe(model.initial_memory(2), *make_episode(model.config, 2, 3))
    assert features.isfinite().all()
