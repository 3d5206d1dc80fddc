"""The evaluation script on a few random frames: what it counts, and what it refuses."""

import numpy as np
import pytest

from experiments import evaluate_world_model
from tests.experiments.conftest import short_evaluation
from wmgym import errors
from wmgym.codec import psnr
from wmgym.recording import read_episode, scan


def test_the_evaluation_measures_what_it_says(micro_folder, recordings, tmp_path):
    metrics = evaluate_world_model.main(short_evaluation(recordings, tmp_path, micro_folder, context=20))["metrics"]
    assert metrics["episodes"] == 3
    assert metrics["clips"] == 3
    episodes = [read_episode(path) for path in scan(recordings).usable]
    error = np.mean([10 ** (-psnr(e.image[20:21], e.image[19:20]) / 10) for e in episodes])
    for k in ("1", "2", "4", "8"):
        assert metrics["dream"][k]["copy_psnr_first"] == pytest.approx(-10 * np.log10(error), abs=1e-6)
    events = sum(int((e.reward[1:] != 0).sum()) for e in episodes)
    assert metrics["reward_events"]["events"] == events
    followed = np.stack([e.reward[1:9] for e in episodes[:2]])
    assert metrics["long_dream"]["reward_per_1000_steps"]["real"] == pytest.approx(1000 * followed.mean())
    assert list(metrics["memory_reach"]) == ["1", "2", "4", "8", "16"]  # the context has 20 frames
    for name in ("result.json", "result.md", "psnr.png", "clips.png", "long_dream.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_long_dreams_are_compared_with_episodes_that_are_as_long(micro_folder, noise, tmp_path):
    folder = noise(tmp_path / "uneven", frames=30)
    noise(tmp_path / "short", frames=24)
    (tmp_path / "short/0.npz").rename(folder / "1.npz")
    args = evaluate_world_model.Args(
        folder, tmp_path / "out", micro_folder, context=16, horizon=4, long_dream=26, elsewhere=""
    )
    metrics = evaluate_world_model.main(args)["metrics"]
    assert metrics["episodes"] == 2
    frames = read_episode(folder / "0.npz").image[1:27]
    assert metrics["long_dream"]["real"]["brightness"] == pytest.approx(frames.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"episodes": -1}, "--episodes -1 given, expected 1 or more"),
        ({"long_dreams": 0}, "--long-dreams 0 given, expected 1 or more"),
        ({"clips_per_episode": 0}, "--clips-per-episode 0 given, expected 1 or more"),
        ({"context": 0}, "--context 0 given, expected 1 or more"),
        ({"long_dream": 7}, "--long-dream 7 given, expected 8 or more"),
        ({"elsewhere": "wmgym/NoSuchMaze-v0"}, "--elsewhere wmgym/NoSuchMaze-v0 cannot be opened"),
        ({"elsewhere": "CartPole-v1"}, "--elsewhere CartPole-v1 takes"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_measuring(changes, named, micro_folder, recordings, tmp_path):
    settings = {"context": 20, "horizon": 4, "long_dream": 8, "elsewhere": ""} | changes
    with pytest.raises(ValueError, match=named):
        evaluate_world_model.main(evaluate_world_model.Args(recordings, tmp_path / "out", micro_folder, **settings))
    assert not (tmp_path / "out").exists()


def test_recordings_of_another_world_are_not_measured(micro_folder, noise, tmp_path):
    other = noise(tmp_path / "other", frames=30, action_count=9)
    args = evaluate_world_model.Args(other, tmp_path / "out", micro_folder, context=20, horizon=4, long_dream=8)
    with pytest.raises(errors.ContextError, match=r"9 actions .* expected 6 actions"):
        evaluate_world_model.main(args)
