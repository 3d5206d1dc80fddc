"""Every backbone that can step is an environment; one that cannot says why."""

from dataclasses import replace
from typing import get_args

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import wmgym  # noqa: F401  (registers the ids)
from model.backbones import BackboneName, with_backbone
from model.config import PRESETS
from model.world_model import WorldModel
from tests.model.conftest import enliven
from wmgym.checkpoint import Checkpoint
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError

DREAM = "LSSVWM-MemoryMaze-v0"
STEPPABLE = [name for name in get_args(BackboneName) if name != "dfot"]


def checkpoint_of(name):
    torch.manual_seed(0)
    micro = PRESETS["micro"]
    world = WorldModel(replace(micro, dynamics=with_backbone(micro.dynamics, name)))
    torch.nn.init.constant_(world.dynamics.heads.termination[-1].bias, -100.0)
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    return Checkpoint(enliven(world, strength=0.3), frames, name=name)


@pytest.mark.parametrize("name", STEPPABLE)
def test_it_is_an_env(name):
    check_env(DreamEnv(checkpoint=checkpoint_of(name), denoising_steps=1), skip_render_check=True)


@pytest.mark.parametrize("name", STEPPABLE)
def test_a_restored_dream_goes_on_bit_equal_among_others_that_begin_anew(name):
    """Every fourth step ends an episode, at other times for the dream that was restored."""
    envs = gymnasium.make_vec(
        DREAM, num_envs=2, vectorization_mode="vector_entry_point", checkpoint=checkpoint_of(name),
        observation="features", denoising_steps=1, max_episode_steps=4,
    )  # fmt: skip
    envs.reset(seed=3)
    envs.step(np.array([1, 2]))
    state = envs.clone_state()
    actions = np.random.default_rng(0).integers(0, 6, (9, 2))
    first = [envs.step(a)[0] for a in actions]
    envs.restore_state(state)
    again = [envs.step(a)[0] for a in actions]
    np.testing.assert_array_equal(first, again)
    envs.restore_state(state.select([1]), [0])  # beside a neighbour that is nine steps further
    beside = [envs.step(a[::-1])[0][0] for a in actions]
    np.testing.assert_allclose(beside, np.stack(first)[:, 1], atol=1e-4)


def test_what_sees_later_frames_is_no_env():
    with pytest.raises(CheckpointError, match=r"bidirectional.*no environment can step it"):
        DreamEnv(checkpoint=checkpoint_of("dfot"))
