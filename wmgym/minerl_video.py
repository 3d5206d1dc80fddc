"""The last frames of a video, decoded one at a time (PyAV), which is how MineRL's videos and rows fit together."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError, RecordingError
from wmgym.minerl_frames import to_square


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        DependencyError: It is missing.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise DependencyError(f'Videos need PyAV ({error}). Fix: pip install "wmgym[video-data]"') from error


def read_listed_frames(path: Path) -> int:
    """Return how many frames a video's table of contents lists, 0 if it says nothing; nothing is decoded.

    Raises:
        RecordingError: The file cannot be opened as a video.
        DependencyError: PyAV is missing.
    """
    av = import_av()
    try:
        with av.open(str(path)) as container:
            return int(container.streams.video[0].frames)
    except (av.FFmpegError, IndexError, ValueError, OSError) as error:
        raise RecordingError(_undecodable(path, error)) from error


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
        raise RecordingError(_undecodable(path, f"frame {last_damaged} is damaged"))
    return np.roll(ring, -(decoded % count), axis=0), decoded


def _decoded(path: Path) -> Iterator[Any]:
    """Yield the frames of a video as PyAV has them."""
    av = import_av()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield from container.decode(stream)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise RecordingError(_undecodable(path, error)) from error


def _undecodable(path: Path, why: object) -> str:
    """Say that a video is damaged."""
    return f"{path}: cannot be decoded ({why}). Likely cause: damage. Fix: fetch it again, or leave the stream out."
