"""A small LeRobot v3.0 data set with known contents, written by lerobot itself.

`tests/wmgym/lerobot` was made by `python tests/wmgym/lerobot_fixture.py tests/wmgym/lerobot` with lerobot 0.4.4, av
18.1.0 (AV1 by SVT-AV1, lerobot's default), pyarrow 26.0.1 and numpy 2.3.5 (`datasets` 4.8.5 fails with 2.4). Three
episodes of 5, 7 and 4 frames; files were kept so small that the third has a parquet and a video file of its own.
"""

import sys
from pathlib import Path

import numpy as np

LENGTHS = (5, 7, 4)
FPS = 10
VIDEO, IMAGE = "observation.images.front", "observation.images.wrist"
FEATURES = {
    VIDEO: {"dtype": "video", "shape": (48, 64, 3), "names": ["height", "width", "channels"]},
    IMAGE: {"dtype": "image", "shape": (16, 16, 3), "names": ["height", "width", "channels"]},
    "action": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "constant"]},
    "key": {"dtype": "int64", "shape": (1,), "names": None},
    "switches": {"dtype": "bool", "shape": (2,), "names": None},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
}


def video_frame(episode, row):
    """`(48, 64, 3)`: a slope whose brightness tells the frame, and a square whose place does."""
    slope = np.linspace(0, 60, 64)[None, :, None] + np.linspace(0, 30, 48)[:, None, None]
    frame = np.repeat(slope + 12 * row + 40 * episode, 3, axis=2)
    frame[16:32, 8 * row : 8 * row + 8] = (230, 120, 40)
    return frame.astype(np.uint8)


def image_frame(episode, row):
    """`(16, 16, 3)` of noise, which only a lossless format keeps."""
    return np.random.default_rng(100 * episode + row).integers(0, 256, (16, 16, 3), np.uint8)


def row_of(episode, row):
    """Return what stands in a row beside its pictures."""
    last = row == LENGTHS[episode] - 1
    return {
        "action": np.array([episode - 1 + 0.1 * row, -0.25 * row, 0.5], np.float32),
        "key": np.array([(3 * episode + row) % 5], np.int64),
        "switches": np.array([row % 2 == 1, episode == 1]),
        "next.reward": np.array([episode + row / 8], np.float32),
        "next.done": np.array([last]),
    }


def write(folder):
    """Write the data set with lerobot's own recorder."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset.create("wmgym/fixture", FPS, FEATURES, root=folder)
    dataset.meta.update_chunk_settings(data_files_size_in_mb=0.02, video_files_size_in_mb=0.00315)
    for episode, length in enumerate(LENGTHS):
        for row in range(length):
            pictures = {VIDEO: video_frame(episode, row), IMAGE: image_frame(episode, row)}
            dataset.add_frame({**pictures, **row_of(episode, row), "task": f"task {episode % 2}"})
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
