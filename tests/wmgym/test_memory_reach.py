"""How far back features reach: against the definition, frame by frame, and where nothing is remembered."""

import numpy as np
import pytest
import torch

from model.axes import START_ACTION
from wmgym.checkpoint import open_checkpoint
from wmgym.codec import frames_to_tensor
from wmgym.errors import ContextError
from wmgym.memory_reach import memory_reach
from wmgym.recording import Episode

CONTEXT = 12


@pytest.fixture
def world(micro_folder):
    return open_checkpoint(micro_folder).world


def episode(seed):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (CONTEXT, 64, 64, 3), np.uint8)
    return Episode(frames, rng.integers(0, 6, CONTEXT), np.zeros(CONTEXT, np.float32), action_count=6)


@torch.inference_mode()
def last_features(world, images, actions):
    """One episode, one frame at a time."""
    memory = world.dynamics.initial_memory(1)
    for t, image in enumerate(images):
        latent = world.tokenizer.encode(frames_to_tensor(image[None], world.device))
        action = torch.tensor([[START_ACTION if t == 0 else int(actions[t])]])
        features, memory = world.dynamics.observe(memory, latent[:, None], action)
    return features[0, -1]


@pytest.mark.parametrize("and_all_before", [False, True])
def test_it_is_the_change_of_the_features_by_what_is_replaced_over_that_by_all(world, and_all_before):
    pair = [episode(0), episode(1)]
    ages = (0, 1, 5, 11, 12, 100)
    reach = memory_reach(world, pair, ages, clips_per_episode=1, context=CONTEXT, and_all_before=and_all_before)
    assert list(reach) == [0, 1, 5, 11]  # no clip has a frame 12 back
    for age, share in reach.items():
        one, whole = [], []
        for mine, other in (pair, pair[::-1]):
            replaced = mine.image.copy()
            for t in range(CONTEXT):
                if t == CONTEXT - 1 - age or (and_all_before and t < CONTEXT - 1 - age):
                    replaced[t] = other.image[t]
            before = last_features(world, mine.image, mine.action)
            one.append(last_features(world, replaced, mine.action) - before)
            whole.append(last_features(world, other.image, mine.action) - before)
        changes = [float(torch.stack(parts).square().mean().sqrt()) for parts in (one, whole)]
        assert share == pytest.approx(changes[0] / changes[1], rel=1e-3)
        assert share > 0
    assert not and_all_before or reach[0] == 1


def test_a_model_that_sees_only_the_last_frame_reaches_no_further(world, monkeypatch):
    observe = world.dynamics.observe

    def forgetful(memory, latents, actions, poses):
        empty = world.dynamics.initial_memory(len(latents))
        features = [observe(empty, latents[:, t : t + 1], actions[:, t : t + 1])[0] for t in range(latents.shape[1])]
        return torch.cat(features, dim=1), memory

    monkeypatch.setattr(world.dynamics, "observe", forgetful)
    reach = memory_reach(world, [episode(0), episode(1)], (0, 1, 5), clips_per_episode=1, context=CONTEXT)
    assert reach == pytest.approx({0: 1.0, 1: 0.0, 5: 0.0})


def test_one_episode_has_no_other_to_take_frames_from(world):
    with pytest.raises(ContextError, match="1 episode given, expected 2 or more"):
        memory_reach(world, [episode(0)], (1,), clips_per_episode=1, context=CONTEXT)
