"""Frames of a video file, decoded one at a time (PyAV); nothing else of the file is held in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.mp4_table import read_mp4_table
from wmgym.pyav import open_video
from wmgym.square_frames import scale_down

ADVICE = "Likely cause: damage. Fix: fetch it again, or leave it out."


def decode_frames(
    path: Path, frame_skip: int = 1, count: int | None = None, frame_size: int | None = None
) -> NDArray[np.uint8]:
    """Return every k-th frame of a video, `(t, H, W, 3)` RGB.

    All frames before the last one kept are decoded, since each is stored as a change of those before; the others are
    dropped at once. Damage is an error, where players would show a guess.

    Args:
        path: The file.
        frame_skip: Keep every so many frames, from the first on.
        count: Keep so many; None for all.
        frame_size: Scale frames down to so many pixels along each side, by averaging; None for as they are.

    Raises:
        RecordingError: The file is missing, damaged or no video, has fewer frames than it says, frames that change
            their size, or frames that cannot be scaled.
        DependencyError: PyAV is missing, or Pillow, where frames are to be scaled.
    """
    table = read_mp4_table(path)
    kept = -(-table.frames // frame_skip) if count is None else count
    side = (table.height, table.width) if frame_size is None else (frame_size, frame_size)
    frames = np.empty((kept, *side, 3), np.uint8)
    done = 0
    for frame in _decoded(path, frame_skip):
        if done == kept:
            break
        if frame.shape[:2] != (table.height, table.width):
            raise RecordingError(
                f"{path}: frame {done * frame_skip} has {frame.shape[0]}x{frame.shape[1]} pixels, the file says "
                f"{table.height}x{table.width}; expected one size. Fix: leave the file out, or write it "
                "anew."
            )
        try:
            frames[done] = frame if frame_size is None else scale_down(frame, frame_size)
        except ValueError as error:
            raise RecordingError(f"{path}: {error} Fix: pass a --frame-size of at most its own.") from error
        done += 1
    if done < kept:
        raise RecordingError(
            f"{path}: {done * frame_skip} frames can be decoded of the {table.frames} it lists. Likely cause: damage. "
            "Fix: fetch it again, or leave it out."
        )
    return frames


def _decoded(path: Path, frame_skip: int) -> Iterator[NDArray[np.uint8]]:
    """Yield every k-th frame of a video as RGB."""
    with open_video(path, ADVICE) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt:
                raise ValueError(f"frame {number} is damaged")
            if number % frame_skip == 0:
                yield frame.to_ndarray(format="rgb24")
