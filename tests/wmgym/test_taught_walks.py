"""Walks are cut without loss: each frame once a round, a mirror twice is none, windows lie where they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.axes import START_ACTION
from model.config import PRESETS
from model.lssvwm import LSSVWM
from model.pupil import Pupil
from tests.wmgym.maze_walks import walk, write_walks
from wmgym.errors import RecordingError
from wmgym.lessons import MIRRORED, state_in, usable_files
from wmgym.recording import read_episode, write_episode
from wmgym.taught_walks import Walks, read_steps, share_right

EPISODES, FRAMES = 5, 23
CPU = torch.device("cpu")


@pytest.fixture
def walks(tmp_path):
    """Latents whose first number counts the frames of all episodes."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(EPISODES):
        latents = rng.normal(size=(FRAMES, 4, 8, 8)).astype(np.float16)
        latents[:, 0, 0, 0] = i * FRAMES + np.arange(FRAMES)
        np.save(tmp_path / f"{i}.npy", latents)
        files.append(tmp_path / f"{i}.npy")
    led, wanted = rng.integers(0, 6, (2, EPISODES, FRAMES))
    led[:, 0] = START_ACTION
    goal = rng.normal(size=(EPISODES, FRAMES, 2)).astype(np.float32)
    rewards = rng.random((EPISODES, FRAMES)).astype(np.float32)
    return Walks(tuple(files), led, rewards, wanted, goal, rng.random((EPISODES, FRAMES)) < 0.5)


def places(latents):
    """Episode and frame of each latent."""
    return np.divmod(latents[:, :, 0, 0, 0].numpy().astype(int), FRAMES)


def test_a_round_goes_once_through_episodes_side_by_side(walks):
    starts = set()
    for seed in range(20):
        lessons = list(walks.round(np.random.default_rng(seed), 3, 7, CPU))
        episode, frame = (
            np.concatenate(axis, 1) for axis in zip(*(places(one.latents) for one in lessons), strict=True)
        )
        np.testing.assert_array_equal(frame, np.tile(np.arange(FRAMES), (3, 1)))
        assert (episode == episode[:, :1]).all()
        assert len(set(episode[:, 0])) == 3
        lengths = [one.wanted.shape[1] for one in lessons]
        assert lengths[1:-1] == [7] * (len(lengths) - 2)
        assert 4 <= lengths[-1] < 7 + 4
        starts.add(lengths[0])
        for one in lessons:
            e, f = places(one.latents)
            for told, true in zip(one[1:], (walks.led, walks.wanted, walks.goal, walks.known), strict=True):
                np.testing.assert_array_equal(told.numpy(), true[e, f])
    assert starts == {4, 5, 6, 7}


def test_a_round_of_more_episodes_than_there_are_takes_all(walks):
    first = next(walks.round(np.random.default_rng(0), 99, 7, CPU))
    assert sorted(places(first.latents)[0][:, 0]) == list(range(EPISODES))


def test_windows_lie_anywhere_and_hold_what_was_there(walks):
    windows = walks.windows(np.random.default_rng(0), 300, 5, CPU)
    episode, frame = places(windows.latents)
    np.testing.assert_array_equal(frame, frame[:, :1] + np.arange(5))
    assert set(episode[:, 0]) == set(range(EPISODES))
    assert set(frame[:, 0]) == set(range(FRAMES - 4))
    np.testing.assert_array_equal(windows.actions.numpy(), walks.led[episode, frame])
    np.testing.assert_array_equal(windows.rewards.numpy(), walks.rewards[episode, frame])
    assert not windows.terminated.any()
    assert walks.windows(np.random.default_rng(0), 2, 99, CPU).rewards.shape == (2, FRAMES)


def test_paid_windows_have_a_reward_in_their_last_frames_each_as_likely(walks):
    rewards = np.zeros((EPISODES, FRAMES), np.float32)
    paid_at = [(0, 9), (2, 12), (2, 13), (4, 20)]
    rewards[tuple(zip(*paid_at, strict=True))] = 1
    walks = replace(walks, rewards=rewards)
    windows = walks.windows(np.random.default_rng(0), 2000, 5, CPU, paid_share=1.0, last_frames=3)
    assert (windows.rewards[:, 2:] > 0).any(1).all()
    episode, frame = places(windows.latents)
    np.testing.assert_array_equal(frame, frame[:, :1] + np.arange(5))
    np.testing.assert_array_equal(windows.rewards.numpy(), rewards[episode, frame])
    first = list(zip(episode[:, 0], frame[:, 0], strict=True))
    for row, at in [(0, 9), (4, 20)]:  # alone in their windows: as often in each of the three places
        counts = [first.count((row, at - place)) for place in (2, 3, 4)]
        assert sum(counts) == pytest.approx(500, abs=80)
        assert min(counts) > 110
    half = walks.windows(np.random.default_rng(0), 2000, 5, CPU, paid_share=0.5, last_frames=3)
    by_chance = 0.5 * np.mean([rewards[i, b + 2 : b + 5].any() for i in range(EPISODES) for b in range(FRAMES - 4)])
    assert float((half.rewards[:, 2:] > 0).any(1).float().mean()) == pytest.approx(0.5 + by_chance, abs=0.04)


@pytest.mark.parametrize(
    ("at", "last", "begins"), [(1, 9, {0}), (3, 2, {0}), (4, 2, {0, 1}), (22, 3, {18}), (21, 9, {17, 18})]
)
def test_paid_windows_stay_within_their_episodes(walks, at, last, begins):
    rewards = np.zeros((EPISODES, FRAMES), np.float32)
    rewards[1, at] = 1
    drawn = replace(walks, rewards=rewards).windows(
        np.random.default_rng(0), 99, 5, CPU, paid_share=1.0, last_frames=last
    )  # fmt: skip
    first = set(places(drawn.latents)[1][:, 0])
    assert first == begins
    assert (drawn.rewards[:, max(1, 5 - last) :].sum(1) == 1).all()


def test_without_a_reward_late_enough_no_window_can_be_paid(walks):
    rewards = np.zeros((EPISODES, FRAMES), np.float32)
    rewards[:, 2] = 1  # a window of five frames has its last two at 3 and 4 at the earliest
    poor = replace(walks, rewards=rewards)
    with pytest.raises(RecordingError, match="no reward from frame 3 on in 5 episodes of 23 frames"):
        poor.windows(np.random.default_rng(0), 9, 5, CPU, paid_share=1.0, last_frames=2)
    assert poor.windows(np.random.default_rng(0), 9, 5, CPU).rewards.shape == (9, 5)


def test_in_a_mirror_twice_is_as_it_was(walks):
    there = walks.in_a_mirror(walks.files, MIRRORED)
    left, right = 2, 3
    np.testing.assert_array_equal(there.wanted == left, walks.wanted == right)
    np.testing.assert_array_equal(there.led == left, walks.led == right)
    np.testing.assert_array_equal(there.goal, walks.goal * [1, -1])
    assert (there.led[:, 0] == START_ACTION).all()
    back = there.in_a_mirror(walks.files, MIRRORED)
    for name in ("led", "rewards", "wanted", "goal", "known"):
        np.testing.assert_array_equal(getattr(back, name), getattr(walks, name))
    both = walks.and_those(there)
    assert len(both) == 2 * EPISODES
    np.testing.assert_array_equal(both.wanted, np.concatenate([walks.wanted, there.wanted]))


def test_what_led_to_frames_and_came_with_them_is_read_as_recordings_are(tmp_path):
    folder = tmp_path / "walks"
    folder.mkdir()
    rewards = np.random.default_rng(0).random((3, 9)).astype(np.float32)
    for seed in range(3):
        write_episode(folder / f"{seed}.npz", replace(walk(seed, frames=9), reward=rewards[seed]))
    files = usable_files([folder])
    led, paid = read_steps(files)
    np.testing.assert_array_equal(paid, rewards)
    np.testing.assert_array_equal(led[:, 1:], [read_episode(file).action[1:] for file in files])
    assert (led[:, 0] == START_ACTION).all()
    assert set(state_in(files[0], ("agent_pos", "nothing"))) == {"agent_pos"}
    longer = usable_files([write_walks(tmp_path / "longer", range(1), frames=10)])
    with pytest.raises(
        RecordingError,
        match=r"^recorded episodes of several lengths given: 3 have 9 frames \(.*\), 1 have 10 frames \(.*longer",
    ):
        read_steps([*files, *longer])


def test_a_damaged_file_of_latents_is_named(walks):
    walks.files[1].write_bytes(b"none")
    with pytest.raises(RecordingError, match=r"1\.npy: cannot be read .* delete it; it is made again"):
        walks.lesson(range(EPISODES), 0, 5)


def test_the_share_of_right_answers_is_that_of_all_frames_and_can_begin_anew(walks):
    pupil = Pupil(LSSVWM(PRESETS["micro"].dynamics)).train()
    for weight in pupil.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    whole = walks.lesson(range(3), 0, FRAMES)
    pupil.eval()
    right = pupil(whole, pupil.dynamics.initial_memory(3))[0].right
    pupil.train()
    for stretch in (4, FRAMES):
        assert share_right(pupil, walks, 3, None, CPU, stretch) == pytest.approx(float(right.float().mean()))
    assert pupil.training
    pupil.eval()
    alone = []
    for begin in range(0, FRAMES, 4):
        part = walks.lesson(range(3), begin, min(begin + 4, FRAMES))
        begun = part._replace(actions=torch.cat([torch.full((3, 1), START_ACTION), part.actions[:, 1:]], 1))
        alone.append(pupil(begun, pupil.dynamics.initial_memory(3))[0].right)
    assert not torch.equal(torch.cat(alone, 1), right)
    assert share_right(pupil, walks, 3, 4, CPU) == pytest.approx(float(torch.cat(alone, 1).float().mean()))
