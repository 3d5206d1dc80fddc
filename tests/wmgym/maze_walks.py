"""Recorded walks through random small mazes, of noise for images: what map probes are tried on."""

import numpy as np

from wmgym.recording import Episode, write_episode


def walk(seed, frames=12, size=3, targets=2, **changes):
    """One episode: maze and walk are drawn from the seed."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, frames)
    layout = rng.integers(0, 2, (1, size, size), np.uint8)
    places = rng.uniform(0, size, (1, targets, 2)).astype(np.float32)
    state = {
        "maze_layout": np.repeat(layout, frames, axis=0),
        "targets_pos": np.repeat(places, frames, axis=0),
        "target_pos": np.repeat(places[:, 0], frames, axis=0),
        "agent_pos": rng.uniform(0, size, (frames, 2)).astype(np.float32),
        "agent_dir": np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32),
    }
    state = {key: value for key, value in (state | changes.pop("state", {})).items() if value is not None}
    image = rng.integers(0, 256, (frames, 64, 64, 3), np.uint8)
    settings = {"action_count": 6, "seed": seed, "policy": "noise"} | changes
    return Episode(image, rng.integers(0, 6, frames), np.zeros(frames, np.float32), state=state, **settings)


def write_walks(folder, seeds, **settings):
    """A new folder of walks, a seed each."""
    folder.mkdir()
    for seed in seeds:
        write_episode(folder / f"{seed}.npz", walk(seed, **settings))
    return folder
