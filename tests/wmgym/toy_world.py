"""A world whose right answers are known: it counts frames, repeats the action, and pays for both.

A frame carries its number (the first is 1) as a grey level. Features are `[number, action that led to it,
grey level of the last real frame, checksum of all actions and real frames so far, noise]`; a step pays
`10 * number + action`; action 5 terminates. Real frames are only looked at for their grey level. All numbers
are small integers, so floats hold them exactly and batching changes nothing.
"""

import dataclasses

import numpy as np
import torch
from torch import nn

from model.config import PRESETS
from model.lssvwm import Prediction
from model.memory import Memory
from model.world_model import WorldModel
from wmgym.checkpoint import Checkpoint

NUMBER, ACTION, LEVEL, CHECKSUM, NOISE = range(5)
FATAL_ACTION = 5
FIRST_LEVELS = (40, 41, 42, 43, 44, 45, 46)
_MODULUS = 10007  # keeps the checksum exact


def reward_of(number, action):
    return 10.0 * number + action


def checksum_of(actions, levels):
    """The checksum after real frames with these grey levels, led to by these actions."""
    total = 0
    for action, level in zip(actions, levels, strict=True):
        total = (3 * total + 7 * (action + 1) + level) % _MODULUS
    return total


def grey(levels):
    """Frames `(t, 64, 64, 3)` of these grey levels."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 64, 64, 3)).copy()


class ToyTokenizer(nn.Module):
    """The grey level of a frame stands in every cell of its latent."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def encode(self, frames):
        level = (frames.mean((1, 2, 3)) + 1) * 127.5
        return level.round()[:, None, None, None].expand(-1, *self.shape).clone()

    def decode(self, latents):
        pixels = latents.mean((1, 2, 3)) / 127.5 - 1
        return pixels[:, None, None, None].expand(-1, 3, 64, 64)


class ToyDynamics(nn.Module):
    """Remembers number, last real level and checksum in the keys of a Memory."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)

    def initial_memory(self, batch):
        keys = torch.zeros(batch, 1, 1, 1, 3)
        return Memory((), (keys,), (torch.zeros_like(keys),), (), torch.zeros(batch, dtype=torch.int64))

    def observe(self, memory, latents, actions, poses=None):
        known, seen = memory.keys[0].flatten(1), []
        for t in range(actions.shape[1]):
            action, level = actions[:, t].float(), latents[:, t].mean((1, 2, 3)).round()
            checksum = (3 * known[:, 2] + 7 * (action + 1) + level) % _MODULUS
            known = torch.stack([known[:, 0] + 1, level, checksum], 1)
            seen.append(self._features(known, action, torch.zeros_like(action)))
        return torch.stack(seen, 1), self._memory(memory, known)

    def imagine(self, memory, action, noise, denoising_steps, pose=None):
        known = memory.keys[0].flatten(1)
        number, led = known[:, 0] + 1, action.float()
        checksum = (3 * known[:, 2] + 7 * (led + 1)) % _MODULUS
        known = torch.stack([number, known[:, 1], checksum], 1)
        latent = number[:, None, None, None].expand_as(noise).clone()
        features = self._features(known, led, noise[:, 0, 0, 0])
        reward = reward_of(number, led)
        return Prediction(latent, features, reward, action == FATAL_ACTION), self._memory(memory, known)

    def _features(self, known, action, noise):
        features = torch.zeros(len(known), self.config.features)
        features[:, :5] = torch.stack([known[:, 0], action, known[:, 1], known[:, 2], noise], 1)
        return features

    def _memory(self, memory, known):
        return dataclasses.replace(memory, keys=(known[:, None, None, None],), seen=memory.seen + 1)


def toy_checkpoint():
    world = WorldModel(PRESETS["micro"]).eval().requires_grad_(False)
    config = world.config.dynamics
    world.tokenizer = ToyTokenizer((config.latent_channels, config.latent_size, config.latent_size))
    world.dynamics = ToyDynamics(config)
    return Checkpoint(world, grey(FIRST_LEVELS), name="toy")
