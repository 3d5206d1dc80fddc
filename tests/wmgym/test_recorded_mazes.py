"""Mazes of recordings: what is read of them, and which cannot be probed or not be scored against each other."""

import numpy as np
import pytest

from tests.wmgym.maze_walks import walk, write_walks
from wmgym.errors import RecordingError
from wmgym.recorded_mazes import read_maze, refuse_unfit
from wmgym.recording import SEED_RANGES, scan, write_episode

TEST = SEED_RANGES["test"].start


def mazes(folder, seeds, **settings):
    return [read_maze(path) for path in scan(write_walks(folder, seeds, **settings)).usable]


def test_a_maze_is_read_as_recorded(tmp_path):
    episode = walk(7)
    write_episode(tmp_path / "7.npz", episode)
    maze = read_maze(tmp_path / "7.npz")
    np.testing.assert_array_equal(maze.free, episode.state["maze_layout"][0] == 1)
    np.testing.assert_array_equal(maze.targets, episode.state["targets_pos"][0])
    np.testing.assert_array_equal(maze.poses[:, :2], episode.state["agent_pos"])
    np.testing.assert_array_equal(maze.poses[:, 2:], episode.state["agent_dir"])
    assert (maze.seed, maze.walker) == (7, "noise")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"maze_layout": None}, r"no maze_layout recorded, expected .*Most likely .*global_observables"),
        ({"agent_dir": None, "targets_pos": None}, "no targets_pos, no agent_dir recorded"),
        ({"maze_layout": np.arange(12 * 9, dtype=np.uint8).reshape(12, 3, 3) % 2}, "changes within the episode"),
    ],
)
def test_episodes_without_one_known_maze_are_refused(state, message, tmp_path):
    write_episode(tmp_path / "0.npz", walk(0, state=state))
    with pytest.raises(RecordingError, match=message):
        read_maze(tmp_path / "0.npz")


@pytest.mark.parametrize(
    ("training", "held_out", "start", "message"),
    [
        (
            (range(1), {}),
            (range(TEST, TEST + 1), {}),
            5,
            "1 training and 1 held-out episodes given, expected 2 or more",
        ),
        ((range(2), {}), (range(0), {}), 5, "2 training and 0 held-out episodes given"),
        ((range(2), {}), (range(5, 8), {}), 5, "3 of the 3 held-out episodes have seeds of the train split"),
        ((range(TEST, TEST + 2), {}), (range(TEST + 5, TEST + 6), {}), 5, "training episodes have seeds of the test"),
        ((range(2), {}), (range(TEST, TEST + 1), {"size": 4}), 5, "3x3 with 2 targets and 4x4 with 2 targets given"),
        ((range(2), {}), (range(TEST, TEST + 1), {}), 12, "held-out episodes of 12 frames given, expected .* least 13"),
    ],
)
def test_what_cannot_be_scored_is_refused(training, held_out, start, message, tmp_path):
    given = [mazes(tmp_path / name, seeds, **settings) for name, (seeds, settings) in
             (("training", training), ("held_out", held_out))]  # fmt: skip
    with pytest.raises(RecordingError, match=message):
        refuse_unfit(*given, start)


def test_good_mazes_pass(tmp_path):
    refuse_unfit(mazes(tmp_path / "a", range(2)), mazes(tmp_path / "b", range(TEST, TEST + 1)), 11)


def test_a_maze_in_both_folders_is_found_without_seeds(tmp_path):
    training, held_out = (mazes(tmp_path / name, range(2)) for name in ("a", "b"))
    unnamed = [type(maze)(maze.path, maze.free, maze.targets, maze.poses, None, None) for maze in held_out]
    with pytest.raises(RecordingError, match=r"b/0.npz shows the same maze as .*a/0.npz"):
        refuse_unfit(training, unnamed, 5)


def test_lengths_must_agree(tmp_path):
    training = mazes(tmp_path / "a", range(2))
    held_out = mazes(tmp_path / "b", [TEST]) + mazes(tmp_path / "c", [TEST + 1], frames=9)
    with pytest.raises(RecordingError, match="held-out episodes of 9, 12 frames given, expected one length"):
        refuse_unfit(training, held_out, 5)
