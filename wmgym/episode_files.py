"""What an episode file holds, before anybody believes it: headers, types, shapes, lengths, actions."""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmgym.action_spaces import action_count, action_size, from_text
from wmgym.errors import RecordingError

STATE_KEYS = (
    "maze_layout",
    "agent_pos",
    "agent_dir",
    "targets_pos",
    "targets_vec",
    "target_pos",
    "target_vec",
    "target_color",
)

Headers = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of each array of a file, by its key."""


def read_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of each array in a file, without reading the arrays."""
    headers = {}
    with decoding(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                start = io.BytesIO(member.read(512))
            if np.lib.format.read_magic(start) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(start)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(start)
            headers[name.removesuffix(".npy")] = (shape, dtype)
    return headers


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is opened and decoded into a RecordingError that names it."""
    try:
        yield
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files, MemoryError too
        why = str(error) or type(error).__name__
        raise RecordingError(f"{path}: cannot be read ({why}); truncated, or no episode file.") from error


@contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """Open a file of arrays, each of which is read when it is asked for; nothing is unpickled.

    Raises:
        RecordingError: The file, or an array asked for inside the context, is missing or damaged.
    """
    with decoding(path), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        yield archive


def read_checksums(path: Path) -> str:
    """Return name, size and checksum of each array in a file, from its table of contents.

    Raises:
        RecordingError: The file cannot be read.
    """
    with decoding(path), zipfile.ZipFile(path) as archive:
        return " ".join(f"{member.filename}:{member.file_size}:{member.CRC:08x}" for member in archive.infolist())


def check_headers(path: Path, headers: Headers) -> None:
    """Check types, shapes and lengths, or raise RecordingError naming file and array."""
    missing = [key for key in ("image", "action", "reward") if key not in headers]
    if missing:
        found = ", ".join(sorted(headers)) or "nothing"
        raise RecordingError(f"{path}: missing {', '.join(missing)}; found {found}.")
    shape, dtype = headers["image"]
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
        raise RecordingError(f"{path}: image is {dtype} {shape}, expected uint8 (rows, height, width, 3).")
    if shape[0] < 2:
        raise RecordingError(f"{path}: {shape[0]} rows, expected at least 2 (the reset and one step).")
    for key, ndim in (("action", 2), ("reward", 1)):
        key_shape, key_dtype = headers[key]
        if len(key_shape) != ndim or key_dtype.kind not in "fiub":
            raise RecordingError(f"{path}: {key} is {key_dtype} {key_shape}, expected {ndim} numeric axes.")
    _check_rows(path, headers, shape[0])
    if "seed" in headers and (math.prod(headers["seed"][0]) != 1 or headers["seed"][1].kind not in "iu"):
        raise RecordingError(f"{path}: seed is {headers['seed'][1]} {headers['seed'][0]}, expected one whole number.")
    if "action_space" in headers and headers["action_space"][1].kind != "U":
        raise RecordingError(f"{path}: action_space is {headers['action_space'][1]}, expected text.")


def _check_rows(path: Path, headers: Headers, rows: int) -> None:
    """Check that arrays with a row a frame have as many rows as there are frames, and hold numbers."""
    for key in ("action", "reward", "terminal", *STATE_KEYS):
        if key not in headers:
            continue
        key_shape, key_dtype = headers[key]
        if key_shape[:1] != (rows,):
            raise RecordingError(f"{path}: {key} has shape {key_shape}, expected {rows} rows, as image has.")
        if key_dtype.kind not in "fiub":
            raise RecordingError(f"{path}: {key} is {key_dtype}, expected numbers.")


def read_space(path: Path, text: NDArray[Any]) -> gymnasium.Space[Any]:
    """Return the action space that a file tells of."""
    try:
        return from_text(str(text))
    except ValueError as error:
        raise RecordingError(f"{path}: action_space: {error}") from error


def read_actions(path: Path, stored: NDArray[Any], space: gymnasium.Space[Any] | None) -> tuple[NDArray[Any], int]:
    """Return the actions of a file as models see them, and how many there are to choose from."""
    if isinstance(space, gymnasium.spaces.Box):
        low, high = (bound.ravel().astype(np.float32) for bound in (space.low, space.high))
        if stored.shape[1] != action_size(space):
            raise RecordingError(
                f"{path}: action has {stored.shape[1]} columns, expected {action_size(space)}: {space}."
            )
        vectors = stored.astype(np.float32)
        if not ((vectors[1:] >= low) & (vectors[1:] <= high)).all():
            raise RecordingError(f"{path}: action leaves {space} after the first row.")
        return vectors, 0
    if not np.isin(stored, (0, 1)).all() or not (stored[1:].sum(axis=1) == 1).all():
        raise RecordingError(f"{path}: action is not one-hot in every row after the first.")
    if space is not None and (columns := stored.shape[1]) != action_count(space):
        raise RecordingError(f"{path}: action has {columns} columns, expected {action_count(space)}: {space}.")
    return stored.argmax(axis=1).astype(np.int64), stored.shape[1]
