"""What users hand over is read as it was meant, or refused with one clear error."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from wmgym.vector_env import DreamVectorEnv


@pytest.mark.parametrize("seeds", [[77, -1, 3], [77, True, 3], True, -1], ids=repr)
def test_bad_seeds_are_refused_and_change_nothing(micro, seeds):
    envs = DreamVectorEnv(3, checkpoint=micro, observation="latent")
    envs.reset(seed=0)
    before = envs.clone_state().generators
    with pytest.raises(ValueError, match=r"expected a whole number of at least 0"):
        envs.reset(seed=seeds)
    assert torch.equal(envs.clone_state().generators, before)


@pytest.mark.parametrize("seeds", [np.array([8, 9, 10]), (8, 9, 10), range(8, 11), np.int64(8), np.array(8)], ids=repr)
def test_seeds_may_be_numpys(micro, seeds):
    envs = DreamVectorEnv(3, checkpoint=micro, observation="latent")
    np.testing.assert_array_equal(envs.reset(seed=8)[0], envs.reset(seed=seeds)[0])


# Away from pytest: its type-checking hook would refuse the arguments before wmgym sees them.
WRONG_TYPES = """
import sys
import torch
from wmgym.checkpoint import open_checkpoint
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError
from wmgym.vector_env import DreamVectorEnv

opened = open_checkpoint(sys.argv[1])
envs = DreamVectorEnv(3, checkpoint=opened)
envs.reset(seed=0)
state = envs.clone_state()


def refused(error, call, words="expected"):
    try:
        call()
    except error as found:
        assert words in str(found), found
    else:
        raise AssertionError(f"accepted: {words}")


for device in ("foo", None, "mps", "xpu", "hpu", "meta", ["cpu"]):
    refused(ValueError, lambda: DreamEnv(checkpoint=opened, device=device), "device = ")
for name, values in {
    "denoising_steps": ("4", 4.0, None, True),
    "observation": (["pixels"], None),
    "starts": (["clips"], None),
    "num_envs": (2.5, "2", True, None),
    "max_episode_steps": (2.5, "2", True),
}.items():
    for value in values:
        refused(ValueError, lambda: DreamVectorEnv(**{"checkpoint": opened, name: value}), f"{name} = {value!r}")
for seed in ([77, 1.5, 3], {1, 2, 3}, {0: 1}, 1.5, "123", [[1, 2, 3]] * 3):
    refused(ValueError, lambda: envs.reset(seed=seed), "expected a whole number of at least 0")
for seed in ([1], 1.5, "1"):
    refused(ValueError, lambda: DreamEnv(checkpoint=opened).reset(seed=seed), "expected a whole number of at least 0")
for checkpoint in (5, opened.world):
    refused(CheckpointError, lambda: DreamEnv(checkpoint=checkpoint), "checkpoint is a ")
for given in (None, {}, [state]):
    refused(ValueError, lambda: envs.restore_state(given), "expected a DreamState")
for times in (1.5, "2", True, -1):
    refused(ValueError, lambda: state.repeat(times), "times = ")
for indices in ([[0], [1, 2]], torch.zeros(2, requires_grad=True), {0: 1}):
    refused(IndexError, lambda: envs.clone_state(indices))
"""


def test_arguments_of_the_wrong_type(micro_folder):
    subprocess.run([sys.executable, "-c", WRONG_TYPES, str(micro_folder)], check=True)
