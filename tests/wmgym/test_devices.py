"""The same dream compiled and on a GPU, to rounding; and dreams in forked processes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from wmgym.vector_env import DreamVectorEnv

# Compiled away from pytest: its type-checking hook wraps functions that the compiler must see through.
COMPILED = """
import sys
import numpy as np
from wmgym.checkpoint import open_checkpoint
from wmgym.vector_env import DreamVectorEnv

checkpoint = open_checkpoint(sys.argv[1])
courses = []
for compiled in (False, True):
    envs = DreamVectorEnv(
        2, checkpoint=checkpoint, observation="latent", compile=compiled, max_episode_steps=4
    )
    shown = [envs.reset(seed=0)[0], *(envs.step([i % 6, 5 - i % 6])[0] for i in range(6))]
    courses.append(np.stack(shown))
    touched = [hasattr(layer, "_compiled_call_impl") and layer._compiled_call_impl is not None
               for layer in envs._dreams._stepping._path._layers]
    assert all(touched) if compiled else not any(touched)
np.testing.assert_allclose(*courses, atol=1e-3)
"""


@pytest.mark.slow
@pytest.mark.compile
def test_a_compiled_dream_is_the_same_dream(micro_folder):
    subprocess.run([sys.executable, "-c", COMPILED, str(micro_folder)], check=True, env=dict(os.environ))


@pytest.mark.gpu
def test_a_dream_on_the_gpu_is_the_same_dream(micro):
    """The noise is drawn on the CPU in both cases."""
    courses, states = [], []
    for device in ("cpu", "cuda"):
        envs = DreamVectorEnv(4, checkpoint=micro, observation="latent", device=device, max_episode_steps=5)
        actions = np.random.default_rng(0).integers(0, 6, (8, 4))
        courses.append(np.stack([envs.reset(seed=0)[0], *(envs.step(row)[0] for row in actions)]))
        state = envs.clone_state()
        expected = envs.step(actions[0])[0]
        envs.restore_state(state)
        np.testing.assert_array_equal(envs.step(actions[0])[0], expected)
        envs.restore_state(state)
        states += envs.clone_states([0, 1])
        envs.restore_states([*states[:2], *states[-2:]])  # on the GPU, two of them from the processor
        shown = envs.step(actions[0][[0, 1, 0, 1]])[0]
        np.testing.assert_allclose(shown[:2], shown[2:], atol=1e-2)
    np.testing.assert_allclose(*courses, atol=1e-2)


# In a process of its own, because it would hang without the fix.
FORKED = """
import sys
import torch
from gymnasium.vector import AsyncVectorEnv

torch.set_num_threads(2)
from wmgym.env import DreamEnv

env = DreamEnv(checkpoint=sys.argv[1])
env.reset(seed=0)
torch.ones(512, 512) @ torch.ones(512, 512)
envs = AsyncVectorEnv([lambda: DreamEnv(checkpoint=sys.argv[1])] * 2, context="fork")
envs.reset(seed=0)
envs.step([0, 1])
envs.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_dreams_in_forked_processes_do_not_hang(micro_folder):
    subprocess.run([sys.executable, "-c", FORKED, str(micro_folder)], check=True, timeout=120)
