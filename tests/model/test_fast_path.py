"""The fast path does what the plain network does: any layers, any age, any place in the ring, any memory put in."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.backbones import with_backbone
from model.config import PRESETS
from model.fast_path import FastPath, has_fast_path
from model.world_model import WorldModel
from tests.model.conftest import enliven

MICRO = PRESETS["micro"]
MIXES = ["micro", "cpu", "gpu", "oblong", "activated"]
STEPS = (1, 2, 4)
ALL = torch.arange(4)

# Not in float64 with a tighter bound: decays, sampler, features and heads of the fast path are float32 in any case.
ROUNDING = 1e-4
"""Of latents, features and keys of about unit variance, and of a layer's states relative to the largest; both paths
feed on their own frames. Measured over 24 frames of two draws of all mixes: 3e-5."""
HALF_ROUNDING = 0.06
"""Root mean square in bfloat16, whose numbers have 8 bits, of latents and features. Measured likewise: 0.03."""


def draw(world, batch=4):
    """Actions, starts among them, and noise."""
    c = world.config.dynamics
    return torch.randint(-1, c.num_actions, (batch,)), torch.randn(batch, c.latent_channels, *(c.latent_size,) * 2)


def go_on(path, world, fast, steps):
    """The memory after some steps of the fast path."""
    for _ in range(steps):
        _, fast = path.imagine(fast, *draw(world, fast.batch), 1)
    return fast


def assert_close(ours, theirs, what, scale=1.0):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=ROUNDING * scale, msg=lambda m: f"{what}: {m}")


def assert_same_memory(ours, theirs, exactly=False):
    assert ours.to_dict().keys() == theirs.to_dict().keys()
    for name, value in theirs.to_dict().items():
        if exactly or name == "seen":
            assert torch.equal(ours.to_dict()[name], value), name
        else:
            assert_close(ours.to_dict()[name], value, name, max(1.0, float(value.abs().max())))


def assert_same_prediction(ours, theirs, exactly=False):
    for name in ("latent", "features"):
        pair = getattr(ours, name), getattr(theirs, name)
        assert torch.equal(*pair) if exactly else assert_close(*pair, name) is None, name
    assert torch.equal(ours.reward, theirs.reward)
    assert torch.equal(ours.terminated, theirs.terminated)


@pytest.mark.parametrize("mix", MIXES)
@torch.inference_mode()
def test_it_dreams_as_the_network_does_in_any_number_of_denoising_steps(mix, make, remember):
    """Through the ring more than twice, by dreams that have seen nothing, a bit, or more than the window holds."""
    world = make(mix)
    path, plain, config = FastPath(world), remember(world), world.config.dynamics
    fast, rewards, ends = path.lay_out(plain), [], []
    for t in range(2 * (config.attention_window + 2) + 3):
        action, noise = draw(world)
        theirs, plain = world.dynamics.imagine(plain, action, noise, STEPS[t % 3])
        ours, fast = path.imagine(fast, action, noise, STEPS[t % 3])
        assert_same_prediction(ours, theirs)
        assert_same_memory(fast.select(ALL, config), plain)
        rewards.append(theirs.reward)
        ends.append(theirs.terminated)
    assert 0 < torch.stack(rewards).mean() < 1
    assert 0 < torch.stack(ends).float().mean() < 1


@pytest.mark.parametrize("mix", MIXES)
@torch.inference_mode()
def test_it_takes_real_frames_in_as_the_network_does(mix, make, remember):
    world = make(mix)
    path, plain, config = FastPath(world), remember(world), world.config.dynamics
    fast = path.lay_out(plain)
    for _ in range(2 * (config.attention_window + 2) + 1):
        action, latent = draw(world)
        theirs, plain = world.dynamics.observe(plain, latent[:, None], action[:, None])
        ours, fast = path.observe(fast, latent, action)
        assert_close(ours, theirs[:, 0], "features")
        assert_same_memory(fast.select(ALL, config), plain)


@pytest.mark.parametrize("mix", MIXES)
@torch.inference_mode()
def test_a_memory_comes_back_bit_equal(mix, make, remember):
    """As it was laid out, in any order, and after some steps too."""
    world = make(mix)
    path, memory, config = FastPath(world), remember(world), world.config.dynamics
    for rows in (ALL, torch.tensor([2, 0]), torch.tensor([3, 3])):
        assert_same_memory(path.lay_out(memory).select(rows, config), memory.select(rows), exactly=True)
    later = go_on(path, world, path.lay_out(memory), 3).select(ALL, config)
    assert_same_memory(path.lay_out(later).select(ALL, config), later, exactly=True)


@torch.inference_mode()
def test_neighbours_change_nothing(make, remember):
    """Not a bit, in a batch of the same size."""
    world = make()
    path, memory, (action, noise) = FastPath(world), remember(world), draw(world)
    together, _ = path.imagine(path.lay_out(memory), action, noise, 2)
    rows = torch.tensor([3, 1, 3, 0])
    elsewhere, _ = path.imagine(path.lay_out(memory.select(rows)), action[rows], noise[rows], 2)
    assert torch.equal(elsewhere.latent, together.latent[rows])
    assert torch.equal(elsewhere.features, together.features[rows])


@torch.inference_mode()
def test_weights_changed_later_are_not_seen(make, remember):
    world = make()
    path, memory, (action, noise) = FastPath(world), remember(world), draw(world)
    fresh, _ = FastPath(world).imagine(path.lay_out(memory), action, noise, 2)
    decoded = path.decode(noise)
    for weight in world.parameters():
        weight.neg_()
    world.tokenizer.scale.fill_(0.1)
    later, _ = path.imagine(path.lay_out(memory), action, noise, 2)
    assert torch.equal(path.decode(noise), decoded)
    assert_same_prediction(later, fresh, exactly=True)


@pytest.mark.parametrize("mix", ["micro", "cpu"])
@torch.inference_mode()
def test_in_bfloat16_a_dream_is_about_the_same(mix, make, remember):
    """From the same memory; nothing but the memory and the work is in bfloat16."""
    world = make(mix)
    path, plain = FastPath(world, torch.bfloat16), remember(world)
    for t in range(6):
        action, noise = draw(world)
        ours, fast = path.imagine(path.lay_out(plain), action, noise, STEPS[t % 3])
        theirs, plain = world.dynamics.imagine(plain, action, noise, STEPS[t % 3])
        for name in ("latent", "features"):
            error = (getattr(ours, name) - getattr(theirs, name)).square().mean().sqrt()
            assert 0 < error < HALF_ROUNDING, name
        assert ours.latent.dtype == ours.features.dtype == torch.float32
        assert {v.dtype for v in fast.select(ALL, world.config.dynamics).to_dict().values()} == {
            torch.float32, torch.int64,
        }  # fmt: skip


@torch.inference_mode()
def test_in_bfloat16_rounding_does_not_add_up_over_frames(make, remember):
    """Of real frames, which both are shown: at the end no farther off than at the start."""
    world = make()
    exact, rounded, errors = FastPath(world), FastPath(world, torch.bfloat16), []
    memories = [path.lay_out(remember(world, (0, 0))) for path in (exact, rounded)]
    for _ in range(90):
        action, latent = draw(world, 2)
        features, memories[0] = exact.observe(memories[0], latent, action)
        nearly, memories[1] = rounded.observe(memories[1], latent, action)
        errors.append((features - nearly).square().mean().sqrt())
    errors = torch.stack(errors)
    assert errors.max() < HALF_ROUNDING
    assert errors[-30:].mean() < 1.5 * errors[:30].mean()


@torch.inference_mode()
def test_every_action_modulates_as_it_does_in_the_network(make):
    """At the levels and strides of every sampler, and of a clean frame; the last row is that of no action."""
    world = make("cpu")
    path, dynamics, c = FastPath(world), world.dynamics, world.config.dynamics
    actions = torch.tensor([*range(c.num_actions), -1])
    tokens = torch.randn(len(actions), 1, 1, c.tokens, c.width)
    for level, stride in [(0, 3), (0, 2), (4, 2), (0, 1), (6, 1), (7, 0), (8, 0)]:
        tables = path._modulator.tables[level, stride]
        levels, strides = (torch.full((len(actions), 1, 1), v) for v in (level, stride))
        conditioning = dynamics.condition(actions[:, None], levels, strides)
        for i, layer in enumerate(dynamics.backbone.layers):
            parts = tables.layers[:, i].unflatten(1, (3, 3))
            for branch, name in enumerate(("scan", "attention", "mlp")):
                shift, scale, gate = parts[:, branch].unbind(1)
                modulated, expected = getattr(layer, f"{name}_modulation")(tokens, conditioning)
                ours = torch.addcmul(shift, torch.nn.functional.layer_norm(tokens[:, 0, 0], (c.width,)), scale)
                torch.testing.assert_close(ours, modulated[:, 0, 0], rtol=0, atol=1e-5)
                torch.testing.assert_close(gate, expected[:, 0, 0], rtol=0, atol=1e-6)
        shift, scale = tables.final.unbind(1)
        expected = dynamics.final_modulation(conditioning[:, 0]).chunk(2, -1)
        torch.testing.assert_close(torch.cat([shift, scale], 1), torch.cat([expected[0], 1 + expected[1]], 1))


@pytest.mark.parametrize(
    ("name", "has"),
    [("lssvwm", True), ("mamba2", False), ("mamba2_local", True), ("causal", False), ("causal_window", False),
     ("dfot", False), ("videossm", False), ("lssvwm_block1", True)],
)  # fmt: skip
def test_only_a_scan_with_attention_to_a_window_and_actions_has_a_fast_path(name, has):
    config = with_backbone(MICRO.dynamics, name)
    assert has_fast_path(config) is has
    assert not has_fast_path(replace(config, pose_size=4))


@pytest.mark.parametrize("channels", [(16, 8), (12,)])
@torch.inference_mode()
def test_it_decodes_as_the_tokenizer_does(channels):
    """Latents beyond the encoder's reach too."""
    world = enliven(WorldModel(replace(MICRO, tokenizer=replace(MICRO.tokenizer, decoder_channels=channels))))
    world.tokenizer.scale.fill_(0.7)
    latents = 3 * torch.randn(3, 4, 8, 8)
    expected = world.tokenizer.decode(latents)
    torch.testing.assert_close(FastPath(world).decode(latents), expected, rtol=0, atol=1e-5)
    nearly = FastPath(world, torch.bfloat16).decode(latents).float()
    assert (nearly - expected).square().mean().sqrt() < 0.02 * expected.std()


# Away from pytest: its type-checking hook wraps functions that the compiler must see through.
COMPILED = """
import sys
import torch
from torch._dynamo.utils import counters
from model.config import PRESETS
from model.fast_path import FastPath
from model.world_model import WorldModel
from tests.model.conftest import enliven

torch.manual_seed(0)
world = enliven(WorldModel(PRESETS["micro"])).requires_grad_(False)
for layer in world.dynamics.backbone.layers:
    layer.attention.query_norm.weight *= float(sys.argv[1])  # scores may be as large as one likes
rows = torch.arange(3)
with torch.inference_mode():
    paths = FastPath(world), FastPath(world, compiled=True)
    assert all(layer.scores_bounded is (float(sys.argv[1]) == 1) for layer in paths[1]._layers)
    memories = [path.lay_out(world.dynamics.initial_memory(3)) for path in paths]
    for t in range(7):  # once round the ring and beyond
        action, noise = torch.randint(-1, 6, (3,)), torch.randn(3, 4, 8, 8)
        shown, after = zip(*(path.imagine(m, action, noise, 2) for path, m in zip(paths, memories)))
        again, after_again = paths[1].imagine(memories[1], action, noise, 2)  # the first one taken back
        assert torch.equal(again.latent, shown[1].latent) and torch.equal(again.features, shown[1].features)
        for name in ("latent", "features"):
            torch.testing.assert_close(*(getattr(one, name) for one in shown), rtol=0, atol=1e-4)
        memories = [after[0], after_again]
        kept = [m.select(rows, world.config.dynamics).to_dict() for m in memories]
        for name, value in kept[0].items():
            torch.testing.assert_close(kept[1][name], value, rtol=1e-4, atol=1e-4)
assert counters["stats"]["unique_graphs"] == 4 + 3, counters  # two block sizes, remembering or not; and the ends
assert not counters["graph_break"], counters
"""


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "c++", "clang"))),
    reason="torch.compile needs a C++ compiler",
)
@pytest.mark.parametrize("sharper", [1.0, 20.0])
def test_compiled_it_is_the_same(sharper):
    """With scores of attention that are bounded, and with larger ones."""
    command = [sys.executable, "-c", COMPILED, str(sharper)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=600)
