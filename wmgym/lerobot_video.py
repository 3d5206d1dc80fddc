"""Frames of one LeRobot episode out of a video file that holds many."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.pyav import open_video

ADVICE = "Likely cause: missing or damaged. Fix: fetch it again."


def decode_at(path: Path, times: NDArray[np.float64], frame_rate: float) -> Iterator[NDArray[np.uint8]]:
    """Yield the frame `(H, W, 3)` of each of some times, RGB; only what lies between them is decoded.

    Decoding starts at the key frame before the first time. A frame is that of a time if it is less than half a frame's
    duration away. Most damage is found (`wmgym.pyav.open_video`).

    Args:
        path: A video that PyAV can decode.
        times: `[t]` seconds from the beginning of the file, ascending.
        frame_rate: Frames a second.

    Raises:
        RecordingError: The file is missing or damaged, or has no frame at one of the times.
        DependencyError: PyAV is missing.
    """
    half = 0.5 / frame_rate
    found = 0
    with open_video(path, ADVICE, extra="lerobot") as (container, stream):
        for time, frame in _frames_from(container, stream, max(0.0, float(times[0]) - half)):
            if time <= times[found] - half:
                continue
            if time >= times[found] + half:
                break
            yield frame.to_ndarray(format="rgb24")
            found += 1
            if found == len(times):
                return
    raise RecordingError(
        f"{path}: no frame at {times[found]:.3f} s, expected one within {half:.3f} s. Likely cause: the file is cut "
        "short, or meta/episodes is of another version of it. Fix: fetch both again."
    )


def _frames_from(container: Any, stream: Any, start: float) -> Iterator[tuple[float, Any]]:
    """Yield times and frames from the key frame at or before a time on."""
    container.seek(int(start / stream.time_base), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise ValueError(f"the frame at {frame.time} s is damaged")
        yield float(frame.time), frame
