"""Moments of recorded episodes: a dream and the real world go on from the same place."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete, MultiDiscrete

from tests.wmgym.test_alignment import RealCounter
from wmgym.context import Context
from wmgym.errors import RecordingError
from wmgym.memory_maze_setup import import_memory_maze_tasks
from wmgym.moments import Moment, MomentsOfDreams, MomentsOfReality, read_moments
from wmgym.recorded_world import RecordedWorld
from wmgym.recording import record_episode, write_episode
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation

HELD_OUT = 1_000_000


def record(folder, env, seeds, steps):
    rng, files = np.random.default_rng(0), []
    for seed in seeds:
        episode = record_episode(
            env, lambda observation, info: int(rng.integers(6)), seed=seed, policy_name="uniform", max_steps=steps
        )
        files.append(folder / f"seed-{seed}.npz")
        write_episode(files[-1], episode)
    return files


def test_dreams_go_on_from_their_moments(micro, tmp_path):
    moments = read_moments(record(tmp_path, RealCounter(last=9), range(HELD_OUT, HELD_OUT + 3), 6), 3, 4)
    dreams = MomentsOfDreams(DreamVectorEnv(2, checkpoint=micro, observation="features"), moments)
    plain = DreamVectorEnv(2, checkpoint=micro, observation="features")
    shown, _ = dreams.reset(seed=2)
    given = [{"frames": moments[i].context.frames, "actions": moments[i].context.actions} for i in (2, 0)]
    np.testing.assert_array_equal(shown, plain.reset(seed=2, options={"context": given})[0])
    for _ in range(3):
        np.testing.assert_array_equal(dreams.step([1, 2])[0], plain.step([1, 2])[0])


@pytest.mark.parametrize("space", [MultiDiscrete([3, 2], start=[1, 0]), Discrete(6, start=2)], ids=str)
def test_dreams_with_actions_of_their_own_go_on_from_the_same_moments(micro, tmp_path, space):
    moments = read_moments(record(tmp_path, RealCounter(last=9), range(HELD_OUT, HELD_OUT + 2), 6), 2, 4)
    opened = replace(micro, recorded=RecordedWorld("Test/Own-v0", space, 5, {}))
    shown = [
        MomentsOfDreams(DreamVectorEnv(2, checkpoint=checkpoint, observation="features"), moments).reset(seed=0)[0]
        for checkpoint in (micro, opened)
    ]
    np.testing.assert_array_equal(shown[1], shown[0])


def test_what_is_no_moment_of_a_held_out_episode(tmp_path):
    (short,) = record(tmp_path, RealCounter(last=9), [HELD_OUT], 3)
    with pytest.raises(RecordingError, match="0 of 1 recordings have a moment with 4 frames before, expected 1"):
        read_moments([short], 1, 4)
    (known,) = record(tmp_path, RealCounter(last=9), [5], 3)
    with pytest.raises(RecordingError, match="seed 5 given"):
        read_moments([known], 1, 2)


def test_moments_lie_shortly_before_a_reward(tmp_path):
    """In an episode that is paid at steps 4 and 12 only, those of two steps before are 2, 3, 10 and 11."""
    episode = record_episode(RealCounter(last=15), lambda *_: 1, seed=HELD_OUT, policy_name="none")
    episode = replace(episode, reward=np.isin(np.arange(16), (4, 12)).astype(np.float32))
    write_episode(tmp_path / "one.npz", episode)
    found = [read_moments([tmp_path / "one.npz"], 1, 3, lead=2, seed=seed)[0] for seed in range(40)]
    assert {len(moment.actions) for moment in found} == {2, 3, 10, 11}
    for moment in found:
        at = len(moment.actions)
        np.testing.assert_array_equal(moment.context.frames, episode.image[at - 2 : at + 1])
    with pytest.raises(RecordingError, match="and a reward within 2 steps after, expected 1"):
        read_moments([tmp_path / "one.npz"], 1, 14, lead=2)
    write_episode(tmp_path / "none.npz", replace(episode, reward=0 * episode.reward))
    with pytest.raises(RecordingError, match="0 of 1 recordings"):
        read_moments([tmp_path / "none.npz"], 1, 3, lead=2)
    anywhere = {len(read_moments([tmp_path / "none.npz"], 1, 14, seed=seed)[0].actions) for seed in range(20)}
    assert anywhere == {13, 14}  # never the last of 16 frames


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The real maze, and two moments of walks in it."""
    import_memory_maze_tasks()
    folder = tmp_path_factory.mktemp("walked")
    maze = gymnasium.make("wmgym/MemoryMaze-9x9-v0", render_mode="rgb_array", max_episode_steps=40)
    files = record(folder, maze, [HELD_OUT, HELD_OUT + 1], 30)
    return maze, read_moments(files, 2, 20), files


def test_the_real_maze_comes_to_where_it_was_recorded(walked):
    maze, moments, files = walked
    env = MomentsOfReality(maze, moments, 2)
    for seed in (3, 0):
        recorded, at = np.load(files[seed % 2]), len(moments[seed % 2].actions)
        shown = [env.reset(seed=seed)[0]]
        for step in range(2):
            image, _, _, truncated, _ = env.step(int(recorded["action"][at + 1 + step].argmax()))
            shown.append(image)
            assert truncated == (step == 1)
        np.testing.assert_array_equal(shown, recorded["image"][at : at + 3])


def test_a_world_model_that_watches_remembers_what_a_dream_is_shown(micro, tmp_path):
    """Features carry what is remembered: of the two frames of the context, and of none before."""
    moments = read_moments(record(tmp_path, RealCounter(last=9), [HELD_OUT], 8), 1, 2, latest=5)
    assert len(moments[0].actions) in (1, 2, 3, 4, 5)
    real = WorldModelObservation(RealCounter(last=9, render_mode="rgb_array"), micro)
    dreams = MomentsOfDreams(DreamVectorEnv(1, checkpoint=micro, observation="features"), moments)
    shown, _ = MomentsOfReality(real, moments, 2).reset(seed=0)
    np.testing.assert_allclose(shown, dreams.reset(seed=0)[0][0], atol=1e-5)


def test_another_world_than_was_recorded_is_told(walked):
    maze, moments, _ = walked
    env = MomentsOfReality(maze, [replace(moments[0], seed=HELD_OUT + 7)], 2)
    with pytest.raises(RecordingError, match="looks otherwise than it was recorded"):
        env.reset(seed=0)


def test_a_time_limit_that_leaves_no_room_is_told(walked):
    _, moments, _ = walked
    maze = gymnasium.make("wmgym/MemoryMaze-9x9-v0", render_mode="rgb_array", max_episode_steps=10)
    with pytest.raises(RecordingError, match="ended before its moment"):
        MomentsOfReality(maze, moments, 2).reset(seed=0)


def test_moments_are_counted_around(micro):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    moments = [
        Moment(HELD_OUT, np.zeros(1, np.int64), Context(frames + level, np.zeros(2, np.int64)), "")
        for level in (0, 200)
    ]
    dreams = MomentsOfDreams(DreamVectorEnv(3, checkpoint=micro, observation="latent"), moments)
    shown, _ = dreams.reset(seed=1)
    np.testing.assert_allclose(shown[0], shown[2], atol=1e-5)
    assert np.abs(shown[0] - shown[1]).max() > 1e-3
