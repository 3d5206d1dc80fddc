"""Frames scaled down by averaging areas, the one way in which frames get smaller here (Pillow's BOX filter)."""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError


def scale_down(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a square frame `(H, H, 3)` in `size` pixels along each side, each the mean of the area it covers.

    Args:
        frame: As it was recorded.
        size: At most its own; a frame of that size is returned as it is.

    Raises:
        ValueError: The frame is smaller, or not square.
        DependencyError: Pillow is missing.
    """
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame
    if height != width or size > height:
        raise ValueError(
            f"frames of {height}x{width} pixels asked for in {size}x{size}, expected square frames and no more pixels "
            "than they have: frames are only scaled down."
        )
    image = _pillow()
    return np.asarray(image.fromarray(frame).resize((size, size), image.Resampling.BOX))


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError(
            "Frames cannot be scaled without Pillow. Install it with: pip install 'wmgym[video-data]'"
        ) from error
    return Image
