"""What the real worlds have in common when they are rendered: their one mode, and the last frame."""

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray


def read_render_mode(render_mode: Any) -> str | None:
    """Return a render mode, None or "rgb_array".

    Raises:
        ValueError: It is neither.
    """
    if render_mode is None or render_mode == "rgb_array":
        return render_mode  # type: ignore[no-any-return]
    raise ValueError(f"Unknown render_mode {render_mode!r}; expected None or 'rgb_array'.")


def rendered(render_mode: str | None, frame: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """Return a copy of the last frame, or None without a render mode.

    Raises:
        ResetNeeded: There is no frame.
    """
    if render_mode is None:
        return None
    if frame is None:
        raise ResetNeeded("Call reset() before render(): there is no frame yet.")
    return frame.copy()
