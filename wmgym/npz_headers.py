"""Tables of contents of `.npz` files: which arrays they hold, without reading them."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wmgym.errors import RecordingError

Headers = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of each array, by name."""


def read_headers(path: Path) -> Headers:
    """Return shape and type of each array in a file, without reading the arrays.

    Raises:
        RecordingError: The file cannot be read.
    """
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
