"""Frames of one LeRobot episode out of a video file that holds many."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError, RecordingError


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        DependencyError: It is missing.
    """
    try:
        import av
    except ImportError as error:
        raise DependencyError(
            f"Videos cannot be decoded without PyAV ({error}). Install it with: pip install 'wmgym[lerobot]'"
        ) from error
    return av


def decode_at(path: Path, times: NDArray[np.float64], frame_rate: float) -> Iterator[NDArray[np.uint8]]:
    """Yield the frame `(H, W, 3)` of each of some times, RGB; only what lies between them is decoded.

    Decoding starts at the key frame before the first time. A frame is that of a time if it is less than half a frame's
    duration away. Most damage is found; video has no checksums, so some shows as wrong colours only.

    Args:
        path: A video that PyAV can decode.
        times: `[t]` seconds from the beginning of the file, ascending.
        frame_rate: Frames a second.

    Raises:
        RecordingError: The file is missing or damaged, or has no frame at one of the times.
        DependencyError: PyAV is missing.
    """
    av = import_av()
    half = 0.5 / frame_rate
    found = 0
    try:
        for time, frame in _frames_from(av, path, max(0.0, float(times[0]) - half)):
            if time <= times[found] - half:
                continue
            if time >= times[found] + half:
                break
            yield frame.to_ndarray(format="rgb24")
            found += 1
            if found == len(times):
                return
    except Exception as error:  # PyAV raises a dozen kinds on damaged files
        raise RecordingError(
            f"{path}: cannot be decoded ({error}). Likely cause: missing or damaged. Fix: fetch it again."
        ) from error
    raise RecordingError(
        f"{path}: no frame at {times[found]:.3f} s, expected one within {half:.3f} s. Likely cause: the file is cut "
        "short, or meta/episodes is of another version of it. Fix: fetch both again."
    )


def _frames_from(av: ModuleType, path: Path, start: float) -> Iterator[tuple[float, Any]]:
    """Yield times and frames from the key frame at or before a time on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}  # else a guess is shown where a file is damaged
        container.seek(int(start / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise ValueError(f"the frame at {frame.time} s is damaged")
            yield float(frame.time), frame
