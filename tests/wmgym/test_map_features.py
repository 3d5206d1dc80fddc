"""Features for probes: equal to observing one frame after the other, with and without memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.axes import START_ACTION
from model.config import PRESETS
from model.poses import relative_poses
from model.world_model import WorldModel
from tests.wmgym.maze_walks import write_walks
from wmgym import map_features
from wmgym.checkpoint import open_checkpoint
from wmgym.codec import frames_to_tensor
from wmgym.errors import ContextError
from wmgym.map_features import extract, seen_from
from wmgym.recorded_mazes import read_maze
from wmgym.recording import read_episode, scan

FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_walks(tmp_path_factory.mktemp("walks") / "train", range(3), frames=FRAMES)


@pytest.fixture(params=["actions", "poses"])
def world(request, micro_folder):
    if request.param == "actions":
        return open_checkpoint(micro_folder).world
    world = WorldModel(replace(PRESETS["micro"], dynamics=replace(PRESETS["micro"].dynamics, pose_size=4)))
    for name, weight in world.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return world.eval()


@torch.inference_mode()
def one_by_one(world, episode, remember):
    """Features of every frame, each observed by itself."""
    told = (torch.from_numpy(episode.state[key])[None] for key in ("agent_pos", "agent_dir"))
    poses = relative_poses(*told)
    memory, found = world.dynamics.initial_memory(1), []
    for t, image in enumerate(episode.image):
        first = t == 0 or not remember
        memory = world.dynamics.initial_memory(1) if first else memory
        action = torch.tensor([[START_ACTION if first else int(episode.action[t])]])
        pose = poses[:, :1] if first else poses[:, t : t + 1]
        latent = world.tokenizer.encode(frames_to_tensor(image[None], world.device))[:, None]
        posed = (pose,) if world.config.dynamics.pose_size else ()
        features, memory = world.dynamics.observe(memory, latent, action, *posed)
        found.append(features[0, 0])
    return torch.stack(found)


@pytest.mark.parametrize("remember", [True, False])
def test_features_are_those_of_observing_one_frame_after_the_other(world, folder, remember, monkeypatch):
    monkeypatch.setattr(map_features, "EPISODES_AT_ONCE", 2)
    monkeypatch.setattr(map_features, "FRAMES_AT_ONCE", 5)
    paths, told = scan(folder).usable, []
    data = extract(world, [read_maze(path) for path in paths], every=3, remember=remember, progress=told.append)
    assert data.steps.tolist() == [0, 3, 6, 9]
    assert sum(told) == 3 * (FRAMES if remember else 4)
    for i, path in enumerate(paths):
        episode = read_episode(path)
        torch.testing.assert_close(data.features[i], one_by_one(world, episode, remember)[::3], atol=1e-4, rtol=1e-4)
        np.testing.assert_array_equal(data.poses[i, :, :2], episode.state["agent_pos"][::3])
        np.testing.assert_array_equal(data.poses[i, :, 2:], episode.state["agent_dir"][::3])
        np.testing.assert_array_equal(data.free[i], episode.state["maze_layout"][0].reshape(-1) == 1)
        np.testing.assert_array_equal(data.targets[i], episode.state["targets_pos"][0])


def test_targets_are_seen_as_memory_maze_records_them():
    """Distance, direction and targets_vec are of a recorded frame of the real maze."""
    pose = torch.tensor([0.5, 8.5, 0.04659722, 0.99891376]).expand(1, 1, 4)
    seen = seen_from(torch.tensor([6.5, 3.5]).expand(1, 1, 1, 2), pose)
    torch.testing.assert_close(seen.flatten(), torch.tensor([6.2264686, -4.7149854]))


def test_recordings_of_another_world_are_refused(micro_folder, tmp_path):
    mazes = [read_maze(path) for path in scan(write_walks(tmp_path / "a", range(2), action_count=9)).usable]
    with pytest.raises(ContextError, match=r"9 actions .* expected 6 actions"):
        extract(open_checkpoint(micro_folder).world, mazes)
