"""The script of map probes on a few walks through small mazes: what it writes, and what it refuses."""

import json

import numpy as np
import pytest

from experiments import map_probes
from tests.wmgym.maze_walks import write_walks
from wmgym import errors
from wmgym.recording import SEED_RANGES, read_episode, scan

TEST = SEED_RANGES["test"].start


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walks")
    return write_walks(folder / "train", range(4)), write_walks(folder / "test", range(TEST, TEST + 2))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("wmgym.map_probes.UNITS", 16)


def args(walks, output, checkpoint, **changes):
    training, test = walks
    return map_probes.Args(training, test, output, checkpoint, **{"every": 2, "start": 6, "steps": 3} | changes)


def test_the_script_measures_what_it_says(walks, micro_folder, tmp_path):
    metrics = map_probes.main(args(walks, tmp_path, micro_folder, episodes=3))["metrics"]
    assert metrics["mazes"] == {"training": 3, "held_out": 2}
    assert (metrics["size"], metrics["scored_steps"]) == ("3x3", [6, 11])
    training, held_out = ([read_episode(path) for path in scan(folder).usable] for folder in walks)
    majority = np.mean([e.state["maze_layout"][0] for e in training[:3]], axis=0) > 0.5
    right = np.mean([(e.state["maze_layout"][0] == 1) == majority for e in held_out])
    assert metrics["constant"]["walls_accuracy"] == pytest.approx(100 * right)
    for name in ("features", "without_memory", "constant", "constant_position"):
        low, high = metrics[name]["objects_rmse_ci95"]
        assert 0 < low <= metrics[name]["objects_rmse"] <= high
        assert len(metrics["by_step"][name]["walls_accuracy"]) == 6  # steps 0, 2, ... 10
    assert metrics["published"] == {}  # there are none of this size
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == metrics
    assert "| features of this model |" in (tmp_path / "result.md").read_text()
    assert (tmp_path / "map_probes.png").stat().st_size > 0


def test_published_numbers_stand_beside_ours(micro_folder, tmp_path):
    sized = {"size": 9, "targets": 3}
    walks = write_walks(tmp_path / "a", range(2), **sized), write_walks(tmp_path / "b", [TEST], **sized)
    metrics = map_probes.main(args(walks, tmp_path / "out", micro_folder))["metrics"]
    assert metrics["published"]["RSSM (TBTT)"] == {"walls_accuracy": 94.0, "objects_rmse": 2.5}
    assert "| published: supervised oracle | 99.7 | | 0.5 | |" in (tmp_path / "out" / "result.md").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"episodes": 1}, ValueError, "--episodes 1 given, expected 2 or more"),
        ({"test_episodes": 0}, ValueError, "--test-episodes 0 given, expected 1 or more"),
        ({"steps": 0}, ValueError, "--steps 0 given, expected 1 or more"),
        ({"start": 11, "every": 4}, ValueError, "--every 4 given, which keeps no frame from step 11 on"),
        ({"start": 500}, errors.RecordingError, "held-out episodes of 12 frames given, expected .* at least 501"),
        ({"walkers": "random_goal"}, errors.RecordingError, "--walkers random_goal given, but none of the 4 .*'noise'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_measuring(changes, error, named, walks, micro_folder, tmp_path):
    with pytest.raises(error, match=named):
        map_probes.main(args(walks, tmp_path / "out", micro_folder, **changes))
    assert not (tmp_path / "out").exists()


def test_folders_that_are_mixed_up_are_refused(walks, micro_folder, tmp_path):
    with pytest.raises(errors.RecordingError, match=r"held-out episodes have seeds of the train split.*--split test"):
        map_probes.main(args(walks[::-1], tmp_path / "out", micro_folder))


def test_recordings_without_maps_are_refused(walks, noise, micro_folder, tmp_path):
    with pytest.raises(errors.RecordingError, match="no maze_layout, no targets_pos, no agent_pos, no agent_dir"):
        map_probes.main(args((walks[0], noise(tmp_path / "other")), tmp_path / "out", micro_folder))


def test_recordings_of_another_world_are_refused(walks, micro_folder, tmp_path):
    other = write_walks(tmp_path / "other", [TEST], action_count=9)
    with pytest.raises(errors.ContextError, match=r"9 actions .* expected 6 actions"):
        map_probes.main(args((walks[0], other), tmp_path / "out", micro_folder))
