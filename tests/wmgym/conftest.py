"""A micro checkpoint with random weights, and the toy world of `tests/wmgym/toy_world.py`.

wmgym and model are imported inside the fixtures, never here: the jaxtyping hook must come first.
"""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def micro_folder(tmp_path_factory):
    """A complete checkpoint on disk: preset micro, weights that make every input matter."""
    from model.config import PRESETS
    from model.world_model import WorldModel
    from wmgym.checkpoint import save_first_frames

    with torch.random.fork_rng():
        torch.manual_seed(0)
        world = WorldModel(PRESETS["micro"])
        for name, weight in world.named_parameters():
            if "modulation" in name:  # zero in a fresh network, which would ignore actions and noise levels
                torch.nn.init.normal_(weight, std=0.3)
        torch.nn.init.constant_(world.dynamics.heads.termination[-1].bias, -100.0)  # as in Memory Maze
    folder = tmp_path_factory.mktemp("micro")
    world.save_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    save_first_frames(folder, frames)
    return folder


@pytest.fixture(scope="session")
def micro(micro_folder):
    """The micro checkpoint, opened."""
    from wmgym.checkpoint import open_checkpoint

    return open_checkpoint(micro_folder)


@pytest.fixture(scope="session")
def toy():
    """A checkpoint whose world counts frames and repeats actions, exactly."""
    from tests.wmgym.toy_world import toy_checkpoint

    return toy_checkpoint()
