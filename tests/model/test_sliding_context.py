"""Dreaming with a model that sees later frames: what a dreamed frame depends on, and on nothing else."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from model.axes import START_ACTION
from model.backbones import with_backbone
from model.config import PRESETS
from model.lssvwm import LSSVWM
from model.poses import POSE_SIZE
from model.sliding_context import imagine_in_context
from tests.model.conftest import enliven

WINDOW, MAX_STEPS = 5, 8


@cache
def build(pose_size=0):
    config = replace(PRESETS["micro"].dynamics, max_denoising_steps=MAX_STEPS, pose_size=pose_size)
    config = replace(with_backbone(config, "dfot"), attention_window=WINDOW, layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return enliven(LSSVWM(config), strength=0.3)


def draw(model, frames, batch=2):
    """A context of so many frames, the actions to them and to the next, and noise."""
    c = model.config
    shape = (c.latent_channels, c.latent_size, c.latent_size)
    actions = torch.randint(0, c.num_actions, (batch, frames + 1))
    return torch.randn(batch, frames, *shape), actions, torch.randn(batch, *shape)


def draw_poses(batch, frames):
    angle = torch.rand(batch, frames) * 2 * math.pi
    return torch.cat([torch.randn(batch, frames, 2), torch.stack([angle.cos(), angle.sin()], -1)], -1)


def direct(model, context, actions, z, level, stride, poses=None):
    """What the network makes of the whole sequence, frames before `z` clean: its last frame."""
    frames = context.shape[1]
    levels = torch.tensor([[[MAX_STEPS] * frames + [level]]]).repeat(len(context), 1, 1)
    strides = torch.tensor([[[0] * frames + [stride]]]).repeat(len(context), 1, 1)
    latents = torch.cat([context, z[:, None]], 1)[:, None]
    memory = model.initial_memory(len(context))
    return model(latents, actions, levels, strides, memory, remember=False, poses=poses)[0][:, -1]


@pytest.mark.parametrize("frames", [1, 2, WINDOW - 1])
@torch.no_grad()
def test_one_denoising_step_is_one_pass_of_the_network(frames):
    model = build()
    context, actions, noise = draw(model, frames)
    started = torch.cat([torch.full_like(actions[:, :1], START_ACTION), actions[:, 1:]], 1)
    expected = direct(model, context, started, noise, level=0, stride=3)
    torch.testing.assert_close(imagine_in_context(model, context, actions, noise, 1), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_more_steps_walk_from_the_noise_in_equal_parts():
    model = build()
    context, actions, noise = draw(model, 3)
    started = torch.cat([torch.full_like(actions[:, :1], START_ACTION), actions[:, 1:]], 1)
    z = noise
    for level in (0, 2, 4, 6):
        clean = direct(model, context, started, z, level, stride=1)
        z = z + (clean - z) / (1 - level / 8) / 4
    torch.testing.assert_close(imagine_in_context(model, context, actions, noise, 4), z, rtol=0, atol=1e-5)


@torch.no_grad()
def test_only_the_end_of_a_long_context_counts():
    model = build()
    context, actions, noise = draw(model, 9)
    whole = imagine_in_context(model, context, actions, noise, 2)
    end = imagine_in_context(model, context[:, 1 - WINDOW :], actions[:, -WINDOW:], noise, 2)
    assert torch.equal(whole, end)
    context[:, : 1 - WINDOW] = 100.0
    actions[:, : 1 - WINDOW] = 0  # with what led to the first frame in sight
    assert torch.equal(imagine_in_context(model, context, actions, noise, 2), whole)


@torch.no_grad()
def test_every_frame_and_action_in_sight_counts():
    """Each row of a batch of equals is changed in one place, the last in none."""
    model = build()
    context, actions, noise = (v.repeat_interleave(2 * WINDOW - 1, 0) for v in draw(model, 9, batch=1))
    for back in range(1, WINDOW):
        context[back - 1, -back] += 1
        actions[WINDOW + back - 2, -back] = (actions[WINDOW + back - 2, -back] + 1) % model.config.num_actions
    *changed, whole = imagine_in_context(model, context, actions, noise, 1)
    assert all((dreamed - whole).abs().max() > 1e-4 for dreamed in changed)


@pytest.mark.parametrize("frames", [2, 8])
@torch.no_grad()
def test_moving_and_turning_the_frame_of_reference_changes_nothing(frames):
    model = build(pose_size=POSE_SIZE)
    context, actions, noise = draw(model, frames)
    poses = draw_poses(2, frames + 1)
    here = imagine_in_context(model, context, actions, noise, 2, poses)
    turn = torch.tensor([[math.cos(1.1), -math.sin(1.1)], [math.sin(1.1), math.cos(1.1)]])
    moved = torch.cat([poses[..., :2] @ turn.T + torch.tensor([3.0, -2.0]), poses[..., 2:] @ turn.T], -1)
    torch.testing.assert_close(imagine_in_context(model, context, actions, noise, 2, moved), here, rtol=0, atol=1e-5)
    poses[:, -1, 0] += 1  # but moving the last frame alone does
    assert (imagine_in_context(model, context, actions, noise, 2, poses) - here).abs().max() > 1e-4


@torch.no_grad()
def test_poses_are_those_seen_from_the_first_frame_in_sight():
    model = build(pose_size=POSE_SIZE)
    context, actions, noise = draw(model, 7)
    poses = draw_poses(2, 8)
    x, y, cos, sin = poses[:, -WINDOW:].unbind(-1)
    east, north = x - x[:, :1], y - y[:, :1]
    ahead, left = east * cos[:, :1] + north * sin[:, :1], north * cos[:, :1] - east * sin[:, :1]
    turned = torch.atan2(sin, cos) - torch.atan2(sin, cos)[:, :1]
    relative = torch.stack([ahead, left, turned.cos(), turned.sin()], -1)
    expected = direct(model, context[:, 1 - WINDOW :], actions[:, -WINDOW:], noise, 0, 3, relative)
    dreamed = imagine_in_context(model, context, actions, noise, 1, poses)
    torch.testing.assert_close(dreamed, expected, rtol=0, atol=1e-5)
    poses[:, :-WINDOW] = 100.0
    assert torch.equal(imagine_in_context(model, context, actions, noise, 1, poses), dreamed)


@torch.no_grad()
def test_noise_is_the_only_randomness():
    model = build()
    context, actions, noise = draw(model, 6)
    inputs = [v.clone() for v in (context, actions, noise)]
    before = torch.get_rng_state()
    first = imagine_in_context(model, context, actions, noise, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(imagine_in_context(model, context, actions, noise, 2), first)
    assert not torch.allclose(imagine_in_context(model, context, actions, -noise, 2), first)
    assert all(torch.equal(v, w) for v, w in zip((context, actions, noise), inputs, strict=True)), "inputs were changed"


@torch.no_grad()
def test_a_dream_does_not_depend_on_its_neighbours():
    model = build()
    context, actions, noise = draw(model, 6, batch=3)
    together = imagine_in_context(model, context, actions, noise, 2)
    alone = imagine_in_context(model, context[1:2], actions[1:2], noise[1:2], 2)
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)
