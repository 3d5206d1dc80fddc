"""What every test starts from: fixed seeds, few threads, off-screen rendering, a patient hypothesis.

The three packages are imported inside fixtures and tests, never here: the jaxtyping hook must come first.
"""

import ctypes.util
import os
import random

import hypothesis
import numpy as np
import pytest
import torch

SEED = 0

# Set before MuJoCo is imported; a choice made in the shell stands.
os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "osmesa")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Small tensors gain nothing from more threads; workers of pytest-xdist share the cores already.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))

# The same examples on every run, and no limit of time for one: a first call may load libraries.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Start each test from the same global generators, whatever ran before it."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - third-party code may still draw from the legacy generator
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def micro_folder(tmp_path_factory):
    """A complete checkpoint on disk: preset micro, weights that make every input matter."""
    from model.config import PRESETS
    from model.world_model import WorldModel
    from wmgym.checkpoint import save_starts
    from wmgym.starts import Clips

    with torch.random.fork_rng():
        torch.manual_seed(0)
        world = WorldModel(PRESETS["micro"])
        for name, weight in world.named_parameters():
            if "modulation" in name:  # zero in a fresh network, which would ignore actions and noise levels
                torch.nn.init.normal_(weight, std=0.3)
        torch.nn.init.constant_(world.dynamics.heads.termination[-1].bias, -100.0)  # as in Memory Maze
    folder = tmp_path_factory.mktemp("checkpoints") / "micro"
    world.save_pretrained(folder)
    rng = np.random.default_rng(0)
    frames, clips = (rng.integers(0, 256, (*shape, 64, 64, 3), np.uint8) for shape in ((5,), (4, 3)))
    save_starts(folder, frames, Clips(clips, rng.integers(0, 6, (4, 3))))
    return folder


def pytest_collection_modifyitems(items):
    """Skip tests marked gpu where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
