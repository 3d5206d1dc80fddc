"""Rewards of dreams beside real ones: which clips are chosen, what counts as found, what samplers share."""

import numpy as np
import pytest
import torch

from model.config import PRESETS
from model.world_model import WorldModel
from wmgym.dreamed_rewards import RewardComparison, dream_clips, rewarded_places
from wmgym.errors import ContextError
from wmgym.fidelity import dream_along
from wmgym.recording import Episode


def episode(frames, paid_at=(), seed=0):
    rng = np.random.default_rng(seed)
    reward = np.zeros(frames, np.float32)
    reward[list(paid_at)] = 1
    image = rng.integers(0, 256, (frames, 64, 64, 3), np.uint8)
    return Episode(image, rng.integers(0, 6, frames), reward, action_count=6)


def test_a_reward_one_frame_off_is_found_and_two_frames_off_is_not():
    real = np.zeros((3, 8), np.float32)
    dreamed = np.zeros_like(real)
    real[0, [2, 6]], dreamed[0, [3]] = 1, 1  # one found, one missed
    real[1, 1], dreamed[1, 3] = 1, 1  # missed, and one of its own
    dreamed[2, 0] = 1
    found = RewardComparison(real, dreamed).summary()
    assert found["events"] == 3
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["return_error"] == pytest.approx((1 + 0 + 1) / 3)


def test_recall_is_told_by_how_far_ahead_rewards_come():
    real, dreamed = np.zeros((2, 4, 10), np.float32)
    real[0, 0], dreamed[0, 1] = 1, 1  # the first frame, found one late
    real[1, 2], real[1, 3], dreamed[1, 4] = 1, 1, 1  # the second of them alone, found in the next stretch
    real[2, 9] = 1  # the last frame, missed
    dreamed[3, 5] = 1  # dreamed of itself: nobody's recall
    assert RewardComparison(real, dreamed).recall_ahead(3) == [
        {"first": 1, "last": 4, "events": 3, "recall": pytest.approx(2 / 3)},
        {"first": 5, "last": 7, "events": 0, "recall": 0},
        {"first": 8, "last": 10, "events": 1, "recall": 0},
    ]
    assert [each["last"] for each in RewardComparison(real[:, :2], dreamed[:, :2]).recall_ahead(9)] == [1, 2]


def test_half_of_the_clips_hold_a_reward_and_the_others_none():
    episodes = [episode(120, (40, 90)), episode(120, (60,))]
    places = rewarded_places(episodes, context=10, horizon=8, rng=np.random.default_rng(0))
    paid = [bool(e.reward[s + 10 : s + 18].any()) for e, s in places]
    assert paid == [True] * 3 + [False] * 3


def test_a_reward_without_room_before_it_is_left_out_and_none_at_all_is_told():
    with pytest.raises(ContextError, match=r"no reward in 1 episodes with 10 frames before it and 8 around it"):
        rewarded_places([episode(60, (3,))], context=10, horizon=8, rng=np.random.default_rng(0))


def test_dreams_are_those_of_the_plain_path_for_each_sampler():
    torch.manual_seed(0)
    world = WorldModel(PRESETS["micro"]).eval()
    recording = episode(30, (20,))
    found = dream_clips(world, [(recording, 0)], context=10, horizon=5, denoising_steps=(1, 4), seed=7)
    from wmgym.clips import cut_clips

    clips = cut_clips(world, [recording], 1, 15)
    for k, (pictures, rewards) in found.items():
        plain = dream_along(world, clips, 10, denoising_steps=k, seed=7)
        assert np.abs(pictures.dreamed.astype(int) - plain).max() <= 1
        assert np.array_equal(pictures.real[0], recording.image[10:15])
        assert np.array_equal(rewards.real[0], recording.reward[10:15])
    assert not np.array_equal(found[1][0].dreamed, found[4][0].dreamed)
