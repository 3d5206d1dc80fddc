"""The last frames of a video, decoded one at a time (PyAV), which is how MineRL's videos and rows fit together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.minerl_frames import to_square
from wmgym.pyav import open_video

ADVICE = "Likely cause: damage. Fix: fetch it again, or leave the stream out."


def read_listed_frames(path: Path) -> int:
    """Return how many frames a video's table of contents lists, 0 if it says nothing; nothing is decoded.

    Raises:
        RecordingError: The file cannot be opened as a video.
        DependencyError: PyAV is missing.
    """
    with open_video(path, ADVICE, guess=True) as (_, stream):
        return int(stream.frames)


def read_last_frames(path: Path, count: int, length: int | None, size: int) -> tuple[NDArray[np.uint8], int]:
    """Return the last frames of a video, and how many were decoded in all.

    Args:
        path: The file.
        count: How many to return.
        length: Where the video ends for us, if it goes on; None for at its own end.
        size: Height and width of what is returned, by averaging areas.

    Returns:
        `(count, size, size, 3)` uint8, and the number of frames; if that is below `count`, the frames mean nothing.

    Raises:
        RecordingError: The file cannot be decoded, a frame that is kept is damaged, or smaller than `size`.
        DependencyError: PyAV is missing, or Pillow, where frames are to be scaled.
    """
    ring = np.empty((count, size, size, 3), np.uint8)
    decoded, last_damaged = 0, -1
    for frame in _decoded(path):
        if decoded == length:
            break
        try:
            ring[decoded % count] = to_square(frame.to_ndarray(format="rgb24"), size)
        except ValueError as error:
            raise RecordingError(f"{path}: frame {decoded}: {error}") from error
        if frame.is_corrupt:
            last_damaged = decoded
        decoded += 1
    if last_damaged >= max(0, decoded - count):
        raise RecordingError(f"{path}: cannot be decoded (frame {last_damaged} is damaged). {ADVICE}")
    return np.roll(ring, -(decoded % count), axis=0), decoded


def _decoded(path: Path) -> Iterator[Any]:
    """Yield the frames of a video as PyAV has them; those before the first that is kept may be damaged."""
    with open_video(path, ADVICE, guess=True) as (container, stream):
        yield from container.decode(stream)
