"""Small networks whose every branch speaks. A fresh one is silent: its gates start at zero and its scans forget."""

import math
from dataclasses import replace

import pytest
import torch


def enliven(module, strength=0.1):
    """Opens the gates of every branch and gives the scans time constants from one token to hundreds."""
    for name, parameter in module.named_parameters():
        if "modulation" in name or name.endswith("condition.stride.weight"):
            torch.nn.init.normal_(parameter, std=strength)
        elif name.endswith("step_bias"):
            parameter.data = torch.linspace(-6, -1, len(parameter))
    return module.eval()


def step_through(model, *sequences):
    """Features `[b t ...]` and memory of a network that observes latents, actions (and poses) frame by frame."""
    memory, steps = model.initial_memory(len(sequences[0])), []
    for t in range(sequences[0].shape[1]):
        features, memory = model.observe(memory, *(s[:, t : t + 1] for s in sequences))
        steps.append(features)
    return torch.cat(steps, 1), memory


@pytest.fixture
def layer_mixes():
    """Every preset's order of block sizes and tokens, and one of its own kind, at the width of `micro`."""
    from model.config import PRESETS

    micro = PRESETS["micro"].dynamics
    return {
        "micro": micro,
        "cpu": replace(micro, layers=3, block_sizes=((4, 4), (2, 2), (1, 1)), attention_window=4),
        "gpu": replace(
            micro,
            layers=4,
            patch=1,
            block_sizes=((8, 8), (4, 4), (2, 2), (1, 1)),
            attention_window=5,
            scan_activation=True,
        ),
        "oblong": replace(micro, layers=2, block_sizes=((1, 4), (2, 1)), attention_window=1),
    }


@pytest.fixture
def make_dynamics(layer_mixes):
    """Builds an LSSVWM of a named layer mix, or of a given config."""
    from model.lssvwm import LSSVWM

    def make(config="micro", **changes):
        config = layer_mixes[config] if isinstance(config, str) else config
        return enliven(LSSVWM(replace(config, **changes)))

    return make


@pytest.fixture
def micro_dynamics(make_dynamics):
    """One `micro` LSSVWM."""
    return make_dynamics()


@pytest.fixture
def make_world():
    """Builds a `micro` world model, tokenizer and dynamics."""
    from model.config import PRESETS
    from model.world_model import WorldModel

    def make():
        world = enliven(WorldModel(PRESETS["micro"]))
        world.tokenizer.scale.fill_(0.7)
        return world

    return make


@pytest.fixture
def make_episode():
    """Draws latents, and actions of which the first led nowhere."""

    def make(config, batch, frames):
        latents = torch.randn(batch, frames, config.latent_channels, config.latent_size, config.latent_size)
        actions = torch.randint(0, config.num_actions, (batch, frames))
        actions[:, 0] = -1
        return latents, actions

    return make


@pytest.fixture
def scripted(layer_mixes, make_episode):
    """Builds a network whose output is a given function of (clean latents, noised latents, levels), and an episode.

    The network keeps what it was called with; where the function gives None, it answers by itself.
    """
    from model.lssvwm import LSSVWM

    class Scripted(LSSVWM):
        def script(self, clean, answer):
            self.clean, self.answer, self.calls = clean, answer, []
            return self

        def forward(self, latents, actions, noise_levels, strides, memory, remember=True, poses=None):
            real, features, memory = super().forward(latents, actions, noise_levels, strides, memory, remember, poses)
            self.calls.append((latents, actions, noise_levels, strides, real))
            predicted = self.answer(self.clean[: len(latents)], latents[:, -1], noise_levels[:, -1])
            return real if predicted is None else predicted, features, memory

    def make(answer, batch=8, frames=10, **changes):
        torch.manual_seed(1)
        config = replace(layer_mixes["micro"], **changes)
        latents, actions = make_episode(config, batch, frames)
        return Scripted(config).script(latents, answer), latents, actions

    return make


def world_of(config):
    """A world in which every weight matters: fresh norms and skips are 1, and a fresh scan writes where it reads."""
    from model.config import PRESETS
    from model.heads import EVENT_WEIGHT
    from model.world_model import WorldModel

    world = enliven(WorldModel(replace(PRESETS["micro"], dynamics=config)))
    for name, weight in world.dynamics.backbone.named_parameters():
        if name.endswith(("norm.weight", "skip", "scan.project.weight")):
            weight.data += 0.2 * torch.randn_like(weight)
    world.tokenizer.scale.fill_(0.7)
    heads = world.dynamics.heads  # that find everything as likely as not
    heads.termination[-1].bias.data.fill_(math.log(EVENT_WEIGHT))
    heads.reward[-1].bias.data = torch.tensor([-math.log(EVENT_WEIGHT), 0.0])
    return world.requires_grad_(False)


@pytest.fixture
def make(layer_mixes):
    """Builds the world of a named layer mix."""
    mixes = layer_mixes | {"activated": replace(layer_mixes["micro"], scan_activation=True, attention_span=100)}
    return lambda mix="micro": world_of(mixes[mix])


@pytest.fixture
def remember(make_episode):
    """Makes the memory of dreams that have seen so many frames each."""

    def make(world, ages=(0, 1, 3, 9)):
        dynamics = world.dynamics
        memory = dynamics.initial_memory(len(ages))
        for i, age in enumerate(ages):
            if age:
                _, one = dynamics.observe(dynamics.initial_memory(1), *make_episode(dynamics.config, 1, age))
                memory = memory.replace(torch.tensor([i]), one)
        return memory

    return make
