"""Long dreams: the same as the environment's, and statistics known of frames made for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.backbones import with_backbone
from model.config import PRESETS
from model.world_model import WorldModel
from wmgym.context import first_frame
from wmgym.dream import Dreams
from wmgym.long_dreams import drift, frame_statistics, long_dreams
from wmgym.recording import Episode


@pytest.fixture
def episodes():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 12, 64, 64, 3), np.uint8)
    return [Episode(image, rng.integers(0, 6, 12), np.zeros(12, np.float32), action_count=6) for image in images]


def test_they_are_what_an_environment_dreams(micro, episodes):
    """From the first frame, under the recorded actions, by the noise of the same seeds; one grey level of rounding."""
    frames, rewards = long_dreams(micro.world, episodes, 9, 2, seed=5)
    dreams = Dreams(micro.world, [], 2, denoising_steps=2)
    for i in range(2):
        dreams.seed(i, 5 + i)
    dreams.start([0, 1], [first_frame(e.image[0]) for e in episodes])
    for t in range(9):
        paid, _ = dreams.step(np.array([e.action[t + 1] for e in episodes]))
        assert np.abs(dreams.frames().astype(int) - frames[:, t]).max() <= 1
        np.testing.assert_array_equal(paid, rewards[:, t])
    assert frames.shape == (2, 9, 64, 64, 3)


def test_models_without_a_fast_path_dream_too(episodes):
    micro = PRESETS["micro"]
    world = WorldModel(replace(micro, dynamics=with_backbone(micro.dynamics, "causal"))).eval().requires_grad_(False)
    frames, rewards = long_dreams(world, episodes, 3, 1, seed=0)
    assert (frames.shape, rewards.shape) == ((2, 3, 64, 64, 3), (2, 3))


def test_the_default_generator_is_left_alone(micro, episodes):
    before = torch.get_rng_state()
    long_dreams(micro.world, episodes, 2, 1, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_statistics_of_frames_that_are_known():
    """Stripes of 0 and 100 along the rows, which trade places from a frame to the next."""
    stripes = np.zeros((1, 4, 8, 8, 3), np.uint8)
    stripes[:, ::2, :, ::2] = 100
    stripes[:, 1::2, :, 1::2] = 100
    assert frame_statistics(stripes) == {"brightness": 50, "contrast": 50, "edges": 100, "change": 100}
    still = np.repeat(stripes[:, :1], 4, axis=1)
    assert frame_statistics(still) == {"brightness": 50, "contrast": 50, "edges": 100, "change": 0}


def test_drift_is_told_by_quarters():
    dreamed = np.zeros((2, 8, 4, 4, 3), np.uint8)
    dreamed[:, 6:] = 200
    found = drift(dreamed, np.full((1, 3, 4, 4, 3), 50, np.uint8))
    assert found["frames"] == 8
    assert found["real"]["brightness"] == 50
    assert [q["brightness"] for q in found["dreamed_by_quarter"]] == [0, 0, 0, 200]
