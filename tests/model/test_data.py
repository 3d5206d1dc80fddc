"""Encoded episodes on disk: what is written is read, window by window."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data import EncodedEpisode, LatentStore, append_episodes, reward_levels, stored_names


def episode(name, frames, first=0):
    """Frame i of an episode holds `first + i` everywhere; its action is i modulo 6 and its reward 1 every third."""
    count = np.arange(frames)
    return EncodedEpisode(
        name=name,
        latents=np.broadcast_to((first + count)[:, None, None, None], (frames, 2, 4, 4)).astype(np.float16),
        actions=(count % 6).astype(np.int64),
        rewards=(count % 3 == 0).astype(np.float32),
        terminated=(count == frames - 1).astype(np.float32),
    )


@pytest.fixture
def store(tmp_path):
    append_episodes(tmp_path, iter([episode("a", 10), episode("b", 4, 100), episode("c", 7, 200)]))
    return LatentStore(tmp_path)


def test_rows_of_a_window_belong_together(store):
    windows = store.windows(np.random.default_rng(0), batch=300, frames=4)
    number = windows.latents[:, :, 0, 0, 0].long()
    assert windows.latents.shape == (300, 4, 2, 4, 4)
    assert (number.diff(dim=1) == 1).all()
    within = number % 100
    assert (windows.actions == within % 6).all()
    assert (windows.rewards == (within % 3 == 0)).all()
    last = (number == 9) | (number == 103) | (number == 206)
    assert (windows.terminated == last).all()


def test_every_position_is_equally_likely(store):
    """12 places of 4 frames: 7 in a, 1 in b, 4 in c. Over 12,000 draws, 5 standard deviations are 152."""
    windows = store.windows(np.random.default_rng(0), batch=12_000, frames=4)
    starts, counts = windows.latents[:, 0, 0, 0, 0].long().unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5, 6, 100, 200, 201, 202, 203]
    assert (counts - 1000).abs().max() < 152


def test_short_episodes_give_no_long_windows(store):
    starts = store.windows(np.random.default_rng(0), batch=200, frames=7).latents[:, 0, 0, 0, 0]
    assert set(starts.tolist()) == {0, 1, 2, 3, 200}


def test_refuses_windows_longer_than_every_episode(store):
    with pytest.raises(ValueError, match=r"windows of 11 frames asked for, but the longest .* has 10; shorten"):
        store.windows(np.random.default_rng(0), batch=1, frames=11)


def test_draws_follow_from_the_generator(store):
    first, second = (store.windows(np.random.default_rng(3), 20, 4) for _ in range(2))
    assert (first.latents == second.latents).all()


def test_counts_frames_and_rewards(store):
    assert store.frames == 21
    assert store.reward_values() == (0.0, 1.0)
    assert store.names == ["a", "b", "c"]


def test_appending_goes_on(tmp_path, store):
    append_episodes(tmp_path, iter([episode("d", 5)]))
    assert stored_names(tmp_path) == ["a", "b", "c", "d"]
    assert LatentStore(tmp_path).frames == 26
    assert stored_names(tmp_path / "none") == []


def test_a_kill_loses_the_episode_being_written(tmp_path):
    def killed():
        yield episode("a", 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append_episodes(tmp_path, killed())
    assert LatentStore(tmp_path).names == ["a"]
    assert json.loads((tmp_path / "episodes.json").read_text()) == [{"name": "a", "frames": 4}]


def test_latents_stay_on_disk(store):
    assert all(isinstance(latents, np.memmap) for latents in store.latents)


def test_an_empty_folder_is_no_store(tmp_path):
    with pytest.raises(FileNotFoundError):
        LatentStore(tmp_path)


def test_windows_there_and_back_end_where_they_began(store):
    windows = store.windows(np.random.default_rng(0), batch=50, frames=4, there_and_back=1.0)
    number = windows.latents[:, :, 0, 0, 0].long()
    assert torch.equal(number, number.flip(1))
    assert (number[:, 1] - number[:, 0] == 1).all()
    within = number % 100
    assert torch.equal(windows.actions[:, :2], (within % 6)[:, :2])
    for values in (windows.actions, windows.rewards, windows.terminated):
        assert not values[:, 2:].any()


def test_a_share_of_the_windows_is_walked_back_and_odd_ones_turn_in_the_middle(store):
    windows = store.windows(np.random.default_rng(0), batch=400, frames=3, there_and_back=0.25)
    number = windows.latents[:, :, 0, 0, 0]
    back = number[:, 0] == number[:, 2]
    assert back.sum() == 100
    assert (number[back, 1] - number[back, 0] == 1).all()
    assert (number[~back].diff(dim=1) == 1).all()


def walk(frames):
    """Frame i stands at (i², 0) and looks along a direction that turns by 0.1 a frame."""
    count = np.arange(frames)
    at = np.stack([count**2, 0 * count], 1).astype(np.float32)
    looks = np.stack([np.cos(0.1 * count), np.sin(0.1 * count)], 1).astype(np.float32)
    return replace(episode("walk", frames), positions=at, directions=looks)


def test_poses_are_relative_to_the_first_frame_of_a_window(tmp_path):
    append_episodes(tmp_path, iter([walk(30)]))
    windows = LatentStore(tmp_path).windows(np.random.default_rng(0), batch=40, frames=4)
    first = windows.latents[:, :1, 0, 0, 0]
    far = (first + torch.arange(4)) ** 2 - first**2
    ahead = torch.stack([far * torch.cos(0.1 * first), far * -torch.sin(0.1 * first)], -1)
    torch.testing.assert_close(windows.poses[..., :2], ahead, rtol=1e-4, atol=1e-3)


def test_poses_can_be_relative_to_a_frame_before_the_window(tmp_path):
    """The heading alone tells which frame that was: it has turned by 0.1 a frame since."""
    append_episodes(tmp_path, iter([walk(30)]))
    store = LatentStore(tmp_path)
    windows = store.windows(np.random.default_rng(0), batch=3000, frames=4, pose_origin=5)
    number = windows.latents[:, :, 0, 0, 0]
    origin = number - torch.atan2(windows.poses[..., 3], windows.poses[..., 2]) / 0.1
    assert (origin - origin[:, :1]).abs().max() < 1e-2
    back = (number[:, 0] - origin[:, 0]).round()
    late = number[:, 0] >= 5
    assert set(back[late].tolist()) == {0, 1, 2, 3, 4, 5}
    assert back[number[:, 0] == 2].max() == 2
    assert torch.bincount(back[late].long()).min() > 0.8 * late.sum() / 6
    far = (number**2 - origin**2) * torch.cos(0.1 * origin)
    torch.testing.assert_close(windows.poses[..., 0], far, rtol=1e-3, atol=0.2)


def test_ends_are_seen_as_often_as_any_frame_when_asked_for(store):
    """The last window of an episode that terminated counts for four; 12 places and 3 more for each of three ends."""
    windows = store.windows(np.random.default_rng(0), batch=12_000, frames=4, show_ends=True)
    starts = windows.latents[:, 0, 0, 0, 0].long().unique()
    ended = windows.terminated.any(1).float().mean()
    assert len(starts) == 12
    assert ended == pytest.approx(int(store.ended.sum()) * 4 / (12 + 3 * int(store.ended.sum())), abs=0.02)
    plain = store.windows(np.random.default_rng(0), batch=12_000, frames=4).terminated.any(1).float().mean()
    assert plain == pytest.approx(int(store.ended.sum()) / 12, abs=0.02)


def test_many_rewards_become_levels():
    few = np.array([0.0, 0.0, 1.0, -1.0, 1.0, 0.0], np.float32)
    assert reward_levels(few) == (0.0, 1.0, -1.0)
    rng = np.random.default_rng(0)
    many = np.concatenate([np.zeros(5000), rng.uniform(0.8, 1.0, 1000), rng.normal(-5, 0.1, 100)]).astype(np.float32)
    levels = reward_levels(many, most=12)
    assert (len(levels), levels[0]) == (12, 0.0)
    nearest = np.abs(many[:, None] - np.array(levels)).min(1)
    assert nearest[:5000].max() == 0  # the commonest keeps its value
    assert np.median(nearest[5000:]) < 0.02
