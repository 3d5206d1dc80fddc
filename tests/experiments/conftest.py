"""What the scripts are tried on: a few random frames."""

import numpy as np
import pytest

FRAMES = 70


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three episodes of noise, and a file that is none."""
    from wmgym.recording import Episode, write_episode  # not before the jaxtyping hook

    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for i in range(3):
        image = rng.integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)
        reward = (rng.random(FRAMES) < 0.1).astype(np.float32)
        action = rng.integers(0, 6, FRAMES)
        write_episode(
            folder / f"{i}.npz", Episode(image, action, reward, action_count=6, seed=5_000_000 + i, policy="noise")
        )
    (folder / "broken.npz").write_bytes(b"not a zip file")
    return folder


@pytest.fixture
def noise():
    """A function that writes one short episode into a new folder and returns the folder."""
    from wmgym.recording import Episode, write_episode

    def write(folder, frames=2, size=64, **settings):
        folder.mkdir()
        image = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), np.uint8)
        action, reward = np.zeros(frames, np.int64), np.zeros(frames, np.float32)
        write_episode(folder / "0.npz", Episode(image, action, reward, **{"action_count": 6} | settings))
        return folder

    return write
