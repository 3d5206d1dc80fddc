"""The memory tasks: what is shown and asked, and what a perfect lookup would answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import PRESETS
from model.world_model import WorldModel
from wmgym.errors import ContextError
from wmgym.memory_tasks import NEVER, look_up, make_task
from wmgym.recording import Episode

EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def world_of(pose_size):
    micro = PRESETS["micro"]
    return WorldModel(replace(micro, dynamics=replace(micro.dynamics, pose_size=pose_size)))


def episode(places, directions=None):
    """Frame i is of grey level 10 i."""
    frames = len(places)
    image = np.broadcast_to(10 * np.arange(frames)[:, None, None, None], (frames, 64, 64, 3)).astype(np.uint8)
    state = {"agent_pos": np.array(places, np.float32)}
    state["agent_dir"] = np.array(directions or [EAST] * frames, np.float32)
    return Episode(image, np.arange(frames) % 6, np.zeros(frames, np.float32), action_count=6, state=state)


def levels(frames):
    return frames[..., 0, 0, 0].tolist()


def task(name, walk, context, generated, **settings):
    settings = {"context": context, "generated": generated, "clips_per_episode": 1} | settings
    return make_task(name, world_of(4), [walk], **settings)


WALK = episode([(0, 0), (1, 0), (2, 0), (1, 0), (1, 1), (1, 2)])


def test_the_way_back_is_the_way_out_reversed():
    asked = task("retrieval", WALK, 6, 6)
    assert levels(asked.clips.images[0]) == [0, 10, 20, 30, 40, 50, 50, 40, 30, 20, 10, 0]
    assert levels(asked.truth[0]) == [50, 40, 30, 20, 10, 0]
    poses = asked.clips.poses
    assert torch.equal(poses[:, 6:], poses[:, :6].flip(1))


def test_part_of_the_way_back():
    assert levels(task("retrieval", WALK, 5, 2).truth[0]) == [40, 30]


def test_on_the_way_back_a_place_was_last_shown_as_many_frames_ago_as_there_are_between():
    """The place of frame 1 was shown again in frame 3, which is the last of equals."""
    asked = task("retrieval", WALK, 6, 6)
    assert asked.last_seen.tolist() == [[1, 3, 5, 7, 7, 11]]
    assert asked.nearest.tolist() == [[5, 4, 3, 2, 3, 0]]
    assert levels(asked.looked_up()[0]) == [50, 40, 30, 20, 30, 0]
    assert levels(asked.last_shown()[0]) == [50] * 6


def test_reasoning_goes_on_and_tells_new_places_from_old_ones():
    asked = task("reasoning", WALK, 3, 3)
    assert levels(asked.truth[0]) == [30, 40, 50]
    assert asked.last_seen.tolist() == [[2, NEVER, NEVER]]
    assert asked.nearest.tolist() == [[1, 1, 1]]


def test_a_place_looked_at_from_another_side_was_not_seen():
    walk = episode([(0, 0)] * 3, [EAST, NORTH, (np.cos(0.4), np.sin(0.4))])
    asked = task("reasoning", walk, 1, 2)
    assert asked.last_seen.tolist() == [[NEVER, 2]]
    assert asked.stood_there.all(), "but the camera stood there"


def test_near_is_within_half_a_unit():
    poses = np.zeros((1, 3, 4), np.float32)
    poses[..., 2], poses[0, 1, 0], poses[0, 2, 0] = 1, 0.45, 0.55
    nearest, last_seen, stood_there = look_up(poses, 1)
    assert (nearest.tolist(), last_seen.tolist()) == ([[0, 0]], [[1, NEVER]])
    assert stood_there.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("name", "context", "generated", "says"),
    [
        ("retrieval", 3, 4, "4 frames to be retrieved of 3 shown"),
        ("retrieval", 7, 7, "too short for clips of 7"),
        ("reasoning", 4, 3, "too short for clips of 7"),
    ],
)
def test_what_cannot_be_asked_is_refused(name, context, generated, says):
    with pytest.raises(ContextError, match=says):
        task(name, WALK, context, generated)


def test_a_model_of_actions_is_refused():
    with pytest.raises(ContextError, match="expected one conditioned on poses"):
        make_task("retrieval", world_of(0), [WALK], context=3, generated=3, clips_per_episode=1)
