"""Dreams along recordings: the same as environments dream that were reset with the same frames."""

import numpy as np
import pytest

from tests.wmgym.maze_walks import walk, write_walks
from wmgym.dreamed_recordings import dream_along, dream_recordings
from wmgym.vector_env import DreamVectorEnv
from wmgym.watched_recordings import mirrored, read_watched, watch_recordings

MIRRORED = (0, 1, 3, 2, 5, 4)


@pytest.mark.parametrize("kind", ["features", "latent"])
def test_each_stretch_is_dreamed_on_from_what_was_observed(micro, kind):
    episodes = [walk(seed, frames=7) for seed in range(2)]
    shown = dream_along(micro.world, episodes, kind, 2)
    assert shown.shape[:2] == (2, 7)
    assert shown.dtype == np.float16
    env = DreamVectorEnv(2, checkpoint=micro, observation=kind)
    for start in (0, 3, 6):
        given = [{"frames": e.image[: start + 1], "actions": e.action[: start + 1]} for e in episodes]
        np.testing.assert_allclose(shown[:, start], env.reset(seed=0, options={"context": given})[0], atol=2e-3)
    watched = dream_along(micro.world, episodes, kind, 0)
    np.testing.assert_allclose(shown[:, ::3], watched[:, ::3], atol=2e-3)
    assert np.abs(shown[:, 1] - watched[:, 1]).max() > 1e-2  # a dream of random weights goes astray
    other = [walk(seed, frames=7) for seed in range(2)]
    for episode in other:
        episode.action[1] = (episode.action[1] + 1) % 6
    assert np.abs(dream_along(micro.world, other, kind, 2)[:, 1] - shown[:, 1]).max() > 1e-3


def test_episodes_are_dreamed_along_once(micro, tmp_path):
    folder, told = write_walks(tmp_path / "walks", range(3), frames=8), []
    files = sorted(folder.glob("*.npz"))
    made = dream_recordings(micro.world, files[:2], tmp_path / "dreamed", "latent", 3)
    times = [path.stat().st_mtime_ns for path in made]
    again = dream_recordings(micro.world, files, tmp_path / "dreamed", "latent", 3, progress=told.append)
    assert again[:2] == made
    assert [path.stat().st_mtime_ns for path in made] == times
    assert sum(told) == 8
    assert not list((tmp_path / "dreamed").glob("*partial*"))
    assert read_watched(again).shape[:2] == (3, 8)
    seen = watch_recordings(micro.world, files, tmp_path / "seen", "latent")
    np.testing.assert_allclose(read_watched(again)[:, ::4], read_watched(seen)[:, ::4], atol=2e-3)


def test_a_mirrored_episode_is_dreamed_as_one(micro, tmp_path):
    files = sorted(write_walks(tmp_path / "walks", [5], frames=6).glob("*.npz"))
    (made,) = dream_recordings(micro.world, files, tmp_path / "dreamed", "latent", 2, mirror=MIRRORED)
    expected = dream_along(micro.world, [mirrored(walk(5, frames=6), MIRRORED)], "latent", 2)
    np.testing.assert_array_equal(np.load(made), expected[0])
    assert made not in dream_recordings(micro.world, files, tmp_path / "dreamed", "latent", 2)
