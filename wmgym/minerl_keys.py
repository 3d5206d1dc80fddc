"""MineRL's action dictionaries, read: which keys are held, and how the camera moves. Nothing here needs MineRL.

A dictionary has a key for each thing a player can do: 0 or 1 for a key that is up or held, a text such as "none" or
"dirt" for what is placed, equipped or crafted (MineRL 0.4), and `camera`, by how many degrees the view moves in this
step: pitch, positive looks down, and yaw, positive turns right. A step is one game tick, 0.05 s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.arrays import as_array
from wmgym.errors import InvalidActionError

CAMERA, IDLE = "camera", "none"
OBFUSCATED = "vector"
LARGEST_MOVE_DEGREES = 180.0
"""Of the camera in one step, along each axis: MineRL's own bound."""


@dataclass(frozen=True)
class KeyRows:
    """What a player did in n steps."""

    held: dict[str, NDArray[np.bool_]]
    """`[n]` each: whether the key was held; for things with a text, whether it was another than "none"."""

    camera: NDArray[np.float64]
    """`[n 2]` pitch and yaw, degrees."""

    def holding(self, keys: tuple[str, ...]) -> NDArray[np.bool_]:
        """Return `[n len(keys)]`, False for keys that are not among those there."""
        up = np.zeros(len(self.camera), np.bool_)
        return np.stack([self.held.get(key, up) for key in keys], axis=1) if keys else up[:, None][:, :0]


def read_rows(actions: Any) -> KeyRows:
    """Read the actions of n steps.

    Args:
        actions: A dictionary; by key, an array with a leading axis of n. Without `camera` the view does not move.

    Raises:
        InvalidActionError: They are none of MineRL's, of unequal length, obfuscated, or a camera move is not finite.
    """
    if not isinstance(actions, Mapping) or not actions:
        raise InvalidActionError(
            f"{actions!r} given, expected a dictionary of MineRL's such as {{'forward': 1, 'camera': [0, 0]}}. Most "
            "likely it is an action of another environment, or already translated."
        )
    if OBFUSCATED in actions:
        raise InvalidActionError(
            "the actions are one 'vector' each, expected keys such as 'forward' and 'camera': in MineRL's VectorObf "
            "environments they are obfuscated. Use the environment or the data set without VectorObf in its name."
        )
    given = {str(key): as_array(value, f"action '{key}'", InvalidActionError) for key, value in actions.items()}
    camera = given.pop(CAMERA, None)
    if camera is None:
        camera = np.zeros((len(next(iter(given.values()))), 2))
    if camera.ndim != 2 or camera.shape[1] != 2 or camera.dtype.kind not in "iuf" or not np.isfinite(camera).all():
        raise InvalidActionError(
            f"camera is {camera.dtype} with the axes {camera.shape[1:]}, expected two finite numbers: pitch and yaw, "
            "in degrees."
        )
    return KeyRows({key: _held(key, value, len(camera)) for key, value in given.items()}, camera.astype(np.float64))


def read_one(action: Any) -> KeyRows:
    """Read the action of one step.

    Args:
        action: One of MineRL's dictionaries; keys may be left out.

    Raises:
        InvalidActionError: It is none.
    """
    if not isinstance(action, Mapping):
        return read_rows(action)
    return read_rows(
        {key: as_array(value, f"action '{key}'", InvalidActionError)[None] for key, value in action.items()}
    )


def _held(key: str, values: NDArray[Any], rows: int) -> NDArray[np.bool_]:
    """Return whether a key is held, or a text is another than "none"."""
    if values.shape != (rows,) or values.dtype.kind not in "biufU":
        raise InvalidActionError(
            f"action '{key}' is {values.dtype} of shape {values.shape}, expected a number or a text for each of "
            f"{rows} step(s). Most likely it is an action of another environment."
        )
    return np.asarray(values != IDLE if values.dtype.kind == "U" else values != 0, np.bool_)
