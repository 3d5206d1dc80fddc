"""MineRL's streams under the names that `wmgym.recording` has for its own files; a stream's file is its video.

So the scripts read them where they lie (`wmgym.other_layouts`).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from wmgym.episode_files import STATE_KEYS
from wmgym.minerl_recordings import METADATA_FILE, check, read_stream
from wmgym.other_layouts import MINERL_ROWS
from wmgym.recording import Episode

FRAME_SIZE = 64


def check_episode(path: Path) -> None:
    """Check what can be checked without decoding, see `wmgym.minerl_recordings.check`.

    Args:
        path: The stream's video.
    """
    check(path.parent)


def read_episode(path: Path, state_keys: Iterable[str] = STATE_KEYS, frame_size: int | None = None) -> Episode:
    """Return a stream with the actions of the standard table, see `wmgym.minerl_recordings.read_stream`.

    Args:
        path: The stream's video.
        state_keys: None is there.
        frame_size: Height and width of frames; None for 64.
    """
    return read_stream(path.parent, frame_size=FRAME_SIZE if frame_size is None else frame_size).episode


def read_summary(path: Path) -> tuple[int, float, str]:
    """Return frames, return and policy name, without decoding.

    Raises:
        RecordingError: As `wmgym.minerl_recordings.check` raises it.
    """
    reward = check(path.parent).reward
    return len(reward) + 1, float(reward.sum()), "human"


def read_frame_size(path: Path) -> int:
    """Return the height of the frames that `read_episode` returns.

    Raises:
        RecordingError: As `wmgym.minerl_recordings.check` raises it.
    """
    check(path.parent)
    return FRAME_SIZE


def read_state(
    path: Path, state_keys: Iterable[str] = STATE_KEYS
) -> tuple[dict[str, NDArray[Any]], int | None, str | None]:
    """Return no ground truth, no seed, and "human" as the policy.

    Raises:
        RecordingError: As `wmgym.minerl_recordings.check` raises it.
    """
    check(path.parent)
    return {}, None, "human"


def content_digest(path: Path) -> str:
    """Return what tells a stream from others: size of its video, and a checksum of what stands beside it.

    Raises:
        RecordingError: As `wmgym.minerl_recordings.check` raises it.
    """
    check(path.parent)
    beside = [path.with_name(name) for name in (MINERL_ROWS, METADATA_FILE)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in beside)).hexdigest()
    return f"{path.stat().st_size}:{digest}"
