"""Human play as MineRL's data set has it (`minerl.data` 0.3 and 0.4, versions 3 and 4), read where it lies as episodes.

    ENVIRONMENT/STREAM/recording.mp4    the frames, 64x64 pixels at 20 a second
                       rendered.npz     `reward` (T,), `action$KEY` (T, ...), `observation$KEY` (T + 1, ...)
                       metadata.json    `true_video_frame_count`, `success`, ...

Action t was chosen in state t, earned reward t and led to state t + 1. Frames and states fit together at the end: the
last frame shows the last state, and what the video has more comes before the first. So has MineRL's own loader, but it
shows the last frame but one twice and never the last.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.action_spaces import action_count
from wmgym.episode_files import open_arrays
from wmgym.errors import InvalidActionError, RecordingError
from wmgym.json_files import read_object
from wmgym.minerl_actions import ActionMapping, ActionTable
from wmgym.minerl_keys import KeyRows, read_rows
from wmgym.minerl_video import read_last_frames, read_listed_frames
from wmgym.other_layouts import MINERL_ROWS, MINERL_VIDEO
from wmgym.recording import Episode, Scan

METADATA_FILE = "metadata.json"
ACTION_PREFIX = "action$"
DAMAGED_STREAMS = ("tempting_capers_shapeshifter-14",)
"""MineRL's own loader refuses them as corrupted."""


@dataclass(frozen=True)
class Stream:
    """What was read of one stream."""

    episode: Episode
    """Its frames, actions and rewards; `terminated` if MineRL's metadata call it a success."""

    unsaid: int
    """Steps in which more was pressed than the actions can say (crafting, the inventory): the nearest stands there."""

    leading: int
    """Frames left out because they come before the first state."""


@dataclass(frozen=True)
class Rows:
    """What the files beside the video say of T steps."""

    keys: KeyRows
    """What was pressed in each."""

    reward: NDArray[np.float32]
    """`[T]` what each earned."""

    frames: int | None
    """How many frames MineRL counted in the video, if it did."""

    success: bool
    """Whether the player did what the task asks for."""


def find(folder: Path) -> list[Path]:
    """Return the folders of all streams under a folder, at any depth, sorted; sound or not.

    Raises:
        RecordingError: There is no such folder.
    """
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder, expected one of MineRL's data set. Fix: check the path.")
    return sorted({path.parent for name in (MINERL_ROWS, MINERL_VIDEO) for path in folder.rglob(name)})


def scan(folder: Path) -> Scan:
    """Sort the streams under a folder into usable and unusable ones, without decoding their videos.

    That finds missing and truncated files, and arrays and videos that do not fit together. Damage inside a video shows
    only when it is read: catch `RecordingError` from `read` and count.

    Raises:
        RecordingError: There is no such folder.
        DependencyError: PyAV is missing.
    """
    return Scan.of(find(folder), check)


def check(path: Path) -> Rows:
    """Return what stands beside a stream's video, if it and the video's table of contents fit together.

    Args:
        path: The stream's folder.

    Raises:
        RecordingError: A file is missing, truncated or damaged, or they do not fit together.
        DependencyError: PyAV is missing.
    """
    rows = _read_rows(path)
    listed, states = read_listed_frames(path / MINERL_VIDEO), len(rows.reward) + 1
    if 0 < listed < states:
        raise RecordingError(_too_few(path, listed, states))
    return rows


def read(path: Path) -> Episode:
    """Return a stream as an episode of 64x64 pixels, with the actions of the standard table.

    Args:
        path: The stream's folder.

    Raises:
        RecordingError: As `read_stream` raises it.
        DependencyError: PyAV is missing.
    """
    return read_stream(path).episode


def read_stream(path: Path, mapping: ActionMapping | None = None, frame_size: int = 64) -> Stream:
    """Read a stream. Frames are decoded one at a time; no more than those kept are held in memory.

    Args:
        path: The stream's folder.
        mapping: Which actions the pressed keys become; None for `ActionTable()`. Each becomes the nearest.
        frame_size: Height and width of the frames, at most the video's.

    Raises:
        RecordingError: A file is missing, truncated or damaged, they do not fit together, or actions are obfuscated.
        DependencyError: PyAV is missing, or Pillow, where frames are to be scaled.
    """
    rows = _read_rows(path)
    actions = ActionTable() if mapping is None else mapping
    numbers, said = actions.nearest(rows.keys)
    states = len(rows.reward) + 1
    image, decoded = read_last_frames(path / MINERL_VIDEO, states, rows.frames, frame_size)
    if decoded < max(states, rows.frames or 0):
        raise RecordingError(_too_few(path, decoded, max(states, rows.frames or 0)))
    episode = Episode(
        image=image,
        action=np.concatenate([np.zeros(1, np.int64), numbers]),
        reward=np.concatenate([np.zeros(1, np.float32), rows.reward]),
        action_count=action_count(actions.space),
        policy="human",
        terminated=rows.success,
        action_space=actions.space,
    )
    return Stream(episode, unsaid=int((~said).sum()), leading=decoded - states)


def _read_rows(path: Path) -> Rows:
    """Read and check what stands beside the video."""
    if any(name in path.name for name in DAMAGED_STREAMS):
        raise RecordingError(
            f"{path}: MineRL calls this stream corrupted, and its own loader refuses it. Leave it out."
        )
    missing = [name for name in (MINERL_VIDEO, MINERL_ROWS, METADATA_FILE) if not (path / name).is_file()]
    if missing:
        raise RecordingError(
            f"{path}: {', '.join(missing)} missing, expected {MINERL_VIDEO}, {MINERL_ROWS}, {METADATA_FILE}."
        )
    told = read_object(path / METADATA_FILE)
    arrays = _read_arrays(path / MINERL_ROWS)
    with np.errstate(over="ignore"):
        reward = arrays.pop("reward").astype(np.float32)
    if not np.isfinite(reward).all():
        raise RecordingError(f"{path / MINERL_ROWS}: reward is not finite everywhere, as float32.")
    lengths = {key: len(value) for key, value in arrays.items() if len(value) != len(reward)}
    if lengths:
        raise RecordingError(
            f"{path / MINERL_ROWS}: {lengths} rows, expected {len(reward)}, as reward has. Likely cause: another "
            "version of the data set."
        )
    try:
        keys = read_rows({key.removeprefix(ACTION_PREFIX): value for key, value in arrays.items()})
    except InvalidActionError as error:
        raise RecordingError(f"{path / MINERL_ROWS}: {error}") from error
    count = told.get("true_video_frame_count")
    return Rows(keys, reward, count if isinstance(count, int) else None, told.get("success") is True)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return reward and actions; what was observed stays unread. Nothing is unpickled."""
    with open_arrays(path) as archive:
        wanted = [name for name in archive.files if name == "reward" or name.startswith(ACTION_PREFIX)]
        arrays = {name: archive[name] for name in wanted}
    if "reward" not in arrays or len(arrays) < 2:
        raise RecordingError(
            f"{path}: has {', '.join(arrays) or 'neither'}, expected reward and {ACTION_PREFIX}KEY arrays."
        )
    for key, value in arrays.items():
        wrong = value.ndim < 1 or len(value) < 1
        if wrong or (key == "reward" and (value.ndim != 1 or value.dtype.kind not in "iufb")):
            raise RecordingError(f"{path}: {key} is {value.dtype} {value.shape}, expected a row for each step.")
    return arrays


def _too_few(path: Path, frames: int, expected: int) -> str:
    """Say that a video is too short."""
    return (
        f"{path / MINERL_VIDEO}: {frames} frames, expected at least {expected}: one for each state, and as many as "
        "MineRL counted. Likely cause: a truncated file. Fix: fetch it again, or leave the stream out."
    )
