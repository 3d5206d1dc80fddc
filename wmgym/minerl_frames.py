"""MineRL's frames, 64x64 or 360x640 pixels, as a model's square ones: each pixel the mean of those it covers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.square_frames import squash


def to_square(frame: Any, size: int) -> NDArray[np.uint8]:
    """Return a frame in `(size, size, 3)` uint8, averaged by Pillow's BOX filter; wide ones are squeezed, not cut.

    Each pixel is the mean of those whose centres lie in the area it covers.

    Args:
        frame: `(H, W, 3)` uint8, in any memory order: MineRL's are upside down in memory.
        size: Height and width in pixels. A frame of that size comes out equal, as a copy.

    Raises:
        ValueError: It is no such frame, or smaller in one direction: nothing is enlarged.
        DependencyError: Pillow is missing, and frames are to be scaled.
    """
    given = np.asarray(frame)
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or min(given.shape[:2]) < size:
        raise ValueError(
            f"a frame of {given.dtype} {given.shape} given, expected uint8 (height, width, 3) with at least {size} "
            "pixels along each side. Likely cause: depth is switched on, or the frame size is larger than the source's."
        )
    return np.array(squash(given, size), order="C")
