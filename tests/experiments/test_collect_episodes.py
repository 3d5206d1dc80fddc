"""The collection script: resumable, split by seeds, honest in its summary."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agents.mixtures import make_walker
from experiments import collect_episodes
from experiments.collect_episodes import Args, choose_seeds, file_of, main, summarise
from wmgym.recording import SEED_RANGES, Episode, read_episode, write_episode
from wmgym.smaller_frames import with_smaller_frames

ROOT = Path(__file__).parents[2]
TEXTURE = {"episodes": 1, "env": "wmgym/TextureWorld-v0"}


@pytest.fixture
def episode():
    """Two frames of nothing."""
    image, action, reward = np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2, np.int64), np.zeros(2, np.float32)
    return Episode(image, action, reward, action_count=6, policy="")


def test_seed_ranges_are_disjoint():
    ranges = sorted(SEED_RANGES.values(), key=lambda seeds: seeds.start)
    assert all(first.stop <= second.start for first, second in itertools.pairwise(ranges))


def test_seeds_that_are_there_are_skipped(tmp_path, episode):
    held_out, train = tmp_path / "validation", tmp_path / "train"
    held_out.mkdir()
    write_episode(file_of(held_out, 1_000_001), episode)
    assert choose_seeds(Args(held_out, episodes=3, split="validation")) == [1_000_000, 1_000_002]
    assert choose_seeds(Args(train, frames=1002)) == [0, 1]
    assert choose_seeds(Args(train, episodes=2, first_seed=500)) == [500, 501]


def test_a_file_that_cannot_be_used_is_recorded_anew(tmp_path, episode):
    for seed in range(3):
        write_episode(file_of(tmp_path, seed), episode)
    whole = file_of(tmp_path, 1).read_bytes()
    file_of(tmp_path, 1).write_bytes(whole[: len(whole) // 2])
    assert choose_seeds(Args(tmp_path, episodes=4)) == [1, 3]
    summary = summarise(Args(tmp_path, episodes=4))
    assert (summary["episodes"], list(summary["unusable"])) == (2, ["seed-00000001.npz"])


def test_a_file_whose_name_tells_no_seed_is_named_and_ignored(tmp_path, capsys):
    (tmp_path / "seed-foo.npz").touch()
    assert choose_seeds(Args(tmp_path, episodes=1)) == [0]
    assert "seed-foo.npz" in capsys.readouterr().err


def test_a_folder_of_another_world_is_refused(tmp_path):
    summary = tmp_path / "collection.json"
    summary.write_text(json.dumps({"env": "wmgym/MemoryMaze-9x9-v0"}))
    assert choose_seeds(Args(tmp_path, episodes=1)) == [0]
    with pytest.raises(ValueError, match=r"9x9.*--env asks for wmgym/MemoryMaze-11x11"):
        choose_seeds(Args(tmp_path, episodes=1, env="wmgym/MemoryMaze-11x11-v0"))
    summary.write_text("{")
    with pytest.raises(ValueError, match=r"collection\.json cannot be read"):
        choose_seeds(Args(tmp_path, episodes=1))


def test_a_folder_of_other_frames_is_refused(tmp_path, episode):
    """As a recording that was killed leaves it: without a summary."""
    write_episode(file_of(tmp_path, 0), episode)
    assert choose_seeds(Args(tmp_path, episodes=2)) == choose_seeds(Args(tmp_path, episodes=2, frame_size=64)) == [1]
    with pytest.raises(ValueError, match=r"frames of 64x64, 32x32 asked for.*Pass --frame-size 64, or another"):
        choose_seeds(Args(tmp_path, episodes=2, frame_size=32))


def test_frames_are_scaled_down_by_averaging(tmp_path):
    whole, half = ({"env": "wmgym/TextureWorld-v0", "episodes": 1, "workers": 1, "max_steps": 5} for _ in range(2))
    main(Args(tmp_path / "whole", **whole))
    summary = main(Args(tmp_path / "half", frame_size=16, **half))
    large, small = (read_episode(file_of(tmp_path / name, 0)) for name in ("whole", "half"))
    means = large.image.reshape(6, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(small.image - means).max() <= 1
    np.testing.assert_array_equal(small.action, large.action)
    assert (summary["frame_size"], small.image.std() > 10) == (16, True)
    with pytest.raises(ValueError, match="64x64 asked for, and the environment shows Box"):
        with_smaller_frames(gymnasium.make("wmgym/TextureWorld-v0"), 64)


def test_a_folder_of_another_split_is_refused(tmp_path):
    file_of(tmp_path, 7).touch()
    with pytest.raises(ValueError, match="such as seed 7;"):
        choose_seeds(Args(tmp_path, episodes=1, split="test"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "either --episodes or --frames"),
        ({"episodes": 1, "frames": 1}, "either --episodes or --frames"),
        ({"episodes": -3}, "--episodes -3 given, expected 1 or more"),
        ({"frames": 0}, "--frames 0 given, expected 1 or more"),
        ({"episodes": 1, "max_steps": 0}, "--max-steps 0 given, expected 1 or more"),
        ({"episodes": 1, "workers": 0}, "--workers 0 given, expected 1 or more"),
        ({"episodes": 1, "frame_size": 65}, "--frame-size 65 given, expected 1 to 64. Frames are only scaled down."),
        (TEXTURE | {"frame_size": 33}, "--frame-size 33 given, expected 1 to 32"),
        ({"episodes": 1, "first_seed": 1_000_000}, "split train"),
        ({"episodes": 2, "first_seed": 1_999_999, "split": "validation"}, "split validation"),
    ],
)
def test_contradictions_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        choose_seeds(Args(Path("unused"), **arguments))


def test_records_on_where_it_stopped(tmp_path):
    pytest.importorskip("dm_control")
    output = tmp_path / "recordings"
    first = main(Args(output, episodes=1, workers=1, max_steps=12))
    assert (first["episodes"], first["frames"], first["failed_in_last_run"]) == (1, 13, 0)
    untouched = file_of(output, 0).stat().st_mtime_ns
    (output / "broken.npz").write_bytes(b"not a zip file")
    second = main(Args(output, episodes=2, workers=1, max_steps=12))
    assert (second["episodes"], second["frames"]) == (2, 26)
    assert list(second["unusable"]) == ["broken.npz"]
    assert file_of(output, 0).stat().st_mtime_ns == untouched
    assert json.loads((output / "collection.json").read_text()) == second
    episode = read_episode(file_of(output, 1))
    assert (episode.seed, episode.policy, episode.steps) == (1, make_walker("wmgym/MemoryMaze-9x9-v0", 1)[1], 12)
    assert episode.state["maze_layout"].shape == (13, 9, 9)


def test_records_the_texture_world_with_its_poses(tmp_path):
    summary = main(Args(tmp_path, episodes=2, workers=1, env="wmgym/TextureWorld-v0"))
    assert (summary["episodes"], summary["frames"], summary["failed_in_last_run"]) == (2, 2002, 0)
    episode = read_episode(file_of(tmp_path, 1))
    assert (episode.action_count, episode.image.shape[1:]) == (5, (32, 32, 3))
    moves = np.abs(np.diff(episode.state["agent_pos"], axis=0)).sum(1)
    np.testing.assert_array_equal(moves, 1.25 * np.isin(episode.action[1:], (1, 4)))  # forward or back


def test_a_recording_that_is_killed_says_which_world_it_is(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(collect_episodes, "run_jobs", killed)
    with pytest.raises(KeyboardInterrupt):
        main(Args(tmp_path, workers=1, **TEXTURE))
    with pytest.raises(ValueError, match=r"holds episodes of wmgym/TextureWorld-v0, --env asks for wmgym/MemoryMaze"):
        choose_seeds(Args(tmp_path, episodes=1, frame_size=32))


def test_a_run_whose_jobs_fail_says_so(tmp_path):
    flags = ["--output", str(tmp_path), "--episodes=1", "--workers=1", "--max-steps=2"]
    command = [sys.executable, str(ROOT / "experiments/collect_episodes.py"), *flags]
    shell = os.environ | {"PYTHONPATH": str(ROOT), "MUJOCO_GL": "foo"}
    finished = subprocess.run(command, env=shell, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 1
    assert "1 episodes were not recorded" in finished.stderr
    summary = json.loads((tmp_path / "collection.json").read_text())
    assert (summary["episodes"], summary["failed_in_last_run"], summary["frames_per_second_in_last_run"]) == (0, 1, 0)
