"""A window on the screen for `render_mode="human"`."""

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError
from wmgym.extras import how_to_install

_SIDE_PIXELS = 512  # about this size, whatever the number of frames
_UNSEEN_DRIVERS = ("dummy", "offscreen")  # SDL's names


class Window:
    """Shows frames in a square grid, enlarged without smoothing, at a fixed pace.

    Args:
        fps: Frames a second; `show` waits as long as this asks for.

    Raises:
        DependencyError: pygame is missing.
    """

    def __init__(self, fps: int) -> None:
        try:
            import pygame
        except ImportError as error:
            raise DependencyError(
                "render_mode='human' draws with pygame, which is not installed. Fix: "
                f"{how_to_install('human')}, or use render_mode='rgb_array'."
            ) from error
        self._pygame: Any = pygame
        self._fps = fps
        self._screen: Any = None
        self._clock: Any = None

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Draw frames `(n, H, W, 3)`, opening the window at the first call."""
        picture = enlarge(tile(frames), _SIDE_PIXELS)
        height, width = picture.shape[:2]
        if self._screen is None:
            self._pygame.display.init()
            self._pygame.display.set_caption("wmgym")
            self._screen = self._pygame.display.set_mode((width, height))
            self._warn_if_unseen()
            self._clock = self._pygame.time.Clock()
        self._pygame.event.pump()
        self._pygame.surfarray.blit_array(self._screen, picture.swapaxes(0, 1))
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def _warn_if_unseen(self) -> None:
        """Say so where SDL found no screen and draws into memory, unless that was asked for."""
        driver = self._pygame.display.get_driver()
        if driver in _UNSEEN_DRIVERS and os.environ.get("SDL_VIDEODRIVER") != driver:
            warnings.warn(
                f"render_mode='human' found no screen: SDL draws into memory ({driver}), and nothing will be seen. "
                "Set DISPLAY (over ssh: ssh -X), or use render_mode='rgb_array'.",
                stacklevel=2,
            )

    def close(self) -> None:
        """Close the window. Closing twice is harmless."""
        if self._screen is not None:
            # SDL's driver for machines without a screen shares its EGL display with MuJoCo, which would lose it
            if self._pygame.display.get_driver() != "offscreen":
                self._pygame.display.quit()
            self._screen = None


def tile(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay frames `(n, H, W, 3)` out in a grid that is nearly square, row by row; the rest is black."""
    count, height, width, channels = frames.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, height, width, channels), np.uint8)
    grid[:count] = frames
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def enlarge(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Repeat the pixels of a picture `(H, W, 3)` as often as fits into `side`, at least once."""
    times = max(1, side // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
