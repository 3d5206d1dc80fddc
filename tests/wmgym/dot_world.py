"""A world of continuous actions whose right answers are known: a bright dot, moved by so many pixels as it is told.

Frames are 16x16. An action is (to the right in pixels, down in tenths of a pixel), so that its two numbers have bounds
far apart; the dot stops at the margin. A step pays 1 when the dot is in the right half.
"""

import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from model.config import PRESETS, TokenizerConfig, WorldModelConfig

SIZE, MARGIN, RADIUS = 16, 3.0, 2.5
LOW, HIGH = np.array([-3, -30], np.float32), np.array([3, 30], np.float32)
PIXELS = np.array([1.0, 0.1])
"""How far each number of an action moves the dot."""
RECORDED = np.array([-3, -1, 1, 3]) / 3
"""Recorded actions have these shares of the bounds; what lies between was never seen."""
CONFIG = WorldModelConfig(
    TokenizerConfig(frame_size=SIZE, encoder_channels=(16, 32), decoder_channels=(32, 16), latent_channels=8),
    replace(
        PRESETS["micro"].dynamics, latent_channels=8, latent_size=2, patch=1, reward_values=(0.0, 1.0),
        num_actions=1, action_size=2, action_low=tuple(LOW.tolist()), action_high=tuple(HIGH.tolist()),
    ),
)  # fmt: skip


def draw(place):
    """The frame of a dot at `(x, y)`, in pixels from the middle of the upper left one."""
    y, x = np.mgrid[:SIZE, :SIZE]
    bright = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * RADIUS**2))
    return np.repeat((255 * bright).round().astype(np.uint8)[:, :, None], 3, axis=2)


def place_in(frames):
    """Where the dot is in frames `[... H W c]`, `[... 2]`: the middle of what is brighter than a fifth."""
    bright = (frames[..., 0].astype(np.float64) - 51).clip(min=0) + 1e-9
    weight = bright / bright.sum((-2, -1), keepdims=True)
    along = np.arange(SIZE)
    return np.stack([(weight.sum(-2) * along).sum(-1), (weight.sum(-1) * along).sum(-1)], -1)


class DotWorld(gymnasium.Env):
    """See the module."""

    observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = Box(LOW, HIGH, dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = self.np_random.uniform(MARGIN, SIZE - 1 - MARGIN, 2)
        return draw(self._place), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self._place = (self._place + action * PIXELS).clip(MARGIN, SIZE - 1 - MARGIN)
        return draw(self._place), float(self._place[0] > SIZE / 2), False, False, {}


def record(seed, steps, shares=RECORDED):
    """An episode under random actions."""
    from wmgym.recording import Episode  # not before the jaxtyping hook

    env, rng = DotWorld(), np.random.default_rng(seed)
    images, actions, rewards = [env.reset(seed=seed)[0]], [np.zeros(2, np.float32)], [0.0]
    for _ in range(steps):
        action = (rng.choice(shares, 2) * HIGH).astype(np.float32)
        frame, reward, *_ = env.step(action)
        images.append(frame)
        actions.append(action)
        rewards.append(reward)
    return Episode(
        np.stack(images), np.stack(actions), np.array(rewards, np.float32), 0, seed=seed, action_space=env.action_space
    )


def train(episodes, tokenizer_steps, steps, window=4, batch=48):
    """A world model of the dot's world, trained on recordings of one length."""
    from model.diffusion import DiffusionConfig
    from model.training import Windows, make_optimizers, world_model_loss
    from model.world_model import WorldModel
    from wmgym.codec import frames_to_tensor

    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    world = WorldModel(CONFIG)
    pixels = frames_to_tensor(np.stack([e.image for e in episodes]), world.device)
    optimizer = torch.optim.Adam(world.tokenizer.parameters(), lr=8e-3)
    for step in range(tokenizer_steps):
        optimizer.param_groups[0]["lr"] = 8e-3 * min(1, 2 * (1 - step / tokenizer_steps))
        shown = pixels[rng.integers(len(pixels), size=32), rng.integers(pixels.shape[1], size=32)]
        loss = (world.tokenizer.reconstruct(shown, generator) - shown).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        latents = world.tokenizer.encode(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        world.tokenizer.scale.copy_(latents.std())
        latents /= world.tokenizer.scale
    actions, rewards = (torch.from_numpy(np.stack([getattr(e, k) for e in episodes])) for k in ("action", "reward"))
    (adam,) = make_optimizers(world.dynamics, 4e-3, use_muon=False)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 30, 2 * (1 - step / steps))
        rows, first = rng.integers(len(pixels), size=batch), int(rng.integers(pixels.shape[1] - window + 1))
        cut = [v[rows, first : first + window] for v in (latents, actions, rewards)]
        config = DiffusionConfig(shortcut_fraction=0.0, pure_noise_probability=0.9, context_noise=0.05)
        total = world_model_loss(world.dynamics, Windows(*cut, torch.zeros_like(cut[2])), config, generator).total
        adam.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(world.dynamics.parameters(), 1.0)
        adam.step()
    return world.eval().requires_grad_(False)


def small_checkpoint(dynamics=CONFIG.dynamics, recorded=None):
    """A checkpoint of the dot's world with fresh weights that make every input matter."""
    from model.world_model import WorldModel
    from wmgym.checkpoint import Checkpoint
    from wmgym.starts import Clips

    with torch.random.fork_rng():
        torch.manual_seed(0)
        world = WorldModel(replace(CONFIG, dynamics=dynamics))
        for name, weight in world.named_parameters():
            if "modulation" in name:
                torch.nn.init.normal_(weight, std=0.3)
        torch.nn.init.constant_(world.dynamics.heads.termination[-1].bias, -100.0)
    episode = record(0, 9)
    clips = Clips(
        np.stack([episode.image[:3], episode.image[4:7]]), np.stack([episode.action[:3], episode.action[4:7]])
    )
    return Checkpoint(world.eval().requires_grad_(False), episode.image[:5], "dots", clips, recorded)


def assert_refused_and_unchanged(checkpoint, action, words):
    """Checks that a dream refuses an action with these words, and is then where it was."""
    from wmgym.env import DreamEnv
    from wmgym.errors import InvalidActionError

    env = DreamEnv(checkpoint=checkpoint, observation="latent")
    env.reset(seed=0)
    before = copy.deepcopy(env.clone_state().generators)
    with pytest.raises(InvalidActionError, match=words):
        env.step(action)
    state = env.clone_state()
    assert torch.equal(state.generators, before)
    assert state.steps.tolist() == [0]
