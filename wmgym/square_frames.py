"""The one rule by which frames of any size become squares, when they are recorded and when policies are judged.

A frame is squashed, not cropped: each side is brought to the size asked for on its own, by averaging over areas where
it shrinks (Pillow's `BOX`) and by linear interpolation where it grows (`BILINEAR`). A square of that size stays as it
is.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError


def squash(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a frame as a square.

    Args:
        frame: `[H W 3]`, 0 to 255.
        size: Height and width to bring it to, pixels.

    Raises:
        DependencyError: Pillow is not installed, and the frame has another size.
    """
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame
    pillow = _pillow()
    image = pillow.fromarray(np.ascontiguousarray(frame))
    filters = pillow.Resampling
    if width != size:
        image = image.resize((size, height), filters.BOX if width > size else filters.BILINEAR)
    if height != size:
        image = image.resize((size, size), filters.BOX if height > size else filters.BILINEAR)
    return np.asarray(image)


def scale_down(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a square frame as a smaller one, and refuse any other: data sets have no frames to be made up.

    Args:
        frame: `[H H 3]`, 0 to 255.
        size: Height and width to bring it to, pixels; at most its own.

    Raises:
        ValueError: The frame is smaller, or not square.
        DependencyError: Pillow is not installed, and the frame has another size.
    """
    height, width = frame.shape[:2]
    if height != width or size > height:
        raise ValueError(
            f"frames of {height}x{width} pixels asked for in {size}x{size}, expected square frames and no more pixels "
            "than they have: frames are only scaled down."
        )
    return squash(frame, size)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError(
            "Frames of another size than the model's are scaled by Pillow, which is not installed. Fix: pip install "
            "pillow"
        ) from error
    return Image
