"""Clips of recorded episodes: where they are cut, and what comes with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.axes import START_ACTION
from model.config import PRESETS
from model.poses import relative_poses
from model.world_model import WorldModel
from wmgym.clips import cut_clips, places_in
from wmgym.errors import ContextError
from wmgym.recording import Episode


def episode(frames, first=0, **state):
    """Frame i is of grey level `first + i`; its action is i modulo 6."""
    count = np.arange(frames)
    image = np.broadcast_to((first + count)[:, None, None, None], (frames, 64, 64, 3)).astype(np.uint8)
    return Episode(image, count % 6, np.zeros(frames, np.float32), action_count=6, state=state)


@pytest.fixture(scope="module")
def world():
    return WorldModel(PRESETS["micro"])


@pytest.fixture(scope="module")
def posed_world():
    micro = PRESETS["micro"]
    return WorldModel(replace(micro, dynamics=replace(micro.dynamics, pose_size=4)))


def test_clips_are_spread_evenly_from_the_first_frame_to_the_last(world):
    clips = cut_clips(world, [episode(20), episode(11, first=100)], 3, 10)
    assert clips.images[:, 0, 0, 0, 0].tolist() == [0, 5, 10, 100, 100, 101]
    assert clips.images[:, -1, 0, 0, 0].tolist() == [9, 14, 19, 109, 109, 110]


def test_the_action_before_a_clip_is_unknown_and_the_others_led_to_their_frames(world):
    clips = cut_clips(world, [episode(20)], 2, 8)
    assert clips.actions[:, 0].tolist() == [START_ACTION, START_ACTION]
    assert clips.actions[1, 1:].tolist() == [(12 + i) % 6 for i in range(1, 8)]
    assert clips.poses is None


def test_poses_are_relative_to_the_first_frame_of_the_clip_also_in_its_parts(posed_world):
    rng = np.random.default_rng(0)
    angle = rng.normal(size=20)
    state = {"agent_pos": rng.normal(size=(20, 2)), "agent_dir": np.stack([np.cos(angle), np.sin(angle)], 1)}
    state = {key: value.astype(np.float32) for key, value in state.items()}
    clips = cut_clips(posed_world, [episode(20, **state)], 2, 8)
    expected = relative_poses(*(torch.from_numpy(v[12:20])[None] for v in state.values()))
    torch.testing.assert_close(clips.poses[1:], expected)
    part = clips.between(3, 6)
    torch.testing.assert_close(part.poses[1:], expected[:, 3:6])
    assert part.images[1, :, 0, 0, 0].tolist() == [15, 16, 17]
    assert part.actions[1].tolist() == [3, 4, 5]


def test_episodes_without_poses_are_refused_by_a_model_that_needs_them(posed_world):
    with pytest.raises(ContextError, match="no agent_pos"):
        cut_clips(posed_world, [episode(20)], 1, 8)


def test_short_or_missing_episodes_are_refused():
    with pytest.raises(ContextError, match="9 frames is too short for clips of 10"):
        places_in([episode(20), episode(9)], 1, 10)
    with pytest.raises(ContextError, match="no episode"):
        places_in([], 1, 10)
