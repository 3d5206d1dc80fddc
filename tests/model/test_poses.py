"""Poses: where a camera is, as seen from where it was first; and networks that are conditioned on them."""

import numpy as np
import pytest
import torch

from model.data import EncodedEpisode, LatentStore, append_episodes
from model.diffusion import DiffusionConfig
from model.own_dreams import Dreaming
from model.poses import POSE_FEATURES, POSE_SIZE, pose_features, relative_poses
from model.training import Windows, world_model_loss
from tests.model.conftest import step_through


def turn(vectors, angle):
    rotation = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return vectors @ rotation.T


def walk(frames, batch=1):
    positions = torch.randn(batch, frames, 2, dtype=torch.float64).cumsum(1)
    angles = torch.randn(batch, frames, dtype=torch.float64).cumsum(1)
    return positions, torch.stack([angles.cos(), angles.sin()], -1)


def test_ahead_left_and_turned_left_are_positive():
    positions = torch.tensor([[[1.0, 1.0], [1.0, 3.0], [0.0, 1.0]]])
    directions = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]]])  # looks up; at last to its left
    expected = [[0.0, 0.0, 1.0, 0.0], [2.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    torch.testing.assert_close(relative_poses(positions, directions), torch.tensor([expected]))


def test_only_what_is_relative_counts():
    positions, directions = walk(9)
    moved = turn(positions, 2.1) + torch.tensor([30.0, -7.0])
    torch.testing.assert_close(relative_poses(moved, turn(directions, 2.1)), relative_poses(positions, directions))


@pytest.fixture
def poses_of():
    return lambda frames, batch=2: relative_poses(*walk(frames, batch)).float()


@pytest.mark.parametrize("mix", ["micro", "cpu"])
@torch.no_grad()
def test_stepping_with_poses_equals_the_sequence(mix, make_dynamics, make_episode, poses_of):
    model = make_dynamics(mix, pose_size=POSE_SIZE)
    latents, actions = make_episode(model.config, 2, 40)
    poses = poses_of(40)
    whole, _ = model.observe(model.initial_memory(2), latents, actions, poses)
    stepped, _ = step_through(model, latents, actions, poses)
    torch.testing.assert_close(stepped, whole, rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_pose_steers_its_frame_and_an_action_does_not(make_dynamics, make_episode, poses_of):
    model = make_dynamics(pose_size=POSE_SIZE)
    latents, actions = make_episode(model.config, 2, 5)
    poses, noise = poses_of(6), torch.randn(2, *latents.shape[2:])
    _, memory = model.observe(model.initial_memory(2), latents, actions, poses[:, :5])
    first, second = (torch.full((2,), action) for action in (0, 3))
    there, _ = model.imagine(memory, first, noise, 2, poses[:, 5])
    again, _ = model.imagine(memory, second, noise, 2, poses[:, 5])
    elsewhere, _ = model.imagine(memory, first, noise, 2, poses[:, 5] + 1)
    assert torch.equal(there.latent, again.latent)
    assert (there.latent - elsewhere.latent).abs().max() > 1e-4


@torch.no_grad()
def test_poses_must_be_given_where_they_are_used_and_nowhere_else(make_dynamics, make_episode, poses_of):
    for size, poses in ((POSE_SIZE, None), (0, poses_of(3))):
        model = make_dynamics(pose_size=size)
        latents, actions = make_episode(model.config, 2, 3)
        with pytest.raises(ValueError, match="for the pose of each frame"):
            model.observe(model.initial_memory(2), latents, actions, poses)


@pytest.mark.parametrize("dreaming", [None, Dreaming(1.0, passes=2, frames=3, steps=2)])
def test_the_loss_teaches_poses(dreaming, make_dynamics, make_episode, poses_of):
    model = make_dynamics(pose_size=POSE_SIZE).train()
    latents, actions = make_episode(model.config, 4, 12)
    batch = Windows(latents, actions, torch.zeros(4, 12), torch.zeros(4, 12), poses_of(12, 4))
    losses = world_model_loss(model, batch, DiffusionConfig(dreaming=dreaming), torch.Generator().manual_seed(0))
    losses.total.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.condition.action.parameters())


def test_windows_have_poses_relative_to_their_first_frame(tmp_path):
    positions, directions = (v[0].float().numpy() for v in walk(10))
    still = np.zeros(10, np.float32)
    latents = np.zeros((10, 2, 4, 4), np.float16)
    append_episodes(tmp_path, iter([EncodedEpisode("a", latents, np.arange(10), still, still, positions, directions)]))
    window = LatentStore(tmp_path).stack([(0, 3), (0, 5)], 4)
    expected = torch.cat(
        [
            relative_poses(*(torch.from_numpy(v[i : i + 4])[None] for v in (positions, directions)))
            for i in (3, 5)
        ]
    )  # fmt: skip
    torch.testing.assert_close(window.poses, expected)


def test_a_store_in_which_one_episode_has_no_poses_gives_none(tmp_path):
    still, latents = np.zeros(4, np.float32), np.zeros((4, 2, 4, 4), np.float16)
    places = np.zeros((4, 2), np.float32)
    known = EncodedEpisode("a", latents, np.arange(4), still, still, places, places)
    append_episodes(tmp_path, iter([known, EncodedEpisode("b", latents, np.arange(4), still, still)]))
    assert LatentStore(tmp_path).stack([(0, 0)], 4).poses is None


def test_features_tell_neighbouring_places_apart_and_keep_the_numbers(poses_of):
    poses = poses_of(9)
    features = pose_features(poses)
    assert features.shape[-1] == POSE_FEATURES
    torch.testing.assert_close(features[..., :2] * 10, poses[..., :2])
    assert torch.equal(features[..., 2:4], poses[..., 2:])
    waves = 2.5 * 40 ** (torch.arange(8) / 7)
    torch.testing.assert_close(features[0, 3, 4:12], (2 * torch.pi * poses[0, 3, 0] / waves).sin(), atol=1e-4, rtol=0)
    places = torch.tensor([[[float(x), float(y), 1, 0] for x in range(-12, 13) for y in range(-12, 13)]])
    found = pose_features(places)[0]
    apart = torch.cdist(found, found) + 10 * torch.eye(len(found))
    assert apart.min() > 1, "no two of 625 places a step apart look alike"
